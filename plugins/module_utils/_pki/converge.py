"""Bring a store to the desired state: plan, open the keys that the plan needs, carry it out, hand out the files.

The order survives a kill at any instant. A CA key reaches the disk before the ledger knows its certificate; a leaf and
its encrypted key enter the ledger in one transaction, which also forgets the files they replace; files are written
from the ledger last. A run that was cut short therefore leaves entries whose files the next run writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    adopt,
    authority,
    clock,
    crl,
    delivery,
    keys,
    names,
    offline,
    openbao,
    reconcile,
    reencrypt,
    rotation,
    trust,
    workers,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.backend import (
    Backend,
    LocalBackend,
    Request,
    Signer,
    open_signer,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import Desired, TrustSpec, authority_subject
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import (
    Authority,
    Crl,
    CrossCertificate,
    Issued,
    Ledger,
    NewCertificate,
    TrustUnit,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.openbao import OpenBaoBackend
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import LOCAL, NO_DIFFERENCES, OPENBAO, places
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import (
    TRUST_ANCHOR,
    Change,
    HandedOut,
    Plan,
    PlannedAuthority,
    PlannedLeaf,
    Planner,
    certificate_files,
    expected_files,
    render_trust,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import Store, key_path
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Session

BATCH: Final = 256
"""Certificates in one transaction: what a kill can cost, against one fsync of the ledger for each."""

_WORTH_SIGNING: Final = 16
_WORTH_WRITING: Final = 2 * BATCH
"""From how many certificates on the fork of workers pays."""

_Item = TypeVar("_Item")


@dataclass
class Result:
    """What module ``pki`` returns; no secret is in it."""

    changes: list[Change]
    csr_wanted: dict[str, str]
    csr_subjects: dict[str, dict[str, str]]
    servers: dict[str, dict[str, Any]]
    trust: dict[str, dict[str, Any]]
    delivered: list[dict[str, Any]]
    trust_anchor: str
    authorities: list[dict[str, Any]]
    removed: list[dict[str, object]]
    root_keys_needed: list[dict[str, str]]
    taken: list[str]
    rotation: dict[str, Any]
    warnings: list[str]


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _team(items: int, worth: int) -> int:
    return workers.cores() if items >= worth else 1


def _shares(items: int) -> Iterator[slice]:
    """Spans of a list, none longer than a batch, and short lists shared evenly by the cores."""
    size = max(1, min(BATCH, -(-items // workers.cores())))
    return (slice(start, start + size) for start in range(0, items, size))


class _Run:
    """Carries out one plan."""

    def __init__(
        self,
        store: Store,
        desired: Desired,
        plan: Plan,
        passwords: Passwords,
        now: datetime,
        adopt_password: str,
        session: OpenBaoBackend | None,
    ) -> None:
        self._store = store
        self._ledger = store.ledger
        self._desired = desired
        self._plan = plan
        self._passwords = passwords
        self._now = now
        self._medium = offline.Medium(desired.name, desired.root_keys)
        self._local = LocalBackend(store, desired, passwords, adopt_password, plan.warnings)
        self._openbao = session
        self._reencryption = reencrypt.Reencryption()
        self._signers: dict[int, Signer] = {}
        self._issuers: dict[str, tuple[int, Signer]] = {}

    # ------------------------------------------------------------------ before anything changes

    def open_keys(self) -> None:
        """Open what the plan signs with and check every password it needs; KitError for the first that fails."""
        needed: dict[int, Authority] = {}
        authorities, in_openbao = self._plan.standing, places(self._ledger)
        listed = {spec.name for spec in (self._desired.root, *self._desired.issuing)}
        for ca in list(self._plan.crls):
            if not isinstance(ca, Authority):
                continue
            if ca.label in in_openbao:
                lacking = "pki_openbao" if self._openbao is None and not rotation.trusted(ca) else ""
            else:
                lacking = "password for it" if ca.name not in listed and ca.path not in self._passwords else ""
            if lacking:
                self._leave_unsigned(ca, lacking)
            else:
                needed[ca.number] = ca
        issuers = {leaf.spec.issuer for leaf in self._plan.leaves}
        for name in issuers:
            if (signer := rotation.signing(authorities, name)) is not None:
                needed[signer.number] = signer
        for planned in self._plan.authorities:
            if planned.spec.name != offline.ROOT and (parent := self._plan.parent(planned)) is not None:
                needed[parent.number] = parent
        if self._plan.cross_sign and (old := rotation.signing(authorities, offline.ROOT)) is not None:
            needed[old.number] = old
        for planned in self._plan.authorities:
            self._maker().prepare(planned)
        for leaf in self._plan.leaves:
            if leaf.public_key is None:
                self._passwords.of(leaf.spec.name)
        for number, ca in needed.items():
            self._signers[number] = self._backend_of(ca).signer(ca)
        for root in self._plan.keys_to_move:
            open_signer(self._store, root, self._passwords)
        self._reencryption = reencrypt.plan(
            self._store, self._passwords, self._medium, self._now, root_offline=self._desired.root_offline
        )
        self._plan.changes.extend(self._reencryption.changes)
        self._plan.taken = self._reencryption.taken
        self._plan.warnings.extend(self._reencryption.warnings)

    def _leave_unsigned(self, ca: Authority, lacking: str) -> None:
        """Of a CA that nobody here needs any more the CRL is no reason to refuse the run."""
        state = "no longer listed" if rotation.trusted(ca) else ca.state
        last = self._ledger.crls().get(ca.number)
        ends = f"; the last one ends at {clock.iso(last.next_update)}" if last else ""
        self._plan.warnings.append(f"{ca.label}: {state}, no {lacking}: its CRL is not signed{ends}")
        self._plan.crls.remove(ca)
        planned = (change for change in self._plan.changes if (change.name, change.action) == (ca.path, "sign-crl"))
        self._plan.changes.remove(next(planned))

    def _maker(self) -> Backend:
        return self._session() if self._desired.backend == OPENBAO else self._local

    def _backend_of(self, ca: Authority) -> Backend:
        return self._session() if ca.label in places(self._ledger) else self._local

    def _session(self) -> OpenBaoBackend:
        return openbao.required(self._openbao)

    # ------------------------------------------------------------------ carrying it out

    def carry_out(self) -> None:
        """Do what the plan says."""
        if self._plan.init:
            with self._ledger.transaction():
                self._ledger.set_meta("name", self._desired.name)
                self._ledger.set_meta("created", clock.iso(self._now))
        self._reencryption.apply(self._store, self._medium)
        self._begin_phase()
        for planned in self._plan.authorities:
            self._make_authority(planned)
        if self._plan.cross_sign:
            self._cross_sign()
        if self._plan.adopted:
            with self._ledger.transaction():
                # By the number that their CA got when it was entered.
                numbers = {adopt.UNNUMBERED: self._adopted_number()}
                self._ledger.adopt_certificates(
                    replace(new, issuer=numbers.get(new.issuer, new.issuer)) for new in self._plan.adopted
                )
        if self._plan.revocations or self._plan.groups or self._plan.strangers:
            with self._ledger.transaction():
                self._ledger.add_certificates(self._plan.strangers)
                self._ledger.revoke(self._plan.revocations)
                for spec in self._plan.groups:
                    self._ledger.set_groups(spec.name, spec.groups)
        self._tell_openbao()
        self._issue()
        self._sign_crls()
        for scope in self._plan.trust:
            self._write_trust(scope)
        for root in self._plan.keys_to_move:
            self._move_out(root)
        for old in self._plan.keys_to_remove:
            self._store.remove(key_path(old.label))
        self._hand_out()

    def _begin_phase(self) -> None:
        """Enter the rotation's step: what follows from it the next run makes good, if this one is cut short."""
        outlook = self._plan.rotation
        if outlook.change is None:
            return
        with self._ledger.transaction():
            moved = outlook.rotation or outlook.before
            assert moved is not None  # noqa: S101  the one whose step it is
            if moved.id == rotation.NOT_ENTERED:
                self._ledger.start_rotation(moved.kind, moved.names, moved.phase, self._now)
            else:
                self._ledger.set_phase(moved.id, moved.phase, moved.since)
            self._ledger.set_states(outlook.states)
            # These files hold what the step changes; nobody touched them, so nothing else would have them written.
            self._ledger.forget_files(self._plan.stale_files)

    def _cross_sign(self) -> None:
        authorities = self._ledger.authorities()
        new, old = rotation.introduced(authorities, offline.ROOT), rotation.signing(authorities, offline.ROOT)
        assert new is not None  # noqa: S101  made or found before
        assert old is not None  # noqa: S101  its key was opened
        successor = x509.load_der_x509_certificate(new.der)
        signer = self._signers[old.number]
        csr = self._backend_of(new).request(new) if signer.remote else ""
        certificate = signer.cross(successor, csr, self._now)
        with self._ledger.transaction():
            self._ledger.add_cross_certificate(
                CrossCertificate(
                    subject=new.number,
                    issuer=old.number,
                    serial=names.serial_text(certificate.serial_number),
                    not_after=clock.not_after(certificate),
                    der=certificate.public_bytes(Encoding.DER),
                )
            )

    def note_rotation(self) -> None:
        """Remember of a rotation that goes on what it waits for, and which trust units brought the new CAs in."""
        active = rotation.under_way(self._ledger.rotations())
        if active is None:
            return
        waits = list(self._plan.rotation.waits)
        units = self._ledger.trust_units()
        known = {spec.scope: units[spec.scope].number for spec in self._desired.trust if spec.scope in units}
        brought_in = {**known, **active.trust} if active.phase == rotation.INTRODUCE else active.trust
        told = rotation.cut_off_note(active, self._plan.rotation)
        if (
            waits != active.waits
            or brought_in != active.trust
            or any(self._ledger.meta(key) != told[key] for key in told)
        ):
            with self._ledger.transaction():
                self._ledger.set_waits(active.id, waits)
                self._ledger.set_rotation_trust(active.id, brought_in)
                for key, value in told.items():
                    self._ledger.set_meta(key, value)

    def _adopted_number(self) -> int:
        """The number of the CA that this run has adopted; UNNUMBERED where it adopted none."""
        adopted = {planned.label for planned in self._plan.authorities if planned.adopted is not None}
        numbers = [ca.number for ca in self._ledger.authorities() if ca.label in adopted]
        return numbers[0] if numbers else adopt.UNNUMBERED

    def _move_out(self, root: Authority) -> None:
        """Take a root's key offline; it leaves the store once it was read back from the medium and opened."""
        if self._medium.read(root.label) is None:
            self._medium.write(root.label, self._store.read(key_path(root.label)) or b"")
        open_signer(self._store, root, self._passwords, self._medium)
        self._store.remove(key_path(root.label))

    def _make_authority(self, planned: PlannedAuthority) -> None:
        adopted = planned.adopted
        subject = authority_subject(self._desired.name, self._desired.subject, planned.spec.name, planned.generation)
        root = None
        if adopted is not None:
            subject = adopted.subject
        elif planned.spec.name != offline.ROOT:
            root = rotation.root_of(self._ledger.authorities(), planned.state)
            assert root is not None  # noqa: S101  planned before every issuing CA
        parent = None if root is None else self._signers[root.number]
        certificate, signer = self._maker().make(planned, subject, parent, self._now)
        before = rotation.signing(self._ledger.authorities(), planned.spec.name)
        with self._ledger.transaction():
            if planned.state == rotation.SIGNING and before is not None:
                # It is revoked: one that ended was retired when that was seen.
                self._ledger.set_states({before.number: rotation.REPLACED})
            if planned.spec.name == offline.ROOT:
                self._ledger.forget_files([TRUST_ANCHOR])
            number = self._ledger.add_authority(
                name=planned.spec.name,
                generation=planned.generation,
                label=planned.label,
                subject=names.dn(subject),
                issuer=None if root is None else root.number,
                serial=names.serial_text(certificate.serial_number),
                key_type=planned.spec.key_type if adopted is None else adopted.key_type,
                not_after=clock.seconds(clock.not_after(certificate)),
                created=clock.seconds(self._now),
                der=certificate.public_bytes(Encoding.DER),
                state=planned.state,
            )
            if root is None:
                # It stands in the trust anchor, which nobody touched.
                self._ledger.forget_files([TRUST_ANCHOR])
            self._maker().enter(planned)
        self._signers[number] = signer

    def _tell_openbao(self) -> None:
        """Let OpenBao's own answers say of what is revoked what the ledger says, which counts."""
        untold = list(self._plan.untold)
        known = places(self._ledger)
        # Of a CA that was retired nobody asks OpenBao any more, which may be gone.
        asked = [ca for ca in self._ledger.authorities() if self._openbao is not None or rotation.trusted(ca)]
        in_mount = {ca.number: known.get(ca.label) for ca in asked}
        for entry in self._plan.revocations:
            if (place := in_mount.get(entry.issuer)) is not None:
                untold.append((place.mount, entry.serial))
        if untold:
            client = self._session().client
            for _ in client.in_parallel(lambda told: openbao.revoke(client, *told), untold):
                pass

    def _issue(self) -> None:
        leaves = self._plan.leaves
        self._issuers = {name: self._issuer(name) for name in {leaf.spec.issuer for leaf in leaves}}
        remote = [leaf for leaf in leaves if self._issuers[leaf.spec.issuer][1].remote]
        here = [leaf for leaf in leaves if not self._issuers[leaf.spec.issuer][1].remote]

        def sign(span: slice) -> tuple[slice, list[NewCertificate]]:
            return span, [self._signed(leaf, self._request(leaf)) for leaf in here[span]]

        issued = 0
        for span, signed in workers.in_parallel(sign, _shares(len(here)), _team(len(here), _WORTH_SIGNING)):
            self._enter(here[span], signed)
            issued += len(signed)
            self._store.tell(f"issued {issued:,} of {len(leaves):,}")
        for batch in _batches(remote, BATCH):
            self._sign_remotely(batch)
            issued += len(batch)
            self._store.tell(f"issued {issued:,} of {len(leaves):,}")

    def _enter(self, leaves: Iterable[PlannedLeaf], signed: Sequence[NewCertificate]) -> None:
        with self._ledger.transaction():
            self._ledger.add_certificates(signed)
            self._ledger.forget_files(file.path for leaf in leaves for file in certificate_files(leaf.spec))

    def _sign_remotely(self, leaves: Sequence[PlannedLeaf]) -> None:
        """Several at a time. Whatever was signed is entered, before the first that failed is told."""
        requests = [(leaf, self._request(leaf)) for leaf in leaves]
        for name, (_, signer) in self._issuers.items():
            signer.announce(request.public_key for leaf, request in requests if leaf.spec.issuer == name)

        def sign(asked: tuple[PlannedLeaf, Request]) -> NewCertificate | KitError:
            try:
                return self._signed(*asked)
            except KitError as error:
                return error

        outcomes = list(self._session().client.in_parallel(sign, requests))
        signed = [outcome for outcome in outcomes if isinstance(outcome, NewCertificate)]
        self._enter(leaves, signed)
        for failed in (outcome for outcome in outcomes if isinstance(outcome, KitError)):
            raise failed
        with self._ledger.transaction():
            openbao.forget_announced(self._ledger)

    def _issuer(self, name: str) -> tuple[int, Signer]:
        ca = rotation.signing(self._ledger.authorities(), name)
        assert ca is not None  # noqa: S101  planned before every leaf
        return ca.number, self._signers[ca.number]

    @staticmethod
    def _request(planned: PlannedLeaf) -> Request:
        if planned.public_key is None:
            return Request.of(keys.generate(planned.spec.key_type))
        return Request(planned.public_key, csr=planned.csr)

    def _signed(self, planned: PlannedLeaf, request: Request) -> NewCertificate:
        spec = planned.spec
        issuer, signer = self._issuers[spec.issuer]
        leaf = authority.Leaf(
            name=spec.name,
            profile=spec.profile,
            subject=spec.subject,
            sans=spec.sans,
            not_before=self._now - clock.BACKDATED,
            not_after=self._now + timedelta(days=spec.days),
        )
        certificate = signer.leaf(leaf, request)
        der = certificate.public_bytes(Encoding.DER)
        return NewCertificate(
            issuer=issuer,
            serial=names.serial_text(certificate.serial_number),
            name=spec.name,
            probe=False,
            reason=planned.reason,
            profile=spec.profile.name,
            profile_sha256=spec.profile.sha256,
            for_clients=spec.profile.for_clients,
            subject=spec.dn,
            sans=spec.san_list,
            groups=spec.groups,
            key_type=spec.key_type,
            public_key_sha256=keys.public_key_sha256(request.public_key),
            sha256=hashlib.sha256(der).hexdigest(),
            not_before=clock.seconds(clock.not_before(certificate)),
            not_after=clock.seconds(clock.not_after(certificate)),
            created=clock.seconds(self._now),
            der=der,
            key=None
            if request.private_key is None
            else keys.encrypted_pem(request.private_key, self._passwords.of(spec.name)),
        )

    def _sign_crls(self) -> None:
        in_force = self._ledger.crls()
        by_label = {ca.label: ca for ca in self._ledger.authorities()}
        for planned in self._plan.crls:
            ca = by_label[planned.label]
            self._store.tell(f"signing the CRL of {ca.label}")
            previous = in_force.get(ca.number)
            with self._ledger.transaction():
                number = self._ledger.next_number(f"crl {ca.number}")
                signed = self._signers[ca.number].crl(
                    ca.number,
                    self._ledger.revocations(ca.number, crl.lists_from(previous)),
                    number,
                    self._now,
                    self._desired.root_crl.days if ca.name == offline.ROOT else self._desired.crl.days,
                    self._ledger.revoked_extent(ca.number, self._now),
                )
                self._ledger.put_crl(signed)
                self._ledger.forget_files([f"authorities/{ca.label}/crl.pem"])

    def _write_trust(self, spec: TrustSpec) -> None:
        self._store.tell(f"rendering the trust unit {spec.scope}")
        files = render_trust(self._store, self._ledger.authorities(), spec, self._now)
        self._plan.rendered[spec.scope] = files
        with self._ledger.transaction():
            number = self._ledger.next_number(trust.COUNTER)
            self._ledger.put_trust_unit(
                TrustUnit(spec.scope, number, trust.digest(files), trust.file_digests(files), self._now)
            )

    # ------------------------------------------------------------------ files

    def _hand_out(self) -> None:
        authorities = self._ledger.authorities()
        current = self._ledger.current()
        recorded = self._ledger.files()
        stale: dict[str, list[HandedOut]] = {}
        for file in expected_files(self._store, self._desired, authorities, current):
            if self._store.state(file.path) != recorded.get(file.path) or file.path not in recorded:
                stale.setdefault(file.owner, []).append(file)
        contents = _Contents(self._store, self._desired, self._plan, authorities, current, self._now)
        jobs = (
            [(file.path, contents.of(file), file.mode) for of_owner in owners for file in of_owner]
            for owners in _batches(stale.values(), BATCH)
        )
        written, files = 0, sum(map(len, stale.values()))
        for states in workers.in_parallel(self._store.write, jobs, _team(len(stale), _WORTH_WRITING)):
            with self._ledger.transaction():
                self._ledger.put_files(states)
            written += len(states)
            self._store.tell(f"wrote {written:,} of {files:,} files")
        self._remove_old_keys()
        self._remove_old_trust()

    def _remove_old_keys(self) -> None:
        """Who brought a request has its key elsewhere: one that was made here for it before goes."""
        for leaf in self._plan.leaves:
            old = f"certificates/{leaf.spec.name}/client.key"
            if leaf.spec.source == "csr" and self._store.exists(old):
                self._store.remove(old)
                with self._ledger.transaction():
                    self._ledger.forget_files([old])

    def _remove_old_trust(self) -> None:
        # Of every scope: a run that was cut off may have written a new unit and left the old one.
        for spec in self._desired.trust:
            unit = self._ledger.trust_units()[spec.scope]
            folder = self._store.folder / "trust" / spec.scope
            for old in folder.iterdir():
                if old.name != str(unit.number):
                    path = str(old.relative_to(self._store.folder))
                    self._store.remove_tree(path)
                    with self._ledger.transaction():
                        self._ledger.forget_files(f"{path}/{file}" for file in trust.FILES)


