"""Authorities in the PKI engine of OpenBao: their keys are made there and never leave it.

Each CA has a mount of its own, and each generation of it is an issuer of that mount. What OpenBao signs is checked
against what was asked for before it is entered, exactly as what is signed here. OpenBao keeps a list of all it has
signed: ``reconcile`` compares that with the ledger, so that no certificate goes unknown whose run was cut off between
signature and entry. CRLs are signed by OpenBao from the ledger's revocations and numbers; OpenBao is told of each
revocation as well, so that its own answers agree.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    authority,
    clock,
    crl,
    keys,
    names,
    profiles,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.backend import Request, Signer
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Crl, Ledger, Listed
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import Place, places, set_place
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import PlannedAuthority
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Client, Session, words_of

ROLE: Final = "mtls-kit"
"""The role of every mount that leaves are signed by; it lets them begin five minutes ago."""

_SIGNING: Final = "openbao signing"
"""The ledger's fact with the SHA-256 of the public keys that certificates were asked for and not yet entered."""

_MAKING: Final = "openbao making "
"""Prefix of the ledger's facts about authorities that were begun: what OpenBao has of them is this store's."""

_CLOCKS_APART: Final = timedelta(minutes=2)

_TOO_COMPLEX: Final = "high complexity"
"""What OpenBao says of a request with more strings than its listener takes (``max_request_json_strings``, 1,000)."""

_WHOLE: Final = 100_000
"""Entries of a CRL that fit into one request of 32 MiB, more than which no listener takes unless it is told to."""

_ENTRIES_OF_A_PART: Final = 240
_PARTS_AT_A_TIME: Final = 900
"""So many make a request of nearly a thousand strings, of which an entry has four and a part is one."""

_LIFE_OF_A_PART: Final = timedelta(minutes=10)

_Item = TypeVar("_Item")

_FIELDS: Final = {"C": "country", "ST": "province", "L": "locality", "O": "organization", "OU": "ou"}
"""How OpenBao calls the attributes of an authority's subject, each a list; the common name is a text."""

_KEY_TYPES: Final = {
    "ec-p256": ("ec", 256),
    "ec-p384": ("ec", 384),
    "rsa-2048": ("rsa", 2048),
    "rsa-3072": ("rsa", 3072),
    "rsa-4096": ("rsa", 4096),
    "ed25519": ("ed25519", 0),
}

_KEY_USAGES: Final = {
    "digitalSignature": "DigitalSignature",
    "contentCommitment": "ContentCommitment",
    "keyEncipherment": "KeyEncipherment",
    "dataEncipherment": "DataEncipherment",
    "keyAgreement": "KeyAgreement",
}


def serial_of(colons: str) -> str:
    """A serial as the ledger has it, from OpenBao's ``0a:1b``."""
    return names.serial_from(colons.replace(":", ""))


def colons(serial: str) -> str:
    """A serial of the ledger as OpenBao writes it."""
    return ":".join(serial[place : place + 2] for place in range(0, len(serial), 2)).lower()


def default_mount(pki: str, name: str) -> str:
    """The mount of a CA where none is named."""
    return f"pki-{pki}-{name}"


# ---------------------------------------------------------------------- what comes back


def _certificate(pem: Any, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(str(pem).encode())
    except ValueError as error:
        raise _not_as_asked(what, f"no readable certificate ({error})") from None


def _not_as_asked(what: str, found: str, next_step: str = "") -> KitError:
    return KitError(
        what,
        found,
        "exactly what was asked for",
        next_step or "see how the mount is set up (docs/pki-openbao.md); it was not entered, and is revoked",
    )


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate, what: str) -> None:
    if authority.weak_hash(certificate) is not None:
        raise _not_as_asked(what, f"a signature with {authority.weak_hash(certificate)}")
    if not keys.signed_by(certificate, issuer):
        raise _not_as_asked(what, "a signature that is not its issuer's")


def _check_key(certificate: x509.Certificate, public_key: keys.PublicKey, what: str) -> None:
    found = certificate.public_key()
    if not isinstance(found, keys.PublicKey) or keys.public_key_der(found) != keys.public_key_der(public_key):
        raise _not_as_asked(what, "another public key")


