"""The tables as a person sees them: aligned, within their width, what is wrong or due first."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.plugin_utils._status import tables, words

NONE = {"total": 0, "expired": 0, "due": 0, "valid": 0, "revoked": 0}


def certificate(name: str, state: str, days_left: int, **more: Any) -> dict[str, Any]:
    """A certificate as module pki_info tells it."""
    plain = {"issuer": "issuing-g1", "reason": "", "revoked": None, "listed": True, "not_after": "2027-02-22T12:00:00Z"}
    return {**plain, "name": name, "state": state, "days_left": days_left, **more}


REPORT: dict[str, Any] = {
    "name": "demo",
    "store": "/srv/pki/demo",
    "now": "2026-11-24T12:00:00Z",
    "attention": [
        {"level": "wrong", "text": "1 certificate expired: client/late"},
        {"level": "due", "text": "1 certificate due for renewal: client/soon"},
    ],
    "authorities": [
        {
            "label": "root-g1", "issuer": None, "key_type": "ec-p256", "not_after": "2036-11-21T12:00:00Z",
            "days_left": 3650, "state": "valid", "certificates": 0, "name_constraints": "",
            "subject": "CN=demo Root G1", "role": "signing",
        },
        {
            "label": "issuing-g1", "issuer": "root-g1", "key_type": "ec-p256", "not_after": "2029-11-23T12:00:00Z",
            "days_left": 1095, "state": "valid", "certificates": 1234, "name_constraints": "",
            "subject": "CN=demo Issuing G1", "role": "signing",
        },
    ],
    "root_keys_needed": [
        {"label": "root-g1", "reason": "its CRL ends 2027-11-24", "by": "2027-10-25T12:00:00Z", "days_left": 335}
    ],
    "crls": [
        {
            "issuer": "root-g1", "state": "valid", "number": 7, "this_update": "2026-11-24T00:00:00Z",
            "next_update": "2026-12-01T00:00:00Z", "age_hours": 12, "hours_left": 156, "revoked": 0,
        },
        {
            "issuer": "issuing-g1", "state": "missing", "number": 0, "this_update": None, "next_update": None,
            "age_hours": None, "hours_left": None, "revoked": 3,
        },
    ],
    "trust": [
        {"scope": "issuing", "number": 12, "sha256": "ab", "created": "2026-11-23T12:00:00Z", "age_hours": 24},
    ],
    "rotations": [],
    "public": [],
    "undelivered": [],
    "counts": {"all": {**NONE, "total": 4, "expired": 1, "due": 1, "valid": 1, "revoked": 1}, "server": NONE,
               "client": {**NONE, "total": 4, "expired": 1, "due": 1, "valid": 1, "revoked": 1}},
    "not_issued": [],
    "next_expiries": [{"name": "client/soon", "not_after": "2026-12-14T12:00:00Z", "days_left": 20}],
    "running": None,
    "filter": {"kind": "all", "state": "all", "name": "*", "within_days": None, "limit": None},
    "matching": {"total": 4, "expired": 1, "due": 1, "valid": 1, "revoked": 1},
    "certificates": [
        certificate("client/late", "expired", -2, reason="renew: expired 2 days ago"),
        certificate("client/soon", "due", 20, reason="renew: 20 of 90 days left"),
        certificate("client/alice", "valid", 89, listed=False),
        certificate("client/mallory", "revoked", 89, revoked="cessationOfOperation"),
    ],
}  # fmt: skip


def render(report: dict[str, Any], width: int = 100, colour: bool = False, limit: int = 40) -> str:
    """The lines in one text."""
    return "\n".join(tables.render(report, width=width, colour=colour, limit=limit))


def changed(**more: Any) -> dict[str, Any]:
    """The report with other parts."""
    report = {**copy.deepcopy(REPORT), **more}
    if "matching" not in more:
        states = Counter(entry["state"] for entry in report["certificates"])
        report["matching"] = {**NONE, "total": states.total(), **states}
    return report


def test_the_whole_of_it() -> None:
    assert (
        render(REPORT)
        == """\
 demo   2026-11-24 12:00 UTC   /srv/pki/demo

 ✗ 1 certificate expired: client/late
 ! 1 certificate due for renewal: client/soon
 · root-g1: its CRL ends 2027-11-24; bring its key by 2027-10-25 (335 days)
 · Next to end: client/soon (20 days)

 Certificates by state
          expired   due   valid   revoked   total
