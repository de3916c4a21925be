"""Requests that others bring, as files in a folder: each is looked at on its own, refused by name, or honoured.

Whoever may put a file there is not trusted with anything else, so a bad request never stops a run: it is named, the
certificate waits, and everything else goes on. Of a request its public key is taken, with the proof that its maker
holds the private one; SANs and common name only where the client's entry says so, within the limits it gives.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    authority,
    constraints,
    csr_policy,
    keys,
    names,
    profiles,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import (
    CertificateSpec,
    Desired,
    authority_subject,
    check_identity,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Issued, Ledger, encode_list
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import signed_in_openbao

LARGEST: Final = 64 * 1024
"""Bytes of a request: one with an RSA key of 4,096 bits and a hundred names has a tenth of it."""

SUFFIX: Final = ".csr"
SUBFOLDER: Final = "client"


@dataclass(frozen=True)
class Brought:
    """What the folder gives a run: the desired state with what is honoured in it, the requests, and the refused."""

    desired: Desired
    csrs: Mapping[str, str] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """A line for each refused file."""
        return [entry["reason"] for entry in self.refused]


@dataclass(frozen=True)
class _File:
    """A file of the folder: ``path`` as a message shows it, ``name`` the certificate it is for."""

    path: str
    name: str
    text: str


@dataclass(frozen=True)
class _Request:
    file: _File
    csr: x509.CertificateSigningRequest
    spec: CertificateSpec
    key_sha256: str


def resolve(desired: Desired, folder: Path | None, ledger: Ledger, now: datetime) -> Brought:
    """The desired state with the requests in ``folder``; without one, with what was honoured before.

    Raises KitError for a folder that is not there or that everybody may write to.
    """
    waiting = {
        spec.name: spec for spec in desired.certificates if spec.source == "csr" and spec.name.startswith("client/")
    }
    reader = _Reader(desired, waiting, ledger, now)
    requests = reader.read(folder) if folder is not None else {}
    specs = {name: reader.kept(spec) for name, spec in waiting.items()}
    specs.update((name, request.spec) for name, request in requests.items())
    certificates = tuple(specs.get(spec.name, spec) for spec in desired.certificates)
    return Brought(
        desired=replace(desired, certificates=certificates),
        csrs={name: request.file.text for name, request in requests.items()},
        refused=reader.refused,
    )


class _Reader:
    """Reads a folder once."""

    def __init__(self, desired: Desired, waiting: Mapping[str, CertificateSpec], ledger: Ledger, now: datetime) -> None:
        self._desired = desired
        self._waiting = waiting
        self._ledger = ledger
        self._now = now
        self._current = ledger.current() if waiting else {}
        self._authorities = ledger.authorities()
        self.refused: list[dict[str, str]] = []

    def read(self, folder: Path) -> dict[str, _Request]:
        """The requests that hold, by certificate name."""
        found = self._one_each(self._files(folder))
        requests = {}
        for file in found:
            try:
                requests[file.name] = self._request(file)
            except KitError as error:
                self._refuse(file.path, str(error))
        return self._keys_of_their_own(requests)

    def _refuse(self, path: str, reason: str) -> None:
        self.refused.append({"file": path, "reason": reason})

    # ------------------------------------------------------------------ files

    def _files(self, folder: Path) -> list[_File]:
        what = f"csr_folder {str(folder)!r}"
        try:
            top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise KitError(what, str(error.strerror), "a folder", "make it, or correct pki_csr_folder") from None
        try:
            if os.fstat(top).st_mode & stat.S_IWOTH:
                raise KitError(
                    what,
                    "that everybody may write to it",
                    "a folder that only those may write to who bring requests",
                    "chmod o-w it: whoever puts a file there has a certificate in another's name",
                )
            return [*self._of(top, ""), *self._of_subfolder(top)]
        finally:
            os.close(top)

    def _of_subfolder(self, top: int) -> list[_File]:
        try:
            inner = os.open(SUBFOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        except OSError:
            # Not there, or no folder: then it was named with the other entries.
            return []
        try:
            if os.fstat(inner).st_mode & stat.S_IWOTH:
                self._refuse(f"{SUBFOLDER}/", _told(f"{SUBFOLDER}/", "that everybody may write to it", "chmod o-w it"))
                return []
            return list(self._of(inner, f"{SUBFOLDER}/"))
        finally:
            os.close(inner)

    def _of(self, folder: int, prefix: str) -> Iterator[_File]:
        for entry in sorted(os.listdir(folder)):
            path = prefix + ascii(entry)[1:-1]
            if not prefix and entry == SUBFOLDER and _is_folder(folder, entry):
                continue
            try:
                client = self._client(entry, path)
                yield _File(path, client, _text(folder, entry, path))
            except KitError as error:
                self._refuse(path, str(error))

    def _client(self, entry: str, path: str) -> str:
        what = f"request {path}"
        if not entry.endswith(SUFFIX):
            raise KitError(what, "a name without .csr", "<client>.csr", "rename or remove it")
        name = f"client/{entry.removesuffix(SUFFIX)}"
        try:
            names.check_certificate_name(name)
        except KitError:
            raise KitError(what, "a name that no client can have", "<client>.csr", "rename or remove it") from None
        if name not in self._waiting:
            listed = any(spec.name == name for spec in self._desired.certificates)
            raise KitError(
                what,
                "a client whose key the CA makes" if listed else "a client that is not listed",
                "a client of pki_clients with source: csr",
                "set source: csr for it, or remove the file" if listed else "list the client, or remove the file",
            )
        return name

    def _one_each(self, files: Iterable[_File]) -> list[_File]:
        """The files of names that only one file is for."""
        found = list(files)
        counts = Counter(file.name for file in found)
        for file in found:
            if counts[file.name] > 1:
                self._refuse(file.path, _told(file.path, f"two requests for {file.name}", "remove one of them"))
        return [file for file in found if counts[file.name] == 1]

    # ------------------------------------------------------------------ what is in them

    def _request(self, file: _File) -> _Request:
        spec = self._waiting[file.name]
        policy = spec.csr or csr_policy.NOTHING
        what = f"request {file.path}"
        csr, key = authority.read_csr(file.text, file.name, policy.key_types or (spec.key_type,))
        if isinstance(key, rsa.RSAPublicKey) and key.public_numbers().e < 65537:
            raise KitError(what, f"an RSA key with exponent {key.public_numbers().e}", "65537", "make another key")
        _check_wishes(csr, what)
        key_sha256 = keys.public_key_sha256(key)
        if key_sha256 in self._compromised():
            raise KitError(what, "a key that was revoked as compromised", "a new key", "have a new request made")
        if key_sha256 in self._authority_keys():
            raise KitError(what, "the key of a CA of this PKI", "a key of its own", "find out who made this request")
        honoured = policy.honoured(csr, spec.subject, spec.sans, what)
        spec = _with(spec, keys.key_type_of(key) or spec.key_type, *honoured)
        self._check(spec)
        if signed_in_openbao(self._ledger, self._authorities, spec.issuer, self._desired.backend):
            authority.check_verbatim(spec.name, file.text, spec.subject, spec.sans)
        return _Request(file, csr, spec, key_sha256)

    def _check(self, spec: CertificateSpec) -> None:
        """Everything the plan would stop a whole run for."""
        profiles.check_wish(spec.name, spec.profile, spec.subject, spec.sans, spec.key_type)
        check_identity(f"certificate {spec.name!r}", spec.name, (), names.san_texts(spec.sans))
        issuing = next(ca for ca in self._desired.issuing if ca.name == spec.issuer)
        generations = [ca for ca in self._authorities if ca.name == spec.issuer]
        allowed = issuing.name_constraints
        if generations:
            newest = max(generations, key=lambda ca: ca.generation)
            allowed = constraints.of_certificate(_certificate(newest))
        authority.check_names(spec.name, spec.subject, spec.sans, allowed)
        if names.canonical_dn(spec.subject) in self._authority_subjects():
            raise KitError(f"certificate {spec.name!r}", "the subject of a CA of this PKI", "its own", "correct it")

    def _authority_subjects(self) -> set[str]:
        made = [names.subject_of(_certificate(ca).subject) for ca in self._authorities]
        first = [
            authority_subject(self._desired.name, self._desired.subject, spec.name, 1)
            for spec in (self._desired.root, *self._desired.issuing)
        ]
        return {names.canonical_dn(subject) for subject in (*made, *first)}

    def _authority_keys(self) -> set[str]:
        return {_key_sha256(_certificate(ca)) for ca in self._authorities}

    def _compromised(self) -> set[str]:
        """Keys that this very run, or one before it, revokes as compromised."""
        found = set(self._ledger.compromised_keys())
        for spec in self._desired.revoke:
            if spec.reason != "keyCompromise":
                continue
            if spec.certificate is not None:
                found.add(_key_sha256(spec.certificate))
            elif spec.serial is not None:
                found.update(issued.public_key_sha256 for issued in self._ledger.by_serial(spec.serial))
            elif spec.name is not None:
                valid = self._ledger.valid_of([spec.name], self._now)
                found.update(issued.public_key_sha256 for issued in valid)
        return found

    def _keys_of_their_own(self, requests: Mapping[str, _Request]) -> dict[str, _Request]:
        """The requests whose key nobody else has: a copied request is signed in nobody else's name."""
        owners: dict[str, str] = {
            issued.public_key_sha256: name
            for name, issued in self._current.items()
            if issued.not_after > self._now and issued.revoked is None
        }
        counts = Counter(request.key_sha256 for request in requests.values())
        kept = {}
        for name, request in requests.items():
            owner = owners.get(request.key_sha256, name)
            others = [other for other, r in requests.items() if r.key_sha256 == request.key_sha256 and other != name]
            if owner == name and (counts[request.key_sha256] == 1 or request.key_sha256 in owners):
                kept[name] = request
                continue
            other = owner if owner != name else others[0]
            self._refuse(
                request.file.path, _told(request.file.path, f"the key of {other}", "have a key of its own made")
            )
        return kept

    # ------------------------------------------------------------------ without a request

    def kept(self, spec: CertificateSpec) -> CertificateSpec:
        """``spec`` as its certificate in force was honoured, where its policy still allows that."""
        issued: Issued | None = self._current.get(spec.name)
        policy = spec.csr or csr_policy.NOTHING
        if issued is None or issued.made_here:
            return spec
        ((_, der, _key),) = self._ledger.contents([issued.id])
        certificate = x509.load_der_x509_certificate(der)
        kept = replace(spec, key_type=issued.key_type) if issued.key_type in policy.key_types else spec
        with suppress(KitError):
            honoured = policy.honoured(certificate, spec.subject, spec.sans, spec.name)
            kept = _with(kept, kept.key_type, *honoured)
        return kept


