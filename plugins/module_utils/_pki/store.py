"""The store: one folder that holds the ledger and the files handed out, used by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import FileState, Ledger

LEDGER: Final = "ledger.sqlite"
LOCK: Final = "lock"
RUN_LOCK: Final = "run.lock"
FOLDER_MODE: Final = 0o700
PUBLIC_MODE: Final = 0o644
KEY_MODE: Final = 0o400
_ORPHAN_SECONDS: Final = 10
"""How long the last workers of a killed run may hold its lock: each ends after the job it is at."""
_LOCK_SIZE: Final = 1024
_GENERATED: Final = ("authorities", "certificates", "trust")
_OWN_ENTRIES: Final = frozenset({LEDGER, f"{LEDGER}-journal", LOCK, RUN_LOCK, *_GENERATED, "trust-anchor.crt"})


def key_path(label: str) -> str:
    """Where an authority's key lies in the store."""
    return f"authorities/{label}/ca.key"


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turn what disk and permissions do to a store into a KitError; what was committed stays."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise KitError(
            f"store {folder}",
            f"the ledger could not be written ({error})",
            "a writable folder with free space, used by no one else",
            "make room or correct the permissions and run again; what was entered so far is kept",
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "a full disk" if full else f"{error.strerror} ({error.filename})"
        raise KitError(
            f"store {folder}",
            reason,
            "a folder this user can write, with free space",
            "make room or correct the permissions and run again; what was entered so far is kept",
        ) from error


def check_place(folder: Path) -> None:
    """Raise KitError where a store would end up in a commit: in a git tree that does not ignore it."""
    if not folder.is_absolute() or len(folder.parts) < 3:
        raise KitError(
            f"store {folder}", "this path", "an absolute path at least two folders deep", "correct pki_store"
        )
    tree = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
    if tree is None:
        return
    try:
        # The CA host may run this as another user than the tree's owner, which git would refuse to look at.
        command = ["git", "-c", "safe.directory=*", "-C", str(tree), "check-ignore", "--quiet", f"{folder}/"]
        ignored = subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        ignored = False
    if not ignored:
        raise KitError(
            f"store {folder}",
            f"that it lies in the git tree {tree}, which does not ignore it",
            "a folder outside any checkout, for CA keys must not be committed",
            "set pki_store to a folder such as ~/.local/share/mtls-kit/<pki_name>",
        )


