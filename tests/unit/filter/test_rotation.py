"""What rotate.yml asks of the PKI."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.filter.rotation import (
    reissue_wish,
    rotate_words,
    rotation_view,
    rotation_wish,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

GATEWAYS: list[dict[str, Any]] = [
    {
        "inventory_hostname": "gw1",
        "nginx_mtls_sites": [{"name": "orders"}, {"name": "silent"}],
        "nginx_mtls_checked": {"served": {"orders": {"release": "r", "trust": "12", "serial": "0A"}}},
    },
    {"inventory_hostname": "gw2", "nginx_mtls_sites": [{"name": "orders"}]},
]


@pytest.mark.parametrize(
    ("rotate", "kind"),
    [
        ("", "none"),
        ("leaf", "none"),
        ("issuing", "issuing"),
        ("leaf, issuing", "issuing"),
        (["root", "issuing"], "root"),
    ],
)
def test_words_say_what_is_rotated(rotate: Any, kind: str) -> None:
    assert rotation_wish(rotate, {}, GATEWAYS)["kind"] == kind


def test_all_stands_for_every_word() -> None:
    assert rotate_words("all") == rotate_words("leaf,all") == ["leaf", "password", "issuing", "root"]
    wish = rotation_wish("all", {"rotate_names": "client/*"}, [])
    assert (wish["kind"], wish["names"]) == ("root", [])
    assert reissue_wish("all", "client/*", "x")["names"] == ["client/*"]


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(KitError, match="some of leaf, password, issuing, root, all"):
        rotate_words("roots")


def test_only_what_was_seen_is_observed() -> None:
    assert rotation_wish("root", {}, GATEWAYS)["observed"] == [
        {"gateway": "gw1", "site": "orders", "scope": "issuing", "trust": 12, "serial": "0A"}
    ]


def test_variables_of_the_run_go_before_the_inventory() -> None:
    variables = {
        "pki_rotate": {"overlap_days": 7, "clients": "now"},
        "rotate_clients": "window",
        "rotate_confirmed": "true",
        "rotate_cross_sign": "no",
        "rotate_without": "gw8,gw9",
        "rotate_names": "partners",
    }
    wish = rotation_wish("issuing", variables, [])
    assert (wish["overlap_days"], wish["clients"], wish["confirmed"], wish["cross_sign"]) == (7, "window", True, False)
    assert (wish["without"], wish["names"]) == (["gw8", "gw9"], ["partners"])


def test_the_second_call_of_a_run_takes_no_step() -> None:
    assert rotation_wish("root", {"rotate_step": "back"}, [], True)["step"] == "hold"
    assert rotation_wish("root", {"rotate_step": "back"}, [])["step"] == "back"


def test_leaves_are_named_by_globs() -> None:
    assert reissue_wish("leaf", "gw1/* alice", "2026-11-24T12:00:00+00:00") == {
        "names": ["gw1/*", "alice"],
        "before": "2026-11-24T12:00:00+00:00",
    }
    assert reissue_wish("leaf", [], "x")["names"] == ["*"]
    assert reissue_wish("root", [], "x") == {}


LOOK: dict[str, Any] = {
    "certificates": [
        {"issuer": "CN=demo Issuing G1", "serial": "0A", "name": "alice", "last_seen": "2026-11-24T12:00:00Z"}
    ],
    "since": "2026-10-25T12:00:00Z",
    "complete": True,
}


def test_whom_the_access_logs_show_is_handed_on() -> None:
    gateways = [{**GATEWAYS[0], "nginx_mtls_presented": {"sites": {"orders": LOOK}}}, GATEWAYS[1]]
    assert rotation_wish("root", {}, iter(gateways))["presented"] == [
        {"gateway": "gw1", "issuer": "CN=demo Issuing G1", "serial": "0A", "last_seen": "2026-11-24T12:00:00Z"}
    ]


def test_the_view_names_who_is_cut_off_and_what_is_not_known() -> None:
    one = {"gateway": "gw1", "name": "client/alice", "issuer": "issuing-g1", "last_seen": "2026-11-24T12:00:00Z"}
    rotation: dict[str, Any] = {
        "phase": "switch",
        "cut_off": [{**one, "replaced": "2026-11-20T12:00:00Z"}, {**one, "name": "client/bob", "replaced": None}],
        "distrusting": ["gw3/orders: it serves trust 3, and 4 brought the new CA"],
    }
    cut = {"sites": {"orders": {**LOOK, "complete": False}}}
    gateways = [{**GATEWAYS[0], "nginx_mtls_presented": cut}, GATEWAYS[1], {"inventory_hostname": "no sites"}]
    assert rotation_view(rotation, gateways) == [
        "client/alice at gw1 would be cut off by the end: last seen 2026-11-24 12:00 UTC with its certificate of "
        "issuing-g1, and it got a new one 2026-11-20",
        "client/bob at gw1 would be cut off by the end: last seen 2026-11-24 12:00 UTC with its certificate of "
        "issuing-g1, and it has no new one yet",
        "the new CA is not trusted yet at gw3/orders: it serves trust 3, and 4 brought the new CA",
        "not all known of gw1/orders: its access log is too long",
        "not known of gw2: its access logs were not read",
    ]
    rotation = {**rotation, "phase": "retired", "distrusting": []}
    assert "client/alice at gw1 is refused from now on" in rotation_view(rotation, [])[0]
    assert rotation_view({"phase": "none", "cut_off": [], "distrusting": []}, []) == [
        "nobody who was seen in the access logs, and every gateway that was seen trusts what is new"
    ]
