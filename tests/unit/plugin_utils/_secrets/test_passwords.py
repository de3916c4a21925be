"""Every key gets a password that can't be guessed, and what a vault holds is judged before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.passwords import (
    generate,
    refuse_bad_password,
)
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.passwords import resolve as resolve_at
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.registry import open_backend
from tests.unit.plugin_utils._secrets.conftest import controller_with

GOOD = "0Zx9-good-enough-7Qy3"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
resolve = partial(resolve_at, now=NOW)


class Memory:
    """A vault in memory that counts what it is asked."""

    def __init__(self, entries: Mapping[str, str], *, writable: bool = True) -> None:
        self.entries = dict(entries)
        self.kept: dict[str, Record] = {}
        self.writable = writable
        self.reads = 0
        self.writes = 0

    def location(self, path: str) -> str:
        return f"{path!r} in backend memory"

    def remedy(self, path: str) -> str:
        return "the editor of memory"

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        self.reads += 1
        return {path: self.entries[path] for path in paths if path in self.entries}

    def records(self, paths: Iterable[str]) -> dict[str, Record]:
        return {path: self.kept[path] for path in paths if path in self.kept}

    def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        self.writes += 1
        self.kept.update((path, Record(now)) for path in passwords if path not in self.entries)
        self.entries = {**passwords, **self.entries}
        return {path: self.entries[path] for path in passwords}

    def replace_many(self, replacements: Mapping[str, Replacement]) -> None:
        self.writes += 1
        for path, replacement in sorted(replacements.items()):
            assert self.entries[path] == replacement.found
            self.entries[path], self.kept[path] = replacement.password, replacement.record


def test_generated_passwords_hold_256_bits_and_differ() -> None:
    passwords = {generate() for _ in range(100)}
    assert len(passwords) == 100
    assert {len(password) for password in passwords} == {43}
    for password in passwords:
        refuse_bad_password(Memory({}), "client/alice", password)


def test_missing_ones_are_generated_in_one_read_and_one_write() -> None:
    vault = Memory({"ca/root": GOOD})
    resolved = resolve(vault, ["client/alice", "ca/root", "client/alice"], may_generate=True, check_mode=False)
    assert resolved.passwords == vault.entries
    assert resolved.changes == [{"name": "client/alice", "action": "write", "reason": "write: the vault had none"}]
    assert (vault.reads, vault.writes) == (1, 1)


def test_nothing_missing_writes_nothing() -> None:
    vault = Memory({"ca/root": GOOD})
    resolved = resolve(vault, ["ca/root"], may_generate=True, check_mode=False)
    assert (resolved.passwords, resolved.changes, vault.writes) == ({"ca/root": GOOD}, [], 0)


def test_check_mode_says_the_same_and_stores_nothing() -> None:
    vault = Memory({})
    resolved = resolve(vault, ["client/alice"], may_generate=True, check_mode=True)
    assert [change["reason"] for change in resolved.changes] == ["write: the vault had none"]
    assert len(resolved.passwords["client/alice"]) == 43
    assert vault.entries == {}


def test_of_two_runs_that_generate_both_use_what_the_vault_kept() -> None:
    class Raced(Memory):
        def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
            self.entries["client/alice"] = GOOD
            return super().put_many(passwords, now=now)

    assert resolve(Raced({}), ["client/alice"], may_generate=True, check_mode=False).passwords == {"client/alice": GOOD}


@pytest.mark.parametrize(("writable", "may_generate"), [(True, False), (False, True)])
def test_a_missing_one_that_may_not_be_generated_is_named(writable: bool, may_generate: bool) -> None:
    with pytest.raises(KitError, match=r"'client/alice' in backend memory: found no entry, and none for 1 more paths"):
        resolve(
            Memory({}, writable=writable), ["client/bob", "client/alice"], may_generate=may_generate, check_mode=False
        )


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_lost_one_of_a_key_that_exists_is_asked_for_and_nothing_is_stored(check_mode: bool) -> None:
    vault = Memory({"client/alice": GOOD})
    with pytest.raises(KitError, match=r"'ca/issuing' in backend memory: found no entry, and none for ca/root; .* put"):
        resolve(
            vault,
            ["ca/issuing", "ca/root", "client/alice", "client/bob"],
            may_generate=True,
            check_mode=check_mode,
            in_use=["ca/issuing", "ca/root", "ca/retired"],
        )
    assert vault.entries == {"client/alice": GOOD}


def test_a_lost_one_that_an_archive_has_is_stored() -> None:
    vault = Memory({})
    resolve(vault, ["ca/root"], may_generate=True, check_mode=False, known={"ca/root": GOOD}, in_use=["ca/root"])
    assert vault.entries == {"ca/root": GOOD}


@pytest.mark.parametrize(
    ("password", "found"),
    [
        ("", "an empty password"),
        ("good-enough\n0123456789", "a line break"),
        ("good-enough\r0123456789", "a line break"),
        ("good-enough\x000123456789", "a control character"),
        ("good-enough\x7f0123456789", "a control character"),
        ("fifteen-chars-x", "fewer than 16 characters"),
        ("x9-Q" * 400, "more than 1024 bytes"),
        ("passwordpassword", "fewer than 8 different characters"),
        ("aaaaaaaaaaaaaaaaaaaaaa", "fewer than 8 different characters"),
        ("changeme1changeme1", "repeats itself"),
        ("abcdefghijklmnop", "runs such as abc or 123"),
        ("9876543210zyxwvuts", "runs such as abc or 123"),
    ],
)
def test_bad_ones_in_the_vault_are_refused_unquoted_before_anything_is_stored(password: str, found: str) -> None:
    vault = Memory({"client/alice": password})
    with pytest.raises(KitError, match=found) as caught:
        resolve(vault, ["client/alice", "client/bob"], may_generate=True, check_mode=False)
    assert "'client/alice' in backend memory" in str(caught.value)
    assert not password or password not in str(caught.value)
    assert vault.writes == 0


@pytest.mark.parametrize(
    "path", ["", "alice", "client/", "client/../ca/root", "client/a b", "ca/", "ca/Ä", "server/gw1"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    vault = Memory({})
    with pytest.raises(KitError):
        resolve(vault, [path], may_generate=True, check_mode=False)
    assert vault.writes == 0


def test_known_ones_are_stored_where_the_vault_has_none_and_never_over_another() -> None:
    known = {"ca/root": generate(), "client/alice": GOOD}
    vault = Memory({"client/alice": GOOD})
    resolved = resolve(vault, [], may_generate=False, check_mode=False, known=known)
    assert vault.entries == known == resolved.passwords
    assert resolved.changes == [
        {"name": "ca/root", "action": "write", "reason": "write: the vault had none, the archive has"}
    ]
    vault = Memory({"client/alice": generate()})
    with pytest.raises(KitError) as refused:
        resolve(vault, [], may_generate=False, check_mode=False, known=known)
    assert "another password than the archive has, for client/alice" in str(refused.value)
    assert GOOD not in str(refused.value)
    assert "ca/root" not in vault.entries


def test_passwords_stay_out_of_the_text_of_a_result() -> None:
    resolved = resolve(Memory({"ca/root": GOOD}), ["ca/root"], may_generate=True, check_mode=False)
    assert GOOD not in repr(resolved)


def test_an_unknown_backend_is_named_with_those_there_are(controller: Controller) -> None:
    names = "ansible_vault, command, env, lookup, openbao"
    with pytest.raises(KitError, match=f"key_password_backend: found 'valt'; expected one of {names}"):
        open_backend("valt", {}, controller)


def test_a_known_backend_is_a_session(controller: Controller, tmp_path: Path) -> None:
    with open_backend("ansible_vault", {}, controller) as backend:
        assert backend.get_many(["client/alice"]) == {}
    with pytest.raises(KitError, match="no vault password"):
        open_backend("ansible_vault", {}, controller_with(tmp_path))
