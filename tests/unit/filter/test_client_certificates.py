"""Clients as certificates."""

from __future__ import annotations

from ansible_collections.mtls.kit.plugins.filter.client_certificates import FilterModule


def test_a_client_keeps_its_wishes_and_gets_a_path() -> None:
    clients = [{"name": "alice", "groups": ["buyers"], "days": 30}, {"name": "hub", "profile": "both"}]
    assert FilterModule().filters()["client_certificates"](clients) == [
        {"name": "client/alice", "profile": "client", "source": "key", "groups": ["buyers"], "days": 30},
        {"name": "client/hub", "profile": "both", "source": "key"},
    ]
