"""A profile is kept by whoever signs, or nothing is signed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, keys, names, profiles
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import NOON

SUBJECT: names.Subject = (("CN", "demo Root G1"),)
KEY = keys.generate("ec-p256")
ROOT = authority.create_root(SUBJECT, KEY, NOON, NOON + timedelta(days=1))
SIGNER = authority.Signer.of(ROOT, KEY, "root")
SANS = (names.San("DNS", "a.example.com"),)
CLIENT = profiles.PROFILES["client"]


def good() -> list[profiles.Extension]:
    return profiles.leaf_extensions(CLIENT, KEY.public_key(), SANS, SIGNER.key_identifier)


def replaced(value: x509.ExtensionType, *, critical: bool = False) -> list[profiles.Extension]:
    """The extensions of a client with one of them exchanged."""
    others = [extension for extension in good() if type(extension.value) is not type(value)]
    return [*others, profiles.Extension(value, critical)]


def without(kind: type[x509.ExtensionType]) -> list[profiles.Extension]:
    return [extension for extension in good() if not isinstance(extension.value, kind)]


def check(extensions: list[profiles.Extension], subject: names.Subject = (("CN", "a"),)) -> None:
    profiles.check_leaf("client/a", CLIENT, KEY.public_key(), subject, SUBJECT, extensions)


def test_what_the_kit_builds_passes() -> None:
    check(good())


@pytest.mark.parametrize(
    ("extensions", "found"),
    [
        (replaced(x509.BasicConstraints(ca=True, path_length=None), critical=True), "could issue certificates"),
        (without(x509.BasicConstraints), "could issue certificates"),
        (without(x509.KeyUsage), "key usage"),
        (replaced(profiles._CA_KEY_USAGE.value, critical=True), "key usage"),
        (replaced(profiles._key_usage(["digitalSignature"]), critical=False), "key usage"),
        (replaced(profiles._key_usage(["digitalSignature", "keyEncipherment"]), critical=True), "key usage"),
        (without(x509.ExtendedKeyUsage), "extended key usage"),
        (replaced(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), "extended key usage"),
        (
            replaced(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
            ),
            "extended key usage",
        ),
        (without(x509.SubjectAlternativeName), "no SAN"),
        (replaced(x509.SubjectAlternativeName([])), "no SAN"),
        (without(x509.AuthorityKeyIdentifier), "key identifiers"),
        (without(x509.SubjectKeyIdentifier), "key identifiers"),
    ],
)
def test_what_plain_nginx_would_accept_is_never_signed(extensions: list[profiles.Extension], found: str) -> None:
    with pytest.raises(KitError, match=found):
        check(extensions)


def test_subjects_that_break_the_chain() -> None:
    with pytest.raises(KitError, match="an empty subject"):
        check(good(), ())
    with pytest.raises(KitError, match="of its own issuer"):
        check(good(), (("CN", "DEMO root  g1"),))


def test_small_rsa_keys_are_refused_at_the_signature() -> None:
    small = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505  what is to be refused
    leaf = authority.Leaf("client/a", CLIENT, (("CN", "a"),), SANS, NOON, NOON + timedelta(hours=1))
    with pytest.raises(KitError, match="rsa-1024"):
        authority.sign_leaf(leaf, small, SIGNER)


def test_a_leaf_is_cut_to_its_issuer() -> None:
    leaf = authority.Leaf("client/a", CLIENT, (("CN", "a"),), SANS, NOON, NOON + timedelta(days=90))
    signed = authority.sign_leaf(leaf, keys.generate("ec-p256").public_key(), SIGNER)
    assert signed.not_valid_after_utc == ROOT.not_valid_after_utc
    assert keys.signed_by(signed, ROOT)


@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048", "ed25519"])
def test_a_name_alone_proves_no_issuer(key_type: str) -> None:
    key, other = keys.generate(key_type), keys.generate(key_type)
    real = authority.create_root(SUBJECT, key, NOON, NOON + timedelta(days=1))
    namesake = authority.create_root(SUBJECT, other, NOON, NOON + timedelta(days=1))
    assert keys.signed_by(real, real)
    assert not keys.signed_by(real, namesake)
    assert not keys.signed_by(real, ROOT)


def test_pem_is_what_the_library_writes() -> None:
    der = ROOT.public_bytes(keys.serialization.Encoding.DER)
    assert authority.pem(der).encode() == ROOT.public_bytes(keys.serialization.Encoding.PEM)


def test_a_key_of_another_ca_is_no_signer() -> None:
    with pytest.raises(KitError, match="does not belong to its certificate"):
        authority.Signer.of(ROOT, keys.generate("ec-p256"), "root-g1")


def test_a_certificate_that_reads_back_differently_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = authority.Leaf("client/a", CLIENT, (("CN", "a"),), SANS, NOON, NOON + timedelta(hours=1))
    real = authority._signed

    def other_usage(*arguments: Any) -> x509.Certificate:
        subject, issuer, key, validity, extensions, signer = arguments
        wider = [
            profiles.Extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            if isinstance(extension.value, x509.BasicConstraints)
            else extension
            for extension in extensions
        ]
        return real(subject, issuer, key, validity, wider, signer)

    monkeypatch.setattr(authority, "_signed", other_usage)
    with pytest.raises(KitError, match="reads back differently"):
        authority.sign_leaf(leaf, KEY.public_key(), SIGNER)