def _with(spec: CertificateSpec, key_type: str, subject: names.Subject, sans: tuple[names.San, ...]) -> CertificateSpec:
    return replace(
        spec,
        key_type=key_type,
        subject=subject,
        dn=names.dn(subject),
        sans=sans,
        san_list=encode_list(names.san_texts(sans)),
    )


def _told(path: str, found: str, next_step: str) -> str:
    return str(KitError(f"request {path}", found, "a request of one client, for its own key", next_step))


def _certificate(ca: Authority) -> x509.Certificate:
    return x509.load_der_x509_certificate(ca.der)


def _key_sha256(certificate: x509.Certificate) -> str:
    return keys.public_key_sha256(certificate.public_key())  # type: ignore[arg-type]


def _is_folder(folder: int, entry: str) -> bool:
    return stat.S_ISDIR(os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode)


def _text(folder: int, entry: str, path: str) -> str:
    """The one PEM block of a regular file; KitError for anything else. No link is followed, nothing is waited for."""
    what = f"request {path}"
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        found = "a symbolic link" if error.errno == errno.ELOOP else f"{error.strerror}"
        raise KitError(what, found, "a regular file that can be read", "put the request itself there") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise KitError(what, "no regular file", "a request in PEM", "remove it")
        content = os.read(descriptor, LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        raise KitError(what, f"more than {LARGEST:,} bytes", "a request in PEM", "remove it")
    text = content.decode("ascii", errors="replace")
    if "PRIVATE KEY-----" in text:
        raise KitError(
            what,
            "a private key in it",
            "the request alone",
            "have a new key and request made: a key that was handed over is its owner's alone no longer",
        )
    if text.count("-----BEGIN ") != 1:
        raise KitError(
            what, f"{text.count('-----BEGIN ')} PEM blocks", "one request in PEM", "hand in the request alone"
        )
    return text


def _check_wishes(csr: x509.CertificateSigningRequest, what: str) -> None:
    """Refuse a request that asks to be a CA: nothing of that would be honoured, but its maker is to be asked."""
    try:
        extensions = list(csr.extensions)
    except (ValueError, x509.DuplicateExtension) as error:
        raise KitError(what, f"unreadable extensions ({error})", "a PKCS#10 request", "make it again") from None
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise KitError(what, "that it asks to be a CA (CA:TRUE)", "a request of a leaf", "ask its maker why")
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign):
            raise KitError(what, "that it asks to sign certificates", "a request of a leaf", "ask its maker why")
