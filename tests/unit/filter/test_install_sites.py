"""What the role hands its two modules for each site."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.filter.install_sites import FilterModule, install_sites, request_sites
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

SITES = [
    {"name": "orders", "server_names": ["orders.test"], "addresses": ["192.0.2.7"], "backend": "http://127.0.0.1"},
    {"name": "stock", "server_names": ["stock.test"], "key_type": "rsa-2048", "certificate": "acme"},
]
ISSUED: dict[str, Any] = {
    "orders": {"serial": "0A", "public_key_sha256": "ab", "chain": "PEM", "not_after": "2026-01-01T00:00:00Z"}
}
TRUST = {"orders": {"number": 7, "sha256": "cd", "files": {"number.map": "x"}}}


def test_requests_carry_the_reason_and_what_was_issued() -> None:
    assert request_sites(SITES, {"stock": "issue: new"}, ISSUED, {"stock": {"common_name": "stock.test"}}) == [
        {
            "name": "orders",
            "key_type": "ec-p256",
            "subject": {},
            "san": {"dns": ["orders.test"], "ip": ["192.0.2.7"]},
            "password_delivery": "file",
            "wanted": "",
            "shown": False,
            "issued": {"serial": "0A", "public_key_sha256": "ab"},
        },
        {
            "name": "stock",
            "key_type": "rsa-2048",
            "subject": {"common_name": "stock.test"},
            "san": {"dns": ["stock.test"], "ip": []},
            "password_delivery": "file",
            "wanted": "issue: new",
            "shown": True,
            "issued": None,
        },
    ]


def test_releases_cover_names_and_addresses() -> None:
    assert install_sites(SITES[:1], ISSUED, TRUST, "ROOT") == [
        {
            "name": "orders",
            "chain": "PEM",
            "trust_anchor": "ROOT",
            "chain_anchor": "ROOT",
            "server_names": ["orders.test", "192.0.2.7"],
            "password_delivery": "file",
            "trust": TRUST["orders"],
        }
    ]


def test_a_public_certificate_leads_to_its_own_root_and_covers_what_it_was_ordered_for() -> None:
    public = {"orders": {**ISSUED["orders"], "trust_anchor": "PUBLIC", "names": ["www.orders.test"]}}
    found = install_sites(SITES[:1], public, TRUST, "ROOT")[0]
    assert (found["trust_anchor"], found["chain_anchor"]) == ("ROOT", "PUBLIC")
    assert found["server_names"] == ["www.orders.test"]


@pytest.mark.parametrize(
    ("issued", "trust", "message"),
    [(ISSUED, TRUST, "site 'stock': found no certificate"), ({**ISSUED, "stock": {}}, TRUST, "no trust unit")],
)
def test_a_site_without_its_share_is_an_error(issued: Any, trust: Any, message: str) -> None:
    with pytest.raises(KitError, match=message):
        install_sites(SITES, issued, trust, "ROOT")


def test_names_as_roles_use_them() -> None:
    assert set(FilterModule().filters()) == {"request_sites", "install_sites"}
