"""Clients as certificates."""

from __future__ import annotations

from ansible_collections.mtls.kit.plugins.filter.client_certificates import FilterModule


def test_a_client_keeps_its_wishes_and_gets_a_path() -> None:
    clients = [{"name": "alice", "groups": ["buyers"], "days": 30}, {"name": "hub", "profile": "both"}]
    assert FilterModule().filters()["client_certificates"](clients) == [
        {"name": "client/alice", "profile": "client", "source": "key", "groups": ["buyers"], "days": 30},
        {"name": "client/hub", "profile": "both", "source": "key"},
    ]


def test_what_a_bundle_is_to_be_is_no_wish_of_the_certificate() -> None:
    filters = FilterModule().filters()
    clients = [{"name": "alice", "platforms": ["java"]}, {"name": "bob", "platforms": []}, {"name": "carol"}]
    assert all("platforms" not in certificate for certificate in filters["client_certificates"](clients))
    assert filters["platforms_of_clients"](clients) == {"alice": ["java"]}
