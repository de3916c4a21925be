"""Planned replacement of CA keys, as a state machine that a run carries one phase forward, or back.

introduce: the new generation is made, has its first CRL and is in every trust unit and among the trust anchors; the
old one signs. switch: the new one signs, both are trusted, what the old one has signed is re-issued. retire: the old
one is trusted no longer. Until then each phase can be gone back. A CA that has ended lets nobody in any more: its
successor signs at once. Pure: the clock and all that was observed are arguments; what is decided here, ``plan`` shows
and ``converge`` writes down, in the transaction that begins the phase.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, delivery
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Held, Ledger, Rotation

INTRODUCED: Final = "introduced"
SIGNING: Final = "signing"
REPLACED: Final = "replaced"
WITHDRAWN: Final = "withdrawn"
RETIRED: Final = "retired"
STATES: Final = (INTRODUCED, SIGNING, REPLACED, WITHDRAWN, RETIRED)
"""Of a generation of a CA: trusted and not yet signing, signing, trusted and no longer signing, taken back, gone."""

TRUSTED: Final = (INTRODUCED, SIGNING, REPLACED)

INTRODUCE: Final = "introduce"
SWITCH: Final = "switch"
UNDER_WAY: Final = (INTRODUCE, SWITCH)
"""Phases of a rotation that goes on; one that has ended is ``retired`` or ``withdrawn``."""

ROOT: Final = "root"
KINDS: Final = ("none", "issuing", ROOT)
STEPS: Final = ("auto", "hold", "back")
STAGES: Final = ("now", "window")

NOT_ENTERED: Final = 0
"""The number of a rotation that the ledger doesn't have yet."""

REST: Final = timedelta(days=90)
"""After a rotation has ended, the same wish starts no new one for so long: it may stand in a daily job."""

_CUT_OFF: Final = "cut off by rotation "
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Observed:
    """What a site of a gateway was seen to serve: the trust number and its certificate's serial."""

    gateway: str
    site: str
    scope: str
    trust: int
    serial: str


@dataclass(frozen=True)
class Presented:
    """A certificate that a client was seen to present, from a gateway's access log.

    ``issuer`` and ``serial`` are as Nginx prints them, ``last_seen`` is ISO 8601.
    """

    gateway: str
    issuer: str
    serial: str
    last_seen: str


@dataclass(frozen=True)
class CutOff:
    """Who was last seen with a certificate of a CA that is to go, ``issuer``; ``replaced`` is when it got a new one.

    Told to a person: what is retired, and when, the ledger decides.
    """

    gateway: str
    name: str
    serial: str
    issuer: str
    last_seen: str
    replaced: datetime | None

    def as_dict(self) -> dict[str, str | None]:
        """The form of a result."""
        return {**vars(self), "replaced": self.replaced and clock.iso(self.replaced)}


@dataclass(frozen=True)
class Wish:
    """What a run is to do about rotation; see the option ``rotation`` of module ``pki``."""

    kind: str = "none"
    names: tuple[str, ...] = ()
    step: str = "auto"
    overlap: timedelta = timedelta(days=30)
    confirmed: bool = False
    again: bool = False
    cross_sign: bool = False
    remove_keys: bool = False
    servers: str = "now"
    clients: str = "window"
    without: frozenset[str] = frozenset()
    observed: tuple[Observed, ...] = ()
    presented: tuple[Presented, ...] = ()


@dataclass(frozen=True)
class Outlook:
    """What a run does about rotation.

    ``rotation`` goes on after it (None: none does), ``states`` are the authorities that change, by number, ``change``
    is the step in words, ``waits`` what keeps it from the next one, ``note`` what a person is told. ``cut_off`` is who
    was seen to need what goes (None: nobody looked), ``distrusting`` which sites are known not to trust the new CA yet.
    """

    rotation: Rotation | None = None
    before: Rotation | None = None
    states: Mapping[int, str] = field(default_factory=dict)
    change: tuple[str, str] | None = None
    waits: tuple[str, ...] = ()
    note: str = ""
    cut_off: tuple[CutOff, ...] | None = None
    distrusting: tuple[str, ...] = ()

    @property
    def introduces(self) -> bool:
        """Whether the new generations are to be there once this run is done."""
        return self.rotation is not None and self.rotation.phase == INTRODUCE

    def as_dict(self) -> dict[str, Any]:
        """The form of a module's result; ``phase`` is that of a rotation which has ended by this run, too."""
        shown = self.rotation or self.before
        return {
            "kind": shown.kind if shown else "none",
            "names": list(shown.names) if shown else [],
            "phase": shown.phase if shown else "none",
            "waits": list(self.waits),
            "note": self.note,
            "cut_off": [one.as_dict() for one in self.cut_off or ()],
            "distrusting": list(self.distrusting),
        }


