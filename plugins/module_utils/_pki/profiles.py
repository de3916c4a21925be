"""Profiles as data: what a leaf and a CA certificate must look like, and a check that refuses anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import constraints, names, spiffe
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import KEY_TYPES, PublicKey, describe, key_type_of

EXTENDED_KEY_USAGES: Final[Mapping[str, x509.ObjectIdentifier]] = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "ipsecIKE": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17"),
    "documentSigning": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),
    "smartcardLogon": ExtendedKeyUsageOID.SMARTCARD_LOGON,
}
"""Usages that have a name here (RFC 5280 section 4.2.1.12, RFC 4945, RFC 9336); every other one is given by its OID."""

KEY_USAGES: Final[Mapping[str, str]] = {
    "digitalSignature": "digital_signature",
    "contentCommitment": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
}
"""What a leaf's key may be for (RFC 5280 section 4.2.1.3), and how the library calls it."""

SAN_KINDS: Final = ("DNS", "IP", "URI", "email")


@dataclass(frozen=True)
class Profile:
    """A kind of leaf.

    ``key_usage`` holds names of KEY_USAGES, of which each key gets what its type can do; the ``san_`` fields hold
    SAN_KINDS; subject fields are those of ``names.SUBJECT_FIELDS``. ``days``, ``renew_days`` and ``csr`` (what of a
    request is honoured, as ``csr_policy.read`` takes it) hold for certificates that say nothing else. A profile of
    ``built_in`` never changes its content.
    """

    name: str
    extended_key_usage: tuple[x509.ObjectIdentifier, ...]
    key_usage: frozenset[str]
    san_allowed: frozenset[str] = frozenset(SAN_KINDS)
    san_required: frozenset[str] = frozenset()
    spiffe_trust_domain: str | None = None
    subject_required: frozenset[str] = frozenset()
    subject_defaults: tuple[tuple[str, str], ...] = ()
    key_types: tuple[str, ...] = KEY_TYPES
    days: int | None = None
    renew_days: int | None = None
    csr: Mapping[str, Any] | None = None
    built_in: bool = False

    @property
    def purposes(self) -> frozenset[str]:
        """What its issuing CA must be there for."""
        return frozenset(purpose for purpose, oid in _USAGES.items() if oid in self.extended_key_usage)

    @property
    def for_clients(self) -> bool:
        """Whether a gateway accepts it from a client."""
        return ExtendedKeyUsageOID.CLIENT_AUTH in self.extended_key_usage

    @property
    def sha256(self) -> str:
        """Digest of what a certificate has from its profile alone; empty for a built-in one.

        SAN, subject and key type of a certificate are compared by themselves.
        """
        if self.built_in:
            return ""
        usages = (*sorted(self.key_usage), *(oid.dotted_string for oid in self.extended_key_usage))
        return hashlib.sha256("\0".join(usages).encode()).hexdigest()


_USAGES: Final[Mapping[str, x509.ObjectIdentifier]] = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}

_SIGNS: Final = frozenset({"digitalSignature"})
_SIGNS_AND_ENCIPHERS: Final = frozenset({"digitalSignature", "keyEncipherment"})

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("server", (ExtendedKeyUsageOID.SERVER_AUTH,), _SIGNS_AND_ENCIPHERS, built_in=True),
        Profile("client", (ExtendedKeyUsageOID.CLIENT_AUTH,), _SIGNS, built_in=True),
        Profile(
            "both",
            (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
            _SIGNS_AND_ENCIPHERS,
            built_in=True,
        ),
    )
}
"""One EKU each, so that a stolen client key can't stand for a server; ``both`` only where it is asked for."""


@dataclass(frozen=True)
class Extension:
    """An extension and whether a reader that does not know it must refuse the certificate."""

    value: x509.ExtensionType
    critical: bool


