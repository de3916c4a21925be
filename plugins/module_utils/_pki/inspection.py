"""What a store holds and how it stands, told from the ledger alone. Pure: the clock is an argument."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    clock,
    constraints,
    delivery,
    handover,
    lifecycle,
    names,
    offline,
    place,
    profiles,
    rotation,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import CrlSpec, renewal_window
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Crl, Issued, Ledger

STATES: Final = ("expired", "due", "valid", "revoked")
"""States of a certificate, the most urgent first; ``due`` is what the next run renews."""

LEVELS: Final = ("wrong", "due")
"""What needs somebody is wrong already, or due: the next run, or a person, has to do something."""

KINDS: Final = ("server", "client")

LAST_DAYS: Final = 7
"""So long before the end of what a client has it is wrong that it has not taken its present bundle."""

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_NEXT: Final = 3
_NAMED: Final = 5


@dataclass(frozen=True)
class Windows:
    """From when on something is due: a leaf's life, renewal window and its spread in days, a CRL's age in hours.

    The CRL of a root that is kept offline is due when its key is to be brought.
    """

    leaf_days: int = 90
    renew_days: int = 30
    renew_jitter_days: int = 10
    refresh_hours: int = 24
    root_offline: bool = False


WINDOWS: Final = tuple(field.name for field in fields(Windows))


@dataclass(frozen=True)
class Filter:
    """Which certificates are asked for, and how many of them at most.

    ``name`` is a glob on the whole name or on what follows its kind.
    """

    kind: str = "all"
    state: str = "all"
    name: str = "*"
    within_days: int | None = None
    limit: int | None = None

    def takes(self, certificate: CertificateStatus) -> bool:
        """Whether ``certificate`` is asked for; one that has ended is within any number of days."""
        kind, _, rest = certificate.name.partition("/")
        return (
            self.kind in ("all", kind)
            and self.state in ("all", certificate.state)
            and (self.within_days is None or certificate.days_left <= self.within_days)
            and (fnmatchcase(certificate.name, self.name) or fnmatchcase(rest, self.name))
        )


@dataclass(frozen=True)
class CertificateStatus:
    """The newest certificate of a name. ``reason`` says why it is due; ``revoked`` is its revocation's reason."""

    name: str
    state: str
    days_left: int
    reason: str
    revoked: str | None
    listed: bool
    not_before: str
    not_after: str
    issuer: str
    serial: str
    profile: str
    subject: str
    sans: Sequence[str]
    groups: Sequence[str]
    key_type: str

    def urgency(self) -> tuple[int, str, str]:
        """Sorts what is wrong or due first, then what is no longer listed, and within each what ends first."""
        unlisted = self.state == "valid" and not self.listed
        return _URGENCY["unlisted" if unlisted else self.state], self.not_after, self.name


_URGENCY: Final = {"expired": 0, "due": 1, "unlisted": 2, "valid": 3, "revoked": 4}


@cache
def _groups(text: str) -> list[str]:
    # Thousands of certificates have the same few groups.
    found: list[str] = json.loads(text)
    return found


def days_left(end: datetime, now: datetime) -> int:
    """Whole days until ``end``; negative for the whole days that have gone since."""
    return (end - now) // _DAY if end >= now else -((now - end) // _DAY)


def wanted_from(text: str | None) -> list[dict[str, Any]] | None:
    """The desired list in a JSON text; None where there is no text. KitError for something else."""
    if text is None:
        return None
    try:
        wanted = json.loads(text)
    except ValueError:
        wanted = None
    if not isinstance(wanted, list) or not all(isinstance(entry, dict) for entry in wanted):
        raise KitError(
            "certificates",
            "something else than a JSON list of objects",
            '[{"name": "client/alice"}]',
            "hand in the list that module pki takes",
        )
    return wanted


def _constraints(ca: Authority) -> str:
    """The names that a CA's certificate limits it to, in words; empty where it limits none."""
    try:
        return str(constraints.of_certificate(x509.load_der_x509_certificate(ca.der)) or "")
    except KitError as error:
        return error.found


