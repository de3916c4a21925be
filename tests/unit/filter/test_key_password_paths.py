"""Every private key of a PKI has a password of its own."""

from __future__ import annotations

from ansible_collections.mtls.kit.plugins.filter.key_password_paths import key_password_paths
from ansible_collections.mtls.kit.plugins.filter.server_certificates import server_certificates


def test_paths_of_items_as_the_playbook_has_them() -> None:
    servers = server_certificates({"gw1": [{"name": "orders", "server_names": ["orders.example"]}]})
    assert key_password_paths([{"name": "staff"}], [{"name": "bob"}, {"name": "alice"}], servers) == [
        "ca/root",
        "ca/staff",
        "client/alice",
        "client/bob",
        "server/gw1/orders",
    ]


def test_paths_of_names() -> None:
    assert key_password_paths(["staff"], ["alice"], ["server/gw1/orders"]) == [
        "ca/root",
        "ca/staff",
        "client/alice",
        "server/gw1/orders",
    ]


def test_an_empty_pki_has_its_root_and_the_default_issuing_ca() -> None:
    assert key_password_paths([]) == ["ca/issuing", "ca/root"]


def test_who_brings_a_request_keeps_the_password() -> None:
    clients = [{"name": "alice", "source": "key"}, {"name": "partner", "source": "csr"}]
    assert key_password_paths([], clients) == ["ca/issuing", "ca/root", "client/alice"]


def test_who_orders_public_certificates_has_an_account() -> None:
    assert "acme/account" in key_password_paths([], [], [], [{"name": "server/gw1/orders"}])
    assert "acme/account" not in key_password_paths([], [], ["server/gw1/orders"], [])
