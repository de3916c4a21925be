"""What is known of a password beside itself: since when it is stored, and which one it replaced."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Backend, Record


def moment_from(text: Any) -> datetime | None:
    """An ISO 8601 moment with a time zone; None for anything else, for then the age is simply not known."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def as_text(record: Record) -> str:
    """A record on one line: ``2026-11-24T12:00:00Z``, or ``-``, then a blank and the previous password."""
    since = clock.iso(record.since) if record.since else "-"
    return since if record.previous is None else f"{since} {record.previous}"


def from_text(text: str, password: str) -> Record:
    """The record in ``text``, which lies beside ``password``.

    A previous password that equals the present one was to be replaced by a run that was cut off before it did.
    """
    since, has_previous, previous = text.partition(" ")
    if has_previous and previous == password:
        return Record()
    return Record(moment_from(since), previous if has_previous else None)


def replaced_meanwhile(backend: Backend, path: str) -> KitError:
    """The error of ``Backend.replace_many`` for a path that holds another password than it was to replace."""
    return KitError(
        f"password {backend.location(path)}",
        "that somebody else replaced it at the same time",
        "the password that this run has read",
        "run again",
    )
