"""Keys of the store under new passwords, while the vault still knows the ones before.

A key is looked at only when the vault keeps a previous password for it (``previous/<path>``), so a run without a
rotation opens nothing. Each key changes at once, from one password that the vault has to the other: a CA's key by the
rename of its file, a certificate's key by the transaction that also forgets the file in which it is handed out. A run
that is cut off in between leaves keys under either, and the next one finishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, workers
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import places
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import Change
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import KEY_MODE, Store, key_path

_SHARE: Final = 64
"""Keys that a worker is handed at a time."""

REASON: Final = "re-encrypt: password rotated"


@dataclass(frozen=True)
class _Stored:
    """An encrypted key of the store; ``id`` is its certificate's in the ledger, None for a CA's."""

    path: str
    place: str
    id: int | None
    needed: bool
    pem: bytes = field(repr=False)


@dataclass
class Reencryption:
    """What is to be done, and which paths have their present password when it was."""

    files: list[tuple[str, bytes, int]] = field(default_factory=list)
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def apply(self, store: Store) -> None:
        """Do it."""
        for file in self.files:
            store.write([file])
        if self.rows:
            names = {change.name for change in self.changes}
            with store.ledger.transaction():
                store.ledger.replace_keys(self.rows)
                store.ledger.forget_files(f"certificates/{name}/{name.partition('/')[0]}.key" for name in names)


def plan(store: Store, passwords: Passwords) -> Reencryption:
    """Open every key that may have a previous password; KitError for one in use that neither password opens."""
    planned = Reencryption()
    waiting = set(passwords.previous)
    found = [*_authority_keys(store, waiting, planned), *_certificate_keys(store, waiting)]
    # A key of a gateway is not here: what certificate_release returns says whether it has the new password.
    planned.taken = sorted(
        path for path in waiting if not path.startswith("server/") or any(key.path == path for key in found)
    )

    def reencrypted(share: Sequence[_Stored]) -> list[tuple[_Stored, bytes | None]]:
        return [(key, _reencrypted(key, passwords)) for key in share]

    shares = (found[start : start + _SHARE] for start in range(0, len(found), _SHARE))
    for results in workers.in_parallel(reencrypted, shares, workers.cores() if len(found) > _SHARE else 1):
        for key, pem in results:
            if pem is None:
                continue
            if key.id is None:
                planned.files.append((key.place, pem, KEY_MODE))
            else:
                planned.rows.append((key.id, pem))
            if key.needed:
                planned.changes.append(Change(key.path, "re-encrypt", REASON))
    planned.changes.sort(key=lambda change: change.name)
    return planned


def _authority_keys(store: Store, waiting: set[str], planned: Reencryption) -> Iterator[_Stored]:
    in_openbao = places(store.ledger)
    for ca in store.ledger.authorities():
        if ca.path not in waiting or ca.label in in_openbao:
            continue
        place = key_path(ca.label)
        pem = store.read(place)
        if pem is None:
            planned.warnings.append(f"{ca.label}: its key is not on this host and keeps the password before")
            waiting.discard(ca.path)
        else:
            yield _Stored(ca.path, place, None, True, pem)


def _certificate_keys(store: Store, waiting: Iterable[str]) -> Iterator[_Stored]:
    for certificate, name, current, pem in store.ledger.keys_of(sorted(waiting)):
        yield _Stored(name, f"certificate {name}", certificate, bool(current), pem)


def _reencrypted(stored: _Stored, passwords: Passwords) -> bytes | None:
    """The key under its present password; None when it has that, or is a replaced one of an earlier password."""
    password, previous = passwords.of(stored.path), passwords.previous[stored.path]
    what = f"key of {stored.path}, {stored.place}"
    try:
        keys.load_encrypted(stored.pem, password, what)
        return None
    except KitError as error:
        refused = error
    try:
        return keys.encrypted_pem(keys.load_encrypted(stored.pem, previous, what), password)
    except KitError:
        if stored.needed:
            raise refused from None
        return None
