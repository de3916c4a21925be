"""Rotation of CA keys: every phase, what holds it, the way back, and what OpenSSL says in each."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import rotation
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import _SCHEMA_1, Ledger, Rotation
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, server
from tests.unit.module_utils._pki.rotating_fleet import SITE, Fleet, kept, verifies


@pytest.fixture
def fleet(host: AuthorityHost) -> Fleet:
    return Fleet(host)


def test_a_root_goes_through_all_phases_and_old_clients_get_in_until_retire(fleet: Fleet) -> None:
    host = fleet.host
    old_client, old_anchor = kept(host, "certificates/client/alice/client.crt"), kept(host, "trust-anchor.crt")
    server_crt = host.store / f"certificates/{SITE}/server.crt"

    assert fleet.step(kind="root") == "rotate: introduce root-g2, issuing-g2"
    assert fleet.states() == {
        "root-g1": "signing", "issuing-g1": "signing", "root-g2": "introduced", "issuing-g2": "introduced",
    }  # fmt: skip
    both_anchors = kept(host, "trust-anchor.crt")
    assert both_anchors.read_text().count("BEGIN") == 2
    assert fleet.accepts(old_client)

    assert fleet.step(kind="root") == "clients: 30 of 30 days left to take the new trust anchor"
    host.after(days=30)
    assert fleet.step(kind="root") == "rotate: switch: root-g2 replaces root-g1, issuing-g2 replaces issuing-g1"
    assert fleet.states() == {
        "root-g1": "replaced", "issuing-g1": "replaced", "root-g2": "signing", "issuing-g2": "signing",
    }  # fmt: skip
    assert not verifies(old_anchor, server_crt, "sslserver", host)
    assert verifies(both_anchors, server_crt, "sslserver", host)
    assert fleet.accepts(old_client)

    assert "client/alice: its certificate is of issuing-g1, until 2027-02-22" in fleet.step(kind="root")
    host.after(days=30)
    fleet.rotate(kind="root")
    assert "client/alice: 30 days left" in fleet.step(kind="root")
    new_client = kept(host, "certificates/client/alice/client.crt")
    assert new_client.read_bytes() != old_client.read_bytes()
    assert fleet.accepts(old_client)
    assert fleet.accepts(new_client)
    host.after(days=29)
    assert "client/alice: 1 days left" in fleet.step(kind="root")
    host.after(days=1)
    assert fleet.step(kind="root") == "rotate: retire root-g1, issuing-g1"
    assert fleet.states() == {
        "root-g1": "retired", "issuing-g1": "retired", "root-g2": "signing", "issuing-g2": "signing",
    }  # fmt: skip
    assert fleet.accepts(new_client)
    assert not fleet.accepts(old_client)
    assert (host.store / "trust-anchor.crt").read_text().count("BEGIN") == 1
    assert verifies(host.store / "trust-anchor.crt", server_crt, "sslserver", host)

    # The wish stands in a daily job.
    host.after(days=1)
    done = fleet.rotate(kind="root")
    assert done.changes == []
    assert "was retired" in done.rotation["note"]
    host.after(days=30)
    assert fleet.step(kind="root", again=True) == "rotate: introduce root-g3, issuing-g3"


def test_a_retired_client_is_told_from_an_expired_one(fleet: Fleet) -> None:
    """The refusal after retire comes from the trust, not from the certificate's end."""
    host = fleet.host
    listed = [client("alice", days=800, san={"uri": ["urn:x:alice"]}), server()]
    fleet.deliver(host.run(certificates=listed, removed="revoke"))
    old = kept(host, "certificates/client/alice/client.crt")
    wish = {"kind": "root", "confirmed": True, "clients": "now"}
    for _ in range(3):
        fleet.rotate(**wish)
    assert fleet.states()["root-g1"] == "retired"
    assert not fleet.accepts(old)
    assert verifies(host.store / "authorities/root-g1/ca.crt", old, "sslclient", host)


