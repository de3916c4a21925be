"""The ledger against a model of it: whatever is done in whatever order, both know the same."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Ledger, NewCertificate, Revocation

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NAMES = st.sampled_from(["client/alice", "client/bob", "server/gw1/orders", "client/o'hara"])
REASONS = st.sampled_from(["unspecified", "keyCompromise", "superseded"])
SERIALS = st.integers(1, 40).map(lambda number: f"{number:02X}")
KEYS = st.sampled_from(["11" * 32, "22" * 32])


def certificate(issuer: int, serial: str, name: str, now: datetime, days: int, **more: Any) -> NewCertificate:
    fields: dict[str, Any] = {
        "probe": False, "reason": "issue: new", "profile": "client", "profile_sha256": "", "for_clients": True,
        "subject": f"CN={name}", "sans": "[]", "groups": "[]", "key_type": "ec-p256", "public_key_sha256": "11" * 32,
        "sha256": serial * 32, "der": serial.encode(), "key": None, **more,
    }  # fmt: skip
    end = now + timedelta(days=days)
    times = {"not_before": clock.seconds(now), "not_after": clock.seconds(end), "created": clock.seconds(now)}
    return NewCertificate(issuer=issuer, serial=serial, name=name, **times, **fields)


def authority(ledger: Ledger, generation: int) -> int:
    return ledger.add_authority(
        name="issuing",
        generation=generation,
        label=f"issuing-g{generation}",
        subject=f"CN=Issuing G{generation}",
        issuer=None,
        serial=f"{generation:02X}",
        key_type="ec-p256",
        not_after=clock.seconds(START + timedelta(days=3650)),
        created=clock.seconds(START),
        der=b"",
        state="signing",
    )


class LedgerMachine(RuleBasedStateMachine):
    """Issues, revokes, draws numbers, breaks transactions off, and closes and opens again, as time goes by."""

    issuers = Bundle("issuers")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger.in_memory(None)
        self.now = START
        self.issued: list[NewCertificate] = []
        self.revoked: dict[tuple[int, str], Revocation] = {}
        self.numbers: dict[str, int] = {}
        self.groups: dict[str, str] = {}
        self.generations = 0

    @initialize(target=issuers)
    def first(self) -> int:
        return self.new_generation()

    @rule(target=issuers)
    def new_generation(self) -> int:
        self.generations += 1
        with self.ledger.transaction():
            return authority(self.ledger, self.generations)

    @rule(
        issuer=issuers, serial=SERIALS, name=NAMES, days=st.integers(1, 60), key=KEYS, kind=st.sampled_from("pcs"),
    )  # fmt: skip
    def issue(self, issuer: int, serial: str, name: str, days: int, key: str, kind: str) -> None:
        new = certificate(
            issuer, serial, name, self.now, days, probe=kind == "p", for_clients=kind != "s", public_key_sha256=key
        )
        if any((old.issuer, old.serial) == (issuer, serial) for old in self.issued):
            with pytest.raises(sqlite3.IntegrityError), self.ledger.transaction():
                self.ledger.add_certificates([new])
            return
        with self.ledger.transaction():
            self.ledger.add_certificates([new])
        self.issued.append(new)

    @rule(issuer=issuers, serial=SERIALS, reason=REASONS, days=st.integers(0, 60))
    def revoke(self, issuer: int, serial: str, reason: str, days: int) -> None:
        known = next((old for old in self.issued if (old.issuer, old.serial) == (issuer, serial)), None)
        end = clock.moment(known.not_after) if known else self.now + timedelta(days=days)
        entry = Revocation(issuer, serial, reason, self.now, end)
        with self.ledger.transaction():
            self.ledger.revoke([entry])
        self.revoked.setdefault((issuer, serial), entry)

    @rule(name=NAMES, groups=st.lists(st.text(max_size=5), max_size=3))
    def regroup(self, name: str, groups: list[str]) -> None:
        text = json.dumps(groups)
        with self.ledger.transaction():
            self.ledger.set_groups(name, text)
        self.issued = [replace(old, groups=text) if old.name == name else old for old in self.issued]

    @rule(counter=st.sampled_from(["trust", "crl 1"]))
    def number(self, counter: str) -> None:
        with self.ledger.transaction():
            drawn = self.ledger.next_number(counter)
        assert drawn > self.numbers.get(counter, 0)
        self.numbers[counter] = drawn

    @rule(issuer=issuers, serial=SERIALS, name=NAMES)
    def broken_off(self, issuer: int, serial: str, name: str) -> None:
        with pytest.raises(InterruptedError), self.ledger.transaction():
            self.ledger.revoke([Revocation(issuer, serial, "superseded", self.now, self.now + timedelta(days=9))])
            self.ledger.set_groups(name, '["broken off"]')
            self.ledger.next_number("trust")
            raise InterruptedError

    @rule()
    def reopened(self) -> None:
        content = self.ledger.serialized()
        self.ledger.close()
        self.ledger = Ledger.from_bytes(content, "the copy")

    @rule(days=st.integers(1, 30))
    def time_goes_by(self, days: int) -> None:
        self.now += timedelta(days=days)

    # ------------------------------------------------------------------ both know the same

    def valid(self, certificate: NewCertificate) -> bool:
        seconds = clock.seconds(self.now)
        return certificate.not_after >= seconds and (certificate.issuer, certificate.serial) not in self.revoked

    @invariant()
    def the_current_one_is_the_newest(self) -> None:
        newest = {new.name: new for new in self.issued if not new.probe}
        current = self.ledger.current()
        assert {name: (one.issuer, one.serial) for name, one in current.items()} == {
            name: (one.issuer, one.serial) for name, one in newest.items()
        }
        for name, one in current.items():
            entry = self.revoked.get((one.issuer, one.serial))
            assert one.revoked == (entry.reason if entry else None)
            assert self.ledger.current_of(name) == one

    @invariant()
    def valid_ones_are_neither_expired_nor_revoked(self) -> None:
        names = sorted({new.name for new in self.issued})
        expected = {(new.issuer, new.serial) for new in self.issued if not new.probe and self.valid(new)}
        assert {(one.issuer, one.serial) for one in self.ledger.valid_of(names, self.now)} == expected

    @invariant()
    def identities_are_the_valid_clients(self) -> None:
        found = {(one.issuer, one.serial, one.name) for one in self.ledger.identities(self.numbers_of(), self.now)}
        assert found == {
            (new.issuer, new.serial, new.name)
            for new in self.issued
            if new.for_clients and not new.probe and self.valid(new)
        }

    @invariant()
    def revoked_serials_stay_until_they_expire(self) -> None:
        for issuer in self.numbers_of():
            expected = sorted(
                serial
                for (number, serial), entry in self.revoked.items()
                if number == issuer and entry.not_after >= self.now
            )
            assert [entry.serial for entry in self.ledger.revocations(issuer, self.now)] == expected
            assert self.ledger.revoked_map(issuer, self.now) == "".join(
                f'"{issuer}:{serial}" 1;\n' for serial in expected
            )
            assert self.ledger.revoked_counts(self.now).get(issuer, 0) == len(expected)
            assert self.ledger.revoked_extent(issuer, self.now) == f"{len(expected)} revoked"

    @invariant()
    def the_first_revocation_holds(self) -> None:
        for (issuer, serial), entry in self.revoked.items():
            assert self.ledger.is_revoked(issuer, serial)
            if entry.not_after >= self.now:
                listed = next(one for one in self.ledger.revocations(issuer, self.now) if one.serial == serial)
                assert (listed.reason, listed.revoked) == (entry.reason, clock.seconds(entry.revoked))

    @invariant()
    def compromised_keys_are_known(self) -> None:
        expected = {
            new.public_key_sha256
            for new in self.issued
            if (entry := self.revoked.get((new.issuer, new.serial))) and entry.reason == "keyCompromise"
        }
        assert self.ledger.compromised_keys() == expected
        assert all(self.ledger.compromised(key) == (key in expected) for key in ("11" * 32, "22" * 32))

    def numbers_of(self) -> list[int]:
        return [ca.number for ca in self.ledger.authorities()]


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_the_number_of_an_authority_never_comes_back() -> None:
    ledger = Ledger.in_memory(None)
    with ledger.transaction():
        first = authority(ledger, 1)
    with pytest.raises(InterruptedError), ledger.transaction():
        authority(ledger, 2)
        raise InterruptedError
    with ledger.transaction():
        ledger.reserve_authorities(7)
        assert authority(ledger, 2) > 7 > first
