"""Which passwords are replaced, and when the one before is forgotten (docs/adr/0009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Backend, Record, Replacement


@dataclass(frozen=True)
class Wish:
    """What a run is asked to rotate: the paths that match one of ``globs``, and those older than ``max_age_days``."""

    globs: Sequence[str] = ()
    max_age_days: int = 0
    """Days; 0: whatever their age is."""

    def __bool__(self) -> bool:
        return bool(self.globs or self.max_age_days)


def due(
    backend: Backend, wish: Wish, paths: Sequence[str], records: Mapping[str, Record], now: datetime
) -> tuple[dict[str, str], list[str]]:
    """The reason by path of each password that is to be replaced, and the paths that are kept all the same.

    A password is kept while a key may still have the one before it: at most two are ever in use. Raises ``KitError``
    for a vault that can't be written, and for a glob that matches nothing.
    """
    if not wish:
        return {}, []
    _refuse_bad_wish(backend, wish, paths)
    reasons = {path: reason for path in paths if (reason := _reason(wish, path, records.get(path, Record()), now))}
    kept = [path for path in reasons if path in records and records[path].previous is not None]
    return {path: reason for path, reason in reasons.items() if path not in kept}, kept


def settled(taken: Sequence[str], found: Mapping[str, str], records: Mapping[str, Record]) -> dict[str, Replacement]:
    """What forgets the previous password of the paths whose keys have the present one."""
    return {
        path: Replacement(found[path], found[path], Record(records[path].since))
        for path in taken
        if path in records and records[path].previous is not None
    }


def _reason(wish: Wish, path: str, record: Record, now: datetime) -> str | None:
    if any(fnmatchcase(path, glob) for glob in wish.globs):
        return "rotate: asked for"
    if not wish.max_age_days:
        return None
    if record.since is None:
        return f"rotate: its age is not known, {wish.max_age_days} days are allowed"
    age = now - record.since
    if age > timedelta(days=wish.max_age_days):
        return f"rotate: {age.days} days old, {wish.max_age_days} are allowed"
    return None


def _refuse_bad_wish(backend: Backend, wish: Wish, paths: Sequence[str]) -> None:
    if wish.max_age_days < 0:
        raise KitError("key_password_max_age_days", str(wish.max_age_days), "days, or 0 for any age", "correct it")
    for glob in wish.globs:
        if not any(fnmatchcase(path, glob) for path in paths):
            raise KitError(
                "key_password_rotate",
                f"{glob!r}, which matches none of {len(paths)} passwords",
                "a path such as client/alice, or a pattern such as server/gw1/*",
                "correct it in rotate_names or key_password_rotate",
            )
    if paths and not backend.writable:
        raise KitError(
            f"password {backend.location(paths[0])}",
            "a backend that can only be read",
            "one that can be written, for new passwords are to be stored",
            "choose another key_password_backend, or leave key_password_rotate and key_password_max_age_days out",
        )
