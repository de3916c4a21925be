"""A root whose key is away between ceremonies: what goes on without it, what needs it, and how it gets out and back."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import backup, inspection, keys, offline, probe, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import TrustSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client

OFFLINE = {"key_type": "ec-p256", "days": 3650, "offline": True}
PARTNERS = {"name": "partners", "purposes": ["client"], "key_type": "ec-p256", "days": 1095}
ARCHIVE_PASSWORD = "a long enough password"


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A stick, plugged in."""
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


@pytest.fixture
def ceremony(host: AuthorityHost, medium: Path) -> AuthorityHost:
    """A store whose root has just been taken offline, and the stick is still there."""
    host.run()
    host.run(root=OFFLINE, root_keys=str(medium))
    return host


def away(host: AuthorityHost) -> AuthorityHost:
    """The stick is taken away."""
    host.arguments["root_keys"] = None
    return host


def crl(host: AuthorityHost, label: str = "root-g1") -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((host.store / f"authorities/{label}/crl.pem").read_bytes())


def keys_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.key") if "certificates" not in path.parts)


def test_taking_it_offline_moves_the_key_out_and_signs_a_crl_of_a_year(host: AuthorityHost, medium: Path) -> None:
    host.run()
    before = (host.store / "authorities/root-g1/ca.key").read_bytes()
    changes = host.reasons(root=OFFLINE, root_keys=str(medium))
    assert changes["ca/root write"] == f"write: key of root-g1 moved to {medium}"
    assert changes["ca/root sign-crl"] == "sign-crl: valid for 365 instead of 7 days"
    assert (medium / "demo-root-g1.key").read_bytes() == before
    assert stat.S_IMODE((medium / "demo-root-g1.key").stat().st_mode) == 0o400
    assert keys_in(host.store) == ["authorities/issuing-g1/ca.key"]
    assert [path.name for path in medium.iterdir()] == ["demo-root-g1.key"]
    assert host.reasons() == {}
    assert (crl(host).next_update_utc - crl(host).last_update_utc).days == 365
    assert host.verify("client/alice", "sslclient") == "OK"


def test_without_the_key_a_year_of_runs_goes_on(ceremony: AuthorityHost) -> None:
    away(ceremony)
    number = crl(ceremony).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    for days in (1, 60, 120, 120):
        result = ceremony.after(days=days).run()
        assert "ca/issuing" in {change.name for change in result.changes}
        assert result.warnings == []
        assert result.root_keys_needed == [
            {"label": "root-g1", "reason": "its CRL ends 2027-11-24", "by": "2027-10-25T12:00:00Z"},
            {"label": "root-g1", "reason": "issuing-g1 ends 2029-11-23", "by": "2029-08-25T12:00:00Z"},
        ]
        assert ceremony.verify("client/alice", "sslclient") == "OK"
    assert crl(ceremony).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
    (warning,) = ceremony.after(days=36).run().warnings
    assert warning == (
        "root-g1: its CRL is due (sign-crl: 8088 hours old), and its key is kept offline; bring it before its CRL ends "
        "at 2027-11-24T12:00:00Z, with -e pki_root_keys=<folder on the medium>"
    )


def test_each_ceremony_signs_the_crl_again(ceremony: AuthorityHost, medium: Path) -> None:
    away(ceremony).after(days=200).run()
    assert ceremony.reasons(root_keys=str(medium))["ca/root sign-crl"] == "sign-crl: 4800 hours old"
    assert ceremony.reasons() == {}


def test_a_root_is_born_on_the_medium(host: AuthorityHost, medium: Path) -> None:
    host.run(root=OFFLINE, root_keys=str(medium))
    assert keys_in(medium) == ["demo-root-g1.key"]
    assert keys_in(host.store) == ["authorities/issuing-g1/ca.key"]
    assert away(host).reasons() == {}
    assert host.verify("client/alice", "sslclient") == "OK"


def test_without_a_medium_the_key_is_in_the_store_and_each_run_says_so(host: AuthorityHost) -> None:
    host.run()
    (warning,) = host.run(root=OFFLINE).warnings
    assert warning.startswith("root-g1: said to be kept offline, and its key is in the store; run once with")


