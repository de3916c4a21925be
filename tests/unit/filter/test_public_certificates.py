"""Which public certificates there are to be, and who answers for which name."""

from __future__ import annotations

from typing import Any

from ansible_collections.mtls.kit.plugins.filter import public_certificates as filters

NAME = "shop.example.com"
TOKEN = "a" * 43


def gateway(name: str, *sites: dict[str, Any], **variables: Any) -> dict[str, Any]:
    return {"inventory_hostname": name, "nginx_mtls_sites": list(sites), **variables}


def site(name: str = "shop", **more: Any) -> dict[str, Any]:
    return {"name": name, "server_names": [NAME], "certificate": "acme", **more}


def order(challenge: str = "http-01", name: str = NAME) -> dict[str, Any]:
    challenges = {
        "http-01": {"resource": f".well-known/acme-challenge/{TOKEN}", "resource_value": f"{TOKEN}.thumb"},
        "dns-01": {"record": f"_acme-challenge.{name}", "resource_value": "digest"},
    }
    return {
        "name": "server/gw1/shop",
        "challenge": challenge,
        "challenge_data": [{"identifier": name, "challenges": challenges}],
    }


def test_only_sites_that_ask_for_it_get_a_public_certificate() -> None:
    gateways = [gateway("gw2", site()), gateway("gw1", site(), site("orders", certificate="private")), gateway("gw3")]
    servers = {"server/gw1/shop": {"public_key_sha256": "ab"}}
    assert filters.public_certificates(gateways, servers) == [
        {"name": "server/gw1/shop", "dns": [NAME], "public_key_sha256": "ab"},
        {"name": "server/gw2/shop", "dns": [NAME], "public_key_sha256": ""},
    ]


def test_what_is_due_is_ordered_where_the_gateway_answered() -> None:
    answered = {"certificate_install_requests": {"requests": {"shop": "CSR"}}}
    due = {"server/gw1/shop": "issue: x", "server/gw2/shop": "issue: x"}
    gateways = [gateway("gw1", site(), **answered), gateway("gw2", site()), gateway("gw3", site(), **answered)]
    assert filters.public_orders(gateways, due) == [
        {"name": "server/gw1/shop", "csr": "CSR", "challenge": "http-01", "reason": "issue: x"}
    ]


def test_every_gateway_of_the_name_answers_and_no_other() -> None:
    gateways = [
        gateway("gw1", site()),
        gateway("gw2", site(server_names=["other.example.com", NAME.upper()])),
        gateway("dns", site(challenge="dns-01")),
        gateway("other", site(server_names=["other.example.com"])),
        gateway("private", site(certificate="private")),
    ]
    orders = {"server/gw1/shop": order()}
    answering = {
        one["inventory_hostname"]: filters.acme_answers(orders, gateways, one["inventory_hostname"]) for one in gateways
    }
    assert {name for name, answers in answering.items() if answers} == {"gw1", "gw2"}
    assert answering["gw2"] == {TOKEN: f"{TOKEN}.thumb"}
    assert filters.acme_answers({"x": order("dns-01")}, gateways, "gw1") == {}


def test_the_server_is_not_asked_to_look_before_all_is_there() -> None:
    placed = {"public_certificate_answers_placed": {"changes": []}}
    unready = [
        gateway("gw1", site(), **placed),
        gateway("gw2", site(), public_certificate_answers_placed={"failed": True}),
    ]
    assert filters.acme_missing(order(), unready) == ["gateway gw2 has not got the answer that it may be asked for"]
    assert filters.acme_missing(order(), unready[:1]) == []
    assert filters.acme_missing(order("dns-01"), unready) == []
    assert filters.acme_missing(order("dns-01"), unready, "the hook failed") == ["the hook failed"]


def test_the_hook_is_told_domain_record_and_value() -> None:
    assert filters.dns_records(order("dns-01")) == [[NAME, f"_acme-challenge.{NAME}", "digest"]]
    assert filters.dns_records(order()) == []


def test_results_by_site_and_what_is_new() -> None:
    after = {
        "server/gw1/shop": {"serial": "02", "trust_anchor": "B"},
        "server/gw10/shop": {"serial": "03", "trust_anchor": "A"},
    }
    assert filters.public_by_site(after, "gw1") == {"shop": after["server/gw1/shop"]}
    assert filters.public_roots(after) == "AB"
    variables = {"public_certificate_result": {"certificates": after}}
    assert filters.public_new(variables, ["gw1", "gw2"]) == ["gw1"]
    assert filters.public_new({**variables, "public_at_hand_before": after}, ["gw1"]) == []
    assert filters.public_new({}, ["gw1"]) == []


def test_faults_say_what_is_served_meanwhile() -> None:
    assert (
        filters.acme_fault({"msg": "one or more items failed", "results": [{}, {"failed": True, "stderr": "no\nzone"}]})
        == "no zone"
    )
    assert filters.acme_fault({"msg": "refused"}) == "refused"
    assert filters.acme_fault({}) == "no reason given"
    faults = {"server/gw1/shop": "refused", "server/gw2/shop": "refused"}
    first, second = filters.public_faults(faults, {"server/gw1/shop": {"not_after": "2026-12-01T00:00:00Z"}})
    assert first.startswith("public certificate server/gw1/shop: found refused; expected one from the ACME server")
    assert first.endswith("the one that ends 2026-12-01T00:00:00Z is served.")
    assert second.endswith("this PKI's certificate is served.")
    assert "remove the records by hand" in filters.public_faults({"cleanup": "no zone"}, {})[0]


def test_the_servers_own_words_are_told() -> None:
    proofs = [{"type": "dns-01"}, {"type": "http-01", "error": {"detail": "connection\n refused"}}]
    ended = {"authorizations_by_identifier": {f"dns:{NAME}": {"challenges": proofs}}}
    assert filters.acme_explained({"a": "1", "b": "2"}, "b", ended) == {
        "a": "1",
        "b": f"dns:{NAME}: connection refused",
    }
    assert filters.acme_explained({"a": "1"}, "a", {}) == {"a": "1"}