def _check_extensions(certificate: x509.Certificate, wanted: Iterable[profiles.Extension], what: str) -> None:
    """Each of them and no other; in which order they stand is of no consequence."""
    found = {type(each.value): profiles.Extension(each.value, each.critical) for each in certificate.extensions}
    expected = {type(each.value): each for each in wanted}
    for kind in found.keys() | expected.keys():
        if found.get(kind) != expected.get(kind):
            raise _not_as_asked(what, f"another {kind.__name__} than that of its profile, or its only one")


def _check_dates(
    certificate: x509.Certificate, not_before: datetime, not_after: datetime, now: datetime, what: str
) -> None:
    begin, end = clock.not_before(certificate), clock.not_after(certificate)
    if end != not_after:
        raise _not_as_asked(
            what,
            f"an end at {clock.iso(end)} instead of {clock.iso(not_after)}",
            "let the mount and its role mtls-kit set no bounds to lives (not_after_bound, max_ttl)",
        )
    if not not_before - clock.BACKDATED <= begin <= now:
        raise _not_as_asked(
            what,
            f"a begin at {clock.iso(begin)}, by OpenBao's clock, while the CA host has {clock.iso(now)}",
            "set both clocks right (timedatectl) and run again",
        )


def check_leaf(
    certificate: x509.Certificate,
    leaf: authority.Leaf,
    public_key: keys.PublicKey,
    issuer: authority.Issuer,
    now: datetime,
) -> None:
    """Raise KitError for a certificate that is not the leaf that was asked for, as it would have been signed here."""
    what = f"certificate {leaf.name!r}"
    _check_signature(certificate, issuer.certificate, what)
    _check_key(certificate, public_key, what)
    if certificate.subject != names.x509_name(leaf.subject):
        raise _not_as_asked(what, f"the subject {certificate.subject.rfc4514_string()!r}")
    _check_extensions(certificate, authority.leaf_extensions(leaf, public_key, issuer), what)
    _check_dates(certificate, leaf.not_before, min(leaf.not_after, issuer.not_after), now, what)


# ---------------------------------------------------------------------- signing


def announced(ledger: Ledger) -> set[str]:
    """SHA-256 of the public keys that certificates were asked for and not yet entered."""
    return set(json.loads(ledger.meta(_SIGNING) or "[]"))


def forget_announced(ledger: Ledger) -> None:
    """Everything that was asked for is entered; in a transaction."""
    if announced(ledger):
        ledger.set_meta(_SIGNING, "[]")


def _announce(ledger: Ledger, public_keys: Iterable[keys.PublicKey]) -> None:
    asked = announced(ledger).union(map(keys.public_key_sha256, public_keys))
    with ledger.transaction():
        ledger.set_meta(_SIGNING, json.dumps(sorted(asked)))