def read(arguments: Mapping[str, Any] | None, issuing: Collection[str]) -> Wish:
    """The wish in the module's arguments; KitError for the first thing that is wrong in them."""
    if not arguments:
        return Wish()
    for option, words in (("kind", KINDS), ("step", STEPS), ("servers", STAGES), ("clients", STAGES)):
        value = arguments.get(option, words[0])
        if value not in words:
            raise KitError("rotation", f"{option}={value!r}", "one of " + ", ".join(words), f"correct {option}")
    kind, names = arguments.get("kind", "none"), tuple(arguments.get("names") or ())
    unknown = [name for name in names if name not in issuing]
    if unknown or (names and kind != "issuing"):
        raise KitError(
            "rotation",
            f"the issuing CA {unknown[0]!r}" if unknown else f"names beside kind={kind}",
            "with kind=issuing, names of " + ", ".join(issuing),
            "correct names; a root takes every issuing CA with it",
        )
    days = arguments.get("overlap_days", 30)
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= 3650:
        raise KitError("rotation", f"overlap_days={days!r}", "a whole number from 0 to 3650", "correct overlap_days")
    return Wish(
        kind=kind,
        names=names,
        step=arguments.get("step", "auto"),
        overlap=timedelta(days=days),
        confirmed=bool(arguments.get("confirmed")),
        again=bool(arguments.get("again")),
        cross_sign=bool(arguments.get("cross_sign")),
        remove_keys=bool(arguments.get("remove_keys")),
        servers=arguments.get("servers", "now"),
        clients=arguments.get("clients", "window"),
        without=frozenset(arguments.get("without") or ()),
        observed=tuple(
            Observed(seen["gateway"], seen["site"], seen["scope"], int(seen["trust"]), seen["serial"].upper())
            for seen in arguments.get("observed") or ()
        ),
        presented=tuple(
            Presented(seen["gateway"], seen["issuer"], seen["serial"].upper(), seen["last_seen"])
            for seen in arguments.get("presented") or ()
        ),
    )


def signing(authorities: Iterable[Authority], name: str) -> Authority | None:
    """The generation of a CA that signs now."""
    found = (ca for ca in authorities if ca.name == name and ca.state == SIGNING)
    return max(found, key=lambda ca: ca.generation, default=None)


def introduced(authorities: Iterable[Authority], name: str) -> Authority | None:
    """The generation of a CA that is trusted and is to sign after the next switch."""
    found = (ca for ca in authorities if ca.name == name and ca.state == INTRODUCED)
    return max(found, key=lambda ca: ca.generation, default=None)


def root_of(authorities: Iterable[Authority], state: str) -> Authority | None:
    """The root that signs an issuing CA which is made in ``state``; None where it is still to be made."""
    known = list(authorities)
    if state == INTRODUCED and (successor := introduced(known, ROOT)) is not None:
        return successor
    return signing(known, ROOT)


def trusted(ca: Authority) -> bool:
    """Whether gateways and clients are to accept what this authority signs."""
    return ca.state in TRUSTED


def anchors(authorities: Iterable[Authority]) -> list[int]:
    """The numbers of the authorities that servers and clients have as trust anchors."""
    return [ca.number for ca in authorities if ca.issuer is None and trusted(ca)]


def near_its_end(ca: Authority, now: datetime) -> str | None:
    """``200 of 1095 days left`` in the last fifth of a CA's life, in which it is to be rotated; None before."""
    life = ca.not_after - clock.not_before(x509.load_der_x509_certificate(ca.der))
    left = ca.not_after - now
    return None if left > life / 5 else f"{max(left // _DAY, 0)} of {round(life / _DAY)} days left"


