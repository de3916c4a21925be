"""PKCS#12 files: what is in them, how it is encrypted, and that RC2 is nowhere."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.mtls.kit.plugins.module_utils._pki import der, keystores
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import public_key_der

RC2 = [der.object_identifier(f"1.2.840.113549.{oid}") for oid in ("1.12.1.5", "1.12.1.6", "3.2")]
TRIPLE_DES = der.object_identifier("1.2.840.113549.1.12.1.3")
AES_256_CBC = der.object_identifier("2.16.840.1.101.3.4.1.42")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def certified(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    return key, builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=9)).sign(key, hashes.SHA256())


def told_by_openssl(archive: bytes, password: str) -> str:
    command = ["openssl", "pkcs12", "-info", "-noout", "-passin", f"pass:{password}"]
    done = subprocess.run(command, input=archive, capture_output=True, check=True, timeout=10)
    return done.stderr.decode()


@pytest.mark.parametrize(
    ("profile", "encryption", "told"),
    [
        (keystores.modern, AES_256_CBC, ["PBES2, PBKDF2, AES-256-CBC", "MAC: sha256"]),
        (keystores.compatible, TRIPLE_DES, ["pbeWithSHA1And3-KeyTripleDES-CBC", "MAC: sha1"]),
    ],
)
def test_an_archive_holds_the_identity_in_its_profile(profile, encryption, told) -> None:
    key, leaf = certified("alice")
    _, authority = certified("issuing")
    archive = profile("alice", key, leaf, [authority], "the password")
    found = pkcs12.load_pkcs12(archive, b"the password")
    assert found.key is not None
    assert public_key_der(found.key.public_key()) == public_key_der(leaf.public_key())
    assert found.cert is not None
    assert (found.cert.certificate, found.cert.friendly_name) == (leaf, b"alice")
    assert [extra.certificate for extra in found.additional_certs] == [authority]
    assert encryption in archive
    assert not any(oid in archive for oid in RC2)
    words = told_by_openssl(archive, "the password")
    assert all(text in words for text in told), words


@pytest.mark.parametrize("number", [1, 2, 40])
def test_a_truststore_holds_every_anchor_as_one_that_java_trusts(number: int) -> None:
    anchors = [certified(f"Root G{one}")[1] for one in range(number)]
    store = keystores.truststore(anchors)
    found = pkcs12.load_pkcs12(store, keystores.TRUSTSTORE_PASSWORD.encode())
    assert [entry.certificate for entry in found.additional_certs] == anchors
    assert len({entry.friendly_name for entry in found.additional_certs}) == number
    # What Java looks for, once for each anchor; without it a certificate is nobody's anchor.
    assert store.count(der.object_identifier("2.16.840.1.113894.746875.1.1")) == number
    assert "MAC: sha256" in told_by_openssl(store, keystores.TRUSTSTORE_PASSWORD)
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(store, b"another")