class OpenBaoSigner:
    """Has OpenBao sign with the key of one issuer."""

    remote = True

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        place: Place,
        certificate: x509.Certificate,
        now: datetime,
        present: Callable[[], datetime],
    ) -> None:
        """``now`` is when the run began, ``present`` tells how late it has become."""
        self._client = client
        self._ledger = ledger
        self._place = place
        self._path = f"{place.mount}/issuer/{place.issuer}"
        self._issuer = authority.Issuer.told_by(certificate)
        self._now = now
        self._present = present

    @property
    def issuer(self) -> authority.Issuer:
        """What its certificate tells."""
        return self._issuer

    def announce(self, public_keys: Iterable[keys.PublicKey]) -> None:
        """Remember for which keys certificates are asked: what a cut-off run leaves is known by them."""
        _announce(self._ledger, public_keys)

    def leaf(self, leaf: authority.Leaf, request: Request) -> x509.Certificate:
        """A leaf, signed as its request names it and checked against its profile before and after."""
        what = f"certificate {leaf.name!r}"
        authority.leaf_extensions(leaf, request.public_key, self._issuer)
        if request.private_key is None:
            authority.check_verbatim(leaf.name, request.csr, leaf.subject, leaf.sans)
        usages = profiles.usage_of_key(leaf.profile.key_usage, keys.key_type_of(request.public_key) or "")
        end = min(leaf.not_after, self._issuer.not_after)
        made = self._client.write(
            what,
            f"{self._path}/sign-verbatim/{ROLE}",
            {
                "csr": request.csr or _request(request, leaf.subject, leaf.sans),
                "not_before": clock.iso(leaf.not_before),
                "not_after": clock.iso(end),
                "key_usage": sorted(_KEY_USAGES[usage] for usage in usages),
                "ext_key_usage": [],
                "ext_key_usage_oids": [oid.dotted_string for oid in leaf.profile.extended_key_usage],
                "basic_constraints_valid_for_non_ca": True,
            },
        )
        certificate = _certificate(made.get("certificate"), what)
        self._or_revoke(
            certificate, partial(check_leaf, certificate, leaf, request.public_key, self._issuer, self._now)
        )
        return certificate

    def issuing(
        self,
        subject: names.Subject,
        request: Request,
        now: datetime,
        not_after: datetime,
        limits: Iterable[profiles.Extension] = (),
    ) -> x509.Certificate:
        """An issuing CA below this root. OpenBao gives it no extended key usage, whatever ``limits`` say."""
        end = min(not_after, self._issuer.not_after)
        csr = request.csr or _request(request, subject, ())
        return self._authority(subject, csr, request.public_key, authority.ISSUING_PATH_LENGTH, end)

    def cross(self, successor: x509.Certificate, csr: str, now: datetime) -> x509.Certificate:
        """The root after this one once more, signed by this one; its key has to be in OpenBao, too."""
        public_key = successor.public_key()
        assert isinstance(public_key, keys.PublicKey)  # noqa: S101  a root of this PKI
        end = min(clock.not_after(successor), self._issuer.not_after)
        subject = names.subject_of(successor.subject)
        certificate = self._authority(subject, csr, public_key, authority.CROSS_PATH_LENGTH, end)
        if certificate.subject.public_bytes() != successor.subject.public_bytes():
            raise _not_as_asked("cross certificate", "a subject that is encoded in another way than its root's")
        return certificate

    def _authority(
        self, subject: names.Subject, csr: str, public_key: keys.PublicKey, path_length: int, end: datetime
    ) -> x509.Certificate:
        what = f"certificate of {names.dn(subject)}"
        self.announce([public_key])
        made = self._client.write(
            what,
            f"{self._path}/sign-intermediate",
            {
                "csr": csr,
                "use_csr_values": True,
                "max_path_length": path_length,
                "not_before_duration": f"{clock.BACKDATED // timedelta(seconds=1)}s",
                "not_after": clock.iso(end),
            },
        )
        certificate = _certificate(made.get("certificate"), what)

        def check() -> None:
            _check_signature(certificate, self._issuer.certificate, what)
            _check_authority(certificate, subject, public_key, path_length, self._issuer.key_identifier, what)
            _check_dates(certificate, self._now - clock.BACKDATED, end, self._present(), what)

        self._or_revoke(certificate, check)
        return certificate

    def _or_revoke(self, certificate: x509.Certificate, check: Callable[[], None]) -> None:
        """Nothing that is not as asked stays valid; the next run enters that it was revoked."""
        try:
            check()
        except KitError:
            revoke(self._client, self._place.mount, names.serial_text(certificate.serial_number))
            raise

    def crl(self, number_of: int, listed: Iterable[Listed], number: int, now: datetime, days: int, extent: str) -> Crl:
        """A CRL of what the ledger lists, with its number; it begins at the second of OpenBao's own clock.

        Where OpenBao takes no request with all of it, it is signed in parts that OpenBao then joins, which leaves the
        reasons out (RFC 5280 section 5.3.1 has them optional).
        """
        what = f"CRL {number} of {names.dn(self._issuer.subject)}"
        life = min(timedelta(days=days), self._issuer.not_after - now)
        entries = list(listed)
        pem = self._whole_crl(what, entries, number, life) or self._joined_crl(what, entries, number, life)
        end = _check_crl(pem, number, entries, self._issuer, self._present(), what)
        return Crl(number_of, number, now, end, days, extent, pem)

    def _whole_crl(self, what: str, entries: Sequence[Listed], number: int, life: timedelta) -> bytes:
        """All of it by one request; empty where OpenBao says that this is more than it takes."""
        if len(entries) > _WHOLE:
            return b""
        path, body = self._list_request([_entry(entry) for entry in entries], number, life)
        answer = self._client.call(what, "POST", path, body)
        if answer.status == 413 or (answer.status == 400 and _TOO_COMPLEX in words_of(answer)):
            return b""
        return _pem_of(self._client.data(what, "POST", path, answer))

    def _joined_crl(self, what: str, entries: Sequence[Listed], number: int, life: timedelta) -> bytes:
        """Parts of it, each of a life that ends with this run, for nobody is to be shown one; and what joins them."""

        def part(of_it: Sequence[Listed]) -> bytes:
            path, body = self._list_request([_bare_entry(entry) for entry in of_it], number, _LIFE_OF_A_PART)
            return _pem_of(self._client.write(what, path, body))

        def joined(parts: Sequence[bytes], life: timedelta = _LIFE_OF_A_PART) -> bytes:
            body = {"crl_number": number, "next_update": _seconds(life), "format": "pem"}
            crls = [pem.decode() for pem in parts]
            return _pem_of(self._client.write(what, f"{self._path}/resign-crls", {**body, "crls": crls}))

        parts = list(self._client.in_parallel(part, _parted(entries, _ENTRIES_OF_A_PART)))
        while len(parts) > _PARTS_AT_A_TIME:
            parts = list(map(joined, _parted(parts, _PARTS_AT_A_TIME)))
        return joined(parts, life)

    def _list_request(
        self, entries: Sequence[dict[str, Any]], number: int, life: timedelta
    ) -> tuple[str, dict[str, Any]]:
        body = {"crl_number": number, "next_update": _seconds(life), "format": "pem", "revoked_certs": entries}
        return f"{self._path}/sign-revocation-list", body