def needs_crl(ledger: Ledger, ca: Authority, authorities: Iterable[Authority], now: datetime) -> bool:
    """Whether somebody may still ask for the CRL of an authority in force.

    Of one that is trusted no longer it is signed on while anything under it is in force: others than the gateways may
    trust it longer. After that it ends with its last CRL.
    """
    if trusted(ca):
        return True
    below = {ca.number, *(one.number for one in authorities if one.issuer == ca.number)}
    return next(ledger.held_by(below, now), None) is not None


def under_way(rotations: Sequence[Rotation]) -> Rotation | None:
    """The rotation that goes on."""
    return rotations[-1] if rotations and rotations[-1].phase in UNDER_WAY else None


def look(
    ledger: Ledger,
    authorities: Sequence[Authority],
    wish: Wish,
    issuing: Sequence[str],
    sites: Collection[tuple[str, str]],
    clients: Collection[str],
    now: datetime,
) -> Outlook:
    """What this run does about rotation.

    ``issuing`` are the issuing CAs, ``sites`` the (gateway, site) pairs and ``clients`` the names (``client/…``) that
    the inventory lists. KitError for a
    wish that another rotation stands against, or that has nothing to go back to.
    """
    rotations = ledger.rotations()
    machine = _Machine(ledger, authorities, wish, sites, clients, now)
    active = under_way(rotations)
    if active is not None and active.kind == ROOT:
        active = replace(active, names=(ROOT, *issuing))
    if wish.kind == "none":
        waits = () if active is None else active.waits
        return Outlook(active, active, waits=tuple(waits), note=_note(active, waits))
    if active is None:
        return machine.told(machine.start(rotations, issuing))
    if wish.kind != active.kind or (wish.names and set(wish.names) != set(active.names)):
        raise KitError(
            f"rotation of {wish.kind}",
            f"the rotation of {', '.join(active.names)}, in phase {active.phase}",
            "one rotation at a time",
            f"carry that one to its end, or take it back (rotate={active.kind}, step back)",
        )
    return machine.told(machine.carry(active))


def cut_off_note(active: Rotation, outlook: Outlook) -> dict[str, str]:
    """What the ledger is to remember of who would be cut off, by its key; empty where nobody looked."""
    if outlook.cut_off is None:
        return {}
    return {f"{_CUT_OFF}{active.id}": json.dumps([one.as_dict() for one in outlook.cut_off])}


def cut_off(ledger: Ledger, rotation: Rotation) -> list[dict[str, str | None]]:
    """Who would be cut off by a rotation, as the last run that looked found it (``CutOff.as_dict``)."""
    found: list[dict[str, str | None]] = json.loads(ledger.meta(f"{_CUT_OFF}{rotation.id}") or "[]")
    return found


def _note(active: Rotation | None, waits: Sequence[str]) -> str:
    if active is None:
        return ""
    held = f"; waits for: {'; '.join(waits)}" if waits else ""
    return f"rotation of {', '.join(active.names)} is in phase {active.phase} since {active.since:%Y-%m-%d}{held}"


