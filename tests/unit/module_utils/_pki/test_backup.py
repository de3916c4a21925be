"""Backup and restore: nothing readable, nothing exchanged, and never back behind what gateways have seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import backup, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client

PASSWORD = "correct horse battery"
PASSWORDS = {"ca/root": "root-secret", "client/alice": "alice-secret"}


def write(host: AuthorityHost, name: str = "backup") -> Path:
    archive = host.store.parent / name
    with store.opened(host.store, None, host.now) as opened:
        backup.write(opened, PASSWORDS, archive, PASSWORD)
    return archive


def restore(host: AuthorityHost, archive: Path, **more: object) -> backup.Restored:
    return backup.restore(host.store, "demo", archive, PASSWORD, host.now, **more)  # type: ignore[arg-type]


def crl_number(host: AuthorityHost) -> int:
    crl = x509.load_pem_x509_crl((host.store / "authorities/issuing-g1/crl.pem").read_bytes())
    return int(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)


def test_a_restored_store_goes_on_and_forward(host: AuthorityHost, tmp_path: Path) -> None:
    host.run()
    serial = host.leaf("client/alice").serial_number
    archive = write(host)
    assert archive.stat().st_mode & 0o777 == 0o600
    for secret in (b"alice-secret", b"SQLite", b"client/alice", b"PRIVATE KEY"):
        assert secret not in archive.read_bytes()
    before = host.run().trust["issuing"]
    host.after(hours=2)
    host.store.rename(tmp_path / "lost")
    passwords = tmp_path / "passwords"
    assert restore(host, archive, passwords_file=passwords).changes
    assert (passwords.stat().st_mode & 0o777, "alice-secret" in passwords.read_text()) == (0o600, True)
    assert host.reasons() == {
        "ca/root sign-crl": "sign-crl: restored from a backup",
        "ca/issuing sign-crl": "sign-crl: restored from a backup",
        "trust/issuing write": "write: restored from a backup",
    }
    assert host.reasons() == {}
    assert host.leaf("client/alice").serial_number == serial
    assert host.run().trust["issuing"]["number"] > max(before["number"], host.now.timestamp())
    assert crl_number(host) > host.now.timestamp()
    assert host.verify("client/alice", "sslclient") == "OK"


def test_revocations_that_only_gateways_know_are_kept(host: AuthorityHost) -> None:
    host.run()
    archive = write(host)
    host.after(hours=1).run(certificates=[*host.arguments["certificates"], client("late")])
    host.after(hours=1).run(revoke=[{"name": "client/alice"}, {"name": "client/late"}])
    revoked = host.run().trust["issuing"]["files"]["revoked.map"]
    assert len(revoked.splitlines()) == 2
    host.arguments["revoke"] = []
    later_authority = '"7:0BADCAFE" 1;\n'
    restored = restore(host, archive, replace=True, revocations=[revoked, revoked + later_authority])
    assert sorted(change.name for change in restored.changes) == ["client/alice", "store", "unknown"]
    assert any("authorities 7" in warning for warning in restored.warnings)
    result = host.run(certificates=[client("alice"), client("bob")])
    assert result.trust["issuing"]["files"]["revoked.map"] == revoked
    assert ("client/alice", "re-issue: revoked") in [(change.name, change.reason) for change in result.changes]
    second = {"name": "second", "purposes": ["client"], "key_type": "ec-p256", "days": 100}
    authorities = host.run(issuing=[*host.arguments["issuing"], second]).authorities
    assert authorities[-1]["number"] == 8


def test_a_store_that_is_there_is_moved_aside_or_kept(host: AuthorityHost) -> None:
    host.run()
    archive = write(host)
    with pytest.raises(KitError, match="replace=true"):
        restore(host, archive)
    assert restore(host, archive, replace=True, dry=True).moved_aside is None
    aside = restore(host, archive, replace=True).moved_aside
    assert aside is not None
    assert (Path(aside) / "ledger.sqlite").exists()
    assert not list(host.store.parent.glob(".*"))
    with store.opened(host.store, "demo", host.now), pytest.raises(KitError, match="in use by"):
        restore(host, archive, replace=True)


def test_refusals(host: AuthorityHost, tmp_path: Path) -> None:
    host.run()
    archive = write(host)
    with pytest.raises(KitError, match="a name that is not taken"):
        write(host)
    for weak in ("", "short", "a" * 40):
        with pytest.raises(KitError, match="an empty or weak one"):
            backup.check_archive_password(weak)
    with pytest.raises(KitError, match="the password does not open it"):
        backup.restore(tmp_path / "new", "demo", archive, "another password 12", host.now)
    with pytest.raises(KitError, match="found the PKI 'demo'; expected the PKI 'other'"):
        backup.restore(tmp_path / "new", "other", archive, PASSWORD, host.now)
    with pytest.raises(KitError, match="another kind of file"):
        backup.restore(tmp_path / "new", "demo", host.store / "trust-anchor.crt", PASSWORD, host.now)
    with pytest.raises(KitError, match="the line 'gibberish'"):
        backup.restore(tmp_path / "new", "demo", archive, PASSWORD, host.now, revocations=["gibberish"])
    with pytest.raises(KitError, match="a readable file"):
        backup.restore(tmp_path / "new", "demo", tmp_path / "nothing", PASSWORD, host.now)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of several chunks."""
    host = AuthorityHost(tmp_path_factory.mktemp("host"))
    host.run(certificates=[client("alice")])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backup, "_CHUNK", 16 << 10)
        return write(host)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_no_byte_can_be_changed_or_cut_off(small_archive: Path, data: st.DataObject) -> None:
    whole = small_archive.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    archive = small_archive.with_name("damaged")
    archive.write_bytes(damaged)
    with pytest.raises(KitError, match="archive"):
        backup.restore(archive.with_name("new"), "demo", archive, PASSWORD, NOON)
    assert not archive.with_name("new").exists()


def test_a_full_disk_leaves_no_half_archive(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KitError, match="a full disk"):
        write(host)
    monkeypatch.undo()
    assert sorted(path.name for path in host.store.parent.iterdir()) == ["store"]
