"""Signing: roots, issuing CAs and leaves. Everything that is signed passes its profile first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, constraints, der, names, profiles
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import (
    KEY_TYPES,
    PrivateKey,
    PublicKey,
    describe,
    key_type_of,
    public_key_der,
    signature_hash,
)

ROOT_PATH_LENGTH = 2
"""Issuing CAs, and above them once a successor of the root that it cross-signs."""
CROSS_PATH_LENGTH = 1
ISSUING_PATH_LENGTH = 0


@dataclass(frozen=True)
class Issuer:
    """What an authority gives its leaves, as its certificate tells it; wherever its key is."""

    certificate: x509.Certificate
    subject: names.Subject
    not_after: datetime
    key_identifier: x509.AuthorityKeyIdentifier
    name_constraints: constraints.NameConstraints | None

    @classmethod
    def told_by(cls, certificate: x509.Certificate) -> Issuer:
        """The issuer that ``certificate`` is of."""
        return cls(**_told_by(certificate))


@dataclass(frozen=True)
class Signer(Issuer):
    """An authority whose key is open."""

    key: PrivateKey = field(repr=False)

    @classmethod
    def of(cls, certificate: x509.Certificate, key: PrivateKey, what: str) -> Signer:
        """The signer of ``certificate``; KitError when ``key`` is another CA's."""
        if public_key_der(key.public_key()) != public_key_der(certificate.public_key()):  # type: ignore[arg-type]
            raise KitError(
                what,
                "a key that does not belong to its certificate",
                "the key that ca.crt was made with",
                "restore ca.key of this authority from a backup",
            )
        return cls(**_told_by(certificate), key=key)


def _told_by(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "certificate": certificate,
        "subject": names.subject_of(certificate.subject),
        "not_after": clock.not_after(certificate),
        "key_identifier": _key_identifier(certificate),
        "name_constraints": constraints.of_certificate(certificate),
    }


def _key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        # An adopted CA may have none: then by method 1 of RFC 5280 section 4.2.1.2, as everyone works it out.
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


@dataclass(frozen=True)
class Leaf:
    """What is to be signed, whoever holds the key."""

    name: str
    profile: profiles.Profile
    subject: names.Subject
    sans: tuple[names.San, ...]
    not_before: datetime
    not_after: datetime


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    validity: tuple[datetime, datetime],
    extensions: Iterable[profiles.Extension],
    key: PrivateKey,
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,
        # 159 random bits: never used twice, and unforeseeable (CA/Browser Forum BR 7.1; RFC 5280 section 4.1.2.2).
        serial_number=x509.random_serial_number(),
        not_valid_before=validity[0].replace(tzinfo=None, microsecond=0),
        not_valid_after=validity[1].replace(tzinfo=None, microsecond=0),
        extensions=[
            x509.Extension(extension.value.oid, extension.critical, extension.value) for extension in extensions
        ],
    )
    return builder.sign(key, signature_hash(key))


def create_root(subject: names.Subject, key: PrivateKey, now: datetime, not_after: datetime) -> x509.Certificate:
    """A self-signed trust anchor that may sign issuing CAs and a cross certificate of its successor."""
    name = names.x509_name(subject)
    extensions = profiles.authority_extensions(key.public_key(), ROOT_PATH_LENGTH, None)
    return _signed(name, name, key.public_key(), (now - clock.BACKDATED, not_after), extensions, key)


def create_issuing(
    subject: names.Subject,
    public_key: PublicKey,
    root: Signer,
    now: datetime,
    not_after: datetime,
    limits: Iterable[profiles.Extension] = (),
) -> x509.Certificate:
    """An issuing CA under ``root``, cut to the root's life; ``limits`` are those of ``profiles.authority_limits``."""
    extensions = profiles.authority_extensions(public_key, ISSUING_PATH_LENGTH, root.key_identifier)
    extensions.extend(limits)
    validity = (now - clock.BACKDATED, min(not_after, root.not_after))
    issuer = root.certificate.subject
    return _signed(names.x509_name(subject), issuer, public_key, validity, extensions, root.key)


def may_cross_sign(root: x509.Certificate) -> bool:
    """Whether its path length leaves room for another root below it (RFC 5280 section 4.2.1.9).

    OpenSSL and Go heed the path length of a trust anchor too.
    """
    length = root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return length is None or length > CROSS_PATH_LENGTH


def create_cross(successor: x509.Certificate, root: Signer, now: datetime) -> x509.Certificate:
    """A root's key and DN, signed by the root before it: who trusts that one only verifies what is under the new."""
    public_key = successor.public_key()
    assert isinstance(public_key, PublicKey)  # noqa: S101  a root of this PKI
    extensions = profiles.authority_extensions(public_key, CROSS_PATH_LENGTH, root.key_identifier)
    validity = (now - clock.BACKDATED, min(clock.not_after(successor), root.not_after))
    return _signed(successor.subject, root.certificate.subject, public_key, validity, extensions, root.key)