class _Machine:
    """Looks at one ledger with one wish."""

    def __init__(
        self,
        ledger: Ledger,
        authorities: Sequence[Authority],
        wish: Wish,
        sites: Collection[tuple[str, str]],
        clients: Collection[str],
        now: datetime,
    ) -> None:
        self._ledger = ledger
        self._authorities = authorities
        self._labels = {ca.number: ca.label for ca in authorities}
        self._wish = wish
        self._sites = sorted(site for site in sites if site[0] not in wish.without)
        self._clients = clients
        self._bundled = delivery.bundled(ledger)
        self._observed = {(seen.gateway, seen.site): seen for seen in wish.observed}
        self._now = now

    # ------------------------------------------------------------------ steps

    def start(self, rotations: Sequence[Rotation], issuing: Sequence[str]) -> Outlook:
        """Begin, unless the same wish was fulfilled a short while ago or there is no CA yet. What ended is replaced."""
        kind = self._wish.kind
        names = (ROOT, *issuing) if kind == ROOT else self._wish.names or tuple(issuing)
        last = next((one for one in reversed(rotations) if set(one.names) >= set(names)), None)
        if self._wish.step == "back":
            ended = f", the last one was {last.phase} {last.since:%Y-%m-%d}" if last else ""
            raise KitError(
                f"rotation of {', '.join(names)}",
                f"that none goes on{ended}",
                "one in phase introduce or switch, to go back from",
                "leave the step out; what is retired comes back by a restore of the store only",
            )
        signers = [ca for name in names if (ca := signing(self._authorities, name)) is not None]
        if self._wish.step == "auto" and (gone := [ca for ca in signers if self._has_ended(ca)]):
            return self._replace_at_once(kind, gone)
        if last is not None and self._now < last.since + REST and not self._wish.again:
            return Outlook(
                note=f"rotation of {', '.join(last.names)} was {last.phase} {last.since:%Y-%m-%d}: before "
                f"{last.since + REST:%Y-%m-%d} the next one starts with again (-e rotate_again=true) only"
            )
        if self._wish.step == "hold" or len(signers) < len(names):
            return Outlook(note=f"rotation of {', '.join(names)} not started")
        if kind == ROOT and not self._wish.confirmed:
            self._check_overlap(signers)
        begun = Rotation(NOT_ENTERED, kind, names, INTRODUCE, self._now, self._now, {}, ())
        successors = ", ".join(f"{name}-g{self._next_generation(name)}" for name in names)
        return Outlook(begun, None, change=(_subject(names), f"rotate: introduce {successors}"))

    def _has_ended(self, ca: Authority) -> bool:
        return ca.not_after <= self._now

    def _replace_at_once(self, kind: str, ended: Sequence[Authority]) -> Outlook:
        """Without phases: nothing that they signed is accepted any more. What has not ended, the next run rotates."""
        labels = ", ".join(ca.label for ca in ended)
        if kind == ROOT and not any(ca.name == ROOT for ca in ended):
            raise KitError(
                "rotation of root",
                f"that {labels} ended",
                "issuing CAs in force, so that clients have an overlap of the roots",
                "replace it first (-e rotate=issuing), then rotate the root",
            )
        done = Rotation(NOT_ENTERED, kind, _names(ended), RETIRED, self._now, self._now, {}, ())
        return self._retired_at_once(None, done, ended)

    def _retired_at_once(self, after: Rotation | None, before: Rotation, ended: Sequence[Authority]) -> Outlook:
        """What ended is retired, and since nobody signs then, the plan makes a successor that does."""
        reason = f"rotate: {', '.join(ca.label for ca in ended)} ended, so the successor signs at once"
        states = dict.fromkeys((ca.number for ca in ended), RETIRED)
        return Outlook(after, before, states, (_subject(_names(ended)), reason))

    def _ended_without_successor(self, active: Rotation) -> list[Authority]:
        """What signs and has ended, unless all of it has and what was introduced can sign in its place."""
        signers, ready = self._of(active, SIGNING), self._of(active, INTRODUCED)
        gone = [ca for ca in signers if self._has_ended(ca)]
        in_force = {ca.name for ca in ready if not self._has_ended(ca)}
        return [] if len(gone) == len(signers) and in_force >= {ca.name for ca in gone} else gone

    def _check_overlap(self, signers: Collection[Authority]) -> None:
        """Refuse to begin with a root whose issuing CAs would end while clients take the new anchor."""
        overlap = self._now + self._wish.overlap
        lasts = min([overlap, *(ca.not_after for ca in signers if ca.name == ROOT)])
        if short := [ca for ca in signers if ca.name != ROOT and ca.not_after < lasts]:
            raise KitError(
                "rotation of root",
                f"that {short[0].label} ends at {clock.iso(short[0].not_after)}, and everybody is refused then",
                f"issuing CAs that outlast the {self._wish.overlap // _DAY} days in which clients take the new anchor",
                "rotate the issuing CA first (-e rotate=issuing), or say that all clients have taken it "
                "(-e rotate_confirmed=true)",
            )

    def _next_generation(self, name: str) -> int:
        return 1 + max(ca.generation for ca in self._authorities if ca.name == name)

    def carry(self, active: Rotation) -> Outlook:
        """One phase forward where nothing holds it, one back where that is wished for, or no step."""
        if self._wish.step == "back":
            return self._back(active)
        waits = tuple(self._waits(active))
        if self._wish.step == "auto" and (gone := self._ended_without_successor(active)):
            return replace(self._retired_at_once(active, active, gone), waits=waits, note=_note(active, waits))
        if waits or self._wish.step == "hold":
            return Outlook(active, active, waits=waits, note=_note(active, waits or ("somebody to lift the hold",)))
        if active.phase == INTRODUCE:
            return self._step(active, SWITCH, {INTRODUCED: SIGNING, SIGNING: REPLACED}, "switch: {new} replaces {old}")
        return self._end(active, RETIRED, {REPLACED: RETIRED}, "retire {REPLACED}")

    def _back(self, active: Rotation) -> Outlook:
        if active.phase == SWITCH:
            states = {SIGNING: INTRODUCED, REPLACED: SIGNING}
            return self._step(active, INTRODUCE, states, "back: {new} signs again")
        waits = tuple(self._held(self._of(active, INTRODUCED), now=True))
        if waits:
            return Outlook(active, active, waits=waits, note=_note(active, waits))
        return self._end(active, WITHDRAWN, {INTRODUCED: WITHDRAWN}, "back: {INTRODUCED} withdrawn")

    def _of(self, active: Rotation, state: str) -> list[Authority]:
        return [ca for ca in self._authorities if ca.name in active.names and ca.state == state]

    def _is_revoked(self, ca: Authority) -> bool:
        return ca.issuer is not None and self._ledger.is_revoked(ca.issuer, ca.serial)

    def _step(self, active: Rotation, phase: str, moves: Mapping[str, str], words: str) -> Outlook:
        """Exchange who signs: of each CA the newest in each state takes part."""
        states: dict[int, str] = {}
        pairs = []
        for name in active.names:
            chosen = {}
            for old, new in moves.items():
                among = [ca for ca in self._of(active, old) if ca.name == name and not self._is_revoked(ca)]
                if among:
                    ca = max(among, key=lambda one: one.generation)
                    states[ca.number] = new
                    chosen[new] = ca.label
            pairs.append((chosen.get(SIGNING, name), chosen.get(REPLACED) or chosen.get(INTRODUCED, name)))
        text = ", ".join(words.format(new=new, old=old).partition(": ")[2] for new, old in pairs)
        reason = f"rotate: {words.partition(': ')[0]}: {text}"
        after = replace(active, phase=phase, since=self._now, waits=())
        return Outlook(after, active, states, (_subject(active.names), reason))

    def _end(self, active: Rotation, phase: str, moves: Mapping[str, str], words: str) -> Outlook:
        states = {ca.number: new for old, new in moves.items() for ca in self._of(active, old)}
        labels = ", ".join(self._labels[number] for number in states)
        text = words.format(**dict.fromkeys(("REPLACED", "INTRODUCED"), labels or "nothing"))
        ended = replace(active, phase=phase, since=self._now, waits=())
        return Outlook(None, ended, states, (_subject(active.names), f"rotate: {text}"))

    # ------------------------------------------------------------------ what a person is told

    def told(self, outlook: Outlook) -> Outlook:
        """``outlook`` with who would be cut off, and who does not trust the new CA, as far as that was seen."""
        known = outlook.before or outlook.rotation
        if known is None:
            return outlook
        going = {INTRODUCE: SIGNING, SWITCH: REPLACED, RETIRED: REPLACED, WITHDRAWN: INTRODUCED}[known.phase]
        cut_off = tuple(self._cut_off(self._of(known, going)))
        return replace(outlook, cut_off=cut_off, distrusting=tuple(self._distrusting(known)))

    def _cut_off(self, going: Collection[Authority]) -> Iterator[CutOff]:
        numbers = {ca.subject: ca.number for ca in going}
        held = {(entry.issuer, entry.serial): entry for entry in self._ledger.held_by(numbers.values(), self._now)}
        latest: dict[tuple[str, str], CutOff] = {}
        for seen in self._wish.presented:
            entry = held.get((numbers.get(seen.issuer, 0), seen.serial))
            if entry is None:
                continue
            one = CutOff(seen.gateway, entry.name, seen.serial, self._label(entry), seen.last_seen, entry.replaced)
            before = latest.get((seen.gateway, seen.serial), one)
            latest[seen.gateway, seen.serial] = max(before, one, key=lambda each: each.last_seen)
        yield from sorted(latest.values(), key=lambda one: (one.name, one.gateway))

    def _distrusting(self, active: Rotation) -> Iterator[str]:
        """Of every site, whether it holds a step or is given up."""
        for seen in sorted(self._observed.values(), key=lambda one: (one.gateway, one.site)):
            needed = active.trust.get(seen.scope)
            if needed is not None and seen.trust < needed:
                yield f"{seen.gateway}/{seen.site}: it serves trust {seen.trust}, and {needed} brought the new CA"

    # ------------------------------------------------------------------ what holds it

    def _waits(self, active: Rotation) -> Iterator[str]:
        if active.phase == INTRODUCE:
            yield from self._waits_to_switch(active)
        else:
            yield from self._held(self._of(active, REPLACED))

    def _waits_to_switch(self, active: Rotation) -> Iterator[str]:
        missing = [name for name in active.names if introduced(self._authorities, name) is None]
        if missing:
            yield f"the new generation of {', '.join(missing)}"
        if all(self._has_ended(ca) for ca in self._of(active, SIGNING)):
            # Nobody is let in until the new one signs.
            return
        for gateway, site in self._sites:
            seen = self._observed.get((gateway, site))
            if seen is None:
                yield f"{gateway}/{site}: what it serves is not known"
            elif (needed := active.trust.get(seen.scope)) is None:
                yield f"{gateway}/{site}: the trust of {seen.scope} is not made yet"
            elif seen.trust < needed:
                yield f"{gateway}/{site}: it serves trust {seen.trust}, and {needed} brought the new CA"
        if any(ca.issuer is None for ca in self._of(active, SIGNING)) and not self._wish.confirmed:
            yield from self._waits_for_anchors(active)

    def _waits_for_anchors(self, active: Rotation) -> Iterator[str]:
        """Clients whose bundle lacks a new trust anchor, and the days until the others had the time to take it."""
        new = {ca.number for ca in self._of(active, INTRODUCED) if ca.issuer is None}
        first = self._ledger.first_issued()
        since = active.since
        for name in sorted(set(self._clients) & set(first)):
            bundle = self._bundled.get(name)
            if bundle is None or not new <= set(bundle.anchors):
                yield f"{name}: its bundle with the new trust anchor is not written yet"
            elif first[name] <= active.since:
                # A client that came later never knew the old anchor alone.
                since = max([since, *(bundle.anchors[number] for number in new)])
        if (left := self._left(since)) > 0:
            yield f"clients: {left} of {self._wish.overlap // _DAY} days left to take the new trust anchor"

    def _left(self, since: datetime) -> int:
        """Days, begun ones counted, that clients still have to take what was made at ``since``."""
        return -((self._now - since - self._wish.overlap) // _DAY)

    def _held(self, old: Collection[Authority], *, now: bool = False) -> Iterator[str]:
        """What still uses the authorities that are to go; ``now`` asks of clients no more than a replacement."""
        numbers = {ca.number for ca in old}
        held = list(self._ledger.held_by(numbers, self._now))
        for entry in held:
            text = self._held_by(entry, now)
            if text is not None:
                yield f"{entry.name}: {text}"
        by_serial = {entry.serial: entry for entry in held}
        for seen in self._observed.values():
            found = by_serial.get(seen.serial)
            # What has no replacement is told above, by its own name.
            if found is not None and found.replaced is not None and (seen.gateway, seen.site) in self._sites:
                yield f"{seen.gateway}/{seen.site}: it serves its certificate of {self._label(found)}"

    def _label(self, entry: Held) -> str:
        return self._labels[entry.issuer]

    def _held_by(self, entry: Held, now: bool) -> str | None:
        until = f"until {entry.not_after:%Y-%m-%d}"
        if entry.replaced is None:
            return f"its certificate is of {self._label(entry)}, {until}"
        kind, _, place = entry.name.partition("/")
        gateway, _, site = place.partition("/")
        if kind == "server" and (gateway, site) in self._sites:
            if (gateway, site) not in self._observed:
                return "which certificate it serves is not known"
            return None
        if kind == "server" or now or self._wish.confirmed:
            return None
        bundle = self._bundled.get(entry.name)
        if bundle is None or bundle.issuer == entry.issuer:
            return "its bundle with the new certificate is not written yet"
        left = self._left(bundle.since)
        return f"{left} days left to take its new certificate" if left > 0 else None


def _names(authorities: Iterable[Authority]) -> tuple[str, ...]:
    return tuple(ca.name for ca in authorities)


def _subject(names: Sequence[str]) -> str:
    return "ca/root" if ROOT in names else f"ca/{'+'.join(names)}"
