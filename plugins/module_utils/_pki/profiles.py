"""Profiles as data: what a leaf and a CA certificate must look like, and a check that refuses anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import constraints, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import PublicKey, describe, key_type_of


@dataclass(frozen=True)
class Profile:
    """A kind of leaf. ``purposes`` are what its issuing CA must be there for."""

    name: str
    extended_key_usage: tuple[x509.ObjectIdentifier, ...]
    purposes: frozenset[str]
    rsa_key_encipherment: bool

    @property
    def for_clients(self) -> bool:
        """Whether a gateway accepts it from a client."""
        return "client" in self.purposes


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("server", (ExtendedKeyUsageOID.SERVER_AUTH,), frozenset({"server"}), rsa_key_encipherment=True),
        Profile("client", (ExtendedKeyUsageOID.CLIENT_AUTH,), frozenset({"client"}), rsa_key_encipherment=False),
        Profile(
            "both",
            (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
            frozenset({"server", "client"}),
            rsa_key_encipherment=True,
        ),
    )
}
"""One EKU each, so that a stolen client key can't stand for a server; ``both`` only where it is asked for."""

CLIENT_PROFILES: Final = tuple(name for name, profile in PROFILES.items() if profile.for_clients)


@dataclass(frozen=True)
class Extension:
    """An extension and whether a reader that does not know it must refuse the certificate."""

    value: x509.ExtensionType
    critical: bool


def _key_usage(*, sign: bool = False, encipher: bool = False, authority: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


_LEAF_CONSTRAINTS: Final = Extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
_CA_KEY_USAGE: Final = Extension(_key_usage(authority=True), critical=True)
_SIGN: Final = Extension(_key_usage(sign=True), critical=True)
_SIGN_AND_ENCIPHER: Final = Extension(_key_usage(sign=True, encipher=True), critical=True)
_EXTENDED: Final = {
    name: Extension(x509.ExtendedKeyUsage(profile.extended_key_usage), critical=False)
    for name, profile in PROFILES.items()
}


def leaf_extensions(
    profile: Profile,
    public_key: PublicKey,
    sans: Iterable[names.San],
    authority_key_identifier: x509.AuthorityKeyIdentifier,
) -> list[Extension]:
    """What a leaf carries (RFC 5280 sections 4.2.1.1, 2, 3, 6, 9 and 12)."""
    enciphers = profile.rsa_key_encipherment and isinstance(public_key, rsa.RSAPublicKey)
    return [
        _LEAF_CONSTRAINTS,
        _SIGN_AND_ENCIPHER if enciphers else _SIGN,
        _EXTENDED[profile.name],
        Extension(x509.SubjectAlternativeName([san.general_name() for san in sans]), critical=False),
        Extension(authority_key_identifier, critical=False),
        Extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False),
    ]


def authority_extensions(
    public_key: PublicKey,
    path_length: int,
    authority_key_identifier: x509.AuthorityKeyIdentifier | None,
) -> list[Extension]:
    """What a CA certificate carries; a root names no other key than its own."""
    extensions = [
        Extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True),
        _CA_KEY_USAGE,
        Extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False),
    ]
    if authority_key_identifier is not None:
        extensions.append(Extension(authority_key_identifier, critical=False))
    return extensions


_USAGES: Final[Mapping[str, x509.ObjectIdentifier]] = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}


def authority_limits(purposes: Iterable[str], allowed: constraints.NameConstraints | None) -> list[Extension]:
    """What bounds an issuing CA beyond its path length: its purposes, and where they are known its names.

    In a CA certificate, OpenSSL, NSS, Go and Windows take the extended key usage for what the leaves under it may be
    used for (RFC 5280 section 4.2.1.12 leaves it open), so that a stolen key of a CA for clients makes no server.
    """
    usages = [_USAGES[purpose] for purpose in sorted(purposes, reverse=True)]
    limits = [Extension(x509.ExtendedKeyUsage(usages), critical=False)]
    if allowed is not None:
        limits.append(Extension(allowed.extension(), critical=True))
    return limits


def purposes_of(authority: x509.Certificate) -> frozenset[str]:
    """The purposes that a CA's certificate leaves to its leaves: all of them where it names none."""
    try:
        usage = authority.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return frozenset(_USAGES)
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage:
        return frozenset(_USAGES)
    return frozenset(purpose for purpose, oid in _USAGES.items() if oid in usage)


def check_leaf(
    name: str,
    profile: Profile,
    public_key: PublicKey,
    subject: names.Subject,
    issuer_subject: names.Subject,
    extensions: Iterable[Extension],
) -> None:
    """Raise KitError for a leaf that breaks its profile; asked before each signature, whoever built the extensions.

    Plain Nginx accepts a leaf without EKU and one with CA:TRUE, so they must never come to be.
    """

    def broken(found: str, expected: str) -> KitError:
        return KitError(
            f"certificate {name!r}", found, f"{expected} (profile {profile.name!r})", "correct its inventory entry"
        )

    if key_type_of(public_key) is None:
        raise broken(f"a key of type {describe(public_key)}", "P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits")
    if not subject:
        raise broken("an empty subject", "a subject, for Nginx drops the DN header without one")
    if names.canonical_dn(subject) == names.canonical_dn(issuer_subject):
        raise broken(f"the subject {names.dn(subject)!r} of its own issuer", "a subject of its own")
    values = {type(extension.value): extension for extension in extensions}
    constraints = values.get(x509.BasicConstraints)
    if constraints is None or constraints.value != _LEAF_CONSTRAINTS.value:
        raise broken("that it could issue certificates", "basicConstraints CA:FALSE")
    usage = values.get(x509.KeyUsage)
    if usage is None or not usage.critical or usage.value not in (_SIGN.value, _SIGN_AND_ENCIPHER.value):
        raise broken("another key usage", "a critical digitalSignature, with keyEncipherment for RSA servers")
    extended = values.get(x509.ExtendedKeyUsage)
    if extended is None or extended.value != _EXTENDED[profile.name].value:
        raise broken("another extended key usage", "exactly the extended key usage of the profile")
    alternative = values.get(x509.SubjectAlternativeName)
    if (
        alternative is None
        or not isinstance(alternative.value, x509.SubjectAlternativeName)
        or not len(list(alternative.value))
    ):
        raise broken("no SAN", "at least one DNS name, IP address, URI or e-mail address in san")
    if x509.AuthorityKeyIdentifier not in values or x509.SubjectKeyIdentifier not in values:
        raise broken("no key identifiers", "authorityKeyIdentifier and subjectKeyIdentifier")
