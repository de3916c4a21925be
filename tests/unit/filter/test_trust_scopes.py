"""Sites that accept the same issuing CAs share a trust scope; a site never accepts a CA by accident."""

from __future__ import annotations

import pytest

from ansible_collections.mtls.kit.plugins.filter.trust_scopes import site_trust_scope, trust_scopes
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

ISSUING = [
    {"name": "servers", "purposes": ["server"]},
    {"name": "staff", "purposes": ["client"]},
    {"name": "partners", "purposes": ["client"]},
]


def test_equal_sets_in_any_order_are_one_scope() -> None:
    gateways = {
        "gw1": [{"name": "a", "accept_issuers": ["staff", "partners"]}],
        "gw2": [{"name": "b", "accept_issuers": []}, {"name": "c", "accept_issuers": ["staff"]}],
    }
    assert trust_scopes(gateways, ISSUING) == [
        {"scope": "partners+staff", "accept": ["partners", "staff"]},
        {"scope": "staff", "accept": ["staff"]},
    ]


def test_a_ca_for_servers_only_is_not_accepted_by_default() -> None:
    assert site_trust_scope({"name": "a"}, ISSUING) == "partners+staff"


def test_purposes_default_to_all() -> None:
    assert site_trust_scope({"name": "a"}, [{"name": "issuing"}]) == "issuing"


def test_no_issuing_cas_means_the_default_one() -> None:
    assert site_trust_scope({"name": "a"}, []) == "issuing"


@pytest.mark.parametrize(
    ("accept", "issuing", "found"),
    [
        (["stuff"], ISSUING, "found stuff; expected issuing CAs with the purpose client: partners, staff"),
        (["servers"], ISSUING, "found servers; expected"),
        (None, ISSUING[:1], "found no issuing CA"),
    ],
)
def test_a_site_that_could_accept_nobody_is_refused(accept: list[str] | None, issuing: list[dict], found: str) -> None:
    site = {"name": "orders", "accept_issuers": accept}
    with pytest.raises(KitError, match="accept_issuers of site 'orders'") as caught:
        trust_scopes({"gw1": [site]}, issuing)
    assert found in str(caught.value)
