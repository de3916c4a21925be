"""Each site of each gateway gets a certificate for exactly its names and addresses."""

from __future__ import annotations

from ansible_collections.mtls.kit.plugins.filter.server_certificates import server_certificates

ORDERS = {"name": "orders", "server_names": ["orders.example"], "addresses": ["192.0.2.7"], "key_type": "rsa-3072"}
STOCK = {"name": "stock", "server_names": ["stock.example", "*.stock.example"], "profile": "edge"}

EXPECTED = [
    {
        "name": "server/gw1/orders",
        "profile": "server",
        "source": "csr",
        "san": {"dns": ["orders.example"], "ip": ["192.0.2.7"]},
        "key_type": "rsa-3072",
    },
    {
        "name": "server/gw2/stock",
        "profile": "edge",
        "source": "csr",
        "san": {"dns": ["stock.example", "*.stock.example"], "ip": []},
        "key_type": "ec-p256",
    },
]


def test_from_hostvars() -> None:
    hostvars = [
        {"inventory_hostname": "gw2", "nginx_mtls_sites": [STOCK]},
        {"inventory_hostname": "gw1", "nginx_mtls_sites": [ORDERS]},
        {"inventory_hostname": "gw3"},
    ]
    assert server_certificates(hostvars) == EXPECTED


def test_from_sites_by_gateway() -> None:
    assert server_certificates({"gw1": [ORDERS], "gw2": [STOCK], "gw3": None}) == EXPECTED


def test_a_site_of_one_name_on_two_gateways_has_two_certificates() -> None:
    assert [certificate["name"] for certificate in server_certificates({"gw1": [STOCK], "gw2": [STOCK]})] == [
        "server/gw1/stock",
        "server/gw2/stock",
    ]
