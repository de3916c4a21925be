"""Adopting a CA that was made by other means: a self-signed certificate, its key, and what it has signed so far.

It enters the ledger as the first generation of one of the kit's authorities and from then on is one like any other: it
signs, revokes, has a CRL, and is rotated away from. What is weak about it is said, each weakness with what it means and
what to do; what could not work, or not safely, is refused.
"""

from __future__ import annotations

import hashlib
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, clock, keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Issued, NewCertificate, encode_list

REASON: Final = "adopt: signed before the adoption"
"""How the ledger knows such a certificate: it stays as it is until it is due, revoked, or its CA no longer signs."""

UNNUMBERED: Final = -1
"""Stands for the number of an authority that is only planned."""

_SHORTEST_PASSWORD: Final = 16
_RSA_2048_UNTIL: Final = datetime(2031, 1, 1, tzinfo=UTC)
"""NIST SP 800-57 part 1, table 4: 112 bits of security are acceptable through 2030."""
_LONG: Final = timedelta(days=825)
_SAN_KINDS: Final = ((x509.DNSName, "DNS"), (x509.UniformResourceIdentifier, "URI"), (x509.RFC822Name, "email"))
_SUFFIXES: Final = frozenset({".crt", ".pem", ".cer", ".cert"})


@dataclass(frozen=True)
class Wish:
    """Which CA is to be adopted, as which authority (``root`` or an issuing CA's name), and what it has signed."""

    name: str
    certificate: Path
    key: Path
    certificates_folder: Path | None


@dataclass(frozen=True)
class Weakness:
    """What is weak, what it means, and what to do about it."""

    what: str
    means: str
    action: str

    def __str__(self) -> str:
        """One line of it."""
        return f"{self.what}: {self.means}; {self.action}"