@dataclass(frozen=True)
class Owner:
    """Who uses a store, as its lock says; ``doing`` is how far it is, empty as long as there is nothing to tell."""

    command: str
    pid: int
    host: str
    since: str
    doing: str = ""

    @classmethod
    def parsed(cls, text: str) -> Owner | None:
        """What a lock says; None where it says nothing, or something else."""
        try:
            told = json.loads(text)
            return cls(told["command"], int(told["pid"]), told["host"], told["since"], told.get("doing", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def __str__(self) -> str:
        """``pki, pid 4711 on ca1 since 2026-11-24T12:00:00Z: issued 2,560 of 10,000``."""
        who = f"{self.command}, pid {self.pid} on {self.host} since {self.since}"
        return f"{who}: {self.doing}" if self.doing else who

    def lives(self) -> bool:
        """Whether that process is there; another host's can't be seen."""
        return process_started(self.pid) != ""


def process_started(pid: int) -> str:
    """When a process of this host started, in clock ticks since boot; empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ""
    # Fields 3 and 22 of proc(5)'s stat: a killed process stays as a zombie until its parent asks for it.
    return "" if fields[0] in ("Z", "X") else fields[19]


def running(folder: Path) -> Owner | None:
    """Who uses the store right now and how far it is; None where nobody of this host does, or none can be told.

    Reads the lock without touching it, so it never stands in a run's way.
    """
    try:
        owner = Owner.parsed((folder / LOCK).read_text())
    except (OSError, UnicodeError):
        return None
    return owner if owner is not None and owner.host == socket.gethostname() and owner.lives() else None


class Lock:
    """The lock of a store. The kernel frees it when its owner dies, so it can be stale in its text only."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self._path = folder / LOCK
        self._now = now
        self.note: str | None = None

    def __enter__(self) -> Lock:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take()
        except (OSError, KitError):
            os.close(self._descriptor)
            raise
        left_behind = self._owner()
        if left_behind:
            self.note = f"the last run was cut off ({left_behind}); its lock was taken over and the store healed"
        command = Path(sys.argv[0] or sys.executable).name
        self._mine = Owner(command, os.getpid(), socket.gethostname(), clock.iso(self._now))
        os.truncate(self._descriptor, 0)
        self.tell("")
        return self

    def tell(self, doing: str) -> None:
        """Let whoever looks know how far this run is. No secret may be in it. Costs no more than a write to memory."""
        text = json.dumps(vars(replace(self._mine, doing=doing)))
        # One write of one length, so that nobody reads the end of a longer one.
        os.pwrite(self._descriptor, text.ljust(_LOCK_SIZE).encode(), 0)

    def _take(self) -> None:
        for attempt in range(_ORPHAN_SECONDS * 10):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._owner_lives() or attempt == _ORPHAN_SECONDS * 10 - 1:
                    raise KitError(
                        f"store {self._path.parent}",
                        f"that it is in use by {self._owner() or 'a process that has just begun'}",
                        "one run at a time",
                        "wait for that run to end and run again",
                    ) from None
                time.sleep(0.1)

    def _owner_lives(self) -> bool:
        owner = Owner.parsed(self._text())
        return owner is None or owner.host != socket.gethostname() or owner.lives()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.truncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _text(self) -> str:
        return os.pread(self._descriptor, 4096, 0).decode(errors="replace").strip("\0 ")

    def _owner(self) -> str:
        text = self._text()
        owner = Owner.parsed(text)
        return text[:200] if owner is None else str(owner)


def _nobody_listens(doing: str) -> None:
    """What a run without a lock tells."""


class Store:
    """An open store: its ledger, and the files it hands out."""

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        *,
        fresh: bool,
        note: str | None = None,
        tell: Callable[[str], None] = _nobody_listens,
    ) -> None:
        self.folder = folder
        self.ledger = ledger
        self.fresh = fresh
        self.note = note
        self.tell = tell
        self._known_folders: set[str] = set()
        self._token = secrets.token_hex(8)

    # ------------------------------------------------------------------ reading

    def read(self, path: str) -> bytes | None:
        """A file of the store, or None where there is none."""
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        """Whether the store holds this file."""
        return (self.folder / path).is_file()

    def state(self, path: str) -> FileState | None:
        """A file as the file system sees it now; None where there is no regular file."""
        try:
            found = os.lstat(f"{self.folder}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return FileState(path, found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode))

    # ------------------------------------------------------------------ writing

    def _ensure_folder(self, folder: str) -> None:
        if folder in self._known_folders:
            return
        path = Path(folder)
        if path != self.folder:
            self._ensure_folder(str(path.parent))
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)
        self._known_folders.add(folder)

    def write(self, files: Sequence[tuple[str, bytes, int]]) -> list[FileState]:
        """Write (path, content, mode) each as a whole or not at all, and return them as the file system sees them.

        A file is born under another name with its final mode, reaches the disk, and takes its name by rename. The
        fsyncs come after all the writing, for one journal commit of the file system then serves many of them.
        """
        states: list[FileState] = []
        written: list[tuple[int, str, str]] = []
        try:
            for path, content, mode in files:
                folder, _, name = f"{self.folder}/{path}".rpartition("/")
                self._ensure_folder(folder)
                temporary = f"{folder}/.{name}.{self._token}.tmp"
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                written.append((descriptor, temporary, f"{folder}/{name}"))
                os.fchmod(descriptor, mode)
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view) :]
            for (descriptor, _, _), (path, _, _) in zip(written, files, strict=True):
                os.fsync(descriptor)
                found = os.fstat(descriptor)
                states.append(FileState(path, found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode)))
            for _, temporary, target in written:
                os.rename(temporary, target)  # noqa: PTH104  ten thousand times in a run
        finally:
            for descriptor, temporary, _ in written:
                os.close(descriptor)
                if len(states) < len(files):
                    Path(temporary).unlink(missing_ok=True)
        for folder in {target.rpartition("/")[0] for _, _, target in written}:
            sync_folder(folder)
        return states

    def remove(self, path: str) -> None:
        """Remove one file, for good."""
        file = self.folder / path
        file.unlink()
        sync_folder(file.parent)

    def remove_tree(self, path: str) -> None:
        """Remove a folder of generated files."""
        top = self.folder / path
        for entry in sorted(top.rglob("*"), reverse=True):
            entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        top.rmdir()

    def sweep(self) -> None:
        """Remove what a killed run left half written."""
        for top in _GENERATED:
            for left_over in (self.folder / top).rglob(".*.tmp"):
                left_over.unlink()
        for left_over in self.folder.glob(".*.tmp"):
            left_over.unlink()


