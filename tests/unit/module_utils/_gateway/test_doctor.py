"""How a bundle is read, whatever its form; the scenario doctor has the broken ones and a real gateway."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.mtls.kit.plugins.module_utils._gateway import doctor
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.test_probe import PASSWORD, Issued, SmallPki

LATER = datetime.now(UTC) + timedelta(minutes=5)
"""After the certificates of these tests begin, and before they end."""


@pytest.fixture(scope="module")
def alice() -> Issued:
    return SmallPki().issue("alice", PASSWORD)


def archive(alice: Issued) -> bytes:
    key = serialization.load_pem_private_key(alice.key.encode(), PASSWORD.encode())
    encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
    leaf = x509.load_pem_x509_certificate(alice.chain.encode())
    return pkcs12.serialize_key_and_certificates(b"alice", key, leaf, None, encryption)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["folder", "pem", "p12", "folder with p12"])
def test_every_form_is_read(tmp_path: Path, alice: Issued, form: str) -> None:
    path = tmp_path
    if form == "folder":
        (tmp_path / "client.crt").write_text(alice.chain)
        (tmp_path / "client.key").write_text(alice.key)
    elif form == "pem":
        path = tmp_path / "alice.pem"
        path.write_text(alice.chain + alice.key)
    else:
        file = tmp_path / ("alice.p12" if form == "p12" else "client.p12")
        file.write_bytes(archive(alice))
        path = file if form == "p12" else tmp_path
    found = doctor.read_bundle(path, PASSWORD, LATER)
    assert found.findings == ()
    assert found.shown is not None
    assert "PRIVATE" not in repr(found.shown)
    assert [one.cause for one in doctor.read_bundle(path, "another", LATER).findings] == ["wrong-password"]


def test_nothing_to_look_at_is_told(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="doctor_bundle"):
        doctor.read_bundle(tmp_path / "absent", "", LATER)


def test_an_address_is_read_as_a_client_does() -> None:
    assert doctor.Site.of("https://orders.test:8443/x", "") == doctor.Site("orders.test", 8443, "orders.test")
    assert doctor.Site.of("http://orders.test/", "10.0.0.1") == doctor.Site("orders.test", 80, "10.0.0.1", True)
    with pytest.raises(KitError, match="doctor_url"):
        doctor.Site.of("orders.test", "")
