"""Who is at work on a fleet: one run of the playbooks at a time, from its first change to its last.

The lock of the store (``store.Lock``) covers one module call. A run reads the vault, signs, delivers and settles in
many calls, on many hosts; a second one in between could encrypt a key with a password that the first is about to
forget. No process on the CA host lives as long as a run, so this lock is a record, and whether its owner still lives is
judged by who can see that process: the controller that it ran on.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import LEDGER, RUN_LOCK, process_started, sync_folder

STALE_AFTER: Final = timedelta(hours=12)
"""A run of another controller can't be seen from here; no run takes so long."""


@dataclass(frozen=True)
class Runner:
    """A run: its playbook, its controller's process and when it began (ISO 8601, UTC).

    ``started`` is that process's start in clock ticks since the boot named ``boot`` (proc(5): a pid alone comes back).
    """

    run: str
    user: str
    host: str
    pid: int
    boot: str
    started: str
    since: str

    @classmethod
    def parsed(cls, text: str) -> Runner | None:
        """What a lock says; None where it says nothing, or something else."""
        try:
            told = json.loads(text)
            return cls(**{**told, "pid": int(told["pid"])})
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        """``rotate.yml of operator on ctl1, pid 4711, since 2026-11-24T12:00:00Z``."""
        return f"{self.run} of {self.user} on {self.host}, pid {self.pid}, since {self.since}"

    def same_process(self, other: Runner) -> bool:
        """Whether both are of one process."""
        return (self.host, self.boot, self.pid, self.started) == (other.host, other.boot, other.pid, other.started)


def boot() -> str:
    """What this boot of the machine is called."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def ended(holder: Runner, host: str, this_boot: str, now: datetime) -> str:
    """Why the run of ``holder`` is over, as ``host`` sees it; empty while it may be at work."""
    if holder.host == host:
        if holder.boot != this_boot:
            return "the machine was started again since"
        return "" if process_started(holder.pid) == holder.started else "its process is gone"
    age = now - datetime.fromisoformat(holder.since)
    return "" if age < STALE_AFTER else f"it began {age.total_seconds() / 3600:.0f} hours ago"


def holder(folder: Path) -> Runner | None:
    """Who holds the lock of the store at ``folder``; None where nobody does."""
    try:
        return Runner.parsed((folder / RUN_LOCK).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The lock's file, which nobody else reads and writes meanwhile."""
    try:
        descriptor = os.open(folder / RUN_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise KitError(
            f"store {folder}",
            f"that its run lock can't be written: {error.strerror}",
            "a folder of this user, with space left",
            "mend it; nothing was changed",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Runner | None:
    return Runner.parsed(os.pread(descriptor, 4096, 0).decode(errors="replace"))


def _write(descriptor: int, text: str) -> None:
    os.pwrite(descriptor, text.encode(), 0)
    os.truncate(descriptor, len(text.encode()))
    os.fsync(descriptor)


def take(folder: Path, mine: Runner, instead_of: Runner | None = None) -> Runner | None:
    """Hold the lock as ``mine``; returns whose it is instead, or None.

    ``instead_of`` is whose run was found to be over. Where there is no store yet, there is nothing to share.
    """
    if not (folder / LEDGER).exists():
        return None
    with _opened(folder) as descriptor:
        found = _read(descriptor)
        if found is not None and found != instead_of and not found.same_process(mine):
            return found
        _write(descriptor, json.dumps(asdict(mine)))
    sync_folder(folder)
    return None


def free(folder: Path, mine: Runner) -> None:
    """Give the lock back, if it is held by the process of ``mine``."""
    if holder(folder) is None:
        return
    with _opened(folder) as descriptor:
        found = _read(descriptor)
        if found is not None and found.same_process(mine):
            _write(descriptor, "")


def held_by(folder: str, found: Runner) -> KitError:
    """The refusal of a second run."""
    return KitError(
        f"store {folder}",
        f"that a run is at work: {found}",
        "one run at a time",
        "wait until it has ended and run again; where it is known to be over (another controller's, that was cut off), "
        "take its lock over with -e run_lock=take",
    )
