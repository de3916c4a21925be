"""Hand-over: a key leaves the CA host when its client has it, and nothing is issued anew for its want."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle, bundle_readme, handover, keys, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, csr
from tests.unit.module_utils._pki.test_reencrypt import rotate


class Hall:
    """A CA host that writes bundles and hears who has taken them, as module ``client_bundle`` does."""

    def __init__(self, folder: Path) -> None:
        self.host = AuthorityHost(folder)
        self.host.run()
        self.settings = bundle.Settings(self.host.store, folder / "bundles", (), "the vault of the tests")
        self.last = handover.Taken()

    def hand(self, *taken: str, keep_keys: bool = False, dry: bool = False) -> dict[str, str]:
        """One run; the reasons of its changes by name, those of one name joined."""
        clients = [str(one["name"]).removeprefix("client/") for one in self.host.arguments["certificates"]]
        with store.opened(self.host.store, None, self.host.now, dry=dry) as opened:
            self.last = handover.take(opened, taken, self.host.now, keep_keys=keep_keys, dry=dry)
            settings = replace(self.settings, given=handover.given(opened.ledger))
            plan = bundle.plan(settings, clients, self.host.passwords, dry=dry)
            if not dry:
                for item in plan.due:
                    bundle.write(settings, item)
            handover.record(opened.ledger, plan.at_hand, plan.anchor_sha256, self.host.now)
        reasons: dict[str, str] = {}
        for change in [*self.last.changes, *plan.changes]:
            reasons[change["name"]] = "; ".join(filter(None, (reasons.get(change["name"]), change["reason"])))
        return reasons

    def reissue(self, name: str) -> None:
        """A new certificate with a new key."""
        self.host.after(hours=1)
        self.host.run(reissue={"names": [f"client/{name}"], "before": self.host.now.isoformat()})

    def waiting(self) -> list[str]:
        with store.inspected(self.host.store, None) as ledger:
            return [entry["client"] for entry in handover.waiting(ledger, self.host.now)]

    def holds_key(self, name: str) -> bool:
        """Whether any place on the CA host has a key of this client; all three must agree."""
        with store.inspected(self.host.store, None) as ledger:
            places = {
                bool(list(ledger.keys_of([f"client/{name}"]))),
                (self.host.store / f"certificates/client/{name}/client.key").exists(),
                (self.settings.directory / name / bundle.KEY).exists(),
            }
        assert len(places) == 1, places
        return places.pop()


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    made = Hall(tmp_path)
    assert made.hand() == {"client/alice": "write: new client", "client/bob": "write: new client"}
    return made


TAKEN = "remove: key handed over; write: key handed over"


def test_a_bundle_waits_until_it_is_taken_and_its_key_is_then_gone_everywhere(hall: Hall) -> None:
    assert hall.waiting() == ["alice", "bob"]
    key = (hall.host.store / "certificates/client/alice/client.key").read_bytes().splitlines()[2]
    assert key in (hall.host.store / store.LEDGER).read_bytes()
    assert hall.hand("alice", dry=True) == {"client/alice": TAKEN}
    assert hall.holds_key("alice")
    assert hall.hand("alice") == {"client/alice": TAKEN}
    assert not hall.holds_key("alice")
    assert hall.holds_key("bob")
    assert hall.waiting() == ["bob"]
    assert not [path for path in hall.host.store.rglob("*") if path.is_file() and key in path.read_bytes()]
    folder = hall.settings.directory / "alice"
    assert {path.name for path in folder.iterdir()} == {"client.crt", "trust-anchor.crt", "README.md", "bundle.json"}
    assert "nobody kept a copy" in (folder / "README.md").read_text().replace("\n", " ")


def test_nothing_is_issued_or_written_anew_for_want_of_the_key(hall: Hall) -> None:
    hall.hand("alice")
    assert hall.host.reasons() == {}
    assert hall.hand() == {}
    assert hall.hand("alice") == {}
    hall.host.after(days=61)
    assert hall.host.reasons()["client/alice renew"] == "renew: 29 of 90 days left"
    assert hall.hand()["client/alice"] == "write: new certificate"
    assert hall.holds_key("alice")
    assert hall.waiting() == ["alice", "bob"]


def test_a_folder_that_was_taken_away_as_a_whole_is_not_written_again(hall: Hall) -> None:
    hall.hand("alice")
    folder = hall.settings.directory / "alice"
    folder.rename(hall.settings.directory.parent / "moved")
    assert hall.hand() == {}
    assert not folder.exists()


def test_a_new_trust_anchor_reaches_a_client_whose_key_is_its_own(hall: Hall) -> None:
    hall.hand("alice")
    (hall.settings.directory / "alice").rename(hall.settings.directory.parent / "moved")
    hall.host.run(rotation={"kind": "root"})
    assert hall.hand()["client/alice"] == "write: trust anchor changed"
    assert hall.waiting() == ["alice", "bob"]
    folder = hall.settings.directory / "alice"
    assert (folder / "trust-anchor.crt").read_text().count("BEGIN") == 2
    assert not (folder / bundle.KEY).exists()
    assert hall.hand("*")["client/alice"] == "write: bundle taken"
    assert hall.waiting() == []


def test_kept_keys_stay_and_go_once_they_are_kept_no_longer(hall: Hall) -> None:
    assert hall.hand("*", keep_keys=True) == dict.fromkeys(("client/alice", "client/bob"), "write: bundle taken")
    assert hall.holds_key("alice")
    assert hall.waiting() == []
    assert hall.hand() == dict.fromkeys(("client/alice", "client/bob"), TAKEN)
    assert not hall.holds_key("bob")


def test_a_bundle_of_an_earlier_certificate_is_not_taken_for_the_present_one(hall: Hall) -> None:
    hall.reissue("alice")
    assert hall.hand("alice") == {"client/alice": "write: new certificate"}
    assert hall.last.outdated == ["alice"]
    assert hall.holds_key("alice")
    assert sorted(hall.waiting()) == ["alice", "bob"]


def test_replaced_keys_go_with_the_present_one(hall: Hall) -> None:
    hall.reissue("alice")
    hall.hand()
    with store.inspected(hall.host.store, None) as ledger:
        assert len(list(ledger.keys_of(["client/alice"]))) == 2
    hall.hand("alice")
    assert not hall.holds_key("alice")


def test_a_rotated_password_means_a_new_key(hall: Hall) -> None:
    hall.hand("alice")
    rotate(hall.host, "client/alice", "client/bob")
    reason = "re-issue: password rotated, and its key was handed over"
    assert hall.host.reasons() == {
        "client/alice re-issue": reason,
        "client/bob re-encrypt": "re-encrypt: password rotated",
        "trust/issuing write": "write: identities.map changed",
    }
    again = hall.host.run()
    assert (again.changes, again.taken) == ([], ["client/alice", "client/bob"])
    assert hall.hand() == {"client/alice": "write: new certificate", "client/bob": "write: new password"}


def test_what_a_run_that_was_cut_off_left_is_removed_by_the_next(hall: Hall) -> None:
    key = hall.host.store / "certificates/client/alice/client.key"
    content = key.read_bytes()
    hall.hand("alice")
    key.touch(mode=0o600)
    key.write_bytes(content)
    folder = hall.settings.directory / "alice"
    (folder / bundle.KEY).write_bytes(content)
    assert hall.hand() == {"client/alice": "write: key handed over"}
    assert not hall.holds_key("alice")


def test_a_client_with_a_key_of_its_own_takes_its_certificate(hall: Hall) -> None:
    hall.host.run({"client/partner": csr(keys.generate("ec-p256"))}, certificates=[client("partner", source="csr")])
    hall.settings = replace(hall.settings, keyless=frozenset({"partner"}))
    assert hall.hand() == {"client/partner": "write: new client"}
    assert hall.hand("partner") == {"client/partner": "write: bundle taken"}
    assert (hall.host.reasons(), hall.hand()) == ({}, {})


@pytest.mark.parametrize("word", ["carol", "alice ", "a/b", ""])
def test_nobody_takes_what_was_never_written(hall: Hall, word: str) -> None:
    with pytest.raises(KitError, match="client_bundle_taken"):
        hall.hand("alice", word)
    assert hall.holds_key("alice")


def test_who_has_not_taken_it_is_told_with_the_end_of_what_it_has(hall: Hall) -> None:
    hall.hand("*")
    hall.host.after(days=61).run()
    hall.hand()
    with store.inspected(hall.host.store, None) as ledger:
        first, second = handover.waiting(ledger, hall.host.now)
    assert (first["client"], second["client"]) == ("alice", "bob")
    assert first["until"] == "2027-02-22T12:00:00Z"
    assert first["written"] == "2027-01-24T12:00:00Z"
    manifest = json.loads((hall.settings.directory / "alice" / bundle.MANIFEST).read_text())
    assert manifest["serial"] == first["serial"]


def test_the_readme_of_a_taken_bundle_names_no_vault(hall: Hall) -> None:
    hall.hand("alice")
    text = (hall.settings.directory / "alice" / bundle.README).read_text()
    assert "the vault of the tests" not in text
    assert bundle_readme.SEALED not in text
