"""A gateway is handed its own share of the CA's result, and nothing of any other gateway."""

from __future__ import annotations

import base64
import json

from ansible_collections.mtls.kit.plugins.filter import gateway_share as filters

ISSUING = [{"name": "issuing", "purposes": ["server", "client"]}]
SITES = [
    {"name": "orders", "server_names": ["orders.example"]},
    {"name": "stock", "server_names": ["stock.example"]},
]
RESULT = {
    "csr_wanted": {"server/gw1/stock": "issue: new", "server/gw2/orders": "issue: new"},
    "csr_subjects": {"server/gw1/stock": {"common_name": "stock.example"}, "server/gw2/orders": {"common_name": "x"}},
    "servers": {"server/gw1/orders": {"serial": "01"}, "server/gw2/stock": {"serial": "02"}},
    "trust": {"issuing": {"number": 7}},
}


def test_share_holds_only_the_sites_of_that_gateway() -> None:
    share = filters.gateway_share(RESULT, "gw1", SITES, ISSUING)
    assert share == {
        "wanted": {"stock": "issue: new"},
        "subjects": {"stock": {"common_name": "stock.example"}},
        "issued": {"orders": {"serial": "01"}},
        "served": {"orders": {"serial": "01"}},
        "trust": {"orders": {"number": 7}},
        "missing": ["stock"],
    }


def test_a_public_certificate_is_served_as_long_as_its_key_is_there() -> None:
    public = {"server/gw1/orders": {"serial": "99", "public_key_sha256": "ab"}}
    for requests in (None, {}, {"keys": {"orders": ["ab", "cd"]}}):
        share = filters.gateway_share(RESULT, "gw1", SITES, ISSUING, public, requests)
        assert share["served"]["orders"]["serial"] == "99"
        assert share["issued"]["orders"]["serial"] == "01"
    rebuilt = filters.gateway_share(RESULT, "gw1", SITES, ISSUING, public, {"keys": {"orders": ["cd"]}})
    assert rebuilt["served"]["orders"]["serial"] == "01"


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


def test_a_site_is_looked_at_on_the_gateway_itself_or_at_its_address() -> None:
    sites = [{"name": "a", "server_names": ["*.a.example"], "port": 8443}, {"name": "b", "server_names": ["b.example"]}]
    common = {"address": "127.0.0.1", "scope": "issuing"}
    assert filters.probe_targets(sites, ISSUING, public={"b": {"trust_anchor": "PUBLIC"}}) == [
        {**common, "name": "a", "port": 8443, "server_name": "any.a.example", "trust_anchor": ""},
        {**common, "name": "b", "port": 443, "server_name": "b.example", "trust_anchor": "PUBLIC"},
    ]
    elsewhere = filters.probe_targets(sites, ISSUING, {"inventory_hostname": "gw1", "ansible_host": "192.0.2.7"})
    assert [target["address"] for target in elsewhere] == ["192.0.2.7", "192.0.2.7"]


def test_a_site_is_shown_the_identities_of_its_own_trust_scope() -> None:
    issuing = [*ISSUING, {"name": "partners", "purposes": ["client"]}]
    sites = [
        {"name": "a", "server_names": ["a.example"], "accept_issuers": ["issuing"]},
        {"name": "b", "server_names": ["b.example"], "accept_issuers": ["partners"]},
        {"name": "c", "server_names": ["c.example"]},
    ]
    for gateway in (None, {"inventory_hostname": "gw1"}):
        scopes = [target["scope"] for target in filters.probe_targets(sites, issuing, gateway)]
        assert scopes == ["issuing", "partners", "issuing+partners"]
    # A PKI that names no issuing CA has the role's default.
    assert filters.probe_targets(sites[2:], [])[0]["scope"] == "issuing"


def test_summary_names_what_was_not_reachable() -> None:
    check = {"name": "good", "expected": "accepted", "found": "accepted", "reason": "TLSv1.3", "passed": True}
    results = [
        {"item": {"name": "a"}, "reachable": True, "results": [check]},
        {"item": {"name": "b"}, "reachable": False, "results": [], "reason": "not reachable from here: refused"},
    ]
    assert filters.probe_summary(results) == ["a: good accepted - TLSv1.3", "b: not reachable from here: refused"]


def test_revocation_maps_of_gateways_that_answered_each_once() -> None:
    def read(text: str) -> dict[str, str]:
        return {"content": base64.b64encode(text.encode()).decode()}

    gateways = [
        {"restore_maps": {"results": [read('"2:AB" 1;\n'), read("")]}},
        {"restore_maps": {"results": [read('"2:AB" 1;\n')]}},
        {"inventory_hostname": "unreachable"},
    ]
    assert filters.revocation_maps(gateways) == ["", '"2:AB" 1;\n']


def test_preflight_faults_name_their_gateway() -> None:
    gateways = [{"inventory_hostname": "gw1"}, {"inventory_hostname": "gw2", "preflight_fault": "port 443: found …"}]
    assert filters.preflight_faults(gateways) == ["gateway gw2: port 443: found …"]


def test_what_a_gateway_serves_is_known_from_its_roles_or_from_the_look() -> None:
    look = {"gateway_look": {"served": {"orders": {"trust": "6"}}, "faults": []}}
    assert filters.seen_serving(look) == {"orders": {"trust": "6"}}
    assert filters.seen_serving({**look, "nginx_mtls_result": {"served": {"orders": {"trust": "7"}}}}) == {
        "orders": {"trust": "7"}
    }
    assert filters.seen_serving({**look, "nginx_mtls_result": {"failed": True}}) == {}
    # A password counts as taken by what this run installed and saw served, not by what was there before.
    half = {**look, "inventory_hostname": "gw1", "certificate_install_result": {"sites": {"orders": {}}}}
    assert filters.passwords_taken(["server/gw1/orders"], {}, [half]) == []