def sync_folder(folder: str | Path) -> None:
    """Bring the names in ``folder`` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _missing(folder: Path, name: str) -> KitError:
    return KitError(
        f"store {folder}",
        "no store there",
        f"the store of PKI {name!r}",
        "correct pki_store, restore it from a backup, or set pki_init=true once to create a new PKI "
        "(a new root cuts off everyone who trusts the old one)",
    )


def _check_foreign_folder(folder: Path) -> None:
    entries = {entry.name for entry in folder.iterdir() if not entry.name.endswith(".tmp")}
    if entries - _OWN_ENTRIES:
        raise KitError(
            f"store {folder}",
            f"a folder with other things in it ({sorted(entries - _OWN_ENTRIES)[0]!r})",
            "an absent or empty folder for a new store",
            "choose another folder as pki_store",
        )


def _check_name(ledger: Ledger, folder: Path, name: str) -> None:
    found = ledger.meta("name")
    if found != name:
        raise KitError(
            f"store {folder}",
            f"the store of PKI {found!r}",
            f"the one of {name!r}",
            "use the inventory that belongs to this store, or correct pki_name or pki_store",
        )


def _is_initialised(path: Path) -> bool:
    if not path.is_file():
        return False
    ledger = Ledger.in_memory(path)
    try:
        return ledger.meta("name") is not None
    finally:
        ledger.close()


LEAST_SPACE: Final = 1 << 20
"""Bytes that must be free before a run begins: room for an empty store and its first authorities."""


def _check_writable(folder: Path) -> None:
    """Raise KitError when ``folder`` can't be written or made, or its disk is full, before anything is."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    found = None
    if not nearest.is_dir():
        found = f"{nearest}, which is no folder, in its way"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        found = f"{nearest}, which this user can't write"
    else:
        disk = os.statvfs(nearest)
        free = disk.f_bavail * disk.f_frsize
        if free < LEAST_SPACE:
            found = f"no space left on its disk ({free} bytes are free)"
    if found:
        raise KitError(
            f"store {folder}",
            found,
            f"a folder this user can write, with {LEAST_SPACE >> 20} MiB free or more",
            "correct pki_store, its permissions or its disk; nothing was changed",
        )


@contextmanager
def opened(folder: Path, name: str | None, now: datetime, *, init: bool = False, dry: bool = False) -> Iterator[Store]:
    """The store at ``folder``, locked, for the time of the block; ``dry`` gives a copy in memory to plan on.

    ``name`` is the PKI's, None for whichever it is. Raises KitError for a missing store without ``init``, one of
    another PKI, one in a git tree, one that another process uses, and for what the disk refuses.
    """
    check_place(folder)
    with guarded(folder), ExitStack() as stack:
        path = folder / LEDGER
        there = _is_initialised(path)
        if not there:
            if not init or name is None:
                raise _missing(folder, name or folder.name)
            if folder.is_dir():
                _check_foreign_folder(folder)
        _check_writable(folder)
        if dry:
            ledger = Ledger.in_memory(path if there else None)
            stack.callback(ledger.close)
            if there and name is not None:
                _check_name(ledger, folder, name)
            yield Store(folder, ledger, fresh=not there)
            return
        previous_mask = os.umask(0o077)
        stack.callback(os.umask, previous_mask)
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if there and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(FOLDER_MODE)
        lock = stack.enter_context(Lock(folder, now))
        ledger = Ledger.open(path)
        stack.callback(ledger.close)
        if there and name is not None:
            _check_name(ledger, folder, name)
        store = Store(folder, ledger, fresh=not there, note=lock.note, tell=lock.tell)
        if lock.note:
            store.sweep()
        yield store


@contextmanager
def inspected(folder: Path, name: str | None) -> Iterator[Ledger]:
    """A copy in memory of the ledger at ``folder``, for the time of the block.

    Needs no lock, no space and no right to write, so it works beside a run and after a full disk; only what a killed
    run left half written has to be taken back first, which SQLite does where it may write. ``name`` is the PKI's,
    None for whichever it is. Raises KitError for a missing store, one of another PKI, and one it can't read.
    """
    path = folder / LEDGER
    try:
        ledger = Ledger.in_memory(path if path.is_file() else None)
    except (sqlite3.OperationalError, OSError) as error:
        raise KitError(
            f"store {folder}",
            f"a ledger that can't be read ({error})",
            "a store this user can read",
            "look at it as the user whose store it is, and on its own host where a run was killed",
        ) from error
    try:
        if ledger.meta("name") is None:
            raise _missing(folder, name or folder.name)
        if name is not None:
            _check_name(ledger, folder, name)
        yield ledger
    finally:
        ledger.close()
