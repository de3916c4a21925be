"""Which server names a certificate covers, as clients judge it (RFC 9525 section 6)."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import covers
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from tests.unit.module_utils._gateway.delivery import Authority, Pki


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Pki().issuing


@pytest.mark.parametrize(
    ("san", "name", "covered"),
    [
        ("orders.example.test", "orders.example.test", True),
        ("Orders.Example.TEST", "orders.example.test", True),
        ("orders.example.test", "ORDERS.example.test.", True),
        ("orders.example.test", "example.test", False),
        ("orders.example.test", "x.orders.example.test", False),
        ("localhost", "localhost", True),
        ("localhost", "localhos", False),
        ("*.example.test", "orders.example.test", True),
        ("*.example.test", "example.test", False),
        ("*.example.test", "a.b.example.test", False),
        ("*.example.test", ".example.test", False),
        ("*.example.test", "*.example.test", True),
        ("*.example.test", "*.orders.example.test", False),
        ("*.b.example.test", "*.example.test", False),
        ("*.test", "example.test", False),
        ("o*.example.test", "orders.example.test", False),
        ("orders.*.test", "orders.example.test", False),
        ("*", "localhost", False),
        ("orders.example.test", "~^orders[.]", False),
        ("orders.example.test", "", False),
        ("orders.example.test", "_", False),
        ("192.0.2.7", "192.0.2.7", False),
    ],
)
def test_dns_names(authority: Authority, san: str, name: str, covered: bool) -> None:
    leaf = authority.sign(authority.key.public_key(), names_covered=[san])
    assert covers(leaf, name) is covered


def test_both_forms_of_nginx_dot_name(authority: Authority) -> None:
    leaf = authority.sign(authority.key.public_key(), names_covered=["example.test", "*.example.test"])
    assert covers(leaf, ".example.test")


@pytest.mark.parametrize("name", ["192.0.2.7", "2001:db8::7", "2001:DB8:0::7"])
def test_addresses_are_covered_by_address_sans_alone(authority: Authority, name: str) -> None:
    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("192.0.2.7", "2001:db8::7")]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(authority.key.public_key())
        .serial_number(1)
        .not_valid_before(clock.not_before(authority.certificate).replace(tzinfo=None))
        .not_valid_after(clock.not_after(authority.certificate).replace(tzinfo=None))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=True)
        .sign(authority.key, authority.certificate.signature_hash_algorithm)
    )
    assert covers(leaf, name)
    assert not covers(leaf, "192.0.2.8")
    assert not covers(leaf, "orders.example.test")


def test_the_common_name_never_counts(authority: Authority) -> None:
    assert not covers(authority.certificate, "acme Issuing G1")
