"""Keys of the store under new passwords, while the vault still knows the ones before.

A key is looked at only when the vault keeps a previous password for it (``previous/<path>``), so a run without a
rotation opens nothing. Each key changes at once, from one password that the vault has to the other: a CA's key by the
rename of its file, a certificate's key by the transaction that also forgets the file in which it is handed out. A run
that is cut off in between leaves keys under either, and the next one finishes. The key of an offline root changes on
its medium, in the next run that the medium is brought to; until then the vault keeps the password before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names, offline, rotation, workers
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import places
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import Change
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import KEY_MODE, Store, key_path

_SHARE: Final = 64
"""Keys that a worker is handed at a time."""

REASON: Final = "re-encrypt: password rotated"


@dataclass(frozen=True)
class _Stored:
    """An encrypted key of the store or of a medium.

    ``id`` is its certificate's in the ledger, None for a CA's; ``root`` the label of a root whose key is on the medium.
    """

    path: str
    place: str
    id: int | None
    needed: bool
    pem: bytes = field(repr=False)
    root: str | None = None


@dataclass
class Reencryption:
    """What is to be done, and which paths have their present password when it was."""

    files: list[tuple[str, bytes, int]] = field(default_factory=list)
    on_medium: list[tuple[str, bytes]] = field(default_factory=list)
    """The keys of offline roots, by label."""
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def apply(self, store: Store, medium: offline.Medium) -> None:
        """Do it."""
        for file in self.files:
            store.write([file])
        for label, pem in self.on_medium:
            medium.write(label, pem)
        if self.rows:
            forgotten = {change.name for change in self.changes}
            with store.ledger.transaction():
                store.ledger.replace_keys(self.rows)
                store.ledger.forget_files(f"certificates/{name}/{name.partition('/')[0]}.key" for name in forgotten)


def plan(
    store: Store, passwords: Passwords, medium: offline.Medium, now: datetime, *, root_offline: bool
) -> Reencryption:
    """Open every key that may have a previous password; KitError for one in use that neither password opens."""
    planned = Reencryption()
    waiting = set(passwords.previous)
    found, elsewhere = _authority_keys(store, waiting, medium, now)
    for ca in elsewhere:
        planned.warnings.append(f"{ca.label}: {_why_it_waits(ca, root_offline)}")
        waiting.discard(ca.path)
    found.extend(_certificate_keys(store, waiting))
    # Keys of gateways and of the ACME account are not here: whoever has them says whether they have the new password.
    others = ("server/", names.ACME_ACCOUNT)
    planned.taken = sorted(
        path for path in waiting if not path.startswith(others) or any(key.path == path for key in found)
    )

    def reencrypted(share: Sequence[_Stored]) -> list[tuple[_Stored, bytes | None]]:
        return [(key, _reencrypted(key, passwords)) for key in share]

    shares = (found[start : start + _SHARE] for start in range(0, len(found), _SHARE))
    for results in workers.in_parallel(reencrypted, shares, workers.cores() if len(found) > _SHARE else 1):
        for key, pem in results:
            if pem is None:
                continue
            if key.root is not None:
                medium.check_writable(key.root)
                planned.on_medium.append((key.root, pem))
                planned.warnings.append(
                    f"{key.root}: its key in {medium.folder} gets the new password; a copy of it elsewhere has the one "
                    "before, which the vault forgets: make the copies again"
                )
            elif key.id is None:
                planned.files.append((key.place, pem, KEY_MODE))
            else:
                planned.rows.append((key.id, pem))
            if key.needed:
                planned.changes.append(Change(key.path, "re-encrypt", REASON))
    planned.changes.sort(key=lambda change: change.name)
    return planned


def _authority_keys(
    store: Store, waiting: set[str], medium: offline.Medium, now: datetime
) -> tuple[list[_Stored], list[Authority]]:
    """The keys of the authorities, wherever they are, and the authorities whose key is needed and not at hand."""
    authorities = store.ledger.authorities()
    in_openbao = places(store.ledger)
    found, elsewhere = [], []
    for ca in (ca for ca in authorities if ca.path in waiting and ca.label not in in_openbao):
        place = key_path(ca.label)
        there = []
        if (pem := store.read(place)) is not None:
            there.append(_Stored(ca.path, place, None, True, pem))
        if ca.name == offline.ROOT and (pem := medium.read(ca.label)) is not None:
            there.append(_Stored(ca.path, str(medium.path(ca.label)), None, True, pem, ca.label))
        found.extend(there)
        if not there and rotation.needs_crl(store.ledger, ca, authorities, now):
            elsewhere.append(ca)
    return found, elsewhere


def _why_it_waits(ca: Authority, root_offline: bool) -> str:
    if ca.name == offline.ROOT and root_offline:
        return (
            "its key is kept offline and has the password before, which the vault keeps beside the new one; it takes "
            "the new one in a run with -e pki_root_keys=<folder on the medium>"
        )
    return "its key is not on this host and keeps the password before"


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