def test_an_issuing_ca_is_rotated_under_its_root(fleet: Fleet) -> None:
    host = fleet.host
    old_anchor, old_client = kept(host, "trust-anchor.crt"), kept(host, "certificates/client/alice/client.crt")
    assert fleet.step(kind="issuing") == "rotate: introduce issuing-g2"
    result = fleet.rotate(kind="issuing", clients="now")
    assert result.changes[0].reason == "rotate: switch: issuing-g2 replaces issuing-g1"
    assert verifies(old_anchor, host.store / f"certificates/{SITE}/server.crt", "sslserver", host)
    assert fleet.accepts(old_client)
    assert fleet.step(kind="issuing", clients="now", confirmed=True) == "rotate: retire issuing-g1"
    assert not fleet.accepts(old_client)
    assert fleet.accepts(host.store / "certificates/client/alice/client.crt")
    assert old_anchor.read_bytes() == (host.store / "trust-anchor.crt").read_bytes()


def test_re_issues_state_the_generation(fleet: Fleet) -> None:
    fleet.rotate(kind="issuing")
    fleet.host.arguments["rotation"] = {"kind": "issuing", "observed": [fleet.served], "clients": "now"}
    reasons = fleet.host.reasons()
    assert reasons["client/alice re-issue"] == "re-issue: issuing-g2 replaces issuing-g1"


def test_a_gateway_without_the_new_trust_holds_the_switch(fleet: Fleet) -> None:
    before = fleet.served["trust"]
    fleet.rotate(kind="issuing", deliver=False)
    assert fleet.step(kind="issuing", deliver=False) == (
        f"gw1/orders: it serves trust {before}, and {before + 1} brought the new CA"
    )
    assert fleet.step(kind="issuing", deliver=False, seen=False) == "gw1/orders: what it serves is not known"
    assert fleet.step(kind="issuing", deliver=False, seen=False, without=["gw1"]).startswith("rotate: switch")


def test_what_still_serves_the_old_ca_holds_retire(fleet: Fleet) -> None:
    wish = {"kind": "issuing", "clients": "now", "confirmed": True}
    old = fleet.host.run(dry=True).servers[SITE]["serial"]
    fleet.rotate(**wish)
    fleet.rotate(**wish, deliver=False)
    fleet.served["trust"] += 9
    assert fleet.served["serial"] == old
    assert fleet.step(**wish, deliver=False) == "gw1/orders: it serves its certificate of issuing-g1"
    assert "not known" in fleet.step(**wish, deliver=True, seen=False)
    assert fleet.step(**wish) == "rotate: retire issuing-g1"


def test_a_root_does_not_sign_before_the_bundles_had_its_anchor_for_the_whole_overlap(fleet: Fleet) -> None:
    fleet.rotate(kind="root", bundles=False)
    unwritten = "; ".join(
        f"client/{name}: its bundle with the new trust anchor is not written yet" for name in ("alice", "bob")
    )
    fleet.host.after(days=29)
    assert (
        fleet.step(kind="root", bundles=False)
        == f"{unwritten}; clients: 1 of 30 days left to take the new trust anchor"
    )
    fleet.host.after(days=1)
    assert fleet.step(kind="root") == unwritten
    # They were written a month late: the month begins now.
    assert fleet.step(kind="root") == "clients: 30 of 30 days left to take the new trust anchor"
    # One who comes now never knew the old anchor alone, and holds nothing once there is a bundle.
    fleet.host.after(days=20)
    listed = fleet.host.arguments["certificates"]
    fleet.host.run(certificates=[*listed, client("carol")])
    assert fleet.step(kind="root").startswith("client/carol: its bundle with the new trust anchor is not written yet")
    fleet.host.arguments["certificates"] = listed
    fleet.host.after(days=10)
    assert fleet.step(kind="root").startswith("rotate: switch")


def test_a_word_that_the_clients_have_everything_stands_for_the_bundles(fleet: Fleet) -> None:
    wish = {"kind": "root", "confirmed": True, "clients": "now", "bundles": False}
    assert [fleet.step(**wish).split(" ")[1] for _ in range(3)] == ["introduce", "switch:", "retire"]