def _key_usage(usages: Collection[str] = (), *, authority: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        **{field: usage in usages for usage, field in KEY_USAGES.items()},
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


_LEAF_CONSTRAINTS: Final = Extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
_CA_KEY_USAGE: Final = Extension(_key_usage(authority=True), critical=True)
_LEAF_EXTENSIONS: Final = {
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.AuthorityKeyIdentifier,
    x509.SubjectKeyIdentifier,
}


@lru_cache(maxsize=64)
def _usages(
    key_usage: frozenset[str], extended: tuple[x509.ObjectIdentifier, ...], key_type: str
) -> tuple[Extension, Extension]:
    """The two extensions that a leaf has from its profile: the same for all ten thousand of them."""
    return (
        Extension(_key_usage(usage_of_key(key_usage, key_type)), critical=True),
        Extension(x509.ExtendedKeyUsage(extended), critical=False),
    )


def usage_of_key(key_usage: frozenset[str], key_type: str) -> frozenset[str]:
    """What of a key usage a key of this type can do.

    RSA agrees on no keys (RFC 3279 section 2.3.1), an EC key enciphers nothing (RFC 8813 section 3), and Ed25519 signs
    only (RFC 8410 section 5).
    """
    if key_type.startswith("rsa-"):
        return key_usage - {"keyAgreement"}
    if key_type.startswith("ec-"):
        return key_usage - {"keyEncipherment", "dataEncipherment"}
    return key_usage - {"keyEncipherment", "dataEncipherment", "keyAgreement"}


def leaf_extensions(
    profile: Profile,
    public_key: PublicKey,
    sans: Iterable[names.San],
    authority_key_identifier: x509.AuthorityKeyIdentifier,
) -> list[Extension]:
    """What a leaf carries (RFC 5280 sections 4.2.1.1, 2, 3, 6, 9 and 12)."""
    return [
        _LEAF_CONSTRAINTS,
        *_usages(profile.key_usage, profile.extended_key_usage, key_type_of(public_key) or ""),
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


def authority_limits(
    purposes: Iterable[str],
    allowed: constraints.NameConstraints | None,
    usages: Iterable[x509.ObjectIdentifier] = (),
) -> list[Extension]:
    """What bounds an issuing CA beyond its path length: its usages, and where they are known its names.

    In a CA certificate, OpenSSL, NSS, Go and Windows take the extended key usage for what the leaves under it may be
    used for (RFC 5280 section 4.2.1.12 leaves it open), so that a stolen key of a CA for clients makes no server.
    ``usages`` are those beyond the purposes, of profiles of one's own.
    """
    named = [_USAGES[purpose] for purpose in sorted(purposes, reverse=True)]
    others = sorted(set(usages) - set(named), key=lambda oid: oid.dotted_string)
    limits = [Extension(x509.ExtendedKeyUsage([*named, *others]), critical=False)]
    if allowed is not None:
        limits.append(Extension(allowed.extension(), critical=True))
    return limits


def usages_of(authority: x509.Certificate) -> frozenset[x509.ObjectIdentifier] | None:
    """The extended key usages that a CA's certificate leaves to its leaves; None for every one."""
    try:
        usage = authority.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return None if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage else frozenset(usage)


def purposes_of(authority: x509.Certificate) -> frozenset[str]:
    """The purposes that a CA's certificate leaves to its leaves: all of them where it names none."""
    usages = usages_of(authority)
    return frozenset(purpose for purpose, oid in _USAGES.items() if usages is None or oid in usages)


def usages_made(purposes: Iterable[str], usages: Iterable[x509.ObjectIdentifier]) -> frozenset[x509.ObjectIdentifier]:
    """The extended key usages that ``authority_limits`` gives a CA made now."""
    return frozenset((*(_USAGES[purpose] for purpose in purposes), *usages))


def usage_text(oid: x509.ObjectIdentifier) -> str:
    """An extended key usage in a message's words: ``the purpose client``, ``the usage emailProtection``."""
    for purpose, known in _USAGES.items():
        if known == oid:
            return f"the purpose {purpose}"
    names_by_oid = {known: name for name, known in EXTENDED_KEY_USAGES.items()}
    return f"the usage {names_by_oid.get(oid, oid.dotted_string)}"


def check_wish(name: str, profile: Profile, subject: names.Subject, sans: Collection[names.San], key_type: str) -> None:
    """Raise KitError for a wish that its profile does not allow: names, subject and type of key.

    With a SPIFFE ID, of whatever profile, it has to be the only URI (X509-SVID section 2).
    """

    def broken(found: str, expected: str, next_step: str) -> KitError:
        return KitError(f"certificate {name!r}", found, f"{expected} (profile {profile.name!r})", next_step)

    if not sans:
        raise broken("no SAN", "at least one DNS name, IP address, URI or e-mail address", "add it to san")
    if key_type not in profile.key_types:
        raise broken(f"a key of type {key_type}", " or ".join(profile.key_types), "correct key_type")
    kinds = {san.kind for san in sans}
    if unwanted := sorted(kinds - profile.san_allowed):
        allowed = ", ".join(sorted(profile.san_allowed))
        raise broken(f"a SAN of kind {unwanted[0]}", f"SANs of kind {allowed} only", "remove it from san")
    if missing := sorted(profile.san_required - kinds):
        raise broken(f"no SAN of kind {missing[0]}", "one at least", f"add it to san.{missing[0].lower()}")
    _check_spiffe(profile, [san.value for san in sans if san.kind == "URI"], broken)
    given = {names.FIELD_OF_SHORT[short] for short, _ in subject}
    if missing := sorted(profile.subject_required - given):
        raise broken(f"no {missing[0]} in its subject", "that field", f"add subject.{missing[0]}")


def _check_spiffe(profile: Profile, uris: Sequence[str], broken: Callable[[str, str, str], KitError]) -> None:
    ids = [uri for uri in uris if uri.startswith(spiffe.SCHEME)]
    if ids and len(uris) > 1:
        raise broken(f"{len(uris)} URIs beside each other", "one SPIFFE ID and no other URI", "correct san.uri")
    domain = profile.spiffe_trust_domain
    if domain is not None and (len(ids) != 1 or spiffe.trust_domain(ids[0]) != domain):
        raise broken(
            f"the URI {uris[0]!r}" if uris else "no URI",
            f"one SPIFFE ID, spiffe://{domain}/<path>",
            "correct san.uri",
        )


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

    key_type = key_type_of(public_key)
    if key_type is None:
        raise broken(f"a key of type {describe(public_key)}", "P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits")
    if not subject:
        raise broken("an empty subject", "a subject, for Nginx drops the DN header without one")
    if names.canonical_dn(subject) == names.canonical_dn(issuer_subject):
        raise broken(f"the subject {names.dn(subject)!r} of its own issuer", "a subject of its own")
    values = {type(extension.value): extension for extension in extensions}
    constraints = values.get(x509.BasicConstraints)
    if constraints is None or constraints != _LEAF_CONSTRAINTS:
        raise broken("that it could issue certificates", "basicConstraints CA:FALSE")
    usage = values.get(x509.KeyUsage)
    key_usage, extended_key_usage = _usages(profile.key_usage, profile.extended_key_usage, key_type)
    if usage != key_usage:
        allowed = ", ".join(sorted(usage_of_key(profile.key_usage, key_type)))
        raise broken("another key usage", f"exactly and critical {allowed}")
    if values.get(x509.ExtendedKeyUsage) != extended_key_usage:
        raise broken("another extended key usage", "exactly the extended key usage of the profile")
    alternative = values.get(x509.SubjectAlternativeName)
    sans = names.sans_of(alternative.value) if alternative is not None else ()
    if not sans:
        raise broken("no SAN", "at least one DNS name, IP address, URI or e-mail address in san")
    if x509.AuthorityKeyIdentifier not in values or x509.SubjectKeyIdentifier not in values:
        raise broken("no key identifiers", "authorityKeyIdentifier and subjectKeyIdentifier")
    if unknown := set(values) - _LEAF_EXTENSIONS:
        raise broken(f"the extension {sorted(kind.__name__ for kind in unknown)[0]}", "no other than a leaf's")
    check_wish(name, profile, subject, sans, key_type)
