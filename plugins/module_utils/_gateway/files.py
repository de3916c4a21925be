"""Files that are there whole or not at all, born with the mode and owner they keep, and on the disk when we say so."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

TEMPORARY: Final = ".tmp-"
"""What the names of unfinished files, folders and links begin with: whoever finds one may remove it."""

LARGEST_FILE: Final = 256 * 1024 * 1024
"""Bytes; a revocation map with a million entries has some 50 MB."""

_NEXT_STEPS: Final = {
    errno.ENOSPC: "make room on that file system and run again",
    errno.EDQUOT: "raise the owner's disk quota and run again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) and run again",
    errno.EROFS: "mount the file system writable, or choose another certificate_install_root",
    errno.EACCES: "run it as the owner of the folder (become), or correct the folder's mode",
    errno.EPERM: "run it as root, and remove an immutable flag with 'chattr -i' if 'lsattr -d' shows one",
    errno.ENOTDIR: "remove the file that stands where a folder is to be, or choose another certificate_install_root",
    errno.EEXIST: "remove what stands in the way, or choose another certificate_install_root",
    errno.EISDIR: "remove the folder that stands where a file is to be",
    errno.ELOOP: "replace the symbolic link by a real file or folder",
    errno.ENAMETOOLONG: "choose a shorter certificate_install_root",
}


@contextlib.contextmanager
def told_failures(what: str) -> Iterator[None]:
    """Turn an OSError within into a KitError about ``what`` that names the path, the cause and the cure."""
    try:
        yield
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        raise KitError(
            what,
            f"'{error.strerror or error}'{place}",
            "a file system that takes the files",
            _NEXT_STEPS.get(error.errno or 0, "cure the cause on the gateway and run again")
            + "; what is in use was left as it is",
        ) from error


@dataclass(frozen=True)
class Ownership:
    """Who the files that Nginx reads belong to."""

    uid: int
    gid: int

    @classmethod
    def of(cls, owner: str, group: str | None) -> Ownership:
        """The ids of ``owner`` and ``group`` (None: the owner's own group).

        Raises KitError for an unknown name, and for another owner than the current user unless that is root.
        """
        try:
            account = pwd.getpwnam(owner)
        except KeyError:
            raise KitError(
                "owner of the certificates",
                f"no user {owner!r} on the gateway",
                "the user that Nginx's master process runs as, usually root",
                "correct certificate_install_owner",
            ) from None
        try:
            gid = account.pw_gid if group is None else grp.getgrnam(group).gr_gid
        except KeyError:
            raise KitError(
                "group of the certificates",
                f"no group {group!r} on the gateway",
                "an existing group",
                "correct certificate_install_group",
            ) from None
        current = os.geteuid()
        if current != 0 and account.pw_uid != current:
            raise KitError(
                "owner of the certificates",
                f"{owner!r}, while the module runs as uid {current}",
                "the user it runs as, for only root can give files away",
                "set become: true, or set certificate_install_owner to that user",
            )
        if current != 0 and gid not in {os.getegid(), *os.getgroups()}:
            raise KitError(
                "group of the certificates",
                f"{group!r}, which uid {current} is not a member of",
                "one of the user's groups, for only root can give files to others",
                "set become: true, or correct certificate_install_group",
            )
        return cls(account.pw_uid, gid)

    @classmethod
    def current(cls) -> Ownership:
        """The user and group this process runs as: what folders that hold others' files belong to."""
        return cls(os.geteuid(), os.getegid())

    def __str__(self) -> str:
        """``root:root``; numbers where there is no name."""
        try:
            user = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            user = str(self.uid)
        try:
            group = grp.getgrgid(self.gid).gr_name
        except KeyError:
            group = str(self.gid)
        return f"{user}:{group}"


def temporary_name() -> str:
    """A name that no other has, in the same folder as what it is to become."""
    return TEMPORARY + secrets.token_hex(8)


def sync_folder(folder: Path) -> None:
    """Have the folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, content: bytes, mode: int, owner: Ownership) -> None:
    """Make the file ``path``, which must not be there, and have it on the disk; OSError as the system raises it.

    It is never readable by more than ``mode`` says: neither the umask nor a moment before a chmod widens it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        if (owner.uid, owner.gid) != (os.geteuid(), os.fstat(descriptor).st_gid):
            os.fchown(descriptor, owner.uid, owner.gid)
        os.fchmod(descriptor, mode)
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes, mode: int, owner: Ownership) -> None:
    """Put a new file in the place of ``path`` at one instant, whatever stood there."""
    temporary = path.parent / temporary_name()
    try:
        write_new(temporary, content, mode, owner)
        temporary.replace(path)
    except OSError:
        remove(temporary)
        raise
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Let ``link`` lead to ``target``, as a rule a name in the same folder, at one instant."""
    temporary = link.parent / temporary_name()
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError:
        remove(temporary)
        raise
    sync_folder(link.parent)


def target_of(link: Path) -> str | None:
    """The name in the same folder that ``link`` leads to; None when it is no such link or leads to nothing."""
    try:
        target = str(link.readlink())
    except OSError:
        return None
    if "/" in target or target in ("", ".", "..") or not (link.parent / target).is_dir():
        return None
    return target


def read(path: Path) -> bytes | None:
    """What the regular file ``path`` holds; None when there is none. A link is not followed.

    Raises OSError when it can't be read or is larger than LARGEST_FILE.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > LARGEST_FILE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int, owner: Ownership) -> None:
    """Have ``folder`` and its parents; a folder that is there already keeps its mode and owner."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent, 0o755, owner)
    folder.mkdir(mode=mode)
    settle_folder(folder, mode, owner)
    sync_folder(folder.parent)


def settle_folder(folder: Path, mode: int, owner: Ownership) -> None:
    """Give the real folder ``folder`` its mode and owner, and have its entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
            os.fchown(descriptor, owner.uid, owner.gid)
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Have ``path`` gone, a file, a link or a whole folder; links are removed, never followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def unfinished(folder: Path) -> list[Path]:
    """What a run that was cut off left in ``folder``, sorted."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.name.startswith(TEMPORARY))


@contextlib.contextmanager
def locked(folder: Path, patience: float = 30.0) -> Iterator[None]:
    """Keep other runs out of ``folder``; the lock ends with this process, so that none is ever left behind.

    Raises KitError when another run holds it for more than ``patience`` seconds.
    """
    with told_failures(f"folder {folder}"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise KitError(
                        f"folder {folder}",
                        f"that another run has been at work in it for {patience:g} seconds",
                        "one run at a time on a gateway",
                        "wait until the other run has ended and run again",
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
