"""Hand-over of bundles: who has taken its own, and the end of the CA's copy of a key that has been.

A bundle waits from its writing until somebody says that its client has it. The key is then nobody's but the client's:
the ledger forgets it first and knows that it was handed over, so that no later run takes it for lost; what a run that
is cut off leaves of it in the store or in the folder, the next one removes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Handed, Issued, Ledger
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import Store

_KIND: Final = "client/"


@dataclass
class Taken:
    """What a run was told of bundles: its changes, and the clients whose bundle is not the present one."""

    changes: list[dict[str, str]] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)


def take(store: Store, words: Sequence[str], now: datetime, *, keep_keys: bool, dry: bool) -> Taken:
    """Note that the clients of these names or globs have their bundle, and without ``keep_keys`` give their keys away.

    Raises KitError for a word that is nobody's who ever had a bundle. A bundle of an earlier certificate is left: the
    present one is still to be handed over. Without ``keep_keys`` the keys of bundles that were taken before go, too.
    """
    bundles, current = store.ledger.bundles(), store.ledger.current()
    result = Taken()
    newly = []
    for handed in _asked(bundles, words):
        issued = current.get(handed.name)
        if handed.taken is not None:
            continue
        if issued is None or issued.serial != handed.serial:
            result.outdated.append(handed.name.removeprefix(_KIND))
            continue
        newly.append(replace(handed, taken=now))
    taken = [*(one for one in bundles.values() if one.taken is not None), *newly]
    released = [] if keep_keys else [one.name for one in taken if _holds(current.get(one.name), one)]
    for one in newly:
        if one.name not in released:
            result.changes.append({"name": one.name, "action": "write", "reason": "write: bundle taken"})
    for name in released:
        result.changes.append({"name": name, "action": "remove", "reason": "remove: key handed over"})
    if newly or released:
        with store.ledger.transaction():
            store.ledger.put_bundles(newly)
            store.ledger.hand_over_keys(released)
    _remove_files(store, dry=dry)
    return result


def _asked(bundles: Mapping[str, Handed], words: Sequence[str]) -> Iterator[Handed]:
    for word in words:
        if not any(fnmatchcase(name.removeprefix(_KIND), word) for name in bundles):
            raise KitError(
                "client_bundle_taken",
                f"{word!r}, which is no client that was ever handed a bundle",
                "names of clients, or globs on them",
                "correct the name; a bundle must have been written by an earlier run",
            )
    for name, handed in bundles.items():
        if any(fnmatchcase(name.removeprefix(_KIND), word) for word in words):
            yield handed


def _holds(issued: Issued | None, handed: Handed) -> bool:
    return issued is not None and issued.has_key and issued.serial == handed.serial


def _remove_files(store: Store, *, dry: bool) -> None:
    """Remove the file of every key that the ledger has forgotten, this run or one that was cut off."""
    for client, _ in given(store.ledger).items():
        path = f"certificates/{_KIND}{client}/client.key"
        if store.exists(path) and not dry:
            store.remove(path)
            with store.ledger.transaction():
                store.ledger.forget_files([path])


def given(ledger: Ledger) -> dict[str, str]:
    """The clients whose key was handed over, with the SHA-256 of the trust anchor that they were handed last."""
    bundles = ledger.bundles()
    return {
        name.removeprefix(_KIND): bundles[name].anchor_sha256 if name in bundles else ""
        for name, issued in ledger.current().items()
        if issued.handed_over
    }


def record(ledger: Ledger, clients: Iterable[str], anchor_sha256: str, now: datetime) -> None:
    """Note what these clients' folders hold. One that is unlike what its client was handed last waits to be taken."""
    bundles, current = ledger.bundles(), ledger.current()
    new = []
    for client in clients:
        name = f"{_KIND}{client}"
        handed, issued = bundles.get(name), current.get(name)
        if issued is None:
            continue
        if handed is None or (handed.serial, handed.anchor_sha256) != (issued.serial, anchor_sha256):
            new.append(Handed(name, issued.serial, anchor_sha256, now))
    if new:
        with ledger.transaction():
            ledger.put_bundles(new)


def waiting(ledger: Ledger, now: datetime) -> list[dict[str, Any]]:
    """The bundles that nobody has taken, the longest waiting first; ``until`` is when the certificate before ends."""
    current = ledger.current()
    found = []
    for handed in sorted(ledger.bundles().values(), key=lambda one: (one.written, one.name)):
        issued = current.get(handed.name)
        if handed.taken is not None or issued is None or issued.revoked is not None:
            continue
        end = ledger.end_before(handed.name, now)
        found.append(
            {
                "client": handed.name.removeprefix(_KIND),
                "serial": handed.serial,
                "written": clock.iso(handed.written),
                "until": None if end is None else clock.iso(end),
            }
        )
    return found