def _request(request: Request, subject: names.Subject, sans: Sequence[names.San]) -> str:
    """A CSR with a key that was made here."""
    assert request.private_key is not None  # noqa: S101  who has none brings a CSR
    builder = x509.CertificateSigningRequestBuilder(names.x509_name(subject))
    if sans:
        names_of = x509.SubjectAlternativeName([san.general_name() for san in sans])
        builder = builder.add_extension(names_of, critical=False)
    signed = builder.sign(request.private_key, keys.signature_hash(request.private_key))
    return signed.public_bytes(Encoding.PEM).decode()


def _check_authority(
    certificate: x509.Certificate,
    subject: names.Subject,
    public_key: keys.PublicKey,
    path_length: int,
    key_identifier: x509.AuthorityKeyIdentifier | None,
    what: str,
) -> None:
    """``key_identifier`` is the issuer's; None for a root, which may name its own key as OpenBao's do."""
    _check_key(certificate, public_key, what)
    if names.subject_of(certificate.subject) != subject:
        raise _not_as_asked(what, f"the subject {certificate.subject.rfc4514_string()!r}")
    if key_identifier is None and any(
        isinstance(each.value, x509.AuthorityKeyIdentifier) for each in certificate.extensions
    ):
        key_identifier = authority.Issuer.told_by(certificate).key_identifier
    _check_extensions(certificate, profiles.authority_extensions(public_key, path_length, key_identifier), what)


def _seconds(span: timedelta) -> str:
    return f"{span // timedelta(seconds=1)}s"


