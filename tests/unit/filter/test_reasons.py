"""Reasons are shown line by line, and a long list is cut with its number."""

from __future__ import annotations

from ansible_collections.mtls.kit.plugins.filter.reasons import reasons

CHANGES = [{"name": f"client/c{number}", "action": "issue", "reason": "issue: new"} for number in range(5)]


def test_a_line_each() -> None:
    assert reasons(CHANGES[:2]) == ["client/c0: issue: new", "client/c1: issue: new"]
    assert reasons([]) == []


def test_a_long_list_is_cut_and_says_so() -> None:
    assert reasons(CHANGES, 5) == [f"client/c{number}: issue: new" for number in range(5)]
    assert reasons(CHANGES, 3) == [
        "client/c0: issue: new",
        "client/c1: issue: new",
        "and 3 more, all of them in the module's result (-v)",
    ]
