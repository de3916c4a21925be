"""What is known to be served and handed out: the trust unit of each site, and what each client's bundle holds."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Ledger

_PREFIX: Final = "delivered "
_BUNDLE: Final = "bundle "


@dataclass(frozen=True)
class Served:
    """What a poll after a reload found a site to serve: the trust unit ``number`` of ``scope``.

    ``accept`` are the issuing CAs whose clients the scope lets in.
    """

    gateway: str
    site: str
    scope: str
    accept: tuple[str, ...]
    number: int


@dataclass(frozen=True)
class Undelivered:
    """A site that may still let revoked clients in. ``trust`` is the unit it serves as far as is known."""

    gateway: str
    site: str
    trust: int
    revoked: tuple[str, ...]
    since: datetime
    """When the first of them was revoked."""

    def as_dict(self) -> dict[str, Any]:
        """The form of a report."""
        return {
            "gateway": self.gateway,
            "site": self.site,
            "trust": self.trust,
            "revoked": list(self.revoked),
            "since": clock.iso(self.since),
        }


@dataclass(frozen=True)
class Bundled:
    """What a client's bundle holds, by the numbers of the authorities.

    ``issuer`` is the CA of its certificate and ``since`` when it first was of that one; ``anchors`` says of each trust
    anchor in it when it came in.
    """

    issuer: int
    since: datetime
    anchors: Mapping[int, datetime]


def served_from(entries: Iterable[dict[str, Any]]) -> list[Served]:
    """What the filter ``served_trust`` gives; KitError for a gateway or site that can't be one."""
    found = []
    for entry in entries:
        names.check_certificate_name(f"server/{entry['gateway']}/{entry['site']}")
        if entry["number"] < 1:
            raise KitError(
                f"trust of {entry['gateway']}/{entry['site']}",
                f"the number {entry['number']}",
                "1 or more",
                "hand over what the filter served_trust gives",
            )
        found.append(Served(entry["gateway"], entry["site"], entry["scope"], tuple(entry["accept"]), entry["number"]))
    return found


def news(ledger: Ledger, served: Iterable[Served]) -> dict[str, str]:
    """The facts to be written, by their key: only what is not recorded yet.

    Of each site is kept when its trust unit was made: what was revoked later has not reached it. A unit that is no
    longer the one in force is not recorded, for nobody knows any more when it was made.
    """
    units = ledger.trust_units()
    recorded = ledger.metas(_PREFIX)
    found = {}
    for one in served:
        unit = units.get(one.scope)
        if unit is None or unit.number != one.number:
            continue
        site = f"{one.gateway}/{one.site}"
        value = json.dumps([one.scope, one.number, clock.seconds(unit.created), list(one.accept)])
        if recorded.get(site) != value:
            found[_PREFIX + site] = value
    return found


def delivered(ledger: Ledger) -> list[dict[str, Any]]:
    """What is recorded of each site, in the form of the filter ``served_trust``."""
    found = []
    for site, value in ledger.metas(_PREFIX).items():
        gateway, _, name = site.partition("/")
        scope, number, _, accept = json.loads(value)
        found.append({"gateway": gateway, "site": name, "scope": scope, "accept": accept, "number": number})
    return found


def record(ledger: Ledger, found: Mapping[str, str]) -> None:
    """Write what ``news`` or ``bundle_news`` found."""
    if found:
        with ledger.transaction():
            for key, value in found.items():
                ledger.set_meta(key, value)


def bundled(ledger: Ledger) -> dict[str, Bundled]:
    """What the bundle of each client (``client/<name>``) holds, as far as runs have recorded it."""
    found = {}
    for name, value in ledger.metas(_BUNDLE).items():
        issuer, since, anchors = json.loads(value)
        moments = {int(number): clock.moment(when) for number, when in anchors.items()}
        found[name] = Bundled(issuer, clock.moment(since), moments)
    return found


def bundle_news(ledger: Ledger, clients: Iterable[str], anchors: Collection[int], now: datetime) -> dict[str, str]:
    """The facts to be written, by their key, after the bundles of ``clients`` were: only what is not recorded yet.

    Bundles are written from what the ledger holds; ``anchors`` are the trust anchors by their numbers. Of a client
    without a certificate there is no bundle.
    """
    current, recorded = ledger.current(), bundled(ledger)
    found = {}
    for name in clients:
        issued, before = current.get(f"client/{name}"), recorded.get(f"client/{name}")
        if issued is None:
            continue
        since = before.since if before is not None and before.issuer == issued.issuer else now
        known = before.anchors if before is not None else {}
        after = Bundled(issued.issuer, since, {number: known.get(number, now) for number in anchors})
        if after != before:
            moments = {number: clock.seconds(when) for number, when in after.anchors.items()}
            found[f"{_BUNDLE}client/{name}"] = json.dumps([after.issuer, clock.seconds(after.since), moments])
    return found


def undelivered(ledger: Ledger, now: datetime, sites: Collection[str] | None = None) -> list[Undelivered]:
    """Sites (``<gateway>/<site>``, None: all that are recorded) that some revocation has not reached.

    A site that no run has been recorded for is left out: what it serves, if anything, is not known.
    """
    units = ledger.trust_units()
    issuers = {ca.number: ca.name for ca in ledger.authorities()}
    found = []
    for place, value in ledger.metas(_PREFIX).items():
        scope, number, created, accept = json.loads(value)
        if (sites is not None and place not in sites) or (scope in units and units[scope].number == number):
            continue
        later = [
            (name, when)
            for issuer, name, when in ledger.revoked_after(clock.moment(created), now)
            if issuers.get(issuer) in accept
        ]
        if later:
            gateway, _, site = place.partition("/")
            revoked = tuple(dict.fromkeys(name for name, _ in later))
            found.append(Undelivered(gateway, site, number, revoked, later[0][1]))
    return found
