"""What is told of a store: states, what is due, what ends next, and what needs somebody."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import inspection, keys, names, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.inspection import Filter, Windows
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, csr, server
from tests.unit.module_utils._pki.rotating_fleet import Fleet
from tests.unit.module_utils._pki.test_handover import Hall


def look(host: AuthorityHost, *, listed: bool = True, **asked: Any) -> dict[str, Any]:
    """A report on the host's store at its own moment; ``listed`` False where the desired list is not known."""
    wanted = host.arguments["certificates"] if listed else None
    windows = Windows(renew_jitter_days=host.arguments["leaf"]["renew_jitter_days"])
    with store.inspected(host.store, "demo") as ledger:
        return inspection.report(ledger, host.now, windows, Filter(**asked), wanted)


def test_bundles_that_nobody_took_are_told_and_wrong_once_the_certificate_before_ends(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    hall.hand()
    assert [entry["client"] for entry in look(hall.host)["bundles"]] == ["alice", "bob"]
    assert texts(look(hall.host)) == ["due: 2 bundles not taken yet: alice, bob"]
    hall.hand("*")
    assert look(hall.host)["bundles"] == []
    assert texts(look(hall.host)) == []
    hall.host.after(days=61).run()
    hall.hand()
    assert [entry["days_left"] for entry in look(hall.host)["bundles"]] == [29, 29]
    hall.hand("bob")
    hall.host.after(days=25).run()
    assert [text for text in texts(look(hall.host)) if "taken" in text] == [
        "wrong: alice has not taken its present bundle, and the certificate it has ends in 4 days",
        "due: 1 bundle not taken yet: alice",
    ]
    hall.host.run(certificates=[client("bob")])
    assert look(hall.host)["bundles"] == []


def states(report: dict[str, Any]) -> dict[str, str]:
    """State by name, in the report's order."""
    return {entry["name"]: entry["state"] for entry in report["certificates"]}


def texts(report: dict[str, Any]) -> list[str]:
    """What needs somebody, with its level."""
    return [f"{entry['level']}: {entry['text']}" for entry in report["attention"]]


def test_a_limit_below_zero_is_refused(host: AuthorityHost) -> None:
    host.run()
    with pytest.raises(KitError, match="limit=-1; expected 0 or more"):
        look(host, limit=-1)


def test_a_fresh_store_needs_nobody(host: AuthorityHost) -> None:
    key = keys.generate("ec-p256")
    host.run({"server/gw1/orders": csr(key)}, certificates=[client("alice", groups=["buyers"]), server()])
    report = look(host)
    assert report["attention"] == []
    assert states(report) == {"client/alice": "valid", "server/gw1/orders": "valid"}
    assert report["counts"]["all"] == {"total": 2, "expired": 0, "due": 0, "valid": 2, "revoked": 0}
    assert report["counts"]["server"]["total"] == report["counts"]["client"]["total"] == 1
    alice = report["certificates"][0]
    assert (alice["days_left"], alice["groups"], alice["sans"]) == (90, ["buyers"], ["URI:urn:mtls:demo:alice"])
    assert (alice["issuer"], alice["revoked"], alice["reason"]) == ("issuing-g1", None, "")
    assert alice["serial"] == names.serial_text(host.leaf("client/alice").serial_number)
    assert [(ca["label"], ca["issuer"], ca["state"], ca["certificates"]) for ca in report["authorities"]] == [
        ("root-g1", None, "valid", 0),
        ("issuing-g1", "root-g1", "valid", 2),
    ]
    assert [(crl["issuer"], crl["number"], crl["age_hours"], crl["hours_left"]) for crl in report["crls"]] == [
        ("root-g1", 1, 0, 168),
        ("issuing-g1", 1, 0, 168),
    ]
    assert [(unit["scope"], unit["number"], unit["age_hours"]) for unit in report["trust"]] == [("issuing", 1, 0)]


@pytest.mark.parametrize("jitter", [0, 10])
def test_due_is_what_the_next_run_renews(host: AuthorityHost, jitter: int) -> None:
    host.arguments["leaf"]["renew_jitter_days"] = jitter
    certificates = [
        client("alice"),
        client("slow", renew_days=80),
        client("short", days=12),
        client("never", renew_days=0),
    ]
    host.run(certificates=certificates)
    for days in (0, 7, 8, 9, 11, 12, 50, 53, 55, 57, 59, 60, 61, 90, 91):
        later = AuthorityHost(host.store.parent)
        later.arguments, later.now = host.arguments, host.now
        later.after(days=days)
        report = look(later)
        told = {entry["name"]: entry["reason"] for entry in report["certificates"] if entry["reason"]}
        renewed = {change.name: change.reason for change in later.run(dry=True).changes if change.action == "renew"}
        assert told == renewed, days


def test_the_most_urgent_comes_first(host: AuthorityHost) -> None:
    host.run(certificates=[client("gone"), client("late")])
    host.after(days=65).run(certificates=[client("left"), client("mallory"), client("new")])
    host.run(revoke=[{"name": "client/mallory", "reason": "keyCompromise"}])
    host.after(days=30)
    listed = [client("late"), client("new"), client("mallory"), client("never-seen")]
    host.arguments["certificates"] = listed
    report = look(host)
    assert states(report) == {
        "client/late": "expired",
        "client/left": "valid",
        "client/new": "valid",
        "client/mallory": "revoked",
    }
    assert [entry["listed"] for entry in report["certificates"]] == [True, False, True, True]
    assert report["certificates"][3]["revoked"] == "keyCompromise"
    assert report["certificates"][0]["days_left"] == -5
    assert report["not_issued"] == ["client/never-seen"]
    assert [entry["name"] for entry in report["next_expiries"]] == ["client/left", "client/new"]
    assert [line for line in texts(report) if "certificate" in line] == [
        "wrong: 1 certificate expired: client/late",
        "due: 1 certificate not issued yet: client/never-seen",
        "due: 1 certificate no longer listed and still valid: client/left",
    ]


def test_without_the_desired_list_nothing_is_unlisted(host: AuthorityHost) -> None:
    host.run(certificates=[client("gone")])
    report = look(host.after(days=95), listed=False)
    assert (states(report), report["not_issued"]) == ({"client/gone": "expired"}, [])
    assert report["certificates"][0]["listed"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, {"client/alice", "client/bob", "server/gw1/orders"}),
        ({"kind": "server"}, {"server/gw1/orders"}),
        ({"state": "revoked"}, {"client/bob"}),
        ({"state": "due"}, set()),
        ({"name": "client/*"}, {"client/alice", "client/bob"}),
        ({"name": "a*"}, {"client/alice"}),
        ({"name": "gw1/*"}, {"server/gw1/orders"}),
        ({"name": "ALICE"}, set()),
        ({"within_days": 89}, set()),
        ({"within_days": 90, "kind": "client", "state": "valid"}, {"client/alice"}),
    ],
)
def test_filters_narrow_certificates_and_nothing_else(
    host: AuthorityHost, asked: dict[str, Any], found: set[str]
) -> None:
    key = csr(keys.generate("ec-p256"))
    host.run({"server/gw1/orders": key}, certificates=[client("alice"), client("bob"), server()])
    host.run({}, revoke=[{"name": "client/bob"}])
    report, whole = look(host, **asked), look(host)
    assert set(states(report)) == found
    assert report["filter"] == {**vars(Filter()), **asked}
    assert report["matching"]["total"] == len(found)
    # A limit leaves out the least urgent and counts them all.
    few = look(host, **asked, limit=1)
    assert few["certificates"] == report["certificates"][:1]
    assert few["matching"] == report["matching"]
    for part in ("attention", "authorities", "crls", "trust", "counts", "not_issued", "next_expiries"):
        assert report[part] == whole[part]