def _parted(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for place in range(0, len(items), size):
        yield items[place : place + size]


def _pem_of(made: Mapping[str, Any]) -> bytes:
    return str(made.get("crl")).encode()


def _bare_entry(listed: Listed) -> dict[str, Any]:
    return {
        "serial_number": colons(listed.serial),
        "revocation_time": clock.iso(clock.moment(listed.revoked)),
    }


def _entry(listed: Listed) -> dict[str, Any]:
    entry = _bare_entry(listed)
    if (code := crl.reason_code(listed.reason)) is not None:
        value = base64.b64encode(code).decode()
        entry["extensions"] = [{"id": crl.REASON_CODE, "critical": False, "value": value}]
    return entry


def _check_crl(
    pem: bytes, number: int, entries: Sequence[Listed], issuer: authority.Issuer, now: datetime, what: str
) -> datetime:
    try:
        found = x509.load_pem_x509_crl(pem)
    except ValueError as error:
        raise _not_as_asked(what, f"no readable CRL ({error})") from None
    begin, end = clock.last_update(found), clock.next_update(found)
    if not found.is_signature_valid(issuer.certificate.public_key()) or found.issuer != issuer.certificate.subject:  # type: ignore[arg-type]
        raise _not_as_asked(what, "a signature that is not its issuer's")
    if end is None or found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number != number:
        raise _not_as_asked(what, "another CRLNumber, or no end")
    wanted = {int(entry.serial, 16) for entry in entries}
    if len(found) != len(wanted) or {entry.serial_number for entry in found} != wanted:
        raise _not_as_asked(what, f"{len(found)} revoked certificates that are not the {len(wanted)} of the ledger")
    if begin > now + _CLOCKS_APART:
        raise _not_as_asked(
            what,
            f"a begin at {clock.iso(begin)}, by OpenBao's clock, while the CA host has {clock.iso(now)}",
            "set both clocks right (timedatectl) and run again",
        )
    return end


def revoke(client: Client, mount: str, serial: str) -> bool:
    """Let OpenBao itself know that a certificate is revoked; False where it knows none such."""
    what, path = f"revocation of serial {serial}", f"{mount}/revoke"
    answer = client.call(what, "POST", path, {"serial_number": colons(serial)})
    if answer.status in (400, 404, 409):
        return False
    client.data(what, "POST", path, answer)
    return True


# ---------------------------------------------------------------------- authorities


@dataclass(frozen=True)
class _Found:
    """What a mount has under an authority's label already: its issuer and its key, each empty where there is none."""

    mounted: bool
    issuer: str = ""
    key: str = ""


class OpenBaoBackend:
    """Keys in OpenBao, a mount for each CA."""

    def __init__(self, session: Session, pki: str, ledger: Ledger, now: datetime) -> None:
        """Nothing is sent yet."""
        self.client = Client(session)
        self._mounts = session.mounts
        self._pki = pki
        self._ledger = ledger
        self._now = now
        self._began = time.monotonic()
        self._found: dict[str, _Found] = {}
        self._made: dict[str, Place] = {}

    @classmethod
    @contextmanager
    def opened(
        cls, session: Session | None, pki: str, ledger: Ledger, now: datetime
    ) -> Iterator[OpenBaoBackend | None]:
        """The backend for the time of the block; None without a session."""
        if session is None:
            yield None
            return
        backend = cls(session, pki, ledger, now)
        try:
            yield backend
        finally:
            backend.client.close()

    def _present(self) -> datetime:
        """The run's clock, moved on by how long the run takes: OpenBao dates what it signs by its own."""
        return self._now + timedelta(seconds=time.monotonic() - self._began)

    def _signer(self, place: Place, certificate: x509.Certificate) -> OpenBaoSigner:
        return OpenBaoSigner(self.client, self._ledger, place, certificate, self._now, self._present)

    def mount_of(self, name: str) -> str:
        """The mount of a CA."""
        return self._mounts.get(name) or default_mount(self._pki, name)

    def prepare(self, planned: PlannedAuthority) -> None:
        """Look at the mount, and that nobody else's authority has the name there."""
        mount, label = self.mount_of(planned.spec.name), planned.label
        what = f"authority {label} in mount {mount}"
        answer = self.client.call(what, "LIST", f"{mount}/keys")
        if answer.status == 404 and "no handler" in words_of(answer):
            self._found[label] = _Found(mounted=False)
            return
        listed = {} if answer.status == 404 else self.client.data(what, "LIST", f"{mount}/keys", answer)
        issuers = self.client.list(what, f"{mount}/issuers")
        found = _Found(True, _named(issuers, "issuer_name", label), _named(listed, "key_name", label))
        if (found.issuer or found.key) and self._ledger.meta(_MAKING + label) != mount:
            raise KitError(
                what,
                "an issuer or a key of that name, which this store did not make",
                "a mount that is this store's alone",
                "set pki_openbao.mounts to other mounts, or restore the store that this one belongs to",
            )
        self._found[label] = found

    def make(
        self, planned: PlannedAuthority, subject: names.Subject, parent: Signer | None, now: datetime
    ) -> tuple[x509.Certificate, Signer]:
        """An issuer in the mount of its CA; what a cut-off run has left of it is used, or made anew."""
        mount, label, found = self.mount_of(planned.spec.name), planned.label, self._found[planned.label]
        with self._ledger.transaction():
            self._ledger.set_meta(_MAKING + label, mount)
        if not found.mounted:
            self._mount(mount, label)
        begun = f"{clock.BACKDATED // timedelta(seconds=1)}s"
        role = {"not_before_duration": begun, "not_before_bound": "permit", "key_type": "any", "no_store": False}
        self.client.write(f"role of {label}", f"{mount}/roles/{ROLE}", role)
        made = self._root if parent is None else partial(self._issuing, parent=parent)
        certificate, issuer = made(planned, subject, mount, found)
        place = self._made[label] = Place(mount, issuer)
        return certificate, self._signer(place, certificate)

    def _mount(self, mount: str, label: str) -> None:
        what, path = f"mount {mount} of {label}", f"sys/mounts/{mount}"
        answer = self.client.call(what, "POST", path, {"type": "pki"})
        if answer.status == 403:
            raise KitError(
                what,
                "no such mount, and a token that may not make it",
                "a PKI engine there",
                f"bao secrets enable -path={mount} pki",
            )
        self.client.data(what, "POST", path, answer)
        # Its own CRL is nobody's source here; built at each revocation, it would cost more with each of them.
        self.client.write(what, f"{mount}/config/crl", {"auto_rebuild": True, "expiry": "168h"})

    def _root(
        self, planned: PlannedAuthority, subject: names.Subject, mount: str, found: _Found
    ) -> tuple[x509.Certificate, str]:
        what, label = f"authority {planned.label}", planned.label
        end = self._now + timedelta(days=planned.spec.days)
        if found.issuer:
            made = self.client.get(what, f"{mount}/issuer/{found.issuer}")
            end = min(end, clock.not_after(_certificate(made.get("certificate"), what)))
        else:
            body = {
                **_subject(subject),
                **_key(planned, found),
                "issuer_name": label,
                "max_path_length": authority.ROOT_PATH_LENGTH,
                "not_before_duration": f"{clock.BACKDATED // timedelta(seconds=1)}s",
                "not_after": clock.iso(end),
                "exclude_cn_from_sans": True,
            }
            made = self.client.write(what, f"{mount}/issuers/generate/root/{_kind(found)}", body)
        certificate = _certificate(made.get("certificate"), what)
        public_key = _own_key(certificate, planned, what)
        try:
            _check_signature(certificate, certificate, what)
            _check_authority(certificate, subject, public_key, authority.ROOT_PATH_LENGTH, None, what)
            _check_dates(certificate, self._now - timedelta(days=planned.spec.days), end, self._present(), what)
        except KitError:
            # Nobody has seen it: its name is free again for the next run, and its key is used for that.
            self.client.delete(what, f"{mount}/issuer/{made.get('issuer_id')}")
            raise
        return certificate, str(made.get("issuer_id"))

    def _issuing(
        self, planned: PlannedAuthority, subject: names.Subject, mount: str, found: _Found, *, parent: Signer
    ) -> tuple[x509.Certificate, str]:
        what, label = f"authority {planned.label}", planned.label
        if found.issuer:
            # Of a run that was cut off; its certificate is found by ``reconcile``, and revoked.
            self.client.delete(what, f"{mount}/issuer/{found.issuer}")
        body = {**_subject(subject), **_key(planned, found), "exclude_cn_from_sans": True}
        asked = self.client.write(what, f"{mount}/issuers/generate/intermediate/{_kind(found)}", body)
        request = _csr(asked.get("csr"), planned, what)
        end = self._now + timedelta(days=planned.spec.days)
        certificate = parent.issuing(subject, request, self._now, end, planned.spec.limits())
        pem = certificate.public_bytes(Encoding.PEM).decode()
        taken = self.client.write(what, f"{mount}/intermediate/set-signed", {"certificate": pem})
        issuer = next((issuer for issuer, key in (taken.get("mapping") or {}).items() if key), "")
        if not issuer:
            raise _not_as_asked(what, "no issuer with the key that was made for it")
        self.client.write(what, f"{mount}/issuer/{issuer}", {"issuer_name": label, "leaf_not_after_behavior": "err"})
        return certificate, issuer

    def enter(self, planned: PlannedAuthority) -> None:
        """Write down the issuer that was made."""
        set_place(self._ledger, planned.label, self._made[planned.label])

    def signer(self, ca: Authority) -> Signer:
        """The signer of an authority; nothing is asked yet, for each signature is a call of its own."""
        return self._signer(places(self._ledger)[ca.label], x509.load_der_x509_certificate(ca.der))

    def request(self, ca: Authority) -> str:
        """A CSR for the key of a root, for the one before to sign."""
        what, mount = f"cross certificate of {ca.label}", places(self._ledger)[ca.label].mount
        subject = names.subject_of(x509.load_der_x509_certificate(ca.der).subject)
        body = {**_subject(subject), "key_ref": ca.label, "exclude_cn_from_sans": True}
        return str(self.client.write(what, f"{mount}/intermediate/cross-sign", body).get("csr"))


def required(backend: OpenBaoBackend | None) -> OpenBaoBackend:
    """The backend; KitError where the run was given no session."""
    if backend is None:
        raise KitError(
            "pki_openbao", "nothing", "how to reach OpenBao, which has keys of this PKI's CAs", "set pki_openbao"
        )
    return backend


def _named(listed: Mapping[str, Any], field: str, label: str) -> str:
    """The id that an engine lists under a name, empty where it has none."""
    known = (listed.get("key_info") or {}).items()
    return next((str(found) for found, entry in known if entry.get(field) == label), "")


def _kind(found: _Found) -> str:
    return "existing" if found.key else "internal"


def _key(planned: PlannedAuthority, found: _Found) -> dict[str, Any]:
    kind, bits = _KEY_TYPES[planned.spec.key_type]
    return {"key_ref": found.key} if found.key else {"key_name": planned.label, "key_type": kind, "key_bits": bits}


def _subject(subject: names.Subject) -> dict[str, Any]:
    """A subject as OpenBao takes it; lists, for a comma in a text would make two attributes of it."""
    fields: dict[str, Any] = {}
    for short, text in subject:
        if short == "CN":
            fields["common_name"] = text
        else:
            fields[_FIELDS[short]] = [text]
    return fields


def _own_key(certificate: x509.Certificate, planned: PlannedAuthority, what: str) -> keys.PublicKey:
    public_key = certificate.public_key()
    if keys.key_type_of(public_key) != planned.spec.key_type or not isinstance(public_key, keys.PublicKey):
        raise _not_as_asked(what, f"a key of type {keys.describe(public_key)}")
    return public_key


def _csr(pem: Any, planned: PlannedAuthority, what: str) -> Request:
    try:
        public_key = x509.load_pem_x509_csr(str(pem).encode()).public_key()
    except ValueError as error:
        raise _not_as_asked(what, f"no readable request ({error})") from None
    if keys.key_type_of(public_key) != planned.spec.key_type or not isinstance(public_key, keys.PublicKey):
        raise _not_as_asked(
            what,
            f"a key of type {keys.describe(public_key)}, made by a run that was cut off",
            f"go back to that key_type, or delete the key {planned.label} of the mount",
        )
    return Request(public_key, csr=str(pem))
