"""CRLs, read again by cryptography and by OpenSSL."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, clock, crl, desired, keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Crl, Listed
from tests.unit.module_utils._pki.authority_host import NOON

ISSUER_END = NOON + timedelta(days=30)
REVOKED = NOON - timedelta(hours=1)


def signer(key_type: str = "ec-p256") -> authority.Signer:
    """A CA that ends thirty days from noon."""
    key = keys.generate(key_type)
    root = authority.create_root((("CN", "demo Root G1"),), key, NOON, ISSUER_END)
    return authority.Signer.of(root, key, "the test's CA")


def entry(serial: str = "0BADCAFE", reason: str = "keyCompromise", revoked: datetime = REVOKED) -> Listed:
    """A certificate revoked an hour ago."""
    return Listed(serial, reason, clock.seconds(revoked))


def loaded(signed: Crl) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(signed.pem)


def openssl(signed: Crl, *options: str) -> str:
    done = subprocess.run(
        ["openssl", "crl", "-noout", *options], input=signed.pem, capture_output=True, check=True, timeout=20
    )
    return (done.stdout + done.stderr).decode()


def crl_under_test(**changed: object) -> Crl:
    arguments = {"number": 7, "now": NOON, "days": 7, "listed": [entry()], "extent": "1 revoked"} | changed
    return crl.sign(signer(), 1, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_openssl_verifies_it_by_the_issuer(key_type: str, tmp_path: Path) -> None:
    issuer = signer(key_type)
    signed = crl.sign(issuer, 1, [entry()], 7, NOON, 7, "1 revoked")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    assert "verify OK" in openssl(signed, "-CAfile", str(ca))
    # Another CA of the same name proves nothing.
    ca.write_bytes(signer(key_type).certificate.public_bytes(Encoding.PEM))
    assert "verify failure" in openssl(signed, "-CAfile", str(ca))


def test_version_number_and_key_identifier() -> None:
    issuer = signer()
    signed = crl.sign(issuer, 1, [], 4711, NOON, 7, "0 revoked")
    extensions = {extension.oid: extension for extension in loaded(signed).extensions}
    number, identifier = extensions[x509.CRLNumber.oid], extensions[x509.AuthorityKeyIdentifier.oid]
    assert (number.value, number.critical) == (x509.CRLNumber(4711), False)
    own = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert (identifier.value.key_identifier, identifier.critical) == (own.digest, False)  # type: ignore[attr-defined]
    assert loaded(signed).issuer == issuer.certificate.subject
    text = openssl(signed, "-text")
    assert "Version 2 (0x1)" in text
    assert "X509v3 CRL Number: \n                4711" in text
    assert "No Revoked Certificates." in text


@pytest.mark.parametrize("reason", desired.REVOCATION_REASONS)
def test_every_reason_a_user_can_name_is_on_it(reason: str) -> None:
    signed = crl_under_test(listed=[entry(reason=reason)])
    (found_entry,) = list(loaded(signed))
    assert found_entry.serial_number == 0x0BADCAFE
    found = [extension.value.reason.value for extension in found_entry.extensions]  # type: ignore[attr-defined]
    assert found == ([] if reason == "unspecified" else [reason])
    text = openssl(signed, "-text")
    assert "Serial Number: 0BADCAFE" in text
    assert "Revocation Date: Nov 24 11:00:00 2026 GMT" in text


def test_it_begins_a_little_early_and_lives_its_days() -> None:
    signed = crl_under_test(days=7)
    dates = openssl(signed, "-lastupdate", "-nextupdate").splitlines()
    assert dates == ["lastUpdate=Nov 24 11:55:00 2026 GMT", "nextUpdate=Dec  1 12:00:00 2026 GMT"]
    # For the ledger it begins when it was signed, or it would be due five minutes early.
    assert (signed.this_update, signed.next_update) == (NOON, NOON + timedelta(days=7))


@pytest.mark.parametrize(("days", "end"), [(29, NOON + timedelta(days=29)), (30, ISSUER_END), (31, ISSUER_END)])
def test_it_never_outlives_its_issuer(days: int, end: datetime) -> None:
    signed = crl_under_test(days=days)
    assert signed.next_update == end
    assert loaded(signed).next_update_utc == end
    # The wish is kept, so that a CRL cut short is not signed again for ever.
    assert signed.days == days


def test_the_next_one_lists_what_ended_since_the_last() -> None:
    assert crl.lists_from(None) == datetime(1970, 1, 1, tzinfo=UTC)
    assert crl.lists_from(crl_under_test()) == NOON


def test_cryptography_makes_the_same_octets_of_it() -> None:
    """Byte for byte what ``cryptography`` writes itself, apart from the signature."""
    issuer = signer()
    serials = ["01", "7F", "80", "FF", "0BADCAFE", "7F" * 20, "80" + "00" * 19, "FF" * 20, "1F" * 64]
    listed = [
        entry(serial, reason, datetime(year, 2, 28, 23, 59, 59, tzinfo=UTC))
        for serial in serials
        for reason, year in (("unspecified", 2026), ("superseded", 2049), ("privilegeWithdrawn", 2050))
    ]
    signed = crl.sign(issuer, 1, listed, 1 << 70, NOON, 7, "")
    flags = {flag.value: x509.CRLReason(flag) for flag in x509.ReasonFlags}
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOON - clock.BACKDATED)
        .next_update(NOON + timedelta(days=7))
        .add_extension(issuer.key_identifier, critical=False)
        .add_extension(x509.CRLNumber(1 << 70), critical=False)
    )
    for serial, reason, revoked in listed:
        one = x509.RevokedCertificateBuilder(int(serial, 16), clock.moment(revoked).replace(tzinfo=None))
        if reason != "unspecified":
            one = one.add_extension(flags[reason], critical=False)
        builder = builder.add_revoked_certificate(one.build())
    expected = builder.sign(issuer.key, keys.signature_hash(issuer.key))
    assert loaded(signed).tbs_certlist_bytes == expected.tbs_certlist_bytes
    assert loaded(signed).is_signature_valid(issuer.key.public_key())
    assert loaded(signed).public_bytes(Encoding.PEM) == signed.pem


def test_a_long_one_is_read_by_everybody(tmp_path: Path) -> None:
    issuer = signer()
    serials = {x509.random_serial_number() for _ in range(10_000)}
    signed = crl.sign(issuer, 1, [entry(f"{serial:040X}") for serial in sorted(serials)], 7, NOON, 7, "")
    assert {found.serial_number for found in loaded(signed)} == serials
    ca = tmp_path / "ca.crt"
    ca.write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    assert "verify OK" in openssl(signed, "-CAfile", str(ca))