def test_what_needs_the_key_says_so_before_anything_is_changed(ceremony: AuthorityHost, medium: Path) -> None:
    away(ceremony)
    before = keys_in(ceremony.store)
    more = [*ceremony.arguments["issuing"], PARTNERS]
    with pytest.raises(
        KitError, match="kept offline and is not at hand; expected the key, to sign the issuing CA partn"
    ):
        ceremony.run(issuing=more, dry=True)
    with pytest.raises(KitError, match="pki_root_keys"):
        ceremony.run()
    assert keys_in(ceremony.store) == before
    assert ceremony.reasons(root_keys=str(medium))["ca/partners issue"] == "issue: new"
    assert keys_in(ceremony.store) == [*before, "authorities/partners-g1/ca.key"]


@pytest.mark.parametrize("key", [b"", b"no key\n"])
def test_a_damaged_key_on_the_medium_is_told_and_the_store_keeps_its_own(
    host: AuthorityHost, medium: Path, key: bytes
) -> None:
    host.run()
    (medium / "demo-root-g1.key").write_bytes(
        key or keys.encrypted_pem(keys.generate("ec-p256"), b"password of ca/root")
    )
    with pytest.raises(KitError, match="key of root-g1"):
        host.run(root=OFFLINE, root_keys=str(medium))
    assert "authorities/root-g1/ca.key" in keys_in(host.store)


def test_a_cut_off_move_is_finished(host: AuthorityHost, medium: Path) -> None:
    host.run()
    (medium / "demo-root-g1.key").write_bytes((host.store / "authorities/root-g1/ca.key").read_bytes())
    host.run(root=OFFLINE, root_keys=str(medium))
    assert keys_in(host.store) == ["authorities/issuing-g1/ca.key"]
    assert keys_in(medium) == ["demo-root-g1.key"]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"root": OFFLINE, "root_keys": "/nowhere/stick"}, "no such folder"),
        ({"root_keys": "/nowhere/stick"}, "not said to be offline"),
        ({"root": {**OFFLINE, "crl_days": 401}}, "crl of the root"),
        ({"root": {**OFFLINE, "crl_days": 1}}, "a refresh before its end"),
    ],
)
def test_bad_wishes_are_named(host: AuthorityHost, more: dict[str, Any], found: str) -> None:
    with pytest.raises(KitError, match=found):
        host.run(**more)
    assert not (host.store / "authorities").exists()


def test_another_roots_key_is_never_overwritten(host: AuthorityHost, medium: Path) -> None:
    (medium / "demo-root-g1.key").write_bytes(b"another's")
    with pytest.raises(KitError, match="a name that is not taken"):
        host.run(root=OFFLINE, root_keys=str(medium))
    assert (medium / "demo-root-g1.key").read_bytes() == b"another's"


def test_a_root_that_is_not_said_to_be_offline_warns_as_ever(host: AuthorityHost) -> None:
    host.run()
    (host.store / "authorities/root-g1/ca.key").unlink()
    (warning,) = host.after(days=2).run().warnings
    assert warning == "root-g1: its CRL is due (sign-crl: 48 hours old), and its key is not on this host"


# ---------------------------------------------------------------------- its password is rotated

ROTATED = {"ca/root re-encrypt": "re-encrypt: password rotated"}
NEW, OLD = "another password of ca/root", "password of ca/root"


@pytest.fixture
def rotated(ceremony: AuthorityHost) -> AuthorityHost:
    """The vault has a new password for ca/root, and keeps the one before."""
    ceremony.passwords |= {"ca/root": NEW, "previous/ca/root": OLD}
    return ceremony


def opens(folder: Path, password: str, label: str = "root-g1") -> bool:
    try:
        keys.load_encrypted((folder / f"demo-{label}.key").read_bytes(), password.encode(), label)
    except KitError:
        return False
    return True


def test_away_the_key_keeps_its_password_and_so_does_the_vault(rotated: AuthorityHost, medium: Path) -> None:
    result = away(rotated).run()
    assert (result.changes, result.taken) == ([], [])
    (warning,) = result.warnings
    assert warning.startswith("root-g1: its key is kept offline and has the password before, which the vault keeps")
    assert "-e pki_root_keys=<folder on the medium>" in warning
    assert opens(medium, OLD)


