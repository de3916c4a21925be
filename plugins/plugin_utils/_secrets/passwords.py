"""Key passwords: how they are made, which ones are refused, and how a run comes to all of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Backend, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.rotation import Wish, due, settled

RANDOM_BYTES = 32
"""256 random bits; below 128 the 2,048 PBKDF2 iterations of an encrypted key would be too few."""

SHORTEST = 16
LONGEST = 1024
"""Characters. The longest that OpenSSL's PEM reader takes is 1,024 bytes (PEM_BUFSIZE)."""


def generate() -> str:
    """A password of 43 characters from A-Z, a-z, 0-9, ``-`` and ``_``."""
    return secrets.token_urlsafe(RANDOM_BYTES)


@dataclass(frozen=True)
class Resolved:
    """All passwords a run asked for, and what was generated and replaced for it.

    ``passwords`` has under ``previous/<path>`` what a key may still be encrypted with; ``pending`` names these paths,
    ``kept`` those that were to be rotated and first have to be taken by their keys.
    """

    passwords: dict[str, str] = field(repr=False)
    changes: list[dict[str, str]]
    pending: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def resolve(
    backend: Backend,
    paths: Iterable[str],
    *,
    now: datetime,
    may_generate: bool,
    check_mode: bool,
    known: Mapping[str, str] | None = None,
    wish: Wish | None = None,
    taken: Iterable[str] = (),
    in_use: Iterable[str] = (),
) -> Resolved:
    """Fetch the passwords of ``paths``; store those that are missing, as ``known`` has them or else generated.

    ``wish`` says which of them are replaced by new ones, ``taken`` which keys are known to have theirs, so that the
    one before is forgotten, ``in_use`` which keys exist, so that no other password opens them. In check mode nothing is
    stored: what is missing or due gets a password for this run only, so that the tasks that follow can go on. Raises
    ``KitError`` before anything is stored, for a path that is no path, a stored password that no key may have, one that
    differs from the ``known`` one, a missing one that is ``in_use`` or can't be generated, and a rotation that nothing
    can be done about.
    """
    known = {**(known or {})}
    known_previous = {
        path.removeprefix(names.PREVIOUS): known.pop(path) for path in list(known) if path.startswith(names.PREVIOUS)
    }
    paths, taken = sorted({*paths}), sorted({*taken})
    wanted = sorted({*paths, *known, *taken})
    for path in wanted:
        _refuse_bad_path(path)
    found = backend.get_many(wanted)
    for path, password in found.items():
        refuse_bad_password(backend, path, password)
    _refuse_contradictions(backend, found, known)
    missing = [path for path in sorted({*paths, *known}) if path not in found]
    _refuse_missing(backend, missing, known, may_generate)
    _refuse_lost(backend, sorted({*missing} & {*in_use} - {*known}))
    records = backend.records(found)
    rotations, kept = due(backend, wish or Wish(), [path for path in paths if path in found], records, now)
    generated = {path: known.get(path) or generate() for path in missing}
    for path, password in generated.items():
        refuse_bad_password(backend, path, password)
    replacements = {path: Replacement(found[path], generate(), Record(now, previous=found[path])) for path in rotations}
    forgotten = settled(taken, found, records)
    if not check_mode:
        if generated:
            generated = backend.put_many(generated, now=now)
        previous = {path: known_previous[path] for path in missing if path in known_previous}
        restored = {
            path: Replacement(generated[path], generated[path], Record(now, previous[path])) for path in previous
        }
        if changed := {**restored, **forgotten, **replacements}:
            backend.replace_many(changed)
    pending = {path: record.previous for path, record in records.items() if record.previous and path not in forgotten}
    pending |= {path: found[path] for path in replacements}
    pending |= {path: known_previous[path] for path in missing if path in known_previous}
    return Resolved(
        passwords={
            **found,
            **generated,
            **{path: replacement.password for path, replacement in replacements.items()},
            **{names.PREVIOUS + path: password for path, password in pending.items()},
        },
        changes=[
            *(_change(path, "write: the vault had none" + _of_archive(path, known)) for path in missing),
            *(_change(path, reason) for path, reason in rotations.items()),
            *(
                _change(path, "write: the previous password is forgotten, the key has the new one")
                for path in forgotten
            ),
        ],
        pending=sorted(pending),
        kept=kept,
    )


