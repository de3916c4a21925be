"""What a run would do and why: worked out whole, from the ledger and the files, before anything is changed.

Check mode shows a plan, a run carries it out (``converge``), so both name the same changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    adopt,
    authority,
    clock,
    constraints,
    crl,
    keys,
    lifecycle,
    names,
    offline,
    profiles,
    rotation,
    trust,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import (
    AuthoritySpec,
    CertificateSpec,
    CrlSpec,
    Desired,
    RevokeSpec,
    TrustSpec,
    authority_subject,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import (
    Authority,
    Crl,
    Issued,
    NewCertificate,
    Revocation,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import (
    NO_DIFFERENCES,
    OPENBAO,
    Differences,
    places,
    signed_in_openbao,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import Store

TRUST_ANCHOR = "trust-anchor.crt"

Usages = frozenset[x509.ObjectIdentifier] | None
"""Extended key usages that a CA's certificate leaves to its leaves; None for every one."""


@dataclass(frozen=True)
class Change:
    """One change and its reason, as every module of the kit returns it."""

    name: str
    action: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """The form of a module's result."""
        return {"name": self.name, "action": self.action, "reason": self.reason}


@dataclass(frozen=True)
class PlannedAuthority:
    """A generation of a CA key to be made."""

    spec: AuthoritySpec
    generation: int
    state: str = rotation.SIGNING
    adopted: adopt.Candidate | None = None

    @property
    def label(self) -> str:
        """``issuing-g1``."""
        return f"{self.spec.name}-g{self.generation}"


@dataclass(frozen=True)
class PlannedLeaf:
    """A certificate to be signed; ``public_key`` is a CSR's, None where the CA makes the key."""

    spec: CertificateSpec
    reason: str
    public_key: keys.PublicKey | None
    csr: str = field(default="", repr=False)