def test_the_key_on_the_medium_takes_its_new_password(rotated: AuthorityHost, medium: Path) -> None:
    dry = rotated.run(dry=True)
    assert opens(medium, OLD)
    result = rotated.run()
    assert result.changes == dry.changes
    assert {f"{change.name} {change.action}": change.reason for change in result.changes} == ROTATED
    assert result.taken == ["ca/root"]
    assert opens(medium, NEW)
    assert not opens(medium, OLD)
    assert stat.S_IMODE((medium / "demo-root-g1.key").stat().st_mode) == 0o400
    assert [path.name for path in medium.iterdir()] == ["demo-root-g1.key"]
    (warning,) = result.warnings
    assert "make the copies again" in warning
    assert keys_in(rotated.store) == ["authorities/issuing-g1/ca.key"]
    again = rotated.run()
    assert (again.changes, again.taken, again.warnings) == ([], ["ca/root"], [])
    del rotated.passwords["previous/ca/root"]
    assert rotated.after(days=200).reasons()["ca/root sign-crl"] == "sign-crl: 4800 hours old"


def test_a_medium_that_gives_back_something_else_keeps_the_key(
    rotated: AuthorityHost, medium: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (medium / "demo-root-g1.key").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(offline.os, "posix_fadvise", lambda descriptor, *_: offline.os.truncate(descriptor, 100))
        with pytest.raises(KitError, match="something else than was written"):
            rotated.run()
    assert (medium / "demo-root-g1.key").read_bytes() == before
    assert rotated.run().taken == ["ca/root"]
    assert [path.name for path in medium.iterdir()] == ["demo-root-g1.key"]


def test_one_generation_that_is_away_holds_the_password_and_not_the_other(
    rotated: AuthorityHost, medium: Path, tmp_path: Path
) -> None:
    del rotated.passwords["previous/ca/root"]
    rotated.passwords["ca/root"] = OLD
    rotated.run(rotation={"kind": "root"})
    assert "demo-root-g2.key" in keys_in(medium)
    (medium / "demo-root-g1.key").rename(tmp_path / "elsewhere.key")
    rotated.passwords |= {"ca/root": NEW, "previous/ca/root": OLD}
    result = rotated.run()
    assert (result.taken, opens(medium, NEW, "root-g2")) == ([], True)
    assert [warning for warning in result.warnings if warning.startswith("root-g1: its key is kept offline")] != []
    (tmp_path / "elsewhere.key").rename(medium / "demo-root-g1.key")
    assert rotated.run().taken == ["ca/root"]
    assert opens(medium, NEW)


def test_a_move_and_a_rotation_that_were_both_cut_off_end_with_one_key(host: AuthorityHost, medium: Path) -> None:
    host.run()
    (medium / "demo-root-g1.key").write_bytes((host.store / "authorities/root-g1/ca.key").read_bytes())
    host.passwords |= {"ca/root": NEW, "previous/ca/root": OLD}
    assert host.run(root=OFFLINE, root_keys=str(medium)).taken == ["ca/root"]
    assert keys_in(host.store) == ["authorities/issuing-g1/ca.key"]
    assert opens(medium, NEW)


def test_a_new_roots_key_that_a_killed_run_left_has_the_password_of_its_day(host: AuthorityHost, medium: Path) -> None:
    (medium / "demo-root-g1.key").write_bytes(keys.encrypted_pem(keys.generate("ec-p256"), OLD.encode()))
    host.passwords |= {"ca/root": NEW, "previous/ca/root": OLD}
    host.run(root=OFFLINE, root_keys=str(medium))
    assert opens(medium, NEW)
    assert host.run().taken == ["ca/root"]


# ---------------------------------------------------------------------- an issuing CA is revoked


def test_an_issuing_ca_is_revoked_and_followed_in_one_run(ceremony: AuthorityHost) -> None:
    old = ceremony.leaf("client/alice")
    revoke = [{"name": "ca/issuing-g1", "reason": "keyCompromise"}]
    changes = ceremony.reasons(revoke=revoke)
    assert changes["ca/issuing issue"] == "issue: issuing-g1 revoked"
    assert changes["ca/issuing revoke"].startswith("revoke: keyCompromise, serial ")
    assert changes["ca/root sign-crl"] == "sign-crl: revocations changed"
    assert changes["client/alice re-issue"] == "re-issue: issuing CA changed"
    assert ceremony.reasons() == {}
    (entry,) = crl(ceremony)
    gone = x509.load_pem_x509_certificate((ceremony.store / "authorities/issuing-g1/ca.crt").read_bytes())
    assert entry.serial_number == gone.serial_number
    (unit,) = (ceremony.store / "trust/issuing").iterdir()
    assert "Issuing G1" not in (unit / "issuers.map").read_text()
    assert "Issuing G2" in (unit / "issuers.map").read_text()
    assert f"{old.serial_number:X}" not in (unit / "identities.map").read_text()
    with store.inspected(ceremony.store, "demo") as ledger:
        report = inspection.report(ledger, ceremony.now, inspection.Windows(root_offline=True), inspection.Filter())
    assert {ca["label"]: ca["state"] for ca in report["authorities"]} == {
        "root-g1": "valid", "issuing-g1": "revoked", "issuing-g2": "valid",
    }  # fmt: skip


def test_without_the_roots_key_no_issuing_ca_is_revoked(ceremony: AuthorityHost) -> None:
    with pytest.raises(KitError, match="to revoke issuing-g1 on its CRL"):
        away(ceremony).run(revoke=[{"name": "ca/issuing-g1"}])


@pytest.mark.parametrize("name", ["ca/issuing", "ca/root-g1", "ca/issuing-g7"])
def test_only_one_generation_of_an_issuing_ca_can_be_revoked(ceremony: AuthorityHost, name: str) -> None:
    with pytest.raises(KitError, match=r"one generation of an issuing CA \(ca/issuing-g1\)"):
        ceremony.run(revoke=[{"name": name}])


# ---------------------------------------------------------------------- beside it


def test_status_counts_down_to_the_next_ceremony(ceremony: AuthorityHost) -> None:
    def look() -> dict[str, Any]:
        with store.inspected(ceremony.store, "demo") as ledger:
            return inspection.report(ledger, ceremony.now, inspection.Windows(root_offline=True), inspection.Filter())

    away(ceremony).after(days=300).run(certificates=[])
    report = look()
    assert {entry["issuer"]: entry["state"] for entry in report["crls"]} == {"root-g1": "valid", "issuing-g1": "valid"}
    assert report["root_keys_needed"][0]["days_left"] == 35
    assert not [entry for entry in report["attention"] if "key" in entry["text"]]
    ceremony.after(days=36).run()
    (entry,) = [entry for entry in look()["attention"] if "key" in entry["text"]]
    assert entry == {"level": "due", "text": "the key of root-g1 is to be brought: its CRL ends 2027-11-24"}


def test_a_verification_leaves_the_sibling_out(ceremony: AuthorityHost) -> None:
    with store.opened(ceremony.store, "demo", ceremony.now) as opened:
        trust = [TrustSpec("issuing", ("issuing",))]
        minted, warnings = probe.mint(opened, trust, ceremony.passwords, "x" * 16, ceremony.now)
    assert "sibling" not in {identity.name for identity in minted["issuing"]}
    assert len(warnings) == 1


def test_a_backup_holds_no_root_key_and_brings_all_back_but_that(ceremony: AuthorityHost, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with store.opened(ceremony.store, "demo", ceremony.now) as opened:
        backup.write(opened, {}, archive, ARCHIVE_PASSWORD)
    away(ceremony).after(days=1)
    backup.restore(ceremony.store, "demo", archive, ARCHIVE_PASSWORD, ceremony.now, replace=True)
    assert keys_in(ceremony.store) == ["authorities/issuing-g1/ca.key"]
    result = ceremony.run(certificates=[client("alice"), client("bob"), client("carol")])
    (warning,) = result.warnings
    assert "root-g1: its CRL is due (sign-crl: restored from a backup), and its key is kept offline" in warning
    assert ceremony.verify("client/carol", "sslclient") == "OK"
    assert ceremony.run().changes == []
    assert ceremony.reasons(root_keys=str(tmp_path / "stick"))["ca/root sign-crl"].endswith("restored from a backup")
    assert ceremony.run().warnings == []


def test_the_lead_is_a_quarter_of_a_short_life(host: AuthorityHost) -> None:
    host.run(root={**OFFLINE, "crl_days": 40})
    with store.inspected(host.store, "demo") as ledger:
        in_force = ledger.crls()[1]
    assert (in_force.next_update - offline.bring_key_by(in_force)).days == 10