def _change(path: str, reason: str) -> dict[str, str]:
    return {"name": path, "action": reason.partition(":")[0], "reason": reason}


def _of_archive(path: str, known: Mapping[str, str]) -> str:
    return ", the archive has" if path in known else ""


def _refuse_missing(backend: Backend, missing: list[str], known: Mapping[str, str], may_generate: bool) -> None:
    unknown = [path for path in missing if path not in known]
    if (missing and not backend.writable) or (unknown and not may_generate):
        missing = unknown or missing
        instead = ", or set key_password_generate to true" if backend.writable else ""
        raise KitError(
            f"password {backend.location(missing[0])}",
            "no entry" if len(missing) == 1 else f"no entry, and none for {len(missing) - 1} more paths",
            f"a password of {SHORTEST} characters or more",
            f"add it with {backend.remedy(missing[0])}{instead}",
        )


def _refuse_lost(backend: Backend, lost: list[str]) -> None:
    """Raise ``KitError`` when the vault has lost the passwords of keys that exist."""
    if lost:
        raise KitError(
            f"password {backend.location(lost[0])}",
            "no entry" if len(lost) == 1 else f"no entry, and none for {', '.join(lost[1:])}",
            "the password of the key that the store has, for a new one opens nothing",
            f"put it back with {backend.remedy(lost[0])}, from the vault that had it before or a backup of it",
        )


def _refuse_contradictions(backend: Backend, found: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Raise ``KitError`` when the vault has other passwords than the ones that are ``known`` to open the keys."""
    contradictions = sorted(path for path in found if path in known and found[path] != known[path])
    if contradictions:
        raise KitError(
            f"password {backend.location(contradictions[0])}",
            f"another password than the archive has, for {', '.join(contradictions)}",
            "none, or the one that opens the restored keys",
            f"with {backend.remedy(contradictions[0])} keep the present ones elsewhere and remove these entries, "
            "then restore again",
        )


def _refuse_bad_path(path: str) -> None:
    """Raise ``KitError`` unless ``path`` is that of a CA, of the ACME account, or the name of a certificate."""
    if path == names.ACME_ACCOUNT:
        return
    if path.startswith("ca/"):
        if path != "ca/root":
            names.check_issuing_name(path.removeprefix("ca/"))
    else:
        names.check_certificate_name(path)


def refuse_bad_password(backend: Backend, path: str, password: str) -> None:
    """Raise ``KitError`` when ``password`` is malformed or can be guessed; the error describes, it doesn't quote."""
    fault = _fault(password)
    if fault:
        raise KitError(
            f"password {backend.location(path)}",
            fault,
            f"{SHORTEST} to {LONGEST} characters that can't be guessed, on one line",
            f"with {backend.remedy(path)} remove the entry if no key was made with it yet, so that a new one is "
            "generated; otherwise re-encrypt that key with a new password and store that",
        )


def _fault(password: str) -> str | None:
    if not password:
        return "an empty password"
    if "\n" in password or "\r" in password:
        return "a password with a line break"
    if any(ord(character) < 32 or ord(character) == 127 for character in password):
        return "a password with a control character"
    if len(password) < SHORTEST:
        return f"a password of fewer than {SHORTEST} characters"
    if len(password.encode()) > LONGEST:
        return f"a password of more than {LONGEST} bytes"
    if len(set(password)) < 8:
        return "a password of fewer than 8 different characters"
    if password in (password + password)[1:-1]:
        return "a password that repeats itself"
    steps = [ord(second) - ord(first) for first, second in pairwise(password)]
    if sum(step in (-1, 0, 1) for step in steps) * 2 > len(steps):
        return "a password of runs such as abc or 123"
    return None
