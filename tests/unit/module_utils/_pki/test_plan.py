"""The plan: every change with its reason, due at its moment and not before, and nothing done yet."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import desired, keys, plan, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client, csr, server

ISSUING = {"name": "issuing", "purposes": ["server", "client"], "key_type": "ec-p256", "days": 1095}
PARTNERS = {"name": "partners", "purposes": ["client"], "key_type": "ec-p256", "days": 1095}
SECOND = timedelta(seconds=1)


def planned(host: AuthorityHost, csrs: dict[str, str] | None = None, **more: Any) -> plan.Plan:
    """What a run with these arguments would do; the host keeps its own."""
    wanted = desired.read({**host.arguments, **more})
    with store.opened(host.store, wanted.name, host.now, init=True, dry=True) as opened:
        return plan.Planner(opened, wanted, csrs or {}, host.now).run()


def reasons(host: AuthorityHost, **more: Any) -> dict[str, str]:
    return {change.name: change.reason for change in planned(host, **more).changes}


@pytest.fixture
def made(host: AuthorityHost) -> AuthorityHost:
    """A CA host whose store is as wished."""
    host.run()
    assert planned(host).changes == []
    return host


def test_a_new_store_is_planned_in_the_order_it_is_made_and_not_made(host: AuthorityHost) -> None:
    found = planned(host)
    assert found.init
    assert [ca.label for ca in found.authorities] == ["root-g1", "issuing-g1"]
    assert [(leaf.spec.name, leaf.reason) for leaf in found.leaves] == [
        ("client/alice", "issue: new"),
        ("client/bob", "issue: new"),
    ]
    assert [change.action for change in found.changes] == [
        "init", "issue", "issue", "issue", "issue", "sign-crl", "sign-crl", "write",
    ]  # fmt: skip
    assert found.changes[0].as_dict() == {
        "name": "store",
        "action": "init",
        "reason": "init: new store of PKI demo",
    }
    assert not host.store.exists()


def test_planning_writes_nothing(made: AuthorityHost) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in made.store.rglob("*")}

    before = state()
    made.after(days=80)
    assert planned(made, certificates=[client("carol")], removed="revoke").changes != []
    assert state() == before


@pytest.mark.parametrize(
    ("to_the_window", "reason"),
    [(-SECOND, None), (timedelta(0), "renew: 30 of 90 days left"), (SECOND, "renew: 29 of 90 days left")],
)
def test_the_renewal_window_opens_at_its_second(
    made: AuthorityHost, to_the_window: timedelta, reason: str | None
) -> None:
    made.now += timedelta(days=60) + to_the_window
    assert reasons(made).get("client/alice") == reason


def test_check_mode_and_run_renew_the_same_ones_of_a_fleet(host: AuthorityHost) -> None:
    host.arguments["leaf"]["renew_jitter_days"] = 10
    names = [f"c{number}" for number in range(40)]
    host.run(certificates=[client(name) for name in names])
    renewed: list[str] = []
    for day in range(50, 61):
        host.now = NOON + timedelta(days=day)
        # Foreseen and done are compared in ``reasons`` of the host; a second run changes nothing.
        found = [name for name in host.reasons() if name.endswith(" renew")]
        assert host.reasons() == {}
        assert len(found) < 20
        renewed += found
    assert sorted(renewed) == sorted(f"client/{name} renew" for name in names)


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(hours=24) - SECOND, None),
        (timedelta(hours=24), "sign-crl: 24 hours old"),
        (timedelta(hours=25), "sign-crl: 25 hours old"),
    ],
)
def test_a_crl_is_due_at_its_hour(made: AuthorityHost, age: timedelta, reason: str | None) -> None:
    made.now += age
    found = reasons(made)
    assert [found.get(name) for name in ("ca/root", "ca/issuing")] == [reason, reason]
    assert found.get("trust/issuing") == (None if reason is None else "write: crl.pem changed")


@pytest.mark.parametrize(
    ("wish", "changes"),
    [
        (
            {"certificates": [client("alice", groups=["buyers"]), client("bob"), client("carol")]},
            {"client/carol": "issue: new", "trust/issuing": "write: identities.map changed"},
        ),
        (
            {"certificates": [client("alice", groups=["sellers"]), client("bob")]},
            {"client/alice": "write: groups changed", "trust/issuing": "write: identities.map changed"},
        ),
        (
            {"certificates": [client("alice", groups=["buyers"]), client("bob", san={"dns": ["bob.example"]})]},
            {"client/bob": "re-issue: SAN changed", "trust/issuing": "write: identities.map changed"},
        ),
        (
            {"crl": {"days": 14, "refresh_hours": 24}},
            {
                "ca/root": "sign-crl: valid for 14 instead of 7 days",
                "ca/issuing": "sign-crl: valid for 14 instead of 7 days",
                "trust/issuing": "write: crl.pem changed",
            },
        ),
        (
            {"issuing": [ISSUING, PARTNERS]},
            {"ca/partners": "sign-crl: first"},
        ),
        (
            {"issuing": [ISSUING, PARTNERS], "trust": [{"scope": "partners", "accept": ["partners"]}]},
            {"ca/partners": "sign-crl: first", "trust/partners": "write: first"},
        ),
    ],
)
def test_every_wish_changes_what_it_touches_and_nothing_else(
    made: AuthorityHost, wish: dict[str, Any], changes: dict[str, str]
) -> None:
    assert reasons(made, **wish) == changes


def test_a_revocation_takes_crl_and_trust_with_it(made: AuthorityHost) -> None:
    serial = f"{made.leaf('client/bob').serial_number:X}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    found = planned(made, revoke=[{"name": "client/bob", "reason": "keyCompromise"}])
    assert [(entry.serial, entry.reason, entry.revoked) for entry in found.revocations] == [
        (serial, "keyCompromise", made.now)
    ]
    assert {change.name: change.reason for change in found.changes} == {
        "client/bob": f"revoke: keyCompromise, serial {serial}",
        "ca/issuing": "sign-crl: revocations changed",
        "trust/issuing": "write: crl.pem, identities.map, revoked.map changed",
    }
    assert found.leaves == []


def test_a_removed_client_is_named_and_revoked_only_where_asked(made: AuthorityHost) -> None:
    alice = [client("alice", groups=["buyers"])]
    reported = planned(made, certificates=alice)
    assert [(one["name"], one["revoked"]) for one in reported.removed] == [("client/bob", False)]
    assert (reported.changes, reported.revocations) == ([], [])
    revoked = planned(made, certificates=alice, removed="revoke")
    assert [(one["name"], one["revoked"]) for one in revoked.removed] == [("client/bob", True)]
    assert [entry.reason for entry in revoked.revocations] == ["cessationOfOperation"]


def test_a_server_is_wanted_until_its_request_comes(made: AuthorityHost) -> None:
    certificates = [*made.arguments["certificates"], server()]
    without = planned(made, certificates=certificates)
    assert (without.csr_wanted, without.leaves) == ({"server/gw1/orders": "issue: new"}, [])
    assert without.changes == []
    key = keys.generate("ec-p256")
    with_it = planned(made, {"server/gw1/orders": csr(key)}, certificates=certificates)
    assert with_it.csr_wanted == {}
    (leaf,) = with_it.leaves
    assert leaf.public_key == key.public_key()


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        ("trust-anchor.crt", "trust-anchor.crt"),
        ("authorities/issuing-g1/chain.crt", "ca/issuing"),
        ("certificates/client/alice/client.key", "client/alice"),
    ],
)
def test_a_file_that_is_missing_or_altered_is_written_again(made: AuthorityHost, file: str, owner: str) -> None:
    path = made.store / file
    path.chmod(0o600)
    path.write_text("something else")
    name = path.name
    assert reasons(made) == {owner: f"write: {name} altered"}
    path.unlink()
    assert reasons(made) == {owner: f"write: {name} missing"}


def test_an_ended_authority_stops_the_plan(made: AuthorityHost) -> None:
    made.after(days=1095)
    with pytest.raises(KitError, match=r"authority issuing-g1: found that it ended at .*rotate it"):
        planned(made)


def test_a_clock_set_back_stops_the_plan(made: AuthorityHost) -> None:
    made.now -= timedelta(hours=1)
    assert planned(made).changes == []
    made.now -= SECOND
    with pytest.raises(KitError, match="60 minutes before the ledger's newest entry"):
        planned(made)