def test_no_ca_is_retired_before_the_bundles_had_what_replaces_it(fleet: Fleet) -> None:
    wish = {"kind": "issuing", "clients": "now"}
    fleet.rotate(**wish)
    fleet.rotate(**wish, bundles=False)
    fleet.host.after(days=30)
    unwritten = [f"client/{name}: its bundle with the new certificate is not written yet" for name in ("alice", "bob")]
    assert fleet.rotate(**wish).rotation["waits"] == unwritten
    assert fleet.rotate(**wish).rotation["waits"][0] == "client/alice: 30 days left to take its new certificate"
    # Renewed once more under the same CA: the bundle had a certificate of it since the first time.
    fleet.host.after(days=10)
    fleet.host.run(reissue={"names": ["client/alice"], "before": fleet.host.now.isoformat()})
    assert fleet.rotate(**wish).rotation["waits"][0] == "client/alice: 20 days left to take its new certificate"
    fleet.host.after(days=20)
    assert fleet.step(**wish) == "rotate: retire issuing-g1"


def seen_in_the_log(
    fleet: Fleet, name: str, gateway: str = "gw1", when: str = "2026-11-24T11:00:00Z"
) -> dict[str, str]:
    """A line about the certificate that is handed out for ``name``, as the filter makes it of an access log."""
    serial = f"{fleet.host.leaf(name).serial_number:X}"
    even = serial if len(serial) % 2 == 0 else f"0{serial}"
    issuer = "CN=demo Issuing G1,O=Example Ltd"
    return {"gateway": gateway, "issuer": issuer, "serial": even, "last_seen": when}


def test_who_would_be_cut_off_is_told_and_holds_nothing(fleet: Fleet) -> None:
    """The ledger decides; the logs name who the decision hits."""
    wish = {"kind": "issuing", "clients": "now", "confirmed": True}
    alice, bob = seen_in_the_log(fleet, "client/alice"), seen_in_the_log(fleet, "client/bob", "gw2")
    stranger = {**alice, "issuer": "CN=demo Issuing G1,O=Somebody Else"}
    later = {**alice, "last_seen": "2026-11-24T11:30:00Z"}
    begun = fleet.rotate(**wish, presented=[alice, later, stranger, bob])
    told = [(one["name"], one["gateway"], one["last_seen"], one["replaced"]) for one in begun.rotation["cut_off"]]
    assert told == [
        ("client/alice", "gw1", "2026-11-24T11:30:00Z", None), ("client/bob", "gw2", "2026-11-24T11:00:00Z", None),
    ]  # fmt: skip
    fleet.rotate(**wish)
    held = fleet.rotate(**wish, presented=[alice], step="hold")
    assert [(one["name"], one["replaced"]) for one in held.rotation["cut_off"]] == [
        ("client/alice", "2026-11-24T12:00:00Z")
    ]
    assert rotation.cut_off(*ledger_of(fleet)) == held.rotation["cut_off"]
    # A run that did not look forgets nothing.
    fleet.host.run(rotation=None)
    assert rotation.cut_off(*ledger_of(fleet)) == held.rotation["cut_off"]

    fleet.host.arguments["rotation"] = {**wish, "observed": [fleet.served], "presented": [alice]}
    result = fleet.host.run()
    assert [change.reason for change in result.changes if change.action == "rotate"] == ["rotate: retire issuing-g1"]
    assert [one["name"] for one in result.rotation["cut_off"]] == ["client/alice"]


def ledger_of(fleet: Fleet) -> tuple[Ledger, Rotation]:
    """The ledger of the store, and its latest rotation."""
    ledger = Ledger.in_memory(fleet.host.store / "ledger.sqlite")
    return ledger, ledger.rotations()[-1]


def test_a_gateway_that_does_not_trust_the_new_ca_is_told_even_when_it_is_given_up(fleet: Fleet) -> None:
    before = fleet.served["trust"]
    fleet.rotate(kind="issuing", deliver=False)
    result = fleet.rotate(kind="issuing", deliver=False, without=["gw1"], step="hold")
    assert result.rotation["distrusting"] == [
        f"gw1/orders: it serves trust {before}, and {before + 1} brought the new CA"
    ]
    assert result.rotation["waits"] == []