def _by_name(wanted: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found = {}
    for entry in wanted:
        name = names.check_certificate_name(str(entry.get("name")))
        for option in ("days", "renew_days"):
            value = entry.get(option)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise KitError(f"certificate {name!r}", f"{option}={value!r}", "a whole number", f"correct {option}")
        found[name] = entry
    return found


class _Inspection:
    """One look at a ledger."""

    def __init__(
        self,
        ledger: Ledger,
        now: datetime,
        windows: Windows,
        wanted: Iterable[Mapping[str, Any]] | None,
        known_profiles: Mapping[str, profiles.Profile],
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._windows = windows
        self._profiles = known_profiles
        self._pki = ledger.meta("name") or ""
        self._current = ledger.current()
        self._wanted = None if wanted is None else _by_name(wanted)
        self._authorities = {ca.number: ca for ca in ledger.authorities()}
        # By name the one that signs, or where none does the newest, which comes last.
        by_turn = sorted(self._authorities.values(), key=lambda ca: ca.state == rotation.SIGNING)
        self._signing = {ca.name: ca for ca in by_turn}

    # ------------------------------------------------------------------ certificates

    def certificates(self) -> list[CertificateStatus]:
        """The newest of each name, the most urgent first.

        A name that is no longer listed is left out once its certificate has ended: nobody waits for it.
        """
        found = (self._certificate(issued) for issued in self._current.values())
        return sorted((status for status in found if status is not None), key=CertificateStatus.urgency)

    def _certificate(self, issued: Issued) -> CertificateStatus | None:
        entry = {} if self._wanted is None else self._wanted.get(issued.name)
        ended = issued.not_after < self._now
        if entry is None and ended:
            return None
        reason = None
        if issued.revoked is None and entry is not None:
            profile = self._profiles.get(issued.profile)
            days = renewal_window(entry, self._windows.renew_days, profile)
            window = lifecycle.renewal_window(self._pki, issued, days, self._windows.renew_jitter_days)
            reason = lifecycle.renewal_due(issued, self._issuer_end(issued), window, self._now)
        if issued.revoked is not None:
            state = "revoked"
        elif ended:
            state = "expired"
        else:
            state = "valid" if reason is None else "due"
        return CertificateStatus(
            name=issued.name,
            state=state,
            days_left=days_left(issued.not_after, self._now),
            reason=reason or "",
            revoked=issued.revoked,
            listed=entry is not None,
            not_before=clock.iso(issued.not_before),
            not_after=clock.iso(issued.not_after),
            issuer=self._authorities[issued.issuer].label,
            serial=issued.serial,
            profile=issued.profile,
            subject=issued.subject,
            sans=json.loads(issued.sans),
            groups=_groups(issued.groups),
            key_type=issued.key_type,
        )

    def _issuer_end(self, issued: Issued) -> datetime:
        return self._signing[self._authorities[issued.issuer].name].not_after

    def not_issued(self) -> list[str]:
        """Listed names that never had a certificate."""
        return sorted(set(self._wanted or ()) - set(self._current))

    # ------------------------------------------------------------------ authorities, CRLs, trust

    def authorities(self, certificates: Iterable[CertificateStatus]) -> list[dict[str, Any]]:
        """Every authority; ``certificates`` counts the newest certificates it signed that are in force."""
        in_force = Counter(status.issuer for status in certificates if status.state in ("due", "valid"))
        in_openbao = place.places(self._ledger)
        return [
            {
                "label": ca.label,
                "number": ca.number,
                "name": ca.name,
                "generation": ca.generation,
                "issuer": self._authorities[ca.issuer].label if ca.issuer is not None else None,
                "subject": ca.subject,
                "serial": ca.serial,
                "key_type": ca.key_type,
                "not_after": clock.iso(ca.not_after),
                "days_left": days_left(ca.not_after, self._now),
                "state": self._authority_state(ca),
                "role": ca.state,
                "backend": place.OPENBAO if ca.label in in_openbao else place.LOCAL,
                "newest": self._signing[ca.name] is ca,
                "certificates": in_force[ca.label],
                "name_constraints": _constraints(ca),
            }
            for ca in self._authorities.values()
        ]

    def _authority_state(self, ca: Authority) -> str:
        if ca.not_after <= self._now:
            return "expired"
        if ca.issuer is not None and self._ledger.is_revoked(ca.issuer, ca.serial):
            return "revoked"
        if not rotation.trusted(ca):
            return ca.state
        short = ca.not_after - self._now < timedelta(days=self._windows.leaf_days)
        short = short or rotation.near_its_end(ca, self._now) is not None
        return "due" if short and self._signing[ca.name] is ca else "valid"

    def crls(self) -> list[dict[str, Any]]:
        """The CRL in force of every authority that has not ended; number 0 where there is none."""
        crls, revoked = self._ledger.crls(), self._ledger.revoked_counts(self._now)
        return [
            self._crl(ca, crls.get(ca.number), revoked.get(ca.number, 0))
            for ca in self._authorities.values()
            if ca.not_after > self._now and rotation.needs_crl(self._ledger, ca, self._authorities.values(), self._now)
        ]

    def _crl(self, ca: Authority, crl: Crl | None, revoked: int) -> dict[str, Any]:
        if crl is None:
            state = "missing"
        elif crl.next_update <= self._now:
            state = "expired"
        elif self._windows.root_offline and ca.name == offline.ROOT:
            state = "due" if offline.bring_key_by(crl) <= self._now else "valid"
        else:
            spec = CrlSpec(crl.days, self._windows.refresh_hours)
            state = "valid" if lifecycle.crl_due(crl, spec, crl.entries, None, self._now) is None else "due"
        return {
            "issuer": ca.label,
            "state": state,
            "number": crl.number if crl else 0,
            "this_update": clock.iso(crl.this_update) if crl else None,
            "next_update": clock.iso(crl.next_update) if crl else None,
            "age_hours": (self._now - crl.this_update) // _HOUR if crl else None,
            "hours_left": (crl.next_update - self._now) // _HOUR if crl else None,
            "revoked": revoked,
        }

    def root_keys_needed(self) -> list[dict[str, Any]]:
        """What the keys of offline roots are to be brought for, and in how many days."""
        if not self._windows.root_offline:
            return []
        leaf = timedelta(days=self._windows.leaf_days)
        found = offline.needs(self._authorities.values(), self._ledger.crls(), leaf, self._now)
        return [{**need.as_dict(), "days_left": days_left(need.by, self._now)} for need in found]

    def rotations(self) -> list[dict[str, Any]]:
        """Every rotation, the latest first: what is replaced, its phase, since when, what it waited for last, and who
        would be cut off by the end of one that goes on."""
        return [
            {
                "kind": one.kind,
                "names": list(one.names),
                "phase": one.phase,
                "started": clock.iso(one.started),
                "since": clock.iso(one.since),
                "days": (self._now - one.since) // _DAY,
                "waits": list(one.waits),
                "under_way": one.phase in rotation.UNDER_WAY,
                "cut_off": rotation.cut_off(self._ledger, one) if one.phase in rotation.UNDER_WAY else [],
            }
            for one in reversed(self._ledger.rotations())
        ]

    def trust(self) -> list[dict[str, Any]]:
        """The trust unit in force of each scope."""
        return [
            {
                "scope": unit.scope,
                "number": unit.number,
                "sha256": unit.sha256,
                "created": clock.iso(unit.created),
                "age_hours": (self._now - unit.created) // _HOUR,
            }
            for _, unit in sorted(self._ledger.trust_units().items())
        ]

    def undelivered(self) -> list[dict[str, Any]]:
        """Listed sites that some revocation has not reached, as far as runs have recorded what they serve."""
        sites = None
        if self._wanted is not None:
            sites = {name.removeprefix("server/") for name in self._wanted if name.startswith("server/")}
        return [site.as_dict() for site in delivery.undelivered(self._ledger, self._now, sites)]

    def bundles(self) -> list[dict[str, Any]]:
        """The bundles of listed clients that nobody has taken; ``days_left`` of the certificate before, if any."""
        return [
            {**entry, "days_left": None if entry["until"] is None else self._days_until(entry["until"])}
            for entry in handover.waiting(self._ledger, self._now)
            if self._wanted is None or f"client/{entry['client']}" in self._wanted
        ]

    def _days_until(self, end: str) -> int:
        return days_left(datetime.fromisoformat(end), self._now)


def report(
    ledger: Ledger,
    now: datetime,
    windows: Windows,
    asked: Filter,
    wanted: Iterable[Mapping[str, Any]] | None = None,
    known_profiles: Mapping[str, profiles.Profile] = profiles.PROFILES,
) -> dict[str, Any]:
    """Everything that is known of a store, ready for JSON, and no secret in it.

    ``wanted`` is the desired list (``name``, and ``days`` and ``renew_days`` where they are given), None where it is
    not known; then nothing counts as no longer listed. The filter ``asked`` narrows ``certificates`` and ``matching``
    only. KitError for a limit below zero.
    """
    if asked.limit is not None and asked.limit < 0:
        raise KitError("filter", f"limit={asked.limit}", "0 or more", "correct limit, or leave it out for all")
    inspection = _Inspection(ledger, now, windows, wanted, known_profiles)
    certificates = inspection.certificates()
    found: dict[str, Any] = {
        "name": ledger.meta("name"),
        "now": clock.iso(now),
        "authorities": inspection.authorities(certificates),
        "crls": inspection.crls(),
        "root_keys_needed": inspection.root_keys_needed(),
        "trust": inspection.trust(),
        "undelivered": inspection.undelivered(),
        "bundles": inspection.bundles(),
        "rotations": inspection.rotations(),
        "counts": {
            kind: _counts(status for status in certificates if kind == "all" or status.name.startswith(f"{kind}/"))
            for kind in ("all", *KINDS)
        },
        "not_issued": inspection.not_issued(),
        "next_expiries": _next_expiries(certificates),
    }
    attention = [
        *_clock_attention(ledger.newest_entry(), now),
        *_undelivered_attention(found["undelivered"]),
        *_bundle_attention(found["bundles"]),
        *_authority_attention(found["authorities"], windows),
        *_certificate_attention(certificates, found["not_issued"]),
        *_crl_attention(found["crls"]),
        *_root_key_attention(found["root_keys_needed"]),
        *_rotation_attention(found["rotations"]),
        *_stranger_attention(ledger.strangers(place.UNKNOWN, now)),
    ]
    found["attention"] = sorted(attention, key=lambda entry: LEVELS.index(entry["level"]))
    found["filter"] = vars(asked)
    taken = [status for status in certificates if asked.takes(status)]
    found["matching"] = _counts(taken)
    found["certificates"] = [vars(status) for status in taken[: asked.limit]]
    return found


def _counts(certificates: Iterable[CertificateStatus]) -> dict[str, int]:
    counted = Counter(status.state for status in certificates)
    return {"total": counted.total(), **{state: counted[state] for state in STATES}}


def _next_expiries(certificates: Iterable[CertificateStatus]) -> list[dict[str, Any]]:
    in_force = [status for status in certificates if status.state in ("due", "valid")]
    first = sorted(in_force, key=lambda status: (status.not_after, status.name))[:_NEXT]
    return [{"name": status.name, "not_after": status.not_after, "days_left": status.days_left} for status in first]


# ---------------------------------------------------------------------- what needs somebody, in words


def _wrong(text: str) -> dict[str, str]:
    return {"level": "wrong", "text": text}


def _due(text: str) -> dict[str, str]:
    return {"level": "due", "text": text}


def _clock_attention(newest_entry: datetime | None, now: datetime) -> Iterator[dict[str, str]]:
    behind = lifecycle.clock_set_back(newest_entry, now)
    if behind is not None:
        yield _wrong(f"the clock stands {counted(behind // _HOUR, 'hour')} before the newest entry of the ledger")


def _undelivered_attention(undelivered: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for site in undelivered:
        place, since = f"{site['gateway']}/{site['site']}", site["since"][:16].replace("T", " ")
        yield _wrong(
            f"revocation of {some(site['revoked'])}: {place} not reached since {since} UTC; it serves trust "
            f"{site['trust']}, which lets what was revoked in"
        )


def _bundle_attention(bundles: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for entry in bundles:
        if entry["days_left"] is not None and entry["days_left"] < LAST_DAYS:
            yield _wrong(
                f"{entry['client']} has not taken its present bundle, and the certificate it has ends in "
                f"{counted(entry['days_left'], 'day')}"
            )
    if bundles:
        clients = [entry["client"] for entry in bundles]
        yield _due(f"{counted(len(clients), 'bundle')} not taken yet: {some(clients)}")


def _authority_attention(authorities: Iterable[Mapping[str, Any]], windows: Windows) -> Iterator[dict[str, str]]:
    for ca in authorities:
        if ca["state"] == "expired" and ca["newest"]:
            yield _wrong(f"{ca['label']} has ended, and with it every certificate under it")
        elif ca["state"] == "due":
            left = counted(ca["days_left"], "day")
            short = ca["days_left"] < windows.leaf_days
            told = f"certificates of {windows.leaf_days} days are cut short" if short else "rotate it in good time"
            yield _due(f"{ca['label']} has {left} left: {told}")


def _certificate_attention(
    certificates: Sequence[CertificateStatus], not_issued: Sequence[str]
) -> Iterator[dict[str, str]]:
    expired = [status.name for status in certificates if status.state == "expired"]
    due = [status.name for status in certificates if status.state == "due"]
    unlisted = [status.name for status in certificates if status.state == "valid" and not status.listed]
    if expired:
        yield _wrong(f"{counted(len(expired), 'certificate')} expired: {some(expired)}")
    if due:
        yield _due(f"{counted(len(due), 'certificate')} due for renewal: {some(due)}")
    if not_issued:
        yield _due(f"{counted(len(not_issued), 'certificate')} not issued yet: {some(not_issued)}")
    if unlisted:
        yield _due(f"{counted(len(unlisted), 'certificate')} no longer listed and still valid: {some(unlisted)}")


def _crl_attention(crls: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for crl in crls:
        owner = f"the CRL of {crl['issuer']}"
        if crl["state"] == "missing":
            yield _wrong(f"{owner} is missing")
        elif crl["state"] == "expired":
            yield _wrong(f"{owner} has ended: who enforces it refuses everyone")
        elif crl["state"] == "due":
            age, left = counted(crl["age_hours"], "hour"), counted(crl["hours_left"], "hour")
            yield _due(f"{owner} is {age} old and ends in {left}")


def _root_key_attention(needs: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for need in needs:
        if need["days_left"] <= 0:
            yield _due(f"the key of {need['label']} is to be brought: {need['reason']}")


def _stranger_attention(strangers: Iterable[Issued]) -> Iterator[dict[str, str]]:
    for issued in strangers:
        who = f"serial {issued.serial} ({issued.subject})"
        yield _wrong(f"{who} was signed in OpenBao for somebody else: revoke it by its serial")


def _rotation_attention(rotations: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for one in rotations:
        if one["under_way"]:
            held = f", waits for {some(one['waits'])}" if one["waits"] else ""
            yield _due(f"rotation of {', '.join(one['names'])}: {one['phase']} since {one['since'][:10]}{held}")
        # Before the switch that is everybody.
        if one["cut_off"] and one["phase"] == rotation.SWITCH:
            seen = sorted(
                {f"{each['name']} (at {each['gateway']} {each['last_seen'][:10]})" for each in one["cut_off"]}
            )
            yield _due(f"the end of the rotation cuts off who still shows the old certificate: {some(seen)}")


def some(names: Sequence[str]) -> str:
    """The first of them by name, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def counted(number: int, noun: str) -> str:
    """``1 day``, ``2 days``, ``10,000 certificates``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
