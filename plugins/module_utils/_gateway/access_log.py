"""Which client certificates a site's access log shows, the newest of its files first, within bounds.

The log is that of the role nginx_mtls: a JSON object a line. It is evidence and never a decision: logs are cut,
rotated away and written by whoever has the workers' user.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock

MOST: Final = 10_000
"""Certificates that are told of a site at most, the latest seen first."""

_BLOCK: Final = 1 << 20
_LONGEST_LINE: Final = 1 << 16
"""Nginx's line is bounded by the request's: longer ones are none of its."""
_ROTATED: Final = re.compile(r"(\.[0-9]+|-[0-9]{6,14})?(\.gz)?")
_TIME: Final = b'{"time":"'
_VERIFIED: Final = b'"verify":"SUCCESS"'
"""From here to its end a line is about the certificate alone, and the same for each of its requests. What a client
writes can't hold this: quotes are escaped in the log."""


@dataclass(frozen=True)
class Seen:
    """A certificate that a client presented and that was verified; ``serial`` and ``issuer`` as Nginx prints them."""

    issuer: str
    serial: str
    name: str
    last_seen: datetime

    def as_dict(self) -> dict[str, str]:
        """The form of the module's result."""
        return {**vars(self), "last_seen": clock.iso(self.last_seen)}


@dataclass(frozen=True)
class Look:
    """What a log shows since ``since``; ``complete`` where all of it from then on was read and is told."""

    certificates: tuple[Seen, ...]
    since: datetime
    complete: bool

    def as_dict(self) -> dict[str, Any]:
        """The form of the module's result."""
        return {
            "certificates": [one.as_dict() for one in self.certificates],
            "since": clock.iso(self.since),
            "complete": self.complete,
        }


def look(log: Path, since: datetime, budget: int) -> Look:
    """Read ``log`` and what was rotated away of it, back to ``since`` and at most ``budget`` bytes, unpacked."""
    latest: dict[bytes, datetime] = {}
    complete = True
    for path in _files(log, since):
        if budget <= 0:
            complete = False
            break
        reader = _Reader(path, budget)
        for key, moment in reader.latest().items():
            latest[key] = max(moment, latest.get(key, moment))
        budget -= reader.taken
        complete = complete and reader.complete
    found = _certificates(latest, since)
    return Look(tuple(found[:MOST]), since, complete and len(found) <= MOST)


def _files(log: Path, since: datetime) -> list[Path]:
    """The log and its rotated files that were written to after ``since``, the newest first."""
    found = []
    for path in log.parent.glob(f"{log.name}*") if log.parent.is_dir() else ():
        if _ROTATED.fullmatch(path.name.removeprefix(log.name)) is None:
            continue
        try:
            written = path.lstat().st_mtime
        except FileNotFoundError:
            continue
        if written >= since.timestamp():
            found.append((written, path))
    return [path for _, path in sorted(found, reverse=True)]


class _Reader:
    """Reads one file; ``taken`` are the bytes it gave, ``complete`` whether it was read to its end."""

    def __init__(self, path: Path, budget: int) -> None:
        self._path = path
        self._budget = budget
        self.taken = 0
        self.complete = True

    def latest(self) -> dict[bytes, datetime]:
        """The last moment at which each certificate was seen, by the end of its lines."""
        found: dict[bytes, bytes] = {}
        try:
            for line in self._lines():
                start = line.find(_VERIFIED)
                if start > 0 and line.startswith(_TIME):
                    found[line[start:]] = line[len(_TIME) : line.find(b'"', len(_TIME))]
        except (OSError, EOFError, zlib.error):
            # Rotated away or packed at this moment, or damaged: what was read counts.
            self.complete = False
        moments = {key: _moment(text) for key, text in found.items()}
        return {key: moment for key, moment in moments.items() if moment is not None}

    def _lines(self) -> Iterator[bytes]:
        with self._opened() as stream:
            rest = b""
            # One read of what is below: before a damaged end everything is given.
            while block := stream.read1(min(_BLOCK, self._budget - self.taken)):
                self.taken += len(block)
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
                if len(rest) > _LONGEST_LINE:
                    rest = b""
            if self.taken == self._budget and stream.read(1):
                self.complete = False

    def _opened(self) -> gzip.GzipFile | BufferedReader:
        # The folder may be the workers': no link out of it is followed, and nothing is waited for.
        handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        stream = os.fdopen(handle, "rb")
        there = os.fstat(handle)
        if not stat.S_ISREG(there.st_mode):
            stream.close()
            raise FileNotFoundError(f"{self._path} is no file")
        if self._path.suffix == ".gz":
            return gzip.GzipFile(fileobj=stream)
        if there.st_size > self._budget:
            # The newest lines are at the end.
            stream.seek(there.st_size - self._budget)
            self.complete = False
        return stream


def _moment(text: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(text.decode("ascii")).astimezone(UTC)
    except ValueError:
        return None


def _certificates(latest: dict[bytes, datetime], since: datetime) -> list[Seen]:
    """What the ends of lines tell, each certificate once, the latest seen first."""
    found: dict[tuple[str, str], Seen] = {}
    for key, moment in latest.items():
        if moment < since:
            continue
        try:
            told = json.loads(b"{" + key)
        except ValueError:
            continue
        issuer, serial = told.get("issuer"), told.get("serial")
        if not isinstance(issuer, str) or not isinstance(serial, str) or not serial:
            continue
        seen = Seen(issuer, serial, str(told.get("name") or ""), moment)
        before = found.get((issuer, serial), seen)
        found[issuer, serial] = replace(seen, last_seen=max(moment, before.last_seen))
    return sorted(found.values(), key=lambda one: (-one.last_seen.timestamp(), one.serial))
