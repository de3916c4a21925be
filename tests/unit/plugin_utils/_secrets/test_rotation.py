"""A rotation never leaves a key without its password: the old one is kept until the key has the new one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Record
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.passwords import Resolved
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.rotation import Wish
from tests.unit.plugin_utils._secrets.test_passwords import GOOD, NOW, Memory, resolve

ALICE, BOB = "client/alice", "client/bob"
OTHER = "other-good-enough-0Zx9"


def vault(**since: int | None) -> Memory:
    """Alice's and Bob's passwords, so many days old."""
    found = Memory({ALICE: GOOD, BOB: OTHER})
    for name, days in since.items():
        found.kept[f"client/{name}"] = Record(None if days is None else NOW - timedelta(days=days))
    return found


def rotated(backend: Memory, wish: Wish | None = None, *, check_mode: bool = False, **more: Any) -> Resolved:
    return resolve(backend, [ALICE, BOB], may_generate=True, check_mode=check_mode, wish=wish, **more)


def reasons(resolved: Resolved) -> dict[str, str]:
    return {change["name"]: change["reason"] for change in resolved.changes}


def test_what_was_asked_for_gets_a_new_password_and_the_vault_keeps_the_old_one() -> None:
    backend = vault(alice=3)
    resolved = rotated(backend, Wish(["client/a*"]))
    assert reasons(resolved) == {ALICE: "rotate: asked for"}
    assert backend.entries[ALICE] not in (GOOD, "")
    assert backend.kept[ALICE] == Record(NOW, previous=GOOD)
    assert resolved.passwords == {**backend.entries, "previous/client/alice": GOOD}
    assert resolved.pending == [ALICE]


def test_by_age_only_what_is_too_old_or_of_no_known_age() -> None:
    backend = vault(alice=400, bob=30)
    resolved = rotated(backend, Wish(max_age_days=365))
    assert reasons(resolved) == {ALICE: "rotate: 400 days old, 365 are allowed"}
    assert reasons(rotated(backend, Wish(max_age_days=365), taken=[ALICE])) == {
        ALICE: "write: the previous password is forgotten, the key has the new one"
    }
    assert rotated(backend, Wish(max_age_days=365)).changes == []
    assert reasons(rotated(vault(alice=1), Wish(max_age_days=365))) == {
        BOB: "rotate: its age is not known, 365 days are allowed"
    }


def test_check_mode_says_the_same_and_stores_nothing() -> None:
    backend = vault(alice=400)
    resolved = rotated(backend, Wish(["*"]), check_mode=True)
    assert reasons(resolved) == {ALICE: "rotate: asked for", BOB: "rotate: asked for"}
    assert backend.entries == {ALICE: GOOD, BOB: OTHER}
    assert backend.writes == 0
    # What follows can be checked with a password that lives as long as the run.
    assert resolved.passwords[ALICE] != GOOD
    assert resolved.passwords["previous/client/alice"] == GOOD


def test_a_password_that_no_key_has_taken_yet_is_not_replaced_again() -> None:
    backend = vault()
    first = rotated(backend, Wish([ALICE]))
    again = rotated(backend, Wish(["*"]))
    assert again.kept == [ALICE]
    assert reasons(again) == {BOB: "rotate: asked for"}
    assert again.passwords[ALICE] == first.passwords[ALICE]
    assert again.passwords["previous/client/alice"] == GOOD
    assert again.pending == [ALICE, BOB]


def test_a_run_without_a_wish_still_hands_out_the_previous_one() -> None:
    backend = vault()
    rotated(backend, Wish([ALICE]))
    resolved = rotated(backend)
    assert (resolved.changes, resolved.pending) == ([], [ALICE])
    assert resolved.passwords["previous/client/alice"] == GOOD


def test_what_is_taken_is_forgotten_and_its_age_stays() -> None:
    backend = vault()
    rotated(backend, Wish([ALICE]))
    new = backend.entries[ALICE]
    settled = resolve(backend, [], may_generate=True, check_mode=False, taken=[ALICE, BOB, "client/gone"])
    assert settled.pending == []
    assert (backend.entries[ALICE], backend.kept[ALICE]) == (new, Record(NOW))
    assert resolve(backend, [], may_generate=True, check_mode=False, taken=[ALICE]).changes == []
    assert GOOD not in str(backend.kept) + str(backend.entries)


def test_a_vault_that_stops_after_one_path_leaves_each_path_whole() -> None:
    class Full(Memory):
        def replace_many(self, replacements: Any) -> None:
            first = min(replacements)
            super().replace_many({first: replacements[first]})
            raise KitError("vault", "no room, after 1 of 2 passwords were stored", "room", "make room")

    backend = Full({ALICE: GOOD, BOB: OTHER})
    with pytest.raises(KitError, match="after 1 of 2"):
        rotated(backend, Wish(["*"]))
    assert backend.kept == {ALICE: Record(NOW, previous=GOOD)}
    assert backend.entries[BOB] == OTHER
    # The next run, whatever it is asked for, has both passwords of each key that may need them.
    assert rotated(backend).passwords["previous/client/alice"] == GOOD


@pytest.mark.parametrize(
    ("backend", "wish", "message"),
    [
        (vault(), Wish(["client/al1ce"]), "'client/al1ce', which matches none of 2 passwords"),
        (vault(), Wish(max_age_days=-1), "key_password_max_age_days: found -1"),
        (Memory({ALICE: GOOD, BOB: OTHER}, writable=False), Wish(["*"]), "a backend that can only be read"),
        (Memory({ALICE: GOOD, BOB: OTHER}, writable=False), Wish(max_age_days=1), "a backend that can only be read"),
    ],
)
def test_a_wish_that_cant_be_met_is_refused_before_anything_is_stored(
    backend: Memory, wish: Wish, message: str
) -> None:
    with pytest.raises(KitError) as refused:
        rotated(backend, wish)
    assert message in str(refused.value)
    assert backend.writes == 0
    assert GOOD not in str(refused.value)


def test_an_archive_of_a_rotation_under_way_brings_both_passwords_back() -> None:
    backend = Memory({})
    known = {ALICE: GOOD, "previous/client/alice": OTHER}
    resolved = resolve(backend, [], may_generate=False, check_mode=False, known=known)
    assert (backend.entries, backend.kept) == ({ALICE: GOOD}, {ALICE: Record(NOW, OTHER)})
    assert resolved.passwords == known