def test_crls_and_authorities_that_need_somebody(host: AuthorityHost) -> None:
    host.run(issuing=[{"name": "issuing", "purposes": ["client"], "key_type": "ec-p256", "days": 100}])
    assert texts(look(host.after(hours=23))) == []
    assert texts(look(host.after(hours=1))) == [
        "due: the CRL of root-g1 is 24 hours old and ends in 144 hours",
        "due: the CRL of issuing-g1 is 24 hours old and ends in 144 hours",
    ]
    report = look(host.after(days=10))
    assert [crl["state"] for crl in report["crls"]] == ["expired", "expired"]
    assert texts(report) == [
        "wrong: the CRL of root-g1 has ended: who enforces it refuses everyone",
        "wrong: the CRL of issuing-g1 has ended: who enforces it refuses everyone",
        "due: issuing-g1 has 89 days left: certificates of 90 days are cut short",
    ]
    report = look(host.after(days=100))
    assert [ca["state"] for ca in report["authorities"]] == ["valid", "expired"]
    assert [crl["issuer"] for crl in report["crls"]] == ["root-g1"]
    assert texts(report)[0] == "wrong: issuing-g1 has ended, and with it every certificate under it"


def test_a_clock_set_back_is_told(host: AuthorityHost) -> None:
    host.run()
    assert (
        texts(look(host.after(hours=-5)))[0] == "wrong: the clock stands 5 hours before the newest entry of the ledger"
    )


def test_long_lists_are_cut_in_words_only(host: AuthorityHost) -> None:
    host.run(certificates=[])
    host.arguments["certificates"] = [client(f"c{number}") for number in range(7)]
    report = look(host)
    assert texts(report) == [
        "due: 7 certificates not issued yet: client/c0, client/c1, client/c2, client/c3, client/c4 and 2 more"
    ]
    assert len(report["not_issued"]) == 7


@pytest.mark.parametrize(
    "entry",
    [{"name": "alice"}, {}, {"name": "client/alice", "days": "90"}, {"name": "client/alice", "renew_days": True}],
)
def test_a_wrong_desired_list_is_told(host: AuthorityHost, entry: dict[str, Any]) -> None:
    host.run()
    host.arguments["certificates"] = [entry]
    with pytest.raises(KitError):
        look(host)