def leaf_extensions(leaf: Leaf, public_key: PublicKey, issuer: Issuer) -> list[profiles.Extension]:
    """What a leaf of this issuer is to carry; KitError when it would break its profile."""
    extensions = profiles.leaf_extensions(leaf.profile, public_key, leaf.sans, issuer.key_identifier)
    profiles.check_leaf(leaf.name, leaf.profile, public_key, leaf.subject, issuer.subject, extensions)
    check_names(leaf.name, leaf.subject, leaf.sans, issuer.name_constraints)
    return extensions


def sign_leaf(leaf: Leaf, public_key: PublicKey, issuer: Signer) -> x509.Certificate:
    """A certificate for ``public_key``, cut to its issuer's life; KitError when it would break its profile."""
    extensions = leaf_extensions(leaf, public_key, issuer)
    validity = (leaf.not_before, min(leaf.not_after, issuer.not_after))
    subject = names.x509_name(leaf.subject)
    signed = _signed(subject, issuer.certificate.subject, public_key, validity, extensions, issuer.key)
    # Read back from the certificate itself: what leaves here is what was checked, whatever the encoder made of it.
    found = [profiles.Extension(extension.value, extension.critical) for extension in signed.extensions]
    if found != extensions or signed.subject != subject:
        raise KitError(
            f"certificate {leaf.name!r}",
            "that it reads back differently from what was to be signed",
            "exactly its profile",
            "report this with the versions of cryptography and OpenSSL; nothing was handed out",
        )
    return signed


def check_names(
    name: str,
    subject: names.Subject,
    sans: Iterable[names.San],
    allowed: constraints.NameConstraints | None,
) -> None:
    """Raise KitError for a leaf whose names its issuing CA may not sign: every verifier would refuse it."""
    broken = None if allowed is None else allowed.broken_by(subject, sans)
    if broken is not None:
        raise KitError(
            f"certificate {name!r}",
            broken,
            f"names within the name constraints of its issuing CA ({allowed})",
            "correct san or subject, choose another issuer, or change name_constraints and rotate that CA",
        )


def pem(certificate: bytes) -> str:
    """A certificate in PEM, from DER without parsing it: the ledger holds ten thousands."""
    return der.pem("CERTIFICATE", certificate).decode()


def csr_public_key(pem: str, name: str, key_type: str) -> PublicKey:
    """The public key of a CSR: with the proof that its maker holds the key, all of a CSR that is honoured.

    Subject, SAN and every other wish come from the inventory, never from the CSR. Raises KitError for what is no
    CSR, has a wrong signature, or a key of another type than ``key_type``.
    """
    return read_csr(pem, name, (key_type,))[1]


def read_csr(pem: str, name: str, key_types: Sequence[str]) -> tuple[x509.CertificateSigningRequest, PublicKey]:
    """A CSR whose maker holds its key, and that key; KitError as ``csr_public_key`` raises it."""
    what = f"CSR of {name!r}"
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        weak = weak_hash(csr)
        proven = weak is None and csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KitError(what, f"no readable request ({error})", "a PKCS#10 request in PEM", "make it again") from None
    if weak is not None:
        raise KitError(what, f"a signature with {weak}", "SHA-256 or better", "make the request again with -sha256")
    if not proven:
        raise KitError(what, "a wrong signature", "one made with the key in the request", "make the request again")
    if key_type_of(key) is None or not isinstance(
        key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey)
    ):
        expected = "one of " + ", ".join(KEY_TYPES)
        raise KitError(what, f"a key of type {describe(key)}", expected, "make a key of one of these types")
    if key_type_of(key) not in key_types:
        raise KitError(
            what,
            f"a key of type {describe(key)}",
            f"{' or '.join(key_types)} as the inventory says",
            "make the request with such a key, or change key_type",
        )
    return csr, key


def check_verbatim(name: str, pem: str, subject: names.Subject, sans: Sequence[names.San]) -> None:
    """Raise KitError for a CSR that names anything else than the certificate will: OpenBao signs what stands in it."""
    csr = x509.load_pem_x509_csr(pem.encode())
    wanted = x509.SubjectAlternativeName([san.general_name() for san in sans])
    what, again = f"CSR of {name!r}", "make the request again, naming just that"
    if csr.subject != names.x509_name(subject):
        found = csr.subject.rfc4514_string()
        raise KitError(
            what, f"the subject {found!r}", f"{names.dn(subject)!r}, for OpenBao signs a request as it is", again
        )
    values = [extension.value for extension in csr.extensions]
    if values != [wanted]:
        expected = f"the SAN {', '.join(map(str, sans))} and no other extension, for OpenBao signs a request as it is"
        kinds = [type(value).__name__ for value in values if not isinstance(value, x509.SubjectAlternativeName)]
        raise KitError(what, f"the extension {kinds[0]}" if kinds else "another SAN", expected, again)


def weak_hash(signed: x509.Certificate | x509.CertificateSigningRequest) -> str | None:
    """``SHA1`` or ``MD5`` where something is signed with a hash for which collisions are made; None otherwise."""
    algorithm = signed.signature_hash_algorithm
    return (
        algorithm.name.upper() if algorithm is not None and algorithm.digest_size < hashes.SHA224.digest_size else None
    )