def _chain(authorities: Mapping[int, Authority], number: int) -> str:
    """An issuing CA up to, without, its root."""
    texts = []
    ca: Authority | None = authorities[number]
    while ca is not None and ca.issuer is not None:
        texts.append(authority.pem(ca.der))
        ca = authorities.get(ca.issuer)
    return "".join(texts)


def _server_chain(ledger: Ledger, authorities: Mapping[int, Authority], number: int) -> str:
    """What a server sends above its leaf: with the cross certificate, while the root that signed it is trusted."""
    cross = ledger.cross_certificates().get(authorities[number].issuer or 0)
    sent = cross is not None and rotation.trusted(authorities[cross.issuer])
    return _chain(authorities, number) + (authority.pem(cross.der) if cross is not None and sent else "")


def trust_anchor(authorities: Iterable[Authority], now: datetime) -> str:
    """The roots that are trusted."""
    roots = (ca for ca in authorities if ca.issuer is None and ca.not_after > now and rotation.trusted(ca))
    return "".join(authority.pem(ca.der) for ca in roots)


class _Contents:
    """What is in a file that is handed out, from the ledger."""

    def __init__(
        self,
        store: Store,
        desired: Desired,
        plan: Plan,
        authorities: Sequence[Authority],
        current: Mapping[str, Issued],
        now: datetime,
    ) -> None:
        self._store = store
        self._ledger = store.ledger
        self._desired = desired
        self._plan = plan
        self._current = current
        self._now = now
        self._by_number = {ca.number: ca for ca in authorities}
        self._fixed = {TRUST_ANCHOR: trust_anchor(authorities, now).encode()}
        crls = self._ledger.crls()
        for ca in authorities:
            parts = {"ca.crt": authority.pem(ca.der).encode(), "chain.crt": _chain(self._by_number, ca.number).encode()}
            if ca.number in crls:
                parts["crl.pem"] = crls[ca.number].pem
            self._fixed.update((f"authorities/{ca.label}/{name}", content) for name, content in parts.items())
        self._chains = {ca.number: _chain(self._by_number, ca.number) for ca in authorities}
        self._server_chains = {ca.number: _server_chain(self._ledger, self._by_number, ca.number) for ca in authorities}
        self._leaf: tuple[str, str, bytes | None] = ("", "", None)

    def of(self, file: HandedOut) -> bytes:
        """The content of ``file``."""
        if file.path in self._fixed:
            return self._fixed[file.path]
        if file.path.startswith("trust/"):
            self._render(file.owner.partition("/")[2])
            return self._fixed[file.path]
        if self._leaf[0] != file.owner:
            issued = self._current[file.owner]
            ((_, der, key),) = self._ledger.contents([issued.id])
            chains = self._server_chains if file.owner.startswith("server/") else self._chains
            self._leaf = (file.owner, authority.pem(der) + chains[issued.issuer], key)
        if file.path.endswith(".key"):
            assert self._leaf[2] is not None  # noqa: S101  a certificate without the CA's key is re-issued first
            return self._leaf[2]
        return self._leaf[1].encode()

    def _render(self, scope: str) -> None:
        unit = self._ledger.trust_units()[scope]
        spec = next(spec for spec in self._desired.trust if spec.scope == scope)
        authorities = list(self._by_number.values())
        files = dict(self._plan.rendered.get(scope) or render_trust(self._store, authorities, spec, self._now))
        files[trust.NUMBER_MAP] = trust.number_map(unit.number)
        for name, content in files.items():
            self._fixed[f"trust/{scope}/{unit.number}/{name}"] = content.encode()


