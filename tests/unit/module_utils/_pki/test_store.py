"""The store: who may use it, when it is refused, and what the disk can do to it."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import converge, names, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import MIGRATIONS, Ledger
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client


def test_a_missing_store_is_an_error_without_init(host: AuthorityHost) -> None:
    with pytest.raises(KitError, match="pki_init=true"):
        host.run(init=False)
    assert not host.store.exists()
    host.run()
    assert host.run(init=False).changes == []


def test_the_store_of_another_pki_is_refused(host: AuthorityHost) -> None:
    host.run()
    with pytest.raises(KitError, match="found the store of PKI 'demo'; expected the one of 'other'"):
        host.run(name="other")


def test_a_folder_with_other_things_is_no_new_store(host: AuthorityHost) -> None:
    host.store.mkdir()
    (host.store / "notes.txt").write_text("mine")
    with pytest.raises(KitError, match=r"notes\.txt"):
        host.run()
    assert [path.name for path in host.store.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("path", ["relative/store", "/", "/store"])
def test_places_that_are_none(path: str) -> None:
    with pytest.raises(KitError, match="absolute path"):
        store.check_place(Path(path))


def test_a_git_tree_must_ignore_the_store(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    host = AuthorityHost(tmp_path / "deep" / "down")
    with pytest.raises(KitError, match="git tree"):
        host.run()
    (tmp_path / ".gitignore").write_text("store/\n")
    host.run()


def test_one_run_at_a_time_and_the_owner_is_named(host: AuthorityHost) -> None:
    host.run()
    with store.opened(host.store, "demo", NOON):
        owner = json.loads((host.store / "lock").read_text())
        assert owner["pid"] == os.getpid()
        with pytest.raises(KitError, match=f"in use by .*pid {os.getpid()} on {socket.gethostname()} since 2026-11-24"):
            host.run()
        # Check mode reads a snapshot and disturbs nobody.
        assert host.run(dry=True).changes == []
    assert host.run().warnings == []


def test_a_stale_lock_is_taken_over_with_a_note(host: AuthorityHost) -> None:
    host.run()
    dead = {"pid": 999999999, "host": "ca1", "command": "ansible", "since": "2026-11-23T00:00:00Z"}
    (host.store / "lock").write_text(json.dumps(dead))
    (host.store / "certificates/client/alice/.client.key.00.tmp").write_text("half")
    warnings = host.run().warnings
    assert any("ansible, pid 999999999 on ca1" in warning for warning in warnings)
    assert not list(host.store.rglob("*.tmp"))
    assert host.run().warnings == []


def test_a_newer_or_damaged_ledger_is_refused(host: AuthorityHost) -> None:
    host.run()
    ledger = Ledger.open(host.store / "ledger.sqlite")
    ledger._db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    ledger.close()
    with pytest.raises(KitError, match="schema version"):
        host.run()
    (host.store / "ledger.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(KitError, match="a damaged file"):
        host.run()


def test_a_full_disk_loses_nothing(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    before = {path: path.read_bytes() for path in host.store.rglob("client.*")}
    real_write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    everybody = [*host.arguments["certificates"], client("carol")]
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(KitError, match="found a full disk"):
            host.run(certificates=everybody)
    assert {path: path.read_bytes() for path in before} == before
    assert not list(host.store.rglob("*.tmp"))
    # The certificate is in the ledger; only its files are missing.
    assert [change.reason for change in host.run().changes if change.name == "client/carol"] == [
        "write: client.key missing",
        "write: client.crt missing",
    ]
    assert host.run().changes == []


def test_a_disk_that_fills_up_while_revoking_hides_no_revocation(
    host: AuthorityHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run()
    serial = host.leaf("client/alice").serial_number
    real_write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if b"X509 CRL" in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(KitError, match="found a full disk"):
            host.run(revoke=[{"name": "client/alice"}])
    assert not list(host.store.rglob("*.tmp"))
    # Revoked, on a CRL with its number and in a trust unit with its number; only their files are missing.
    with store.inspected(host.store, "demo") as ledger:
        assert ledger.is_revoked(2, names.serial_text(serial))
        numbers = [crl.number for crl in ledger.crls().values()], ledger.trust_units()["issuing"].number
    assert {change.action for change in host.run().changes} == {"write"}
    with store.inspected(host.store, "demo") as ledger:
        assert ([crl.number for crl in ledger.crls().values()], ledger.trust_units()["issuing"].number) == numbers
    listed = x509.load_pem_x509_crl((host.store / "authorities/issuing-g1/crl.pem").read_bytes())
    assert listed.get_revoked_certificate_by_serial_number(serial) is not None
    assert host.run().changes == []


def test_a_full_ledger_loses_nothing(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    real_open = Ledger.open.__func__  # type: ignore[attr-defined]

    def small(cls: type[Ledger], path: Path) -> Ledger:
        ledger: Ledger = real_open(cls, path)
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")
        return ledger

    people = [*host.arguments["certificates"], *(client(f"u{number}") for number in range(64))]
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "open", classmethod(small))
        with pytest.raises(KitError, match="database or disk is full"):
            host.run(certificates=people)
    host.run()
    assert host.run().changes == []


def test_a_read_only_folder_is_named(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(errno.EROFS, "Read-only file system", str(host.store / "lock"))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(KitError, match="Read-only file system"):
        host.run()
    monkeypatch.undo()
    assert host.run().changes == []


def test_a_link_in_place_of_a_folder_is_not_followed(host: AuthorityHost, tmp_path: Path) -> None:
    host.run()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = host.store / "certificates/client/bob"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.symlink_to(elsewhere)
    host.run()
    assert list(elsewhere.iterdir()) == []
    assert host.verify("client/bob", "sslclient") == "OK"


def test_every_path_a_run_needs_a_password_for_is_asked_first(host: AuthorityHost) -> None:
    with pytest.raises(KitError, match="password of client/alice: found a line break"):
        converge.Passwords({"client/alice": "a\nb"}).of("client/alice")


def test_a_place_that_cannot_hold_a_store_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for dry in (True, False):
        with (
            pytest.raises(KitError, match="which is no folder"),
            store.opened(tmp_path / "file" / "store", "demo", NOON, init=True, dry=dry),
        ):
            pass
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 1000, 500, 500, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with (
        pytest.raises(KitError, match="no space left on its disk"),
        store.opened(tmp_path / "store", "demo", NOON, init=True, dry=False),
    ):
        pass
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_no_umask_makes_a_difference(host: AuthorityHost, umask: int) -> None:
    before = os.umask(umask)
    try:
        host.run(certificates=[client("alice")])
    finally:
        os.umask(before)
    modes = {
        path: path.stat().st_mode & 0o777 for path in (host.store, *host.store.rglob("*")) if not path.is_symlink()
    }
    assert {path for path, mode in modes.items() if path.is_dir() and mode != 0o700} == set()
    assert {path for path, mode in modes.items() if path.suffix == ".key" and mode != 0o400} == set()
    assert {path for path, mode in modes.items() if path.suffix in (".crt", ".pem") and mode != 0o644} == set()
    assert modes[host.store / "ledger.sqlite"] == 0o600
    assert host.run().changes == []