def test_back_from_introduce_withdraws_and_no_number_comes_back(fleet: Fleet) -> None:
    fleet.rotate(kind="root")
    result = fleet.rotate(kind="root", step="back")
    assert result.changes[0].reason == "rotate: back: root-g2, issuing-g2 withdrawn"
    assert fleet.states()["root-g2"] == "withdrawn"
    assert result.trust_anchor.count("BEGIN") == 1
    assert fleet.step(kind="root") == ""
    assert fleet.step(kind="root", again=True) == "rotate: introduce root-g3, issuing-g3"
    numbers = [ca["number"] for ca in fleet.host.run(dry=True).authorities]
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_back_from_switch_the_old_one_signs_again(fleet: Fleet) -> None:
    host = fleet.host
    wish = {"kind": "root", "clients": "now", "confirmed": True}
    fleet.rotate(**wish)
    fleet.rotate(**wish)
    new_client = kept(host, "certificates/client/alice/client.crt")
    assert fleet.step(**wish, step="back") == "rotate: back: root-g1 signs again, issuing-g1 signs again"
    assert fleet.states()["issuing-g1"] == "signing"
    assert fleet.accepts(new_client)
    assert fleet.accepts(host.store / "certificates/client/alice/client.crt")
    assert "CN=demo Issuing G1" in host.leaf("client/alice").issuer.rfc4514_string()
    assert fleet.step(**wish, step="back") == "rotate: back: root-g2, issuing-g2 withdrawn"
    assert not fleet.accepts(new_client)


def test_what_is_retired_does_not_come_back(fleet: Fleet) -> None:
    wish = {"kind": "issuing", "clients": "now", "confirmed": True}
    for _ in range(3):
        fleet.rotate(**wish)
    with pytest.raises(KitError, match="that none goes on, the last one was retired"):
        fleet.rotate(**wish, step="back")


def test_another_rotation_has_to_wait(fleet: Fleet) -> None:
    fleet.rotate(kind="issuing")
    with pytest.raises(KitError, match="one rotation at a time"):
        fleet.rotate(kind="root")


def test_without_a_wish_a_rotation_stays_where_it_is(fleet: Fleet) -> None:
    fleet.rotate(kind="issuing")
    fleet.host.after(days=400)
    fleet.host.arguments["rotation"] = None
    fleet.deliver(fleet.host.run(csrs=fleet.request()))
    assert fleet.states() == {"root-g1": "signing", "issuing-g1": "signing", "issuing-g2": "introduced"}


def test_nothing_rotates_by_itself(fleet: Fleet) -> None:
    fleet.host.after(days=1000)
    fleet.host.arguments["rotation"] = None
    result = fleet.host.run(csrs=fleet.request())
    assert [ca["label"] for ca in result.authorities] == ["root-g1", "issuing-g1"]
    assert any(warning.startswith("issuing-g1: 95 of 1095 days left: rotate") for warning in result.warnings)


def test_a_cross_signed_root_is_verified_by_both_sides(fleet: Fleet) -> None:
    host = fleet.host
    old_anchor = kept(host, "trust-anchor.crt")
    wish = {"kind": "root", "confirmed": True, "cross_sign": True, "clients": "now"}
    fleet.rotate(**wish)
    fleet.rotate(**wish)
    server_crt = host.store / f"certificates/{SITE}/server.crt"
    assert server_crt.read_text().count("BEGIN") == 3
    assert verifies(old_anchor, server_crt, "sslserver", host)
    assert verifies(host.store / "authorities/root-g2/ca.crt", server_crt, "sslserver", host)
    assert "retire" in fleet.step(**wish)
    assert server_crt.read_text().count("BEGIN") == 2
    assert verifies(host.store / "authorities/root-g2/ca.crt", server_crt, "sslserver", host)


def test_keys_of_retired_cas_are_removed_where_that_is_asked_for(fleet: Fleet) -> None:
    key = fleet.host.store / "authorities/issuing-g1/ca.key"
    wish = {"kind": "issuing", "clients": "now", "confirmed": True}
    for _ in range(3):
        fleet.rotate(**wish)
    assert key.exists()
    # Replaced certificates under it are in force: others may still ask for its CRL.
    fleet.rotate(**wish, remove_keys=True)
    assert key.exists()
    fleet.host.after(days=91)
    fleet.host.run(csrs=fleet.request())
    assert not key.exists()


