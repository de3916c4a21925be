"""The embedded vault keeps every password, gives none away, and says what is wrong with its file."""

from __future__ import annotations

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import ansible_vault
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.ansible_vault import AnsibleVault
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from tests.unit.plugin_utils._secrets.conftest import controller_with

ALICE = "a-password-of-alice-0Zx9"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BOB = "another-password-of-bob-7Qy3"
FILE = "key_passwords.vault.txt"


def stored(controller: Controller, file: Path) -> dict[str, str]:
    """The passwords in ``file``."""
    entries = yaml.safe_load(controller.vault.decrypt(file.read_bytes()))
    return {path: entry for path, entry in entries.items() if path != "records"}


def encrypted(controller: Controller, file: Path, plaintext: str) -> None:
    file.write_bytes(controller.vault.encrypt(plaintext))


def test_what_was_put_is_found_again(controller: Controller, tmp_path: Path) -> None:
    put = AnsibleVault({}, controller).put_many({"client/bob": BOB, "client/alice": ALICE}, now=NOW)
    assert put == {"client/bob": BOB, "client/alice": ALICE}
    assert AnsibleVault({}, controller).get_many(["client/alice", "client/carol"]) == {"client/alice": ALICE}
    plaintext = controller.vault.decrypt((tmp_path / FILE).read_bytes()).decode()
    assert plaintext.startswith(f"client/alice: {ALICE}\nclient/bob: {BOB}\nrecords:\n")


def test_the_file_is_encrypted_private_and_alone(controller: Controller, tmp_path: Path) -> None:
    AnsibleVault({}, controller).put_many({"client/alice": ALICE}, now=NOW)
    file = tmp_path / FILE
    assert file.read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;id0")
    assert ALICE.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_an_entry_that_is_there_wins_unless_it_is_replaced(controller: Controller) -> None:
    vault = AnsibleVault({}, controller)
    vault.put_many({"client/alice": ALICE}, now=NOW)
    assert vault.put_many({"client/alice": BOB, "client/bob": BOB}, now=NOW) == {
        "client/alice": ALICE,
        "client/bob": BOB,
    }
    assert vault.get_many(["client/alice", "client/bob"]) == {"client/alice": ALICE, "client/bob": BOB}
    assert vault.records(["client/alice", "client/carol"]) == {"client/alice": Record(NOW)}


def test_a_replacement_keeps_the_old_password_until_it_is_settled(controller: Controller) -> None:
    vault = AnsibleVault({}, controller)
    vault.put_many({"client/alice": ALICE, "client/bob": BOB}, now=NOW)
    later = NOW + timedelta(days=400)
    vault.replace_many({"client/alice": Replacement(ALICE, BOB, Record(later, previous=ALICE))})
    assert vault.get_many(["client/alice"]) == {"client/alice": BOB}
    assert vault.records(["client/alice", "client/bob"]) == {
        "client/alice": Record(later, ALICE),
        "client/bob": Record(NOW),
    }
    with pytest.raises(KitError, match="somebody else replaced it"):
        vault.replace_many({"client/alice": Replacement(ALICE, "x" * 20, Record(later, previous=ALICE))})
    vault.replace_many({"client/alice": Replacement(BOB, BOB, Record(later))})
    assert vault.records(["client/alice"]) == {"client/alice": Record(later)}
    assert ALICE not in repr(Record(later, ALICE)) + repr(Replacement(ALICE, BOB, Record(later)))


def test_nothing_new_leaves_the_file_as_it_is(controller: Controller, tmp_path: Path) -> None:
    vault = AnsibleVault({}, controller)
    vault.put_many({"client/alice": ALICE}, now=NOW)
    before = (tmp_path / FILE).read_bytes()
    vault.put_many({"client/alice": BOB}, now=NOW)
    assert (tmp_path / FILE).read_bytes() == before


def test_two_runs_at_a_time_lose_no_entry(controller: Controller) -> None:
    names = [f"client/c{number}" for number in range(24)]

    def put(name: str) -> None:
        AnsibleVault({}, controller).put_many({name: f"{name}-{ALICE}"}, now=NOW)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, names))
    assert AnsibleVault({}, controller).get_many(names) == {name: f"{name}-{ALICE}" for name in names}


def test_a_file_keeps_the_vault_id_that_opened_it(tmp_path: Path) -> None:
    AnsibleVault({}, controller_with(tmp_path, b"first")).put_many({"client/alice": ALICE}, now=NOW)
    both = controller_with(tmp_path, b"second", b"first")
    AnsibleVault({}, both).put_many({"client/bob": BOB}, now=NOW)
    only_first = controller_with(tmp_path, b"first")
    assert stored(only_first, tmp_path / FILE) == {"client/alice": ALICE, "client/bob": BOB}