──────────────────────────────────────────────────
 server         0     0       0         0       0
 client         1     1       1         1       4
 all            1     1       1         1       4

 Authorities
 State   Authority          Left   Until        Key       In force
───────────────────────────────────────────────────────────────────
 valid   root-g1      3,650 days   2036-11-21   ec-p256
 valid   issuing-g1   1,095 days   2029-11-23   ec-p256      1,234

 CRLs
 State     CRL of       Number        Age     Left   Until              Revoked
────────────────────────────────────────────────────────────────────────────────
 valid     root-g1           7   12 hours   6 days   2026-12-01 00:00         0
 missing   issuing-g1                                                         3

 Trust units
 Scope     Number        Age   Since
────────────────────────────────────────────────
 issuing       12   24 hours   2026-11-23 12:00

 Certificates: 4
 State     Certificate            Left   Until        Remark
────────────────────────────────────────────────────────────────────────────────
 expired   client/late      2 days ago   2027-02-22
 due       client/soon         20 days   2027-02-22   renew: 20 of 90 days left
 valid     client/alice        89 days   2027-02-22   no longer listed
 revoked   client/mallory      89 days   2027-02-22   cessationOfOperation"""
    )


def test_all_is_well_is_said() -> None:
    text = render(changed(attention=[], next_expiries=[], trust=[], certificates=[], counts=dict.fromkeys(
        ("all", "server", "client"), NONE)))  # fmt: skip
    assert " ✓ Nothing is wrong or due.\n" in text
    assert "Next to end" not in text
    assert "Trust units" not in text
    assert text.endswith(" Certificates: 0\n None yet.")


def test_a_filter_is_said_and_may_find_nothing() -> None:
    asked = {"kind": "client", "state": "due", "name": "a*", "within_days": 14}
    text = render(changed(certificates=[], filter=asked))
    assert text.endswith(" Certificates: 0 of 4  (client, due, a*, within 14 days)\n None of this kind.")


def test_a_long_list_is_cut_and_the_rest_is_counted() -> None:
    many = [certificate(f"client/c{number}", "valid", 89) for number in range(2000)]
    many.append(certificate("client/mallory", "revoked", 89, revoked="keyCompromise"))
    counts = {**REPORT["counts"], "all": {**NONE, "total": 2001, "valid": 2000, "revoked": 1}}
    text = render(changed(certificates=many, counts=counts), limit=3)
    assert " Certificates: 3 of 2,001\n" in text
    assert text.endswith(" valid   client/c2     89 days   2027-02-22\n and 1,998 more: 1,997 valid, 1 revoked")


def test_what_was_not_fetched_is_counted_too() -> None:
    one = [certificate("client/c1", "due", 9)]
    matching = {**NONE, "total": 10_001, "due": 2, "valid": 9_999}
    counts = {**REPORT["counts"], "all": matching}
    text = render(changed(certificates=one, counts=counts, matching=matching))
    assert " Certificates: 1 of 10,001\n" in text
    assert text.endswith(" and 10,000 more: 1 due, 9,999 valid")


def test_a_run_at_work_is_told_and_how_far_it_is() -> None:
    running = {"command": "pki", "pid": 7, "host": "ca1", "since": "2026-11-24T11:59:30Z", "doing": "issued 1 of 2"}
    text = render(changed(running=running))
    assert " · A run is at work: issued 1 of 2 (pki, pid 7, since 2026-11-24 11:59 UTC)\n" in text
    assert "it has just begun (pki" in render(changed(running={**running, "doing": ""}))
    assert "at work" not in render(REPORT)


def test_the_issuer_is_shown_where_there_are_several() -> None:
    several = [certificate("client/a", "valid", 9), certificate("client/b", "valid", 9, issuer="apps-g2")]
    assert "Issuer" in render(changed(certificates=several))
    assert "Issuer" not in render(REPORT)


@pytest.mark.parametrize("width", [60, 79, 100, 200])
def test_no_line_is_wider_than_asked_for_and_no_name_is_lost(width: int) -> None:
    name = "server/gateway-with-a-rather-long-name.frankfurt.example.com/orders-and-returns"
    report = changed(
        certificates=[certificate(name, "due", 3, reason="renew: 3 of 90 days left", listed=False)],
        attention=[{"level": "due", "text": f"1 certificate due for renewal: {name}"}],
    )
    lines = tables.render(report, width=width, colour=False, limit=40)
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    start = next(number for number, line in enumerate(lines) if line.startswith(" Certificates: 1"))
    column = lines[start + 1].index("Certificate")
    end = lines[start + 1].index("Left")
    folded = "".join(line[column:end].split("   ")[0].strip() for line in lines[start + 3 :])
    assert name in folded.replace(" ", "")


def test_colours_are_on_a_terminal_only() -> None:
    plain, bright = render(REPORT), render(REPORT, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31mexpired" in bright
    assert "\x1b[33mdue" in bright


def test_what_looks_like_markup_is_text() -> None:
    report = changed(attention=[{"level": "due", "text": "[red]x[/red] :smile:"}], store="/srv/[bold]")
    assert "[red]x[/red] :smile:" in render(report)
    assert "/srv/[bold]" in render(report)


@pytest.mark.parametrize(
    ("left", "text"), [(29, "29 days"), (1, "1 day"), (0, "today"), (-1, "1 day ago"), (-400, "400 days ago")]
)
def test_days(left: int, text: str) -> None:
    assert words.days(left) == text


@pytest.mark.parametrize(
    ("left", "text"),
    [(0, "0 hours"), (1, "1 hour"), (47, "47 hours"), (48, "2 days"), (-3, "3 hours ago"), (-71, "2 days ago")],
)
def test_hours(left: int, text: str) -> None:
    assert words.hours(left) == text


def test_a_rotation_is_shown_with_what_it_waits_for() -> None:
    report = copy.deepcopy(REPORT)
    assert not any("Rotations" in line for line in tables.render(report, width=100, colour=False, limit=5))
    report["rotations"] = [
        {
            "kind": "root", "names": ["root", "issuing"], "phase": "introduce", "since": "2026-11-20T12:00:00Z",
            "waits": ["gw2/orders: what it serves is not known"], "under_way": True,
        }
    ]  # fmt: skip
    lines = tables.render(report, width=100, colour=False, limit=5)
    (row,) = (line for line in lines if "introduce" in line)
    assert row.split() == [
        "introduce", "2026-11-20", "root,", "issuing", "gw2/orders:", "what", "it", "serves", "is", "not", "known",
    ]  # fmt: skip


def test_the_names_that_a_ca_is_limited_to_are_shown() -> None:
    limited = {**REPORT["authorities"][-1], "name_constraints": "permitted dns:example.com"}
    assert f"{limited['label']}: names permitted dns:example.com" in render(changed(authorities=[limited]))


def public(name: str, state: str, days_left: int | None, reason: str = "") -> dict[str, Any]:
    """A publicly trusted certificate as module public_certificate tells it."""
    end = None if days_left is None else "2027-02-22T12:00:00Z"
    return {"name": name, "state": state, "days_left": days_left, "not_after": end, "issuer": "CN=R3", "reason": reason}


PUBLIC = [
    public("server/gw1/shop", "missing", None, "issue: no public certificate at hand"),
    public("server/gw2/shop", "due", 29, "renew: 29 of 90 days left"),
    public("server/gw3/shop", "valid", 60),
]


def test_public_certificates_are_a_table_of_their_own() -> None:
    assert "Public certificates" not in render(REPORT)
    lines = render({**REPORT, "public": PUBLIC}).splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip() == "Public certificates")
    rows = [line.split() for line in lines[begin + 3 : begin + 6]]
    assert rows[0] == ["missing", "server/gw1/shop", "issue:", "no", "public", "certificate", "at", "hand"]
    assert rows[1][:5] == ["due", "server/gw2/shop", "29", "days", "2027-02-22"]
    assert rows[2] == ["valid", "server/gw3/shop", "60", "days", "2027-02-22"]
