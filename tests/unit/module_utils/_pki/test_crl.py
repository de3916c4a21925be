"""CRLs, read again by cryptography and by OpenSSL."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, crl, desired, keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Crl, Revocation
from tests.unit.module_utils._pki.authority_host import NOON

ISSUER_END = NOON + timedelta(days=30)


def signer(key_type: str = "ec-p256") -> authority.Signer:
    """A CA that ends thirty days from noon."""
    key = keys.generate(key_type)
    root = authority.create_root((("CN", "demo Root G1"),), key, NOON, ISSUER_END)
    return authority.Signer.of(root, key, "the test's CA")


def revocation(serial: str = "0BADCAFE", reason: str = "keyCompromise", *, days: int = 20) -> Revocation:
    """A certificate revoked an hour ago, which would have ended in so many days."""
    return Revocation(1, serial, reason, NOON - timedelta(hours=1), NOON + timedelta(days=days))


def loaded(signed: Crl) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(signed.pem)


def openssl(signed: Crl, *options: str) -> str:
    done = subprocess.run(
        ["openssl", "crl", "-noout", *options], input=signed.pem, capture_output=True, check=True, timeout=20
    )
    return (done.stdout + done.stderr).decode()


def crl_under_test(**changed: object) -> Crl:
    arguments = {"number": 7, "now": NOON, "days": 7, "entries": [revocation()]} | changed
    return crl.sign(signer(), 1, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_openssl_verifies_it_by_the_issuer(key_type: str, tmp_path: Path) -> None:
    issuer = signer(key_type)
    signed = crl.sign(issuer, 1, [revocation()], 7, NOON, 7)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    assert "verify OK" in openssl(signed, "-CAfile", str(ca))
    # Another CA of the same name proves nothing.
    ca.write_bytes(signer(key_type).certificate.public_bytes(Encoding.PEM))
    assert "verify failure" in openssl(signed, "-CAfile", str(ca))


def test_version_number_and_key_identifier() -> None:
    issuer = signer()
    signed = crl.sign(issuer, 1, [], 4711, NOON, 7)
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
    signed = crl_under_test(entries=[revocation(reason=reason)])
    (entry,) = list(loaded(signed))
    assert entry.serial_number == 0x0BADCAFE
    found = [extension.value.reason.value for extension in entry.extensions]  # type: ignore[attr-defined]
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


def test_a_revoked_certificate_stays_for_one_crl_after_its_end() -> None:
    previous = crl_under_test()
    ended_before = revocation("AA", days=-1)
    ended_at = Revocation(1, "BB", "superseded", NOON - timedelta(days=2), NOON)
    ended_after = revocation("CC", days=1)
    everything = [ended_before, ended_at, ended_after]
    assert crl.listed(everything, previous) == [ended_at, ended_after]
    assert crl.listed(everything, None) == everything


def test_the_digest_is_that_of_what_has_to_be_listed() -> None:
    entries = [revocation("AA", days=1), revocation("BB", days=20)]
    digest = crl.entries_digest(entries, NOON)
    assert crl_under_test(entries=entries).entries == digest
    assert crl.entries_digest([*entries, revocation("CC", days=-1)], NOON) == digest
    others = (
        [revocation("AA", days=1)],
        [*entries, revocation("CC")],
        [revocation("AA", "superseded", days=1), entries[1]],
        [revocation("AB", days=1), entries[1]],
        [Revocation(1, "AA", "keyCompromise", datetime(2026, 11, 1, tzinfo=UTC), entries[0].not_after), entries[1]],
    )
    digests = {crl.entries_digest(other, NOON) for other in others}
    assert len(digests) == len(others)
    assert digest not in digests