def _root_keys_needed(
    desired: Desired, authorities: Sequence[Authority], crls: Mapping[int, Crl], now: datetime
) -> list[offline.Need]:
    if not desired.root_offline:
        return []
    longest = timedelta(days=max((spec.days for spec in desired.certificates), default=0))
    return list(offline.needs(authorities, crls, longest, now))


def _report(store: Store, desired: Desired, plan: Plan, now: datetime) -> Result:
    ledger = store.ledger
    authorities = ledger.authorities()
    by_number = {ca.number: ca for ca in authorities}
    crls, in_openbao = ledger.crls(), places(ledger)
    servers = {}
    for spec in desired.certificates:
        issued = ledger.current_of(spec.name) if spec.name.startswith("server/") else None
        if issued is None or issued.revoked is not None:
            continue
        ((_, der, _key),) = ledger.contents([issued.id])
        servers[spec.name] = {
            "serial": issued.serial,
            "chain": authority.pem(der) + _server_chain(ledger, by_number, issued.issuer),
            "not_after": clock.iso(issued.not_after),
            "public_key_sha256": issued.public_key_sha256,
        }
    units = {}
    for trust_spec in desired.trust:
        unit = ledger.trust_units().get(trust_spec.scope)
        if unit is not None:
            files = dict(plan.rendered.get(trust_spec.scope) or render_trust(store, authorities, trust_spec, now))
            files[trust.NUMBER_MAP] = trust.number_map(unit.number)
            units[trust_spec.scope] = {"number": unit.number, "sha256": trust.digest(files), "files": files}
    return Result(
        changes=plan.changes,
        csr_wanted=plan.csr_wanted,
        csr_subjects={
            spec.name: {names.FIELD_OF_SHORT[short]: text for short, text in spec.subject}
            for spec in desired.certificates
            if spec.name.startswith("server/") and spec.source == "csr"
        },
        servers=servers,
        trust=units,
        delivered=delivery.delivered(ledger),
        trust_anchor=trust_anchor(authorities, now),
        authorities=[
            {
                "number": ca.number,
                "name": ca.name,
                "label": ca.label,
                "state": ca.state,
                "backend": OPENBAO if ca.label in in_openbao else LOCAL,
                "subject": ca.subject,
                "issuer": ca.issuer,
                "serial": ca.serial,
                "key_type": ca.key_type,
                "not_after": clock.iso(ca.not_after),
                "crl_number": crls[ca.number].number if ca.number in crls else None,
                "crl_next_update": clock.iso(crls[ca.number].next_update) if ca.number in crls else None,
            }
            for ca in authorities
        ],
        removed=plan.removed,
        root_keys_needed=[need.as_dict() for need in _root_keys_needed(desired, authorities, crls, now)],
        taken=plan.taken,
        rotation=plan.rotation.as_dict(),
        warnings=plan.warnings,
    )