def test_through_a_symbolic_link_the_file_behind_it_is_written(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / FILE
    link.symlink_to(tmp_path / "elsewhere" / "real.txt")
    AnsibleVault({}, controller).put_many({"client/alice": ALICE}, now=NOW)
    assert link.is_symlink()
    assert stored(controller, tmp_path / "elsewhere" / "real.txt") == {"client/alice": ALICE}


def test_a_lock_that_stays_taken_ends_in_an_error(controller: Controller, tmp_path: Path) -> None:
    with (tmp_path / f".{FILE}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(KitError, match=r"another run that has been writing it for more than 0\.2 s"):
            AnsibleVault({"timeout": 0.2}, controller).put_many({"client/alice": ALICE}, now=NOW)
    assert not (tmp_path / FILE).exists()


def test_a_lock_left_by_a_killed_run_doesnt_matter(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / f".{FILE}.lock").touch()
    assert AnsibleVault({"timeout": 0.5}, controller).put_many({"client/alice": ALICE}, now=NOW)


def test_a_full_disk_loses_nothing(controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = AnsibleVault({}, controller)
    vault.put_many({"client/alice": ALICE}, now=NOW)
    before = (tmp_path / FILE).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ansible_vault.os, "fsync", full)
    with pytest.raises(KitError, match="No space left on device while writing it"):
        vault.put_many({"client/bob": BOB}, now=NOW)
    assert (tmp_path / FILE).read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_a_missing_folder_is_named(controller: Controller, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / FILE
    with pytest.raises(KitError, match=f"{file}: found No such file or directory while locking it"):
        AnsibleVault({"file": str(file)}, controller).put_many({"client/alice": ALICE}, now=NOW)


def test_a_wrong_vault_password_is_told_and_changes_nothing(controller: Controller, tmp_path: Path) -> None:
    AnsibleVault({}, controller).put_many({"client/alice": ALICE}, now=NOW)
    before = (tmp_path / FILE).read_bytes()
    wrong = AnsibleVault({}, controller_with(tmp_path, b"not the vault password"))
    for attempt in (
        lambda: wrong.get_many(["client/alice"]),
        lambda: wrong.put_many({"client/bob": BOB}, now=NOW),
    ):
        with pytest.raises(KitError, match="none of the given vault passwords opens it") as caught:
            attempt()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    assert (tmp_path / FILE).read_bytes() == before


def test_no_vault_password_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"found no vault password.*--vault-password-file or --vault-id"):
        AnsibleVault({}, controller_with(tmp_path))


def test_a_file_cut_short_is_refused(controller: Controller, tmp_path: Path) -> None:
    AnsibleVault({}, controller).put_many({"client/alice": ALICE}, now=NOW)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(KitError, match="a file that wasn't cut short"):
        AnsibleVault({}, controller).get_many(["client/alice"])


def test_a_plain_file_is_refused_and_left(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(f"client/alice: {ALICE}\n")
    with pytest.raises(KitError, match="found a plain file") as caught:
        AnsibleVault({}, controller).put_many({"client/bob": BOB}, now=NOW)
    assert ALICE not in str(caught.value)
    assert (tmp_path / FILE).read_text() == f"client/alice: {ALICE}\n"


@pytest.mark.parametrize(
    ("plaintext", "found"),
    [
        (f"client/alice: [{ALICE}\n", "something else than YAML"),
        (f"- {ALICE}\n", "found list"),
        (f"{ALICE}\n", "found str"),
        ("client/alice: 12345678901234567890\n", "found int for the path 'client/alice'"),
        (f"client:\n  alice: {ALICE}\n", "found dict for the path 'client'"),
    ],
)
def test_other_content_is_refused_unquoted(controller: Controller, tmp_path: Path, plaintext: str, found: str) -> None:
    encrypted(controller, tmp_path / FILE, plaintext)
    with pytest.raises(KitError, match=found) as caught:
        AnsibleVault({}, controller).get_many(["client/alice"])
    assert ALICE not in str(caught.value)
    assert "12345678901234567890" not in str(caught.value)


def test_an_empty_vault_holds_nothing(controller: Controller, tmp_path: Path) -> None:
    encrypted(controller, tmp_path / FILE, "---\n")
    assert AnsibleVault({}, controller).get_many(["client/alice"]) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fiel": "/x"}, "found an unknown option 'fiel'; expected only file, timeout. Next: write 'file'"),
        ({"file": "passwords.txt"}, "found the relative path 'passwords.txt'"),
        (
            {"file": ["hunter2hunter2"]},
            "key_password_options.file of backend ansible_vault: found something else; expected a text",
        ),
        ({"file": " "}, "found an empty text"),
        ({"timeout": "soon"}, "seconds, more than 0 and at most 30"),
        ({"timeout": 31}, "seconds, more than 0 and at most 30"),
    ],
)
def test_bad_options_are_refused_unquoted(controller: Controller, options: dict, message: str) -> None:
    with pytest.raises(KitError) as caught:
        AnsibleVault(options, controller)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["key_passwords.yml", "key_passwords", "vault/key_passwords.vault"])
def test_a_name_that_ansible_reads_as_an_inventory_is_refused(
    controller: Controller, tmp_path: Path, name: str
) -> None:
    with pytest.raises(KitError, match=r"a name that ends in \.txt"):
        AnsibleVault({"file": str(tmp_path / name)}, controller)


def test_without_the_folder_of_an_inventory_a_file_has_to_be_named() -> None:
    with pytest.raises(KitError, match=r"set key_password_options\.file to an absolute path"):
        AnsibleVault({}, controller_with(None, b"x"))
