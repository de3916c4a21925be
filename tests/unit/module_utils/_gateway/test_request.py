"""When a key and a request are made on the gateway, when not, and what is taken up again after a run was cut off."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import PASSWORD, Gateway


def pending(gateway: Gateway) -> Path:
    return gateway.root / "orders" / "pending"


def reasons(result: dict[str, Any]) -> list[str]:
    return [change["reason"] for change in result["changes"]]


def test_key_and_request_are_made_and_nobody_else_reads_the_key(gateway: Gateway) -> None:
    result = gateway.request()
    assert reasons(result) == ["write: no release on the gateway"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in pending(gateway).iterdir()}
    assert modes == {"server.key": 0o400, "request.csr": 0o600}
    assert stat.S_IMODE(pending(gateway).stat().st_mode) == 0o700
    key = keys.load_encrypted((pending(gateway) / "server.key").read_bytes(), PASSWORD.encode(), "key")
    csr = x509.load_pem_x509_csr(result["csrs"]["orders"].encode())
    assert csr.is_signature_valid
    assert keys.public_key_sha256(csr.public_key()) == keys.public_key_sha256(key.public_key())  # type: ignore[arg-type]
    san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical  # RFC 5280 section 4.2.1.6: the subject is empty
    assert san.value.get_values_for_type(x509.DNSName) == ["orders.example.test"]


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_every_key_type(gateway: Gateway, key_type: str) -> None:
    csr = x509.load_pem_x509_csr(gateway.request(key_type=key_type)["csrs"]["orders"].encode())
    assert keys.key_type_of(csr.public_key()) == key_type
    assert gateway.request(key_type=key_type)["changed"] is False


def test_check_mode_says_why_and_makes_nothing(gateway: Gateway) -> None:
    result = gateway.request(check_mode=True, wanted="issue: no certificate yet")
    assert reasons(result) == ["write: issue: no certificate yet"]
    assert result["csrs"] == {}
    assert not gateway.root.exists()


def test_a_request_that_waits_is_handed_over_again_unchanged(gateway: Gateway) -> None:
    first = gateway.request()
    second = gateway.request()
    assert second["changed"] is False
    assert second["csrs"] == first["csrs"]


def test_a_signed_request_is_kept_so_that_the_release_completes(gateway: Gateway) -> None:
    first = gateway.request()["csrs"]
    gateway.certify(first)
    chain = dict(gateway.chains)
    second = gateway.request()
    assert (second["changed"], second["csrs"]) == (False, first)
    gateway.certify(second["csrs"])
    assert gateway.chains == chain
    assert gateway.release()["changed"] is True
    assert gateway.request()["csrs"] == {}


def test_a_signed_key_is_not_used_for_the_next_certificate(gateway: Gateway) -> None:
    first = gateway.request()["csrs"]
    gateway.certify(first)
    second = gateway.request(wanted="re-issue: SAN changed")
    assert reasons(second) == ["write: re-issue: SAN changed"]
    one, other = (x509.load_pem_x509_csr(csr["orders"].encode()).public_key() for csr in (first, second["csrs"]))
    assert keys.public_key_sha256(one) != keys.public_key_sha256(other)  # type: ignore[arg-type]


def test_a_renewal_that_is_wanted_makes_a_new_key_beside_the_one_in_use(deployed: Gateway) -> None:
    before = (deployed.current() / "server.key").read_bytes()
    result = deployed.request(wanted="renew: 29 of 90 days left")
    assert reasons(result) == ["write: renew: 29 of 90 days left"]
    assert (deployed.current() / "server.key").read_bytes() == before
    assert (pending(deployed) / "server.key").read_bytes() != before
    assert deployed.request(wanted="renew: 29 of 90 days left")["changed"] is False


def test_a_certificate_that_the_ledger_names_and_nobody_has_is_asked_for(deployed: Gateway) -> None:
    in_use = deployed.chains["orders"]
    other = Gateway(deployed.root.parent / "other", deployed.pki, deployed.owner)
    other.certify(other.request()["csrs"])
    deployed.chains = other.chains
    result = deployed.request()
    assert "whose key is not here" in reasons(result)[0]
    assert list(result["csrs"]) == ["orders"]
    assert deployed.chains["orders"] != in_use


def test_a_pending_key_under_another_password_is_replaced(gateway: Gateway) -> None:
    first = gateway.request()["csrs"]
    gateway.password = "another-password-0123456789"
    second = gateway.request()
    assert reasons(second) == [
        "write: no release on the gateway; the pending key does not open with the site's password"
    ]
    assert second["csrs"] != first


def test_a_pending_key_of_another_type_is_replaced(gateway: Gateway) -> None:
    gateway.request()
    result = gateway.request(key_type="ec-p384")
    assert reasons(result) == ["write: no release on the gateway; the pending key is ec-p256, not ec-p384"]


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_request_that_was_lost_is_made_again_for_the_same_key(gateway: Gateway, content: bytes | None) -> None:
    first = gateway.request()["csrs"]
    gateway.certify(first)
    key = (pending(gateway) / "server.key").read_bytes()
    (pending(gateway) / "request.csr").unlink()
    if content is not None:
        (pending(gateway) / "request.csr").write_bytes(content)
    result = gateway.request()
    assert reasons(result) == ["write: request.csr of the pending key missing or altered"]
    assert (pending(gateway) / "server.key").read_bytes() == key
    gateway.certify(result["csrs"])
    assert gateway.release()["changed"] is True


def test_new_names_make_a_new_request_with_the_same_key(gateway: Gateway) -> None:
    first = gateway.request()["csrs"]["orders"]
    second = gateway.request(san={"dns": ["shop.example.test"], "ip": ["192.0.2.7"]})["csrs"]["orders"]
    one, other = x509.load_pem_x509_csr(first.encode()), x509.load_pem_x509_csr(second.encode())
    assert first != second
    assert keys.public_key_sha256(one.public_key()) == keys.public_key_sha256(other.public_key())  # type: ignore[arg-type]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a name that climbs": ({"name": "../orders"}, "the name '../orders'"),
    "a name in capitals": ({"name": "Orders"}, "the name 'Orders'"),
    "a name with a newline": ({"name": "orders\n"}, "1 to 32"),
    "an unknown key type": ({"key_type": "dsa"}, "key type 'dsa'"),
    "a subject field": ({"subject": {"comon_name": "x"}}, "comon_name"),
    "a SAN kind": ({"san": {"dsn": ["x"]}}, "'dsn'"),
    "an address as a name": ({"san": {"dns": ["192.0.2.7"]}}, "san.ip"),
    "a serial": ({"issued": {"serial": "xyz", "public_key_sha256": "ab" * 32}}, "serial"),
    "a digest": ({"issued": {"serial": "0A", "public_key_sha256": "ab"}}, "public_key_sha256"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_before_anything_is_made(gateway: Gateway, case: str) -> None:
    wish, message = WRONG[case]
    gateway.sites = (wish.get("name", "orders"),)
    with pytest.raises(KitError, match=message):
        gateway.request(**wish)
    assert not gateway.root.exists()


def test_a_site_listed_twice_is_refused(gateway: Gateway) -> None:
    gateway.sites = ("orders", "orders")
    with pytest.raises(KitError, match="twice"):
        gateway.request()
    assert not gateway.root.exists()


def test_a_site_without_a_password_is_refused(gateway: Gateway) -> None:
    from ansible_collections.mtls.kit.plugins.modules import certificate_request

    site = {"name": "orders", "key_type": "ec-p256", "subject": {}, "san": {}, "wanted": "", "issued": None}
    site["password_delivery"] = "file"
    with pytest.raises(KitError, match="password of site 'orders': found none"):
        certificate_request.run({**gateway.common(), "passwords": "{}", "sites": [site]}, False)
