"""The report of module ``pki_info`` as tables, what is wrong or due first."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ansible_collections.mtls.kit.plugins.module_utils._pki.inspection import KINDS, STATES
from ansible_collections.mtls.kit.plugins.plugin_utils._status.words import asked, day, days, hours, moment, remark

NARROWEST: Final = 60
"""Columns below which tables can't be read anyway."""

_STYLES: Final = {
    "expired": "bold red",
    "missing": "bold red",
    "due": "yellow",
    "valid": "green",
    "revoked": "dim",
    "retired": "dim",
    "withdrawn": "dim",
}
_MARKS: Final = {"wrong": ("✗", "bold red"), "due": ("!", "yellow")}
_REMARK_WIDTH: Final = 22

Report = Mapping[str, Any]


def render(report: Report, *, width: int, colour: bool, limit: int) -> list[str]:
    """``report`` in lines of at most ``width`` columns, with at most ``limit`` certificates.

    Without ``colour`` there is nothing in them but text.
    """
    target = io.StringIO()
    console = Console(
        file=target,
        width=max(width, NARROWEST),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    for part in _parts(report, limit):
        console.print(part)
    return [line.rstrip() for line in target.getvalue().splitlines()]


def _parts(report: Report, limit: int) -> Iterator[RenderableType]:
    yield _indented(
        Text.assemble((report["name"], "bold"), f"   {moment(report['now'])} UTC   ", (report["store"], "dim"))
    )
    yield ""
    if report["running"]:
        run = report["running"]
        since = f"{run['command']}, pid {run['pid']}, since {moment(run['since'])} UTC"
        yield _marked("·", "dim", f"A run is at work: {run['doing'] or 'it has just begun'} ({since})")
    for entry in report["attention"]:
        yield _marked(*_MARKS[entry["level"]], entry["text"])
    if not report["attention"]:
        yield _marked("✓", "green", "Nothing is wrong or due.")
    for line in _next_to_end(report):
        yield _marked("·", "dim", line)
    yield from _section("Certificates by state", _counts(report["counts"]))
    yield from _section("Authorities", _authorities(report["authorities"]))
    for ca in report["authorities"]:
        if names := ca["name_constraints"]:
            yield _marked("·", "dim", f"{ca['label']}: names {names}")
    if report["rotations"]:
        yield from _section("Rotations", _rotations(report["rotations"]))
    yield from _section("CRLs", _crls(report["crls"]))
    if report["trust"]:
        yield from _section("Trust units", _trust(report["trust"]))
    if report["public"]:
        yield from _section("Public certificates", _public(report["public"][:limit]))
        if (more := len(report["public"]) - limit) > 0:
            yield _indented(f"and {more:,} more")
    yield from _certificates(report, limit)


def _indented(text: RenderableType) -> Padding:
    return Padding(text, (0, 1))


def _marked(mark: str, style: str, text: str) -> Table:
    """A line with a mark before it, folded under itself."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(no_wrap=True)
    line.add_column(overflow="fold")
    line.add_row(Text(f" {mark}", style=style), Text(text))
    return line


def _section(title: str, content: RenderableType) -> Iterator[RenderableType]:
    yield ""
    yield _indented(Text(title, style="bold"))
    yield content


def _table(*columns: str) -> Table:
    """A table; a column whose title begins with ``>`` is aligned to the right, with ``~`` it may be folded."""
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=True, show_edge=False)
    for title in columns:
        folded = title.startswith("~")
        table.add_column(
            title.lstrip("~>"),
            justify="right" if title.startswith(">") else "left",
            no_wrap=not folded,
            overflow="fold" if folded else "ellipsis",
        )
    return table


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _next_to_end(report: Report) -> Iterator[str]:
    for need in report["root_keys_needed"]:
        yield f"{need['label']}: {need['reason']}; bring its key by {day(need['by'])} ({days(need['days_left'])})"
    if report["next_expiries"]:
        ends = [f"{entry['name']} ({days(entry['days_left'])})" for entry in report["next_expiries"]]
        yield f"Next to end: {', '.join(ends)}"


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    table = _table("", *(f">{state}" for state in STATES), ">total")
    for kind in (*KINDS, "all"):
        numbers = counts[kind]
        cells = [Text(f"{numbers[state]:,}", style=_STYLES[state] if numbers[state] else "dim") for state in STATES]
        table.add_row(kind, *cells, f"{numbers['total']:,}")
    return table


def _authorities(authorities: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("State", "~Authority", ">Left", "Until", "Key", ">In force")
    for ca in authorities:
        table.add_row(
            _state(ca["state"]),
            Text(ca["label"]),
            days(ca["days_left"]),
            day(ca["not_after"]),
            ca["key_type"],
            f"{ca['certificates']:,}" if ca["issuer"] is not None or ca["certificates"] else "",
        )
    return table


def _rotations(rotations: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Phase", "Since", "~Of", "~Waits for")
    for one in rotations:
        style = _STYLES["due"] if one["under_way"] else "dim"
        waits = one["waits"] or (["the next run"] if one["under_way"] else [])
        table.add_row(
            Text(one["phase"], style=style), day(one["since"]), Text(", ".join(one["names"])), Text("\n".join(waits))
        )
    return table


def _crls(crls: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("State", "~CRL of", ">Number", ">Age", ">Left", "Until", ">Revoked")
    for crl in crls:
        if crl["state"] == "missing":
            table.add_row(_state(crl["state"]), Text(crl["issuer"]), *[""] * 4, f"{crl['revoked']:,}")
            continue
        table.add_row(
            _state(crl["state"]),
            Text(crl["issuer"]),
            str(crl["number"]),
            hours(crl["age_hours"]),
            hours(crl["hours_left"]),
            moment(crl["next_update"]),
            f"{crl['revoked']:,}",
        )
    return table


def _trust(units: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("~Scope", ">Number", ">Age", "Since")
    for unit in units:
        table.add_row(Text(unit["scope"]), str(unit["number"]), hours(unit["age_hours"]), moment(unit["created"]))
    return table


def _public(certificates: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("State", "~Certificate", ">Left", "Until", "~Remark")
    table.columns[-1].min_width = _REMARK_WIDTH
    for entry in certificates:
        there = entry["not_after"] is not None
        ends = (days(entry["days_left"]), day(entry["not_after"])) if there else ("", "")
        table.add_row(_state(entry["state"]), Text(entry["name"]), *ends, Text(entry["reason"]))
    return table


def _certificates(report: Report, limit: int) -> Iterator[RenderableType]:
    found, total = report["certificates"], report["counts"]["all"]["total"]
    shown = found[:limit]
    number = f"{total:,}" if len(shown) == total else f"{len(shown):,} of {total:,}"
    narrowed = asked(report["filter"])
    yield ""
    yield _indented(Text.assemble((f"Certificates: {number}", "bold"), f"  ({narrowed})" if narrowed else ""))
    if not found:
        yield _indented("None of this kind." if total else "None yet.")
        return
    # Which CA signed is worth a column only where there are several.
    several = len({entry["issuer"] for entry in shown}) > 1
    table = _table("State", "~Certificate", ">Left", "Until", *(["Issuer"] if several else []), "~Remark")
    # The reasons of revocations are one long word.
    table.columns[-1].min_width = _REMARK_WIDTH
    for entry in shown:
        table.add_row(
            _state(entry["state"]),
            Text(entry["name"]),
            days(entry["days_left"]),
            day(entry["not_after"]),
            *([Text(entry["issuer"])] if several else []),
            Text(remark(entry), style="dim" if entry["state"] == "revoked" else ""),
        )
    yield table
    told = Counter(entry["state"] for entry in shown)
    rest = {state: report["matching"][state] - told[state] for state in STATES}
    if any(rest.values()):
        counted = ", ".join(f"{number:,} {state}" for state, number in rest.items() if number)
        yield _indented(f"and {sum(rest.values()):,} more: {counted}")