@dataclass(frozen=True)
class Candidate:
    """A CA that can be adopted; its key is still closed."""

    wish: Wish
    certificate: x509.Certificate
    subject: names.Subject
    key_type: str
    key_pem: bytes = field(repr=False)
    weaknesses: tuple[Weakness, ...] = ()

    @property
    def der(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def not_after(self) -> datetime:
        """Its end."""
        return clock.not_after(self.certificate)

    def open_key(self, password: str) -> keys.PrivateKey:
        """Its key; KitError for a wrong password, or the key of another certificate."""
        what = f"key {self.wish.key} of the CA to adopt"
        try:
            key = serialization.load_pem_private_key(self.key_pem, password.encode() if password else None)
        except TypeError:
            if not password:
                raise KitError(
                    what, "an encrypted key and no password", "its password", "set pki_adopt_password"
                ) from None
            key = serialization.load_pem_private_key(self.key_pem, None)
        except (ValueError, UnsupportedAlgorithm):
            raise KitError(
                what,
                "that the password does not open it, or no private key in PEM",
                "the key and the password it was made with",
                "correct pki_adopt_password, or key in pki_adopt",
            ) from None
        if not isinstance(key, keys.PrivateKey) or keys.public_key_der(key.public_key()) != keys.public_key_der(
            self.certificate.public_key()  # type: ignore[arg-type]  # its type was checked
        ):
            raise KitError(
                what,
                "a key that does not belong to the certificate",
                f"the key of {self.wish.certificate}",
                "correct key or certificate in pki_adopt",
            )
        return key


def read(wish: Wish, now: datetime) -> Candidate:
    """Read and judge the files of a CA; KitError for what can't be used, or not safely."""
    what = f"CA certificate {wish.certificate}"
    certificate = _certificate(wish.certificate, what)
    key_pem = _content(wish.key, "key of the CA to adopt")
    _check_usable(certificate, wish.name, what, now)
    try:
        subject = names.subject_of(certificate.subject)
    except KeyError as error:
        raise KitError(
            what,
            f"the attribute {error.args[0]} in its subject",
            "attributes that Nginx prints by name",
            "make a new PKI beside it",
        ) from None
    if len(list(certificate.subject.rdns)) != len(subject) or not subject:
        raise KitError(
            what, "an empty subject, or parts of one joined by '+'", "a plain subject", "make a new PKI beside it"
        )
    key_type = keys.key_type_of(certificate.public_key())
    assert key_type is not None  # noqa: S101  checked with what is usable
    weaknesses = (*_certificate_weaknesses(certificate, now), *_key_weaknesses(wish.key, key_pem))
    return Candidate(wish, certificate, subject, key_type, key_pem, weaknesses)


def read_certificate(wish: Wish) -> x509.Certificate:
    """The certificate of a wish; KitError for a file without one."""
    return _certificate(wish.certificate, f"CA certificate {wish.certificate}")


def is_same(certificate: x509.Certificate, der: bytes) -> bool:
    """Whether an authority of the ledger is this CA."""
    return certificate.public_bytes(Encoding.DER) == der


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KitError(what, f"{path}: {error.strerror}", "a file this user can read", "correct pki_adopt") from None


def _certificate(path: Path, what: str) -> x509.Certificate:
    pem = _content(path, what)
    if pem.count(b"-----BEGIN CERTIFICATE-----") != 1:
        found = f"{pem.count(b'-----BEGIN CERTIFICATE-----')} certificates in PEM"
        raise KitError(what, found, "one, the CA's own", "hand in that alone")
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise KitError(what, f"no readable certificate ({error})", "one in PEM", "correct pki_adopt") from None


def _extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.Extension[Any] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _check_usable(certificate: x509.Certificate, name: str, what: str, now: datetime) -> None:
    """Raise KitError for a certificate that no verifier would accept leaves under, or that is forgeable."""
    anew = "make a new PKI with the kit; this CA can't be trusted with anything"
    key = certificate.public_key()
    if keys.key_type_of(key) is None:
        raise KitError(what, f"a key of type {keys.describe(key)}", "one of " + ", ".join(keys.KEY_TYPES), anew)
    hash_name = authority.weak_hash(certificate)
    if hash_name not in (None, "SHA1"):
        raise KitError(what, f"a signature with {hash_name}", "SHA-256 or better", anew)
    if not keys.signed_by(certificate, certificate):
        raise KitError(
            what,
            "that another CA has signed it",
            "a self-signed CA, for verifiers look for the end of the chain",
            "adopt the CA that signed it, and let the kit make an issuing CA under that",
        )
    if not clock.not_before(certificate) <= now < clock.not_after(certificate):
        begin, end = clock.iso(clock.not_before(certificate)), clock.iso(clock.not_after(certificate))
        raise KitError(what, f"a life from {begin} to {end}", f"one that holds {clock.iso(now)}", anew)
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if certificate.version is x509.Version.v3 and (constraints is None or not constraints.value.ca):
        raise KitError(what, "a certificate that is not a CA's (no CA:TRUE)", "one with CA:TRUE", anew)
    if usage is not None and not usage.value.key_cert_sign:
        raise KitError(what, "a key usage without keyCertSign", "one that may sign certificates", anew)
    if name == "root" and constraints is not None and constraints.value.path_length == 0:
        raise KitError(
            what,
            "pathlen 0, by which it may sign no CA",
            "a root that may sign issuing CAs",
            "adopt it as an issuing CA (name: issuing in pki_adopt)",
        )


_ROTATE: Final = "rotate to a CA that the kit makes"


def _certificate_weaknesses(certificate: x509.Certificate, now: datetime) -> Iterator[Weakness]:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    end, key = clock.not_after(certificate), certificate.public_key()
    if authority.weak_hash(certificate) is not None:
        yield Weakness(
            "its own signature is made with SHA-1",
            "nobody checks a trust anchor's, but what it signed at that time may have SHA-1, too, and is refused",
            _ROTATE,
        )
    if certificate.version is x509.Version.v1:
        yield Weakness(
            "it is X.509 version 1", "nothing in it says that it is a CA, and strict clients refuse it", _ROTATE
        )
    elif usage is None:
        yield Weakness(
            "it has no key usage",
            "strict clients refuse every server under it (OpenSSL -x509_strict, Python 3.13 and newer)",
            _ROTATE,
        )
    elif not usage.value.crl_sign:
        yield Weakness(
            "its key usage has no cRLSign",
            "who enforces CRLs refuses everyone; the kit's own revocation by map works",
            f"leave nginx_mtls without CRLs, and {_ROTATE}",
        )
    if constraints is not None and not constraints.critical:
        yield Weakness("its basicConstraints are not critical", "RFC 5280 wants them so", _ROTATE)
    if constraints is not None and constraints.value.path_length is None:
        yield Weakness("it has no path length", "with its key one can make further CAs, and those others", _ROTATE)
    if certificate.version is x509.Version.v3 and _extension(certificate, x509.SubjectKeyIdentifier) is None:
        yield Weakness("it has no subject key identifier", "strict clients refuse it", _ROTATE)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 3072 and end > _RSA_2048_UNTIL:
        yield Weakness(f"its key is rsa-{key.key_size}", f"it ends {end:%Y}, and NIST accepts such until 2030", _ROTATE)
    if end - now < timedelta(days=365):
        yield Weakness(f"it ends {end:%Y-%m-%d}", "everything under it ends with it", f"{_ROTATE} before that")


def _key_weaknesses(path: Path, pem: bytes) -> Iterator[Weakness]:
    destroy = "destroy the file and every copy once backup.yml has run; if in doubt, rotate"
    yield Weakness(
        f"its key lay in {path}",
        "the kit keeps it under a password of the vault, but whoever has that file can sign",
        destroy,
    )
    if b"Proc-Type: 4,ENCRYPTED" in pem:
        yield Weakness(
            "its key is encrypted in the traditional form",
            "the password is turned into a key by one round of MD5 and quickly guessed",
            destroy,
        )
    elif b"ENCRYPTED" not in pem:
        yield Weakness("its key is not encrypted", "whoever read the file has it", "rotate now")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Weakness(f"its key has mode {mode:04o}", "others on this host could read it", destroy)


def password_weaknesses(password: str) -> Iterator[Weakness]:
    """What is weak about the password that the key had."""
    if password and len(password) < _SHORTEST_PASSWORD:
        yield Weakness(
            f"the password of its key has fewer than {_SHORTEST_PASSWORD} characters",
            "who has a copy of the key file can guess it",
            "destroy the copies; if one may be with others, rotate now",
        )


# ---------------------------------------------------------------------- what it has signed


@dataclass(frozen=True)
class Found:
    """The certificates of a folder that can be entered, the newest first, and what was not, in words."""

    certificates: tuple[NewCertificate, ...]
    remarks: tuple[str, ...]


def signed_before(folder: Path | None, ca: x509.Certificate, now: datetime, known: Iterable[str], label: str) -> Found:
    """What ``ca`` has signed among the files of ``folder``; serials in ``known`` are in the ledger already.

    Raises KitError for a folder that can't be read, or a file in it whose name and common name fit no client.
    """
    if folder is None:
        return Found((), ())
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise KitError(
            f"certificates in {folder}", str(error.strerror), "a folder this user can read", "correct pki_adopt"
        ) from None
    reader = _FolderReader(ca, now, set(known), label)
    found = [new for path in files if (new := reader.read(path)) is not None]
    found.sort(key=lambda new: (-new.not_before, new.serial))
    return Found(tuple(found), tuple(reader.all_remarks()))


class _FolderReader:
    def __init__(self, ca: x509.Certificate, now: datetime, known: set[str], label: str) -> None:
        self._ca, self._now, self._known, self._label = ca, now, known, label
        self._serials: set[str] = set()
        self._weak: Counter[str] = Counter()
        self._remarks: list[str] = []

    def all_remarks(self) -> list[str]:
        """What was left out, then what is weak about what was not."""
        return [
            *self._remarks,
            *(f"{self._label}: {number} of what it signed {what}" for what, number in self._weak.items()),
        ]

    def _left_out(self, path: Path, why: str) -> None:
        self._remarks.append(f"{path.name} was not entered: {why}")

    def read(self, path: Path) -> NewCertificate | None:
        try:
            leaf = x509.load_pem_x509_certificate(_content(path, f"certificate {path}"))
        except ValueError:
            self._left_out(path, "it holds no certificate in PEM")
            return None
        serial = names.serial_text(leaf.serial_number)
        if leaf == self._ca:
            return None
        why = self._unfit(leaf)
        if why is not None:
            self._left_out(path, why)
            return None
        if serial in self._known:
            return None
        if serial in self._serials:
            self._left_out(path, f"another one has its serial {serial}, so that to revoke one is to revoke both")
            return None
        self._serials.add(serial)
        return self._entry(leaf, serial, self._name(path, leaf))

    def _unfit(self, leaf: x509.Certificate) -> str | None:
        constraints = _extension(leaf, x509.BasicConstraints)
        usage = _extension(leaf, x509.ExtendedKeyUsage)
        weak = authority.weak_hash(leaf)
        if weak is not None:
            return f"it is signed with {weak}, and OpenSSL refuses it"
        if not keys.signed_by(leaf, self._ca):
            return "this CA has not signed it"
        if clock.not_after(leaf) < self._now:
            return f"it ended {clock.not_after(leaf):%Y-%m-%d}"
        if leaf.subject == self._ca.subject:
            return "it has the CA's own subject, and OpenSSL refuses it as self-signed (error 18)"
        if constraints is not None and constraints.value.ca:
            return "it is a CA's; clients under it are not let in"
        if usage is not None and not {
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        } & set(usage.value):
            return "it is no client's; site.yml issues the certificates of servers"
        return None

    def _name(self, path: Path, leaf: x509.Certificate) -> str:
        common = [str(entry.value) for entry in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        for candidate in (*common[-1:], path.stem):
            try:
                return names.check_certificate_name(f"client/{candidate}")
            except KitError:
                continue
        raise KitError(
            f"certificate {path}",
            f"the common name {common[-1:] or None} and this file name, of which neither is a client's name",
            "1 to 64 of A-Z a-z 0-9 . _ @ - in one of them",
            "name the file after the client",
        )

    def _entry(self, leaf: x509.Certificate, serial: str, name: str) -> NewCertificate:
        usage = _extension(leaf, x509.ExtendedKeyUsage)
        both = usage is not None and ExtendedKeyUsageOID.SERVER_AUTH in usage.value
        key = leaf.public_key()
        if usage is None or both:
            self._weak["may stand for a server, too (no extended key usage, or one for servers)"] += 1
        if keys.key_type_of(key) is None:
            self._weak[f"has a key of type {keys.describe(key)}"] += 1
        if clock.not_after(leaf) - clock.not_before(leaf) > _LONG:
            self._weak[f"lives for more than {_LONG.days} days"] += 1
        der = leaf.public_bytes(Encoding.DER)
        try:
            subject = names.dn(names.subject_of(leaf.subject))
        except KeyError:
            subject = leaf.subject.rfc4514_string()
        return NewCertificate(
            issuer=UNNUMBERED,
            serial=serial,
            name=name,
            probe=False,
            reason=REASON,
            profile="both" if both else "client",
            profile_sha256="",
            for_clients=True,
            subject=subject,
            sans=encode_list(_sans(leaf)),
            groups="[]",
            key_type=keys.key_type_of(key) or keys.describe(key),
            public_key_sha256=_public_key_sha256(leaf),
            sha256=hashlib.sha256(der).hexdigest(),
            not_before=clock.seconds(clock.not_before(leaf)),
            not_after=clock.seconds(clock.not_after(leaf)),
            created=clock.seconds(self._now),
            der=der,
            key=None,
        )


def _public_key_sha256(leaf: x509.Certificate) -> str:
    der = leaf.public_key().public_bytes(Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _sans(leaf: x509.Certificate) -> Sequence[str]:
    extension = _extension(leaf, x509.SubjectAlternativeName)
    if extension is None:
        return []
    found = [names.San(kind, text) for of, kind in _SAN_KINDS for text in extension.value.get_values_for_type(of)]
    found += [names.San("IP", str(address)) for address in extension.value.get_values_for_type(x509.IPAddress)]
    return names.san_texts(found)


def as_issued(new: NewCertificate) -> Issued:
    """The certificate as the ledger will tell it, for a plan that is made before it is entered."""
    return Issued(
        id=UNNUMBERED,
        issuer=new.issuer,
        serial=new.serial,
        name=new.name,
        profile=new.profile,
        subject=new.subject,
        sans=new.sans,
        groups=new.groups,
        key_type=new.key_type,
        public_key_sha256=new.public_key_sha256,
        not_before=clock.moment(new.not_before),
        not_after=clock.moment(new.not_after),
        has_key=False,
        revoked=None,
        for_clients=True,
        adopted=True,
    )