@dataclass
class Plan:
    """Everything that is due, in the order it is carried out."""

    init: bool = False
    authorities: list[PlannedAuthority] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    leaves: list[PlannedLeaf] = field(default_factory=list)
    groups: list[CertificateSpec] = field(default_factory=list)
    crls: list[Authority | PlannedAuthority] = field(default_factory=list)
    trust: list[TrustSpec] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    csr_wanted: dict[str, str] = field(default_factory=dict)
    removed: list[dict[str, object]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    """Paths that have a previous password and whose keys in this store have the present one after this plan."""
    warnings: list[str] = field(default_factory=list)
    adopted: list[NewCertificate] = field(default_factory=list)
    keys_to_move: list[Authority] = field(default_factory=list)
    rotation: rotation.Outlook = field(default_factory=rotation.Outlook)
    standing: Sequence[Authority] = ()
    """The authorities there are, in the states that the plan gives them."""
    cross_sign: bool = False
    keys_to_remove: list[Authority] = field(default_factory=list)
    stale_files: list[str] = field(default_factory=list)
    """Files handed out that are to be written again, though nobody touched them."""
    strangers: list[NewCertificate] = field(default_factory=list)
    """Certificates that OpenBao signed for somebody else, to be entered."""
    untold: list[tuple[str, str]] = field(default_factory=list)
    """(mount, serial) of revocations that OpenBao does not know of."""
    rendered: dict[str, dict[str, str]] = field(default_factory=dict)
    """Trust units as the ledger stands, by scope: rendering a million serials once is enough."""

    def parent(self, planned: PlannedAuthority) -> Authority | None:
        """The root there is that signs an issuing CA; None where that one is planned too, or the CA is adopted."""
        if planned.adopted is not None:
            return None
        if any(other.spec.name == offline.ROOT and other.state == planned.state for other in self.authorities):
            return None
        return rotation.root_of(self.standing, planned.state)

    def add(self, name: str, action: str, reason: str) -> None:
        """Name a change."""
        self.changes.append(Change(name, action, reason))


@dataclass(frozen=True)
class HandedOut:
    """A file the store is to hold; ``owner`` is what a change of it is named by."""

    path: str
    owner: str
    mode: int


def authority_files(ca: Authority) -> Iterator[HandedOut]:
    """The generated files of an authority (its key is not: that one exists once)."""
    folder = f"authorities/{ca.label}"
    files = ["ca.crt", "crl.pem"] if ca.issuer is None else ["ca.crt", "chain.crt", "crl.pem"]
    for file in files:
        yield HandedOut(f"{folder}/{file}", ca.path, 0o644)


def certificate_files(spec: CertificateSpec) -> Iterator[HandedOut]:
    """The files of a certificate: the key, where there is one, first."""
    certificate, key = spec.files
    if key is not None:
        yield HandedOut(key, spec.name, 0o400)
    yield HandedOut(certificate, spec.name, 0o644)


def trust_files(scope: str, number: int) -> Iterator[HandedOut]:
    """The files of a trust unit."""
    for file in trust.FILES:
        yield HandedOut(f"trust/{scope}/{number}/{file}", f"trust/{scope}", 0o644)


class Planner:
    """Plans one run. Reads the store, changes nothing. ``rotated`` are paths whose password is being rotated."""

    def __init__(
        self,
        store: Store,
        desired: Desired,
        csrs: Mapping[str, str],
        now: datetime,
        found: Differences = NO_DIFFERENCES,
        rotated: Collection[str] = (),
    ) -> None:
        """``found`` is what OpenBao and the ledger do not know of each other."""
        self._found = found
        self._in_openbao = places(store.ledger)
        self._store = store
        self._ledger = store.ledger
        self._desired = desired
        self._medium = offline.Medium(desired.name, desired.root_keys)
        self._csrs = csrs
        self._now = now
        self._rotated = rotated
        self._specs = {spec.name: spec for spec in desired.certificates}
        self._authorities = self._ledger.authorities()
        self._current = self._ledger.current()
        self._crls = self._ledger.crls()
        self._touched: set[str] = set()
        self._ended: set[str] = set()
        self._revoked: set[tuple[int, str]] = set()
        self.plan = Plan(init=store.fresh)

    def run(self) -> Plan:
        """The plan; KitError for what can't be brought about."""
        self._check_clock()
        self._plan_differences()
        if self.plan.init:
            self.plan.add("store", "init", f"init: new store of PKI {self._desired.name}")
        self._plan_authority_revocations()
        self._plan_rotation()
        self._plan_authorities()
        self._check_openbao_can()
        self._plan_root_keys()
        self._plan_cross_certificate()
        self._plan_revocations()
        self._plan_leaves()
        self._plan_crls()
        self._plan_trust()
        self._plan_anchor()
        self._plan_chains()
        self._plan_old_keys()
        self._plan_files()
        return self.plan

    def _plan_differences(self) -> None:
        """Enter what OpenBao did without this ledger, and tell it what it was not told."""
        for found in self._found.revoked:
            self._revoke(found.name, found.revocation, found.words)
        for new in self._found.unknown:
            self.plan.strangers.append(new)
            self.plan.add(new.name, "adopt", new.reason)
            self.plan.warnings.append(
                f"serial {new.serial} ({new.subject}): {new.reason.partition(': ')[2]} from a mount of this PKI, "
                "until it is revoked (pki_revoke, by this serial)"
            )
        for name, mount, serial in self._found.untold:
            self.plan.untold.append((mount, serial))
            self.plan.add(name, "revoke", f"revoke: OpenBao did not know of it yet, serial {serial}")

    def _check_clock(self) -> None:
        newest = self._ledger.newest_entry()
        behind = lifecycle.clock_set_back(newest, self._now)
        if behind is not None and newest is not None:
            raise KitError(
                "clock of the CA host",
                f"{clock.iso(self._now)}, {behind // timedelta(minutes=1)} minutes before the ledger's newest entry",
                f"a moment after {clock.iso(newest)}",
                "set the clock right (timedatectl) and run again",
            )

    # ------------------------------------------------------------------ authorities

    def _generations(self, name: str) -> list[Authority]:
        return sorted((ca for ca in self._authorities if ca.name == name), key=lambda ca: ca.generation)

    def _newest(self, name: str) -> Authority | None:
        """The generation that signs; None where none is made yet, or the one that signed is revoked."""
        ca = rotation.signing(self._authorities, name)
        return None if ca is None or self._is_revoked(ca) else ca

    def _is_revoked(self, ca: Authority) -> bool:
        return ca.issuer is not None and (
            (ca.issuer, ca.serial) in self._revoked or self._ledger.is_revoked(ca.issuer, ca.serial)
        )

    def _plan_authorities(self) -> None:
        for spec in (self._desired.root, *self._desired.issuing):
            ca = self._newest(spec.name)
            if ca is None:
                before = self._generations(spec.name)
                candidate = self._candidate(spec) if not before else None
                planned = PlannedAuthority(spec, before[-1].generation + 1 if before else 1, adopted=candidate)
                self.plan.authorities.append(planned)
                if candidate is not None:
                    self.plan.add(spec.path, "adopt", f"adopt: {names.dn(candidate.subject)}")
                    self._plan_adopted(planned.label, candidate.certificate, set())
                else:
                    self.plan.add(spec.path, "issue", self._why_at_once(before) if before else "issue: new")
                self._touched.add(spec.path)
                continue
            self._introduce(spec)
            if ca.not_after <= self._now:
                if self._rotates(spec.name) and self._desired.rotation.kind != "none":
                    self._ended.add(spec.name)
                    continue
                raise KitError(
                    f"authority {ca.label}",
                    f"that it ended at {clock.iso(ca.not_after)}",
                    "an authority in force",
                    f"rotate it ({self._how_to_rotate(spec.name)}) before anything else is issued",
                )
            if (ending := self._near_its_end(ca)) is not None:
                self.plan.warnings.append(ending)
            if ca.key_type != spec.key_type:
                self.plan.warnings.append(
                    f"{ca.label}: key_type={spec.key_type} takes effect when it is rotated; it has {ca.key_type} now"
                )
            if spec.name != offline.ROOT:
                self._warn_about_limits(ca, spec)
            self._plan_adopted_later(ca)
        longest = max((spec.days for spec in self._desired.certificates), default=0)
        for spec in self._desired.issuing:
            left = self._end_of(spec.name) - self._now
            if left < timedelta(days=longest):
                self.plan.warnings.append(
                    f"{spec.name}: {left // timedelta(days=1)} days left, so leaves of {longest} days are cut short"
                )

    def _why_at_once(self, generations: Sequence[Authority]) -> str:
        """Why a CA's successor signs at once, without having been trusted for a while."""
        last = next((ca for ca in reversed(generations) if ca.state != rotation.INTRODUCED), generations[-1])
        return f"issue: {last.label} {'revoked' if self._is_revoked(last) else 'ended'}"

    def _check_openbao_can(self) -> None:
        """Refuse what the PKI engine of OpenBao can't do (docs/pki-openbao.md, Limitations)."""
        makes = self._desired.backend == OPENBAO
        root = rotation.signing(self._authorities, offline.ROOT)
        made_there = makes and self._root_planned() is not None
        if self._desired.root_offline and (made_there or (root is not None and root.label in self._in_openbao)):
            raise KitError(
                "root CA",
                "offline: true, and its key in OpenBao, which it never leaves",
                "a root on a medium, or one that OpenBao has",
                "leave offline out of pki_root, or make the root with pki_backend local first",
            )
        for planned in self.plan.authorities if makes else ():
            parent = self.plan.parent(planned)
            signed_there = makes if parent is None else parent.label in self._in_openbao
            if planned.spec.name_constraints is not None and signed_there:
                raise KitError(
                    f"authority {planned.label}",
                    "name constraints, and a root in OpenBao, which can't write them",
                    "an issuing CA without them",
                    "leave name_constraints out of pki_issuing, or keep the root with pki_backend local",
                )

    # ------------------------------------------------------------------ rotation

    def _plan_rotation(self) -> None:
        places = (name.split("/") for name in self._specs if name.startswith("server/"))
        outlook = rotation.look(
            self._ledger,
            self._authorities,
            self._desired.rotation,
            [spec.name for spec in self._desired.issuing],
            {(parts[1], parts[2]) for parts in places if len(parts) == 3},
            [name for name in self._specs if name.startswith("client/")],
            self._now,
        )
        self.plan.rotation = outlook
        if outlook.change is not None:
            self.plan.add(outlook.change[0], "rotate", outlook.change[1])
        self._authorities = [replace(ca, state=outlook.states.get(ca.number, ca.state)) for ca in self._authorities]
        self.plan.standing = self._authorities

    def _rotates(self, name: str) -> bool:
        active = self.plan.rotation.rotation
        return active is not None and name in active.names

    def _introduce(self, spec: AuthoritySpec) -> None:
        """Plan the generation that is to be trusted before it signs, unless it is there already."""
        if not (self._rotates(spec.name) and self.plan.rotation.introduces):
            return
        if rotation.introduced(self._authorities, spec.name) is not None:
            return
        planned = PlannedAuthority(spec, self._generations(spec.name)[-1].generation + 1, state=rotation.INTRODUCED)
        self.plan.authorities.append(planned)
        self.plan.add(spec.path, "issue", f"issue: {planned.label} introduced")
        self._touched.add(spec.path)

    def _near_its_end(self, ca: Authority) -> str | None:
        """Say in good time that a CA is to be rotated: that never happens by itself."""
        left = rotation.near_its_end(ca, self._now)
        if left is None or self._rotates(ca.name):
            return None
        return f"{ca.label}: {left}: rotate ({self._how_to_rotate(ca.name)})"

    def _how_to_rotate(self, name: str) -> str:
        """What a person runs to have a CA replaced, or the rotation carried on that replaces it already."""
        active = self.plan.rotation.rotation
        kind = rotation.ROOT if name == rotation.ROOT else "issuing"
        return f"playbooks/rotate.yml -e rotate={active.kind if active and self._rotates(name) else kind}"

    def _root_planned(self) -> PlannedAuthority | None:
        return next((planned for planned in self.plan.authorities if planned.spec.name == offline.ROOT), None)

    def _plan_cross_certificate(self) -> None:
        """Have the old root sign the new one, for clients that can't update their trust."""
        active = self.plan.rotation.rotation
        if active is None or active.kind != rotation.ROOT or not self._desired.rotation.cross_sign:
            return
        new = rotation.introduced(self._authorities, rotation.ROOT)
        planned = self._root_planned()
        if planned is None and (new is None or new.number in self._ledger.cross_certificates()):
            return
        old = rotation.signing(self._authorities, rotation.ROOT)
        assert old is not None  # noqa: S101  what is rotated signs
        if not authority.may_cross_sign(x509.load_der_x509_certificate(old.der)):
            raise KitError(
                f"cross-signing by {old.label}",
                "a path length in its certificate that leaves no room for another root below it",
                "a root made by this release, whose path length is 2",
                "rotate without cross_sign; clients need the new trust anchor before the switch",
            )
        if not self._at_hand(old):
            raise offline.not_at_hand(old.label, "to cross-sign its successor")
        self.plan.cross_sign = True
        label = planned.label if planned is not None else new.label if new is not None else ""
        self.plan.add("ca/root", "issue", f"issue: {label} cross-signed by {old.label}")

    def _plan_anchor(self) -> None:
        """Let the trust anchor follow the roots that are trusted."""
        before = {ca.label for ca in self._ledger.authorities() if ca.issuer is None and rotation.trusted(ca)}
        after = {ca.label for ca in self._authorities if ca.issuer is None and rotation.trusted(ca)}
        # An adopted CA has no issuer, whatever it is named: it is an anchor, too.
        after.update(made.label for made in self.plan.authorities if made.spec.name == offline.ROOT or made.adopted)
        if not before or before == after:
            return
        words = [f"{label} added" for label in sorted(after - before)]
        words += [f"{label} removed" for label in sorted(before - after)]
        self.plan.add(TRUST_ANCHOR, "write", f"write: {', '.join(words)}")
        self.plan.stale_files.append(TRUST_ANCHOR)
        self._touched.add(TRUST_ANCHOR)

    def _plan_chains(self) -> None:
        """Take the cross certificate out of the servers' chains once the root that signed it is gone."""
        if not any(state == rotation.RETIRED for state in self.plan.rotation.states.values()):
            return
        labels = {ca.number: ca.label for ca in self._authorities}
        issuers = {ca.number: ca.issuer for ca in self._authorities}
        crosses = self._ledger.cross_certificates()
        for spec in self._desired.certificates:
            issued = self._current.get(spec.name)
            if issued is None or not spec.name.startswith("server/"):
                continue
            cross = crosses.get(issuers[issued.issuer] or 0)
            if cross is not None and self.plan.rotation.states.get(cross.issuer) == rotation.RETIRED:
                self.plan.stale_files.append(spec.files[0])
                if spec.name not in self._touched:
                    self.plan.add(spec.name, "write", f"write: chain without {labels[cross.issuer]}")
                    self._touched.add(spec.name)

    def _plan_old_keys(self) -> None:
        """Remove keys that nothing is signed with any more, where that was asked for."""
        if not self._desired.rotation.remove_keys:
            return
        for ca in self._authorities:
            there = not rotation.trusted(ca) and self._store.exists(f"authorities/{ca.label}/ca.key")
            if not rotation.trusted(ca) and ca.label in self._in_openbao:
                self.plan.warnings.append(f"{ca.label}: its key stays in OpenBao until it is deleted there")
            if there and not rotation.needs_crl(self._ledger, ca, self._authorities, self._now):
                self.plan.keys_to_remove.append(ca)
                self.plan.add(ca.path, "remove", f"remove: key of {ca.label}, which is {ca.state}")

    # ------------------------------------------------------------------ adoption

    def _candidate(self, spec: AuthoritySpec) -> adopt.Candidate | None:
        """The CA that is to be this authority's first generation, judged, where there is to be one."""
        wish = self._desired.adopt
        if wish is None or wish.name != spec.name:
            return None
        candidate = adopt.read(wish, self._now)
        text = names.dn(candidate.subject)
        if any(ca.subject == text for ca in self._authorities):
            raise KitError(
                f"CA certificate {wish.certificate}",
                f"the subject {text!r}, which an authority of this store has",
                "a subject of its own, by which gateways tell CAs apart",
                "adopt it in a store of its own",
            )
        label = PlannedAuthority(spec, 1).label
        self.plan.warnings.extend(f"{label}: {weakness}" for weakness in candidate.weaknesses)
        if spec.name == offline.ROOT:
            self.plan.warnings.append(
                f"{label}: what it has signed itself is let in nowhere, for sites accept issuing CAs; "
                "adopt it as an issuing CA to let those clients in"
            )
        return candidate

    def _plan_adopted_later(self, ca: Authority) -> None:
        """Once a CA is adopted, its files may go; certificates of it that come up later can still be entered."""
        wish = self._desired.adopt
        if wish is None or wish.name != ca.name or not wish.certificate.exists():
            return
        certificate = adopt.read_certificate(wish)
        if not any(adopt.is_same(certificate, known.der) for known in self._generations(ca.name)):
            raise KitError(
                f"adopt, as {ca.name!r}",
                f"that {ca.label} is made already",
                "an authority without a generation, for an adopted CA is its first",
                "add another issuing CA to pki_issuing and adopt it as that, or take pki_adopt away",
            )
        first = next(known for known in self._generations(ca.name) if adopt.is_same(certificate, known.der))
        self._plan_adopted(first.label, certificate, self._ledger.serials_of(first.number), first.number)

    def _plan_adopted(self, label: str, ca: x509.Certificate, known: set[str], number: int = adopt.UNNUMBERED) -> None:
        assert self._desired.adopt is not None  # noqa: S101  asked for by its callers
        found = adopt.signed_before(self._desired.adopt.certificates_folder, ca, self._now, known, label)
        self.plan.warnings.extend(found.remarks)
        for new in found.certificates:
            entry = replace(new, issuer=number)
            self.plan.adopted.append(entry)
            self._current.setdefault(new.name, adopt.as_issued(entry))
            self.plan.add(
                new.name, "adopt", f"adopt: serial {new.serial}, until {clock.moment(new.not_after):%Y-%m-%d}"
            )
            self._touched.add(new.name)

    def _adopted_now(self, name: str) -> adopt.Candidate | None:
        return next((planned.adopted for planned in self.plan.authorities if planned.spec.name == name), None)

    def _warn_about_limits(self, ca: Authority, spec: AuthoritySpec) -> None:
        """Say what of a CA's wish its certificate can't follow: it is what it was made as."""
        certificate = x509.load_der_x509_certificate(ca.der)
        allowed = constraints.of_certificate(certificate)
        if allowed != spec.name_constraints:
            self.plan.warnings.append(
                f"{ca.label}: name_constraints ({spec.name_constraints or 'none'}) take effect when it is rotated; "
                f"it has {allowed or 'none'} now"
            )
        if missing := sorted(spec.purposes - profiles.purposes_of(certificate)):
            self.plan.warnings.append(
                f"{ca.label}: the purpose {missing[0]} takes effect when it is rotated; it was made without"
            )

    def _limits(self, spec: AuthoritySpec) -> tuple[constraints.NameConstraints | None, Usages]:
        """(names, extended key usages) that the CA allows which signs for ``spec`` now, or will when it is made."""
        signing = self._newest(spec.name) or self._adopted_now(spec.name)
        if signing is None:
            return spec.name_constraints, profiles.usages_made(spec.purposes, spec.usages)
        certificate = x509.load_der_x509_certificate(signing.der)
        return constraints.of_certificate(certificate), profiles.usages_of(certificate)

    @staticmethod
    def _check_limits(spec: CertificateSpec, allowed: constraints.NameConstraints | None, usages: Usages) -> None:
        """Refuse before anything is changed what every verifier would refuse once it is signed."""
        authority.check_names(spec.name, spec.subject, spec.sans, allowed)
        for usage in spec.profile.extended_key_usage:
            if usages is not None and usage not in usages:
                raise KitError(
                    f"certificate {spec.name!r}",
                    f"the issuing CA {spec.issuer!r}, whose certificate was made without {profiles.usage_text(usage)}",
                    "an issuing CA that was made with it",
                    f"rotate {spec.issuer}, or add an issuing CA to pki_issuing and name it as issuer",
                )

    def _end_of(self, issuing: str) -> datetime:
        ca = self._newest(issuing)
        if ca is not None:
            return ca.not_after
        if (adopted := self._adopted_now(issuing)) is not None:
            return adopted.not_after
        root = self._newest("root")
        root_end = root.not_after if root else self._now + timedelta(days=self._desired.root.days)
        spec = next(spec for spec in self._desired.issuing if spec.name == issuing)
        return min(root_end, self._now + timedelta(days=spec.days))

    # ------------------------------------------------------------------ the root's key

    def _at_hand(self, root: Authority) -> bool:
        if root.label in self._in_openbao:
            return True
        return self._medium.read(root.label) is not None or self._store.exists(f"authorities/{root.label}/ca.key")

    def _plan_root_keys(self) -> None:
        """Move keys of offline roots out of the store, and refuse what needs one that is not at hand."""
        if not self._desired.root_offline:
            return
        roots = self._generations(offline.ROOT)
        for planned in self.plan.authorities:
            if planned.spec.name == offline.ROOT:
                self._medium.check_writable(planned.label)
            elif (parent := self.plan.parent(planned)) is not None and not self._at_hand(parent):
                raise offline.not_at_hand(parent.label, f"to sign the issuing CA {planned.label}")
        for root in roots:
            if not self._store.exists(f"authorities/{root.label}/ca.key"):
                continue
            if self._medium.folder is None:
                self.plan.warnings.append(
                    f"{root.label}: said to be kept offline, and its key is in the store; "
                    "run once with -e pki_root_keys=<folder on a medium>, which moves it there"
                )
                continue
            if self._medium.read(root.label) is None:
                self._medium.check_writable(root.label)
            self.plan.keys_to_move.append(root)
            self.plan.add(root.path, "write", f"write: key of {root.label} moved to {self._medium.folder}")
            self._touched.add(root.path)
        written = self.plan.keys_to_move or not roots
        if written and self._medium.folder is not None and self._medium.beside(self._store):
            self.plan.warnings.append(
                f"{self._medium.folder} lies on the file system of the store: the root's key is offline only once "
                "it is on a medium that is taken away"
            )

    # ------------------------------------------------------------------ revocations

    def _plan_authority_revocations(self) -> None:
        for spec in self._desired.revoke:
            if spec.name is not None and spec.name.startswith("ca/"):
                self._plan_authority_revocation(spec.name, spec.reason)

    def _plan_authority_revocation(self, name: str, reason: str) -> None:
        ca = next((ca for ca in self._authorities if f"ca/{ca.label}" == name), None)
        root = next((root for root in self._authorities if ca is not None and root.number == ca.issuer), None)
        if ca is None or root is None:
            # Not by "ca/issuing": while that stood in pki_revoke, each successor would be revoked in turn.
            labels = ", ".join(f"ca/{ca.label}" for ca in self._authorities if ca.issuer is not None)
            raise KitError(
                "revoke",
                f"the name {name!r}",
                f"one generation of an issuing CA ({labels or 'none yet'}); a root is rotated, for nobody is above it",
                "name the generation",
            )
        if self._is_revoked(ca) or ca.not_after <= self._now:
            return
        if not self._at_hand(root):
            raise offline.not_at_hand(root.label, f"to revoke {ca.label} on its CRL and to sign a successor")
        self._revoke(ca.path, Revocation(root.number, ca.serial, reason, self._now, ca.not_after))

    def _plan_revocations(self) -> None:
        for spec in self._desired.revoke:
            if spec.name is not None and spec.name.startswith("ca/"):
                continue
            for owner, revocation in self._revocations_of(spec):
                self._revoke(owner, revocation)
        held = {spec.name for spec in self._desired.revoke}
        gone = [
            issued
            for name, issued in self._current.items()
            if name not in self._specs
            and name not in held
            and issued.revoked is None
            and issued.not_after >= self._now
            and issued.id != adopt.UNNUMBERED
        ]
        revoke = self._desired.removed == "revoke"
        for issued in gone:
            self.plan.removed.append(
                {
                    "name": issued.name,
                    "serial": issued.serial,
                    "not_after": clock.iso(issued.not_after),
                    "revoked": revoke,
                }
            )
        if revoke:
            for issued in self._ledger.valid_of([issued.name for issued in gone], self._now):
                self._revoke(issued.name, self._revocation(issued, "cessationOfOperation"))

    def _revoke(self, owner: str, revocation: Revocation, words: str = "") -> None:
        key = (revocation.issuer, revocation.serial)
        if key in self._revoked:
            return
        self._revoked.add(key)
        self.plan.revocations.append(revocation)
        self.plan.add(owner, "revoke", words or f"revoke: {revocation.reason}, serial {revocation.serial}")
        issued = self._current.get(owner)
        if issued is not None and (issued.issuer, issued.serial) == key:
            self._current[owner] = replace(issued, revoked=revocation.reason)

    def _revocation(self, issued: Issued, reason: str) -> Revocation:
        return Revocation(issued.issuer, issued.serial, reason, self._now, issued.not_after)

    def _revocations_of(self, spec: RevokeSpec) -> Iterator[tuple[str, Revocation]]:
        if spec.name is not None:
            if spec.name not in self._specs and spec.name not in self._current:
                raise KitError(
                    "revoke", f"the name {spec.name!r}", "a certificate's name (client/<client>)", "correct the name"
                )
            for issued in self._ledger.valid_of([spec.name], self._now):
                yield issued.name, self._revocation(issued, spec.reason)
        elif spec.certificate is not None:
            yield from self._revocation_of_certificate(spec.certificate, spec.reason)
        elif spec.serial is not None:
            known = self._ledger.by_serial(spec.serial)
            if not known:
                raise KitError(
                    "revoke",
                    f"the serial {spec.serial}, which this ledger does not know",
                    "the serial of a certificate of this PKI",
                    "correct the serial, or hand in the certificate itself",
                )
            yield from self._still_valid(known, spec.reason)

    def _still_valid(self, known: Iterable[Issued], reason: str) -> Iterator[tuple[str, Revocation]]:
        for issued in known:
            if issued.revoked is None and issued.not_after >= self._now:
                yield issued.name, self._revocation(issued, reason)

    def _revocation_of_certificate(
        self, certificate: x509.Certificate, reason: str
    ) -> Iterator[tuple[str, Revocation]]:
        serial = names.serial_text(certificate.serial_number)
        for ca in self._authorities:
            if not keys.signed_by(certificate, x509.load_der_x509_certificate(ca.der)):
                continue
            known = [issued for issued in self._ledger.by_serial(serial) if issued.issuer == ca.number]
            if known:
                yield from self._still_valid(known, reason)
            elif clock.not_after(certificate) >= self._now and not self._ledger.is_revoked(ca.number, serial):
                yield "unknown", Revocation(ca.number, serial, reason, self._now, clock.not_after(certificate))
            return
        raise KitError(
            "revoke",
            f"the certificate with serial {serial}, which no CA of this store has signed",
            "a certificate of this PKI",
            "revoke it where it was issued",
        )

    # ------------------------------------------------------------------ leaves

    def _plan_leaves(self) -> None:
        held = {spec.name for spec in self._desired.revoke}
        csr_keys = self._csr_keys()
        ends = {spec.name: self._end_of(spec.name) for spec in self._desired.issuing}
        numbers = {spec.name: ca.number for spec in self._desired.issuing if (ca := self._newest(spec.name))}
        numbers.update((name, adopt.UNNUMBERED) for name in ends if self._adopted_now(name))
        authority_subjects = self._authority_subjects()
        limits = {spec.name: self._limits(spec) for spec in self._desired.issuing}
        for spec in self._desired.certificates:
            if spec.name in held or spec.issuer in self._ended:
                continue
            issued = self._current.get(spec.name)
            key = csr_keys.get(spec.name)
            key_sha256 = keys.public_key_sha256(key) if key is not None else None
            issuer, other_issuer = self._issuer_wanted(spec, issued, numbers.get(spec.issuer))
            reason = lifecycle.certificate_due(
                spec,
                issued,
                issuer,
                ends[spec.issuer],
                self._now,
                key_sha256,
                pki=self._desired.name,
                other_issuer=other_issuer,
            ) or self._on_demand(issued)
            if reason is None:
                if issued is not None and issued.groups != spec.groups:
                    self.plan.groups.append(spec)
                    self.plan.add(spec.name, "write", "write: groups changed")
                continue
            self._check_limits(spec, *limits[spec.issuer])
            if spec.source == "csr" and key is None:
                self.plan.csr_wanted[spec.name] = reason
            else:
                if key is not None and self._signed_in_openbao(spec.issuer):
                    authority.check_verbatim(spec.name, self._csrs[spec.name], spec.subject, spec.sans)
                self._check_subject(spec, authority_subjects)
                self._check_compromised(spec.name, issued, key_sha256)
                self.plan.leaves.append(PlannedLeaf(spec, reason, key, self._csrs.get(spec.name, "")))
                self.plan.add(spec.name, reason.partition(":")[0], reason)
                self._touched.add(spec.name)
        self._warn_about_keys()

    def _issuer_wanted(
        self, spec: CertificateSpec, issued: Issued | None, signing: int | None
    ) -> tuple[int | None, str]:
        """(number of the CA whose certificate ``spec`` is to have, why another one's is replaced).

        A leaf of another generation that is still trusted may be left until it is renewed, as the stages of the
        rotation say.
        """
        by_number = {ca.number: ca for ca in self._authorities}
        old = by_number.get(issued.issuer) if issued is not None else None
        new = by_number.get(signing) if signing is not None else None
        if old is None or new is None or old.name != new.name or old is new:
            return signing, "issuing CA changed"
        wish = self._desired.rotation
        stage = wish.servers if spec.name.startswith("server/") else wish.clients
        if stage == "window" and wish.step != "back" and rotation.trusted(old) and not self._is_revoked(old):
            return old.number, ""
        return new.number, f"{new.label} replaces {old.label}"

    def _signed_in_openbao(self, name: str) -> bool:
        return signed_in_openbao(self._ledger, self._authorities, name, self._desired.backend)

    def _on_demand(self, issued: Issued | None) -> str | None:
        wish = self._desired.reissue
        if issued is not None and issued.handed_over and issued.name in self._rotated:
            # Nobody here can encrypt that key anew, and the vault is about to forget its password.
            return "re-issue: password rotated, and its key was handed over"
        if wish is None or issued is None or not wish.takes(issued.name, issued.not_before + clock.BACKDATED):
            return None
        return "re-issue: on demand"

    def _csr_keys(self) -> dict[str, keys.PublicKey]:
        found = {}
        for name, pem in self._csrs.items():
            spec = self._specs.get(name)
            if spec is None or spec.source != "csr":
                raise KitError(
                    "csrs",
                    f"a request for {name!r}",
                    "requests for certificates that are listed with source csr",
                    "list the certificate, or remove the request",
                )
            found[name] = authority.csr_public_key(pem, name, spec.key_type)
        return found

    def _authority_subjects(self) -> set[str]:
        subjects = [names.subject_of(x509.load_der_x509_certificate(ca.der).subject) for ca in self._authorities]
        subjects.extend(
            planned.adopted.subject
            if planned.adopted
            else authority_subject(self._desired.name, self._desired.subject, planned.spec.name, planned.generation)
            for planned in self.plan.authorities
        )
        return {names.canonical_dn(subject) for subject in subjects}

    @staticmethod
    def _check_subject(spec: CertificateSpec, authority_subjects: set[str]) -> None:
        if names.canonical_dn(spec.subject) in authority_subjects:
            raise KitError(
                f"certificate {spec.name!r}",
                f"the subject {spec.dn!r}, which is that of a CA of this PKI",
                "a subject of its own, for OpenSSL takes an equal one for self-signed",
                "change subject.common_name",
            )

    def _check_compromised(self, name: str, issued: Issued | None, key_sha256: str | None) -> None:
        if key_sha256 is None:
            return
        planned = issued is not None and issued.revoked == "keyCompromise" and issued.public_key_sha256 == key_sha256
        if planned or self._ledger.compromised(key_sha256):
            raise KitError(
                f"CSR of {name!r}",
                "a key that was revoked as compromised",
                "a new key",
                "make a new key and request on the gateway",
            )

    def _warn_about_keys(self) -> None:
        for spec in self._desired.certificates:
            if spec.key_type == "ed25519" and "server" in spec.profile.purposes:
                self.plan.warnings.append(f"{spec.name}: browsers refuse Ed25519 server keys")

    # ------------------------------------------------------------------ CRLs, trust, files

    def _restored(self) -> datetime | None:
        stored = self._ledger.meta("restored")
        return None if stored is None else clock.moment(int(stored))

    def _plan_crls(self) -> None:
        for ca in self._authorities:
            if ca.not_after <= self._now or not rotation.needs_crl(self._ledger, ca, self._authorities, self._now):
                continue
            in_force = self._crls.get(ca.number)
            extent = self._ledger.revoked_extent(ca.number, crl.lists_from(in_force))
            if more := sum(entry.issuer == ca.number for entry in self.plan.revocations):
                extent += f" and {more} more"
            reason = lifecycle.crl_due(in_force, self._crl_spec(ca), extent, self._restored(), self._now)
            if reason is None:
                continue
            if ca.issuer is None and not self._at_hand(ca):
                self.plan.warnings.append(self._unsigned(ca, in_force, reason))
                continue
            self._sign_crl(ca, reason)
        for planned in self.plan.authorities:
            self._sign_crl(planned, "sign-crl: first")

    def _crl_spec(self, ca: Authority) -> CrlSpec:
        """Days and refresh of an authority's CRL; an offline root's is signed at each ceremony and when it must be."""
        if ca.name != offline.ROOT:
            return self._desired.crl
        spec, in_force = self._desired.root_crl, self._crls.get(ca.number)
        if self._desired.root_offline and in_force is not None and self._medium.read(ca.label) is None:
            bring_by = offline.bring_key_by(in_force) - in_force.this_update
            return replace(spec, refresh_hours=bring_by // timedelta(hours=1))
        return spec

    def _unsigned(self, root: Authority, in_force: Crl | None, reason: str) -> str:
        if not self._desired.root_offline:
            return f"{root.label}: its CRL is due ({reason}), and its key is not on this host"
        end = f"before its CRL ends at {clock.iso(in_force.next_update)}" if in_force else "now"
        return (
            f"{root.label}: its CRL is due ({reason}), and its key is kept offline; bring it {end}, "
            "with -e pki_root_keys=<folder on the medium>"
        )

    def _sign_crl(self, ca: Authority | PlannedAuthority, reason: str) -> None:
        self.plan.crls.append(ca)
        path = ca.path if isinstance(ca, Authority) else ca.spec.path
        self.plan.add(path, "sign-crl", reason)
        self._touched.add(path)

    def _plan_trust(self) -> None:
        units = self._ledger.trust_units()
        for spec in self._desired.trust:
            unit = units.get(spec.scope)
            if unit is None:
                reason = "write: first"
            elif (restored := self._restored()) is not None and unit.created < restored:
                reason = "write: restored from a backup"
            else:
                changed = self._changed_trust_files(spec, unit.files)
                if not changed:
                    continue
                reason = f"write: {', '.join(sorted(changed))} changed"
            self.plan.trust.append(spec)
            self.plan.add(f"trust/{spec.scope}", "write", reason)
            self._touched.add(f"trust/{spec.scope}")

    def _changed_trust_files(self, spec: TrustSpec, before: Mapping[str, str]) -> set[str]:
        """Files that differ now already, and those that this plan will make differ."""
        changed: set[str] = set()
        if not any(planned.spec.name in (*spec.accept, "root") for planned in self.plan.authorities):
            rendered = render_trust(self._store, self._authorities, spec, self._now)
            self.plan.rendered[spec.scope] = rendered
            after = trust.file_digests(rendered)
            changed.update(file for file, digest in after.items() if before.get(file) != digest)
        else:
            changed.update(("client-ca.crt", "issuers.map", "crl.pem"))
        accepted = accepted_authorities(self._authorities, spec)
        numbers = {ca.number for ca in accepted}
        signed = {ca.number for ca in self.plan.crls if isinstance(ca, Authority)}
        if signed & (numbers | {ca.issuer for ca in accepted}):
            changed.add("crl.pem")
        if any(entry.issuer in numbers for entry in self.plan.revocations):
            changed.add("revoked.map")
        if any(entry.issuer in numbers for entry in self.plan.adopted):
            changed.add("identities.map")
        clients = {*(leaf.spec.name for leaf in self.plan.leaves), *(spec.name for spec in self.plan.groups)}
        clients.update(change.name for change in self.plan.changes if change.action == "revoke")
        for name in clients:
            issued, wanted = self._current.get(name), self._specs.get(name)
            now_in = wanted is not None and wanted.issuer in spec.accept and wanted.profile.for_clients
            was_in = issued is not None and issued.issuer in numbers and issued.for_clients
            if now_in or was_in:
                changed.add("identities.map")
        return changed

    def _plan_files(self) -> None:
        recorded = self._ledger.files()
        for file in expected_files(self._store, self._desired, self._authorities, self._current):
            if file.owner in self._touched:
                continue
            found = self._store.state(file.path)
            if found == recorded.get(file.path) and found is not None:
                continue
            name = file.path.rpartition("/")[2]
            if found is None:
                reason = f"{name} missing"
            else:
                reason = f"{name} altered" if file.path in recorded else f"{name} not yet written"
            self.plan.add(file.owner, "write", f"write: {reason}")


def expected_files(
    store: Store,
    desired: Desired,
    authorities: Sequence[Authority],
    current: Mapping[str, Issued],
) -> Iterator[HandedOut]:
    """Every file that the store is to hold as the ledger stands."""
    crls = store.ledger.crls()
    for ca in authorities:
        yield from (file for file in authority_files(ca) if ca.number in crls or not file.path.endswith("crl.pem"))
    if any(ca.issuer is None for ca in authorities):
        yield HandedOut(TRUST_ANCHOR, TRUST_ANCHOR, 0o644)
    for spec in desired.certificates:
        issued = current.get(spec.name)
        if issued is not None and issued.revoked is None:
            # The key of what was signed before an adoption is its owner's alone.
            yield from (file for file in certificate_files(spec) if issued.has_key or not file.path.endswith(".key"))
    for unit in store.ledger.trust_units().values():
        if any(spec.scope == unit.scope for spec in desired.trust):
            yield from trust_files(unit.scope, unit.number)


def accepted_authorities(authorities: Sequence[Authority], spec: TrustSpec) -> list[Authority]:
    """The authorities a scope accepts: every generation that is trusted of the issuing CAs it names."""
    return [ca for name in spec.accept for ca in authorities if ca.name == name and rotation.trusted(ca)]


def render_trust(store: Store, authorities: Sequence[Authority], spec: TrustSpec, now: datetime) -> dict[str, str]:
    """The trust unit of a scope, with these authorities and the rest as the ledger stands, without its number."""
    ledger = store.ledger
    accepted = [
        ca
        for ca in accepted_authorities(authorities, spec)
        if ca.not_after > now and not (ca.issuer and ledger.is_revoked(ca.issuer, ca.serial))
    ]
    roots = [ca for ca in authorities if ca.number in {issuing.issuer for issuing in accepted}]
    crls = store.ledger.crls()
    signed = [crls[ca.number].pem for ca in (*accepted, *roots) if ca.number in crls]
    return trust.render(store.ledger, accepted, roots, signed, now)