def test_leaves_are_re_issued_on_demand_once(fleet: Fleet) -> None:
    host = fleet.host
    serial = host.leaf("client/alice").serial_number
    key = (host.store / "certificates/client/alice/client.key").read_bytes()
    host.after(hours=1)
    wish = {"names": ["client/a*", "gw1/*"], "before": host.now.isoformat()}
    first = host.run(reissue=wish)
    assert {change.name: change.reason for change in first.changes if change.action == "re-issue"} == {
        "client/alice": "re-issue: on demand"
    }
    assert first.csr_wanted == {SITE: "re-issue: on demand"}
    assert host.leaf("client/alice").serial_number != serial
    assert (host.store / "certificates/client/alice/client.key").read_bytes() != key
    second = host.run(csrs=fleet.request())
    assert [change.name for change in second.changes if change.action == "re-issue"] == [SITE]
    assert host.run().changes == []


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({"kind": "leaf"}, "kind='leaf'"),
        ({"kind": "issuing", "names": ["other"]}, "the issuing CA 'other'"),
        ({"kind": "root", "names": ["issuing"]}, "names beside kind=root"),
        ({"kind": "root", "overlap_days": -1}, "overlap_days=-1"),
        ({"kind": "root", "step": "forward"}, "step='forward'"),
    ],
)
def test_a_wrong_wish_is_refused(wish: dict[str, Any], found: str) -> None:
    with pytest.raises(KitError, match=found):
        rotation.read(wish, ["issuing"])


def test_a_ledger_of_version_1_is_brought_forward(tmp_path: Path) -> None:
    """Of two generations, as a revoked CA leaves them, the newer one signs."""
    path = tmp_path / "ledger.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(f"BEGIN; {_SCHEMA_1} PRAGMA user_version = 1; COMMIT;")
    for number, name, generation, issuer in ((1, "root", 1, None), (2, "issuing", 1, 1), (3, "issuing", 2, 1)):
        old.execute(
            "INSERT INTO authorities VALUES (?, ?, ?, ?, ?, ?, '01', 'ec-p256', 1, 1, x'00')",
            (number, name, generation, f"{name}-g{generation}", f"CN={name}{generation}", issuer),
        )
    old.close()
    ledger = Ledger.open(path)
    assert {ca.label: ca.state for ca in ledger.authorities()} == {
        "root-g1": "signing", "issuing-g1": "replaced", "issuing-g2": "signing",
    }  # fmt: skip
    assert ledger.rotations() == []
    ledger.close()


def test_an_issuing_ca_that_ended_is_told_and_a_rotation_replaces_it(fleet: Fleet) -> None:
    host = fleet.host.after(days=1100)
    before = {path: path.read_bytes() for path in host.store.rglob("*") if path.is_file() and path.name != "lock"}
    with pytest.raises(KitError, match=r"issuing-g1: found that it ended at .* Next: rotate it .*-e rotate=issuing\)"):
        host.run()
    assert before == {path: path.read_bytes() for path in before}

    assert fleet.step(kind="issuing") == "rotate: issuing-g1 ended, so the successor signs at once"
    assert fleet.accepts(kept(host, "certificates/client/alice/client.crt"))
    assert fleet.states() == {"root-g1": "signing", "issuing-g1": "retired", "issuing-g2": "signing"}
    assert "before 2030" in fleet.rotate(kind="issuing").rotation["note"]
    del host.arguments["rotation"]
    assert host.run().changes == []


def test_one_that_ended_is_replaced_however_short_a_while_ago_that_was(fleet: Fleet) -> None:
    """Of a CA that lives for less than the days in which the same wish starts no other rotation."""
    fleet.host.arguments["issuing"][0]["days"] = 50
    fleet.host.after(days=1100)
    assert "issuing-g1 ended" in fleet.step(kind="issuing")
    fleet.host.after(days=51)
    assert "issuing-g2 ended" in fleet.step(kind="issuing")