def test_looking_writes_nothing_and_waits_for_no_lock(host: AuthorityHost) -> None:
    host.run()

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in host.store.rglob("*") if path.is_file()}

    with store.opened(host.store, "demo", host.now):
        before = content()
        assert look(host)["counts"]["all"]["total"] == 2
        assert content() == before
    assert json.dumps(look(host))


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "no store there"), (b"", "no store there"), (b"this is no SQLite file" * 99, "a damaged file")],
)
def test_what_is_no_store_is_told_and_left_alone(tmp_path: Path, content: bytes | None, found: str) -> None:
    if content is not None:
        (tmp_path / "ledger.sqlite").write_bytes(content)
    with pytest.raises(KitError, match=found), store.inspected(tmp_path, "demo"):
        pass
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if content is None else [content])


KILLED_WHILE_WRITING = """
import os, sqlite3, sys
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("PRAGMA cache_size = 1")
ledger.execute("BEGIN IMMEDIATE")
ledger.execute("UPDATE certificates SET name = name || hex(der) || hex(der)")
os._exit(9)
"""


def test_after_a_killed_run_what_was_committed_is_told(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    path = host.store / "ledger.sqlite"
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, path], check=False, timeout=20)
    assert path.with_name("ledger.sqlite-journal").stat().st_size > 0

    def connect_read_only(database: Any, **more: Any) -> sqlite3.Connection:
        where = f"file:{database}?mode=ro" if database == path else database
        return connect(where, uri=True, **more)

    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        # As on a store that this user may only read: SQLite can't take the half-written part back.
        patched.setattr(sqlite3, "connect", connect_read_only)
        with pytest.raises(KitError, match=r"a ledger that can't be read \(attempt to write a readonly database\)"):
            look(host)
    assert states(look(host)) == {"client/alice": "valid", "client/bob": "valid"}


def test_the_store_of_another_pki_is_told(host: AuthorityHost) -> None:
    host.run()
    with pytest.raises(KitError, match="the store of PKI 'demo'"), store.inspected(host.store, "other"):
        pass


def test_a_thousand_certificates_are_told_in_a_moment(host: AuthorityHost) -> None:
    host.run(certificates=[])
    host.arguments["certificates"] = [client(f"c{number}") for number in range(1000)]
    host.run()
    started = time.process_time()
    assert look(host)["counts"]["client"]["valid"] == 1000
    # 10,000 take some 0.4 s; ten times that for a thousand is no longer linear.
    assert time.process_time() - started < 0.4


def test_a_rotation_is_told_with_what_it_waits_for(host: AuthorityHost) -> None:
    fleet = Fleet(host)
    fleet.rotate(kind="issuing", deliver=False)
    fleet.rotate(kind="issuing", deliver=False, seen=False)
    found = look(host)
    (rotation,) = found["rotations"]
    assert (rotation["phase"], rotation["names"], rotation["under_way"]) == ("introduce", ["issuing"], True)
    assert rotation["waits"] == ["gw1/orders: what it serves is not known"]
    waits = "waits for gw1/orders: what it serves is not known"
    assert f"due: rotation of issuing: introduce since 2026-11-24, {waits}" in texts(found)
    assert [ca["role"] for ca in found["authorities"]] == ["signing", "signing", "introduced"]


def test_who_would_be_cut_off_is_told_while_both_are_trusted(host: AuthorityHost) -> None:
    fleet = Fleet(host)
    serial = f"{host.leaf('client/alice').serial_number:X}"
    alice = {
        "gateway": "gw1", "issuer": "CN=demo Issuing G1,O=Example Ltd", "last_seen": "2026-11-24T11:00:00Z",
        "serial": serial if len(serial) % 2 == 0 else f"0{serial}",
    }  # fmt: skip
    warning = (
        "due: the end of the rotation cuts off who still shows the old certificate: client/alice (at gw1 2026-11-24)"
    )
    fleet.rotate(kind="issuing", presented=[alice])
    assert warning not in texts(look(host))
    fleet.rotate(kind="issuing", presented=[alice])
    fleet.rotate(kind="issuing", presented=[alice])
    found = look(host)
    assert [one["name"] for one in found["rotations"][0]["cut_off"]] == ["client/alice"]
    assert warning in texts(found)
    fleet.rotate(kind="issuing", presented=[])
    assert warning not in texts(look(host))


def test_the_names_that_a_ca_is_limited_to_are_told(host: AuthorityHost) -> None:
    (issuing,) = host.arguments["issuing"]
    host.run(issuing=[{**issuing, "name_constraints": {"permitted": {"dns": ["example.com"]}}}], certificates=[])
    told = {ca["label"]: ca["name_constraints"] for ca in look(host)["authorities"]}
    assert told == {"root-g1": "", "issuing-g1": "permitted dns:example.com"}
