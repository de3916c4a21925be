"""What the benchmarks share: a contender in a process of its own, and its row; a ledger with many revoked serials."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

ISSUING = 2
"""The number of the issuing CA, the second that a new store makes."""


@dataclass
class Row:
    """One contender's figures: seconds of wall time and of CPU for ``made`` things, and peak memory in MiB."""

    name: str
    made: int
    seconds: float
    peak_mib: float
    cpu: float

    def line(self, count: int, bare: Row | None) -> str:
        each = self.seconds / self.made
        ratio = f"{each / (bare.seconds / bare.made):8.2f}" if bare else " " * 8
        extrapolated = "" if self.made == count else f"   (made {self.made}, extrapolated)"
        cpu = self.cpu / self.made * 1000
        return (
            f"{self.name:<34}{each * count:10.1f} s{each * 1000:10.2f} ms{ratio}{cpu:10.2f} ms{self.peak_mib:9.0f} MiB"
            f"{extrapolated}"
        )


def measured(name: str, made: int, work: Callable[[], None]) -> Row:
    """Run ``work`` in a forked child and account for it and its children."""
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        # The child must never come back to this function's caller, nor run the cleaning up that is its parent's.
        try:
            work()
            os._exit(0)
        except (SystemExit, Exception):  # noqa: BLE001  whatever it was, it is told and the child ends
            traceback.print_exc()
            os._exit(1)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{name} failed with status {status}")
    return Row(name, made, seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def revoke_many(store: Path, count: int) -> None:
    """Enter ``count`` random serials as revoked, as a fleet's years would have left them."""
    now = datetime.now(UTC)
    revoked, end = int((now - timedelta(days=1)).timestamp()), int((now + timedelta(days=60)).timestamp())
    ledger = sqlite3.connect(store / "ledger.sqlite")
    ledger.executemany(
        "INSERT INTO revocations (issuer, serial, reason, revoked, not_after) VALUES (?, ?, 'superseded', ?, ?)",
        ((ISSUING, f"{secrets.randbits(159) | 1 << 158:040X}", revoked, end) for _ in range(count)),
    )
    ledger.commit()
    ledger.close()
