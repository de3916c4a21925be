"""The report of module ``pki_info`` as one HTML page that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ansible_collections.mtls.kit.plugins.module_utils._pki.inspection import KINDS, STATES
from ansible_collections.mtls.kit.plugins.plugin_utils._status import words

Report = Mapping[str, Any]
Certificate = Mapping[str, Any]

PHASES: Final = ("introduce", "switch", "retired")
"""The phases of a rotation of CA keys, in their order."""

_HERE: Final = Path(__file__).parent
_BIN_DAYS: Final = (1, 2, 7, 14, 28, 91, 182, 364)
_MOST_BINS: Final = 26
_NAMED: Final = 5
_TICKS_OF_TIME: Final = 6
_TICKS: Final = ((1, "1 day"), (7, "1 week"), (30, "1 month"), (365, "1 year"), (3650, "10 years"))
_LONGEST_DAYS: Final = 20 * 365
_STACK: Final = ("due", "valid")
"""What of a bar stands at the bottom comes first."""

CHART_HEAD: Final = 18.0
CHART_FOOT: Final = 150.0
"""Pixels from the top of the timeline where its bars end and stand."""


@dataclass(frozen=True)
class Segment:
    """A part of a bar as it is drawn: ``x`` and ``width`` in percent, ``y`` and ``height`` in pixels."""

    state: str
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """The certificates that end within some days: what is told of them, how they are drawn, and a tick below."""

    told: str
    segments: Sequence[Segment]
    tick: str
    x: float


@dataclass(frozen=True)
class Timeline:
    """When certificates end; ``highest`` is how many the highest bar stands for."""

    bars: Sequence[Bar]
    highest: int
    bin_days: int


@dataclass(frozen=True)
class Life:
    """What is left of an authority or a CRL; ``percent`` is on a logarithmic scale."""

    name: str
    state: str
    left: str
    until: str
    percent: float


@dataclass
class Node:
    """An authority and those it signed."""

    authority: Mapping[str, Any]
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class Site:
    """A site of a gateway with its certificate, and the revocation that hasn't reached it, if any."""

    name: str
    certificate: Certificate
    undelivered: Mapping[str, Any] | None


def render(report: Report, limit: int) -> str:
    """The page; it shows at most ``limit`` certificates and gateways, and counts the rest.

    Whatever comes from names, subjects or reasons is escaped, and the page's own policy lets no script run.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(days=words.days, hours=words.hours, day=words.day, moment=words.moment)
    style = (_HERE / "page.css").read_text()
    gateways = _gateways(report)
    shown = report["certificates"][:limit]
    return environment.get_template("page.html.j2").render(
        report=report,
        style=style,
        # Browsers apply no other style and fetch nothing, whatever a name contains.
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        levels=Counter(entry["level"] for entry in report["attention"]),
        states=STATES,
        kinds=KINDS,
        phases=PHASES,
        asked=words.asked(report["filter"]),
        timeline=_timeline(report),
        chart=(CHART_HEAD, CHART_FOOT),
        lives=list(_lives(report)),
        ticks=[(label, _percent(days)) for days, label in _TICKS],
        roots=_tree(report["authorities"]),
        gateways=gateways[:limit],
        more_gateways=max(len(gateways) - limit, 0),
        certificates=[(entry, words.remark(entry)) for entry in shown],
        more_certificates=report["matching"]["total"] - len(shown),
        public=report["public"][:limit],
        more_public=max(len(report["public"]) - limit, 0),
    )


# ---------------------------------------------------------------------- when certificates end


def _timeline(report: Report) -> Timeline:
    ending = [entry for entry in report["certificates"] if entry["state"] in _STACK]
    expired = [entry for entry in report["certificates"] if entry["state"] == "expired"]
    today = date.fromisoformat(words.day(report["now"]))
    longest = max((entry["days_left"] for entry in ending), default=0)
    bin_days = next((days for days in _BIN_DAYS if longest // days < _MOST_BINS), _BIN_DAYS[-1])
    bins: list[list[Certificate]] = [[] for _ in range(min(longest // bin_days, _MOST_BINS - 1) + 1)]
    for entry in ending:
        bins[min(entry["days_left"] // bin_days, len(bins) - 1)].append(entry)
    spans = [("ended", "ended already", expired)] if expired else []
    for number, found in enumerate(bins):
        first = today + timedelta(days=number * bin_days)
        last = first + timedelta(days=bin_days - 1)
        spans.append((f"{first:%-d %b}", f"{first}" if bin_days == 1 else f"{first} to {last}", found))
    highest = max(1, *(len(found) for _, _, found in spans))
    step, every = 100 / len(spans), math.ceil(len(spans) / _TICKS_OF_TIME)
    bars = [
        Bar(
            _told(span, found),
            _segments(found, number * step, step, highest),
            "" if number % every else tick,
            number * step,
        )
        for number, (tick, span, found) in enumerate(spans)
    ]
    return Timeline(bars, highest, bin_days)


def _told(span: str, found: Sequence[Certificate]) -> str:
    names = [entry["name"] for entry in found[:_NAMED]]
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    return f"{span}: {len(found):,}" + (f" ({', '.join(names)}{more})" if found else "")


def _segments(found: Sequence[Certificate], x: float, step: float, highest: int) -> list[Segment]:
    counted = Counter(entry["state"] for entry in found)
    segments, foot = [], CHART_FOOT
    for state in ("expired", *_STACK):
        height = counted[state] / highest * (CHART_FOOT - CHART_HEAD)
        if height:
            foot -= height
            segments.append(
                Segment(state, round(x + step * 0.1, 3), round(step * 0.8, 3), round(foot, 1), round(height, 1))
            )
    return segments


# ---------------------------------------------------------------------- authorities and CRLs


def _lives(report: Report) -> Iterator[Life]:
    for ca in report["authorities"]:
        if ca["state"] not in ("retired", "withdrawn"):
            left = words.days(ca["days_left"])
            yield Life(ca["label"], ca["state"], left, words.day(ca["not_after"]), _percent(ca["days_left"]))
    for crl in report["crls"]:
        name = f"CRL of {crl['issuer']}"
        if crl["next_update"] is None:
            yield Life(name, crl["state"], "none", "", 0)
        else:
            left = words.hours(crl["hours_left"])
            yield Life(name, crl["state"], left, words.moment(crl["next_update"]), _percent(crl["hours_left"] / 24))


def _percent(days: float) -> float:
    """Where ``days`` from now are, between 0 and 100."""
    return round(min(100 * math.log1p(max(days, 0)) / math.log1p(_LONGEST_DAYS), 100), 2)


def _tree(authorities: Iterable[Mapping[str, Any]]) -> list[Node]:
    nodes = {ca["label"]: Node(ca) for ca in authorities}
    roots = []
    for node in nodes.values():
        above = nodes.get(node.authority["issuer"])
        (roots if above is None else above.children).append(node)
    return roots


# ---------------------------------------------------------------------- gateways


def _gateways(report: Report) -> list[tuple[str, list[Site]]]:
    """The gateways with their sites, those whose revocations are missing or whose certificates end first come first."""
    undelivered = {(site["gateway"], site["site"]): site for site in report["undelivered"]}
    found: dict[str, list[Site]] = {}
    for entry in report["certificates"]:
        kind, _, rest = entry["name"].partition("/")
        gateway, _, site = rest.partition("/")
        if kind == "server":
            found.setdefault(gateway, []).append(Site(site, entry, undelivered.get((gateway, site))))
    return sorted(found.items(), key=lambda item: all(site.undelivered is None for site in item[1]))