def converge(
    store: Store,
    desired: Desired,
    csrs: Mapping[str, str],
    passwords: Mapping[str, str],
    now: datetime,
    *,
    dry: bool,
    adopt_password: str = "",
    session: Session | None = None,
) -> Result:
    """Bring ``store`` to ``desired``, or with ``dry`` say what that would change.

    A dry run that is handed no passwords opens no key: it checks what is wished for and the store, before any vault
    is asked. Raises KitError before anything is changed, except for what the disk refuses half way
    (``store.guarded``). ``adopt_password`` opens the key of a CA that is to be adopted; ``session`` is that with
    OpenBao, where keys of CAs are there.
    """
    now = now.replace(microsecond=0)
    with OpenBaoBackend.opened(session, desired.name, store.ledger, now) as vault:
        found = NO_DIFFERENCES if vault is None else reconcile.differences(vault.client, store.ledger, now)
        given = Passwords(passwords)
        plan = Planner(store, desired, csrs, now, found, given.previous.keys()).run()
        run = _Run(store, desired, plan, given, now, adopt_password, vault)
        if passwords or not dry:
            run.open_keys()
        if store.note:
            plan.warnings.append(store.note)
        if not dry and plan.changes:
            run.carry_out()
        if not dry and not store.fresh:
            run.note_rotation()
    return _report(store, desired, plan, now)