def test_a_root_that_ended_is_replaced_with_all_below_it(fleet: Fleet) -> None:
    host = fleet.host.after(days=3651)
    with pytest.raises(KitError, match=r"root-g1: found that it ended at .* Next: rotate it"):
        host.run()
    assert fleet.step(kind="root") == "rotate: root-g1, issuing-g1 ended, so the successor signs at once"
    client = kept(host, "certificates/client/alice/client.crt")
    assert fleet.accepts(client)
    anchors = host.store / "trust-anchor.crt"
    assert anchors.read_text().count("BEGIN") == 1
    assert verifies(anchors, host.store / f"certificates/{SITE}/server.crt", "sslserver", host)
    del host.arguments["rotation"]
    assert host.run().changes == []


def test_an_issuing_ca_that_ended_is_replaced_before_its_root_is_rotated(fleet: Fleet) -> None:
    host = fleet.host.after(days=1100)
    fleet.host.arguments["rotation"] = {"kind": "root", "observed": []}
    with pytest.raises(KitError, match=r"issuing-g1 ended; .* Next: replace it first \(-e rotate=issuing\)"):
        host.run()


def test_a_ca_that_ends_while_its_successor_is_introduced_waits_for_nobody(fleet: Fleet) -> None:
    fleet.host.after(days=1000)
    assert fleet.step(kind="issuing") == "rotate: introduce issuing-g2"
    fleet.host.after(days=95)
    assert fleet.step(kind="issuing", seen=False).startswith("rotate: switch: issuing-g2 replaces issuing-g1")
    assert fleet.step(kind="issuing").startswith("rotate: retire issuing-g1")


def test_a_root_is_not_begun_with_while_an_issuing_ca_would_end_within_its_overlap(fleet: Fleet) -> None:
    host = fleet.host.after(days=1080)
    host.arguments["rotation"] = {"kind": "root", "observed": [fleet.served]}
    with pytest.raises(KitError, match=r"issuing-g1 ends at 2029-11-23.* outlast the 30 days .*-e rotate=issuing"):
        host.run()
    assert fleet.step(kind="root", confirmed=True) == "rotate: introduce root-g2, issuing-g2"


def test_an_issuing_ca_that_ends_in_the_overlap_of_its_root_is_succeeded_and_the_rotation_goes_on(fleet: Fleet) -> None:
    host = fleet.host.after(days=1090)
    fleet.rotate(kind="root", confirmed=True)
    host.after(days=5)
    del host.arguments["rotation"]
    with pytest.raises(KitError, match=r"issuing-g1: found that it ended .*-e rotate=root\)"):
        host.run()

    assert fleet.step(kind="root") == "rotate: issuing-g1 ended, so the successor signs at once"
    assert fleet.states() == {
        "root-g1": "signing", "issuing-g1": "retired", "root-g2": "introduced", "issuing-g2": "introduced",
        "issuing-g3": "signing",
    }  # fmt: skip
    assert fleet.accepts(kept(host, "certificates/client/alice/client.crt"))
    # The days that clients have are counted from when the new anchor came.
    assert fleet.step(kind="root") == "clients: 25 of 30 days left to take the new trust anchor"
    host.after(days=25)
    assert fleet.step(kind="root") == "rotate: switch: root-g2 replaces root-g1, issuing-g2 replaces issuing-g3"
    assert fleet.accepts(kept(host, "certificates/client/alice/client.crt"))


def test_a_generation_that_was_retired_stays_so_when_its_successor_is_revoked(fleet: Fleet) -> None:
    host = fleet.host
    while fleet.states()["issuing-g1"] != "retired":
        fleet.step(kind="issuing", confirmed=True, clients="now")
    del host.arguments["rotation"]
    host.arguments["revoke"] = [{"name": "ca/issuing-g2", "reason": "keyCompromise"}]
    host.run(csrs=fleet.request())
    assert fleet.states() == {
        "root-g1": "signing", "issuing-g1": "retired", "issuing-g2": "replaced", "issuing-g3": "signing",
    }  # fmt: skip


def test_crls_that_ended_are_signed_again_and_nothing_else_happens(fleet: Fleet) -> None:
    """The gateway keeps what it has until then: test_trust_unit.py refuses a unit whose CRL has ended."""
    host = fleet.host.after(days=8)
    unit = host.store / f"trust/issuing/{fleet.served['trust']}"
    result = host.run()
    assert {change.action for change in result.changes} == {"sign-crl", "write"}
    assert result.trust["issuing"]["number"] > int(unit.name)
    assert host.run().changes == []
