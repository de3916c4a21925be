"""A gateway is handed its own share of the CA's result, and nothing of any other gateway."""

from __future__ import annotations

import json

from ansible_collections.mtls.kit.plugins.filter import gateway_share as filters

ISSUING = [{"name": "issuing", "purposes": ["server", "client"]}]
SITES = [
    {"name": "orders", "server_names": ["orders.example"]},
    {"name": "stock", "server_names": ["stock.example"]},
]
RESULT = {
    "csr_wanted": {"server/gw1/stock": "issue: new", "server/gw2/orders": "issue: new"},
    "servers": {"server/gw1/orders": {"serial": "01"}, "server/gw2/stock": {"serial": "02"}},
    "trust": {"issuing": {"number": 7}},
}


def test_share_holds_only_the_sites_of_that_gateway() -> None:
    share = filters.gateway_share(RESULT, "gw1", SITES, ISSUING)
    assert share == {
        "wanted": {"stock": "issue: new"},
        "issued": {"orders": {"serial": "01"}},
        "trust": {"orders": {"number": 7}},
        "missing": ["stock"],
    }


def test_passwords_of_other_gateways_and_of_clients_stay_behind() -> None:
    passwords = json.dumps(
        {
            "ca/root": "r",
            "client/alice": "a",
            "server/gw1/orders": "o1",
            "server/gw10/orders": "o10",
            "server/gw2/orders": "o2",
        }
    )
    assert json.loads(filters.gateway_passwords(passwords, "gw1")) == {"orders": "o1"}
    assert json.loads(filters.client_passwords(passwords)) == {"alice": "a"}


def test_csrs_of_gateways_that_answered() -> None:
    gateways = [
        {"inventory_hostname": "gw1", "certificate_install_requests": {"csrs": {"orders": "PEM"}}},
        {"inventory_hostname": "unreachable"},
    ]
    assert filters.gateway_csrs(gateways) == {"server/gw1/orders": "PEM"}


def test_urls_name_the_port_only_where_a_client_must() -> None:
    gateways = [
        {"nginx_mtls_sites": [{"name": "a", "server_names": ["a.example"], "port": 8443}]},
        {"nginx_mtls_sites": [{"name": "b", "server_names": ["b.example", "c.example"]}]},
        {},
    ]
    assert filters.site_urls(gateways) == ["https://a.example:8443/", "https://b.example/"]
