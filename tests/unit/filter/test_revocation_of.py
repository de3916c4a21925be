"""What a person asks revoke.yml for, and what it says in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.mtls.kit.plugins.filter import revocation_of as filters

ISSUING = [{"name": "issuing"}, {"name": "partners", "purposes": ["client"]}]
ORDERS = {"name": "orders", "server_names": ["orders.example"], "port": 8443, "accept_issuers": ["issuing"]}
STOCK = {"name": "stock", "server_names": ["stock.example"], "accept_issuers": ["partners"]}
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def test_names_serials_and_files_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "client.crt"
    file.write_text(f"text before\n{CERTIFICATE}{CERTIFICATE.replace('MA', 'MB')}")
    assert filters.revocation_of(f"client/alice, 4f:A0 ,{file}", "keyCompromise") == [
        {"name": "client/alice", "reason": "keyCompromise"},
        {"serial": "4f:A0", "reason": "keyCompromise"},
        {"certificate": CERTIFICATE, "reason": "keyCompromise"},
    ]
    assert filters.revocation_of(["client/bob"]) == [{"name": "client/bob", "reason": "unspecified"}]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", "found nothing"),
        (" , ", "found nothing"),
        ("alice", "for a client of that name write client/alice"),
        ("client/../x", "client/../x"),
        ("server/gw1/orders", "by its serial"),
        ("/etc/hostname", "without a certificate"),
    ],
)
def test_anything_else_is_refused_with_the_next_step(asked: str, found: str) -> None:
    with pytest.raises(AnsibleFilterError, match="Next: ") as caught:
        filters.revocation_of(asked)
    assert found in str(caught.value)


def test_a_target_is_to_serve_the_trust_of_its_scope() -> None:
    result = {"trust": {"issuing": {"number": 7}, "partners": {"number": 8}}}
    targets = filters.revocation_targets([ORDERS, STOCK], result, ISSUING, "/etc/mtls")
    assert [(one["root"], one["number"], one["port"]) for one in targets] == [
        ("/etc/mtls/orders", 7, 8443),
        ("/etc/mtls/stock", 8, 443),
    ]
    assert {one["revocation"] for one in targets} == {"map"}
    (target,) = filters.revocation_targets([ORDERS], result, ISSUING, "/etc/mtls", "crl")
    assert target["revocation"] == "crl"


def test_served_is_what_the_role_saw_and_nothing_of_gateways_that_it_did_not_see() -> None:
    seen = {
        "inventory_hostname": "gw1",
        "nginx_mtls_sites": [ORDERS, STOCK],
        "nginx_mtls_result": {"served": {"orders": {"trust": "7"}}},
    }
    gone = {"inventory_hostname": "gw2", "nginx_mtls_sites": [ORDERS]}
    failed = {**gone, "nginx_mtls_result": {"failed": True, "msg": "nginx -t"}}
    served = [{"gateway": "gw1", "site": "orders", "scope": "issuing", "accept": ["issuing"], "number": 7}]
    assert filters.served_trust([seen, gone, failed], ISSUING) == served
    assert filters.served_trust([seen], ISSUING, [{**served[0], "number": 6}]) == served
    assert filters.served_trust([seen], ISSUING, served) == []


def test_check_mode_says_what_would_be_refused_where() -> None:
    gateways = [{"inventory_hostname": "gw1", "nginx_mtls_sites": [ORDERS, STOCK]}]
    changes = [
        {"name": "client/alice", "action": "revoke", "reason": "revoke: unspecified, serial 4F"},
        {"name": "trust/issuing", "action": "write", "reason": "write: identities.map, revoked.map changed"},
        {"name": "trust/partners", "action": "write", "reason": "write: crl.pem changed"},
    ]
    assert filters.revocation_foreseen({"changes": changes}, gateways, ISSUING) == [
        "client/alice: revoke: unspecified, serial 4F",
        "gw1/orders would refuse it",
    ]
    assert filters.revocation_foreseen({"changes": []}, gateways, ISSUING) == ["nothing: all of it is revoked already"]


def test_every_gateway_without_a_proof_is_named_with_the_cause() -> None:
    proof = {"site": "orders", "name": "client/alice", "serial": "4F", "proof": "shown", "passed": True, "found": "403"}
    sites = {"nginx_mtls_sites": [ORDERS]}
    gateways = [
        {"inventory_hostname": "gw1", **sites, "revoke_reached": True, "revoke_proof": {"proofs": [proof]}},
        {"inventory_hostname": "gw2", **sites},
        {"inventory_hostname": "gw3", **sites, "revoke_reached": True},
        {
            "inventory_hostname": "gw4",
            **sites,
            "revoke_reached": True,
            "revoke_proof": {"failed": True, "msg": "let in", "proofs": [{**proof, "passed": False}]},
        },
        {"inventory_hostname": "gw5", "nginx_mtls_sites": []},
    ]
    assert filters.revocation_incomplete(gateways) == [
        "gw2 (not reached)",
        "gw3 (not delivered, see the error above)",
        "gw4 (let in)",
    ]
    assert filters.revocation_proofs(gateways) == ["gw1/orders: client/alice (serial 4F) refused, shown: 403"]


def test_what_becomes_of_each_client_is_said_once() -> None:
    certificates = [{"name": f"client/{name}"} for name in ("alice", "bob", "carol", "alice")]
    advice = filters.revocation_advice(certificates, [{"name": "alice"}, {"name": "carol"}], [{"name": "client/carol"}])
    assert [line.split()[0] for line in advice] == ["client/alice", "client/bob", "client/carol"]
    assert "clients.yml gives it a new key" in advice[0]
    assert "it stays out" in advice[1]
    assert "as long as pki_revoke names it" in advice[2]
