"""A unit is a folder of files that count together: it is placed whole, and a link ``current`` says which one counts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership

CURRENT: Final = "current"


@dataclass(frozen=True)
class UnitFile:
    """A file's content and its mode."""

    content: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True)
class Unit:
    """What a folder of that name is to hold."""

    name: str
    files: Mapping[str, UnitFile]
    mode: int
    owner: Ownership
    links: Mapping[str, str] = field(default_factory=dict)
    """Links in the folder by name, and where each of them leads to."""


def current(parent: Path) -> str | None:
    """Name of the unit in use under ``parent``; None when there is none."""
    return files.target_of(parent / CURRENT)


def names(parent: Path) -> list[str]:
    """Every unit under ``parent``, in use or kept, sorted by name."""
    if not parent.is_dir():
        return []
    return sorted(
        entry.name
        for entry in parent.iterdir()
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith(".")
    )


def drift(parent: Path, unit: Unit) -> list[str]:
    """In words, how the folder on the gateway is different from ``unit``; empty when it is not.

    Raises OSError when it can't be read.
    """
    folder = parent / unit.name
    found = []
    if (word := _status_drift(folder, unit.mode, unit.owner)) is not None:
        found.append(f"folder {unit.name} {word}")
    for name, file in unit.files.items():
        path = folder / name
        content = files.read(path)
        if content is None:
            found.append(f"{name} missing on the gateway")
        elif content != file.content:
            found.append(f"{name} altered on the gateway")
        elif (word := _status_drift(path, file.mode, unit.owner)) is not None:
            found.append(f"{name} {word}")
    for name, target in unit.links.items():
        if not _leads(folder / name, target):
            found.append(f"{name} is no link to {target}")
    found += [f"unfinished {path.name} left behind" for path in files.unfinished(folder)]
    return found


def _leads(link: Path, target: str) -> bool:
    return link.is_symlink() and str(link.readlink()) == target


def _status_drift(path: Path, mode: int, owner: Ownership) -> str | None:
    status = path.lstat()
    found = Ownership(status.st_uid, status.st_gid)
    if found != owner:
        return f"owned by {found}, not {owner}"
    if (found_mode := stat.S_IMODE(status.st_mode)) != mode:
        return f"had mode {found_mode:04o}, not {mode:04o}"
    if stat.S_ISREG(status.st_mode) and status.st_nlink != 1:
        return "had a second name (hard link)"
    return None


def place(parent: Path, unit: Unit) -> None:
    """Have the whole unit on the disk under its name; one that is there is mended file by file.

    Nothing is in use before ``switch``. Raises OSError, and has then removed what was unfinished.
    """
    folder = parent / unit.name
    if folder.is_dir() and not folder.is_symlink():
        _mend(folder, unit)
        return
    temporary = parent / files.temporary_name()
    try:
        temporary.mkdir(mode=0o700)
        for name, file in unit.files.items():
            files.write_new(temporary / name, file.content, file.mode, unit.owner)
        for name, target in unit.links.items():
            (temporary / name).symlink_to(target)
        files.settle_folder(temporary, unit.mode, unit.owner)
        if folder.is_symlink() or folder.exists():
            files.remove(folder)
        temporary.rename(folder)
    except OSError:
        files.remove(temporary)
        raise
    files.sync_folder(parent)


def _mend(folder: Path, unit: Unit) -> None:
    # The folder is first made writable for us: its mode may be what drifted.
    files.settle_folder(folder, unit.mode | stat.S_IRWXU, unit.owner)
    for name, file in unit.files.items():
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            files.remove(path)
        if files.read(path) != file.content or _status_drift(path, file.mode, unit.owner) is not None:
            files.replace(path, file.content, file.mode, unit.owner)
    for name, target in unit.links.items():
        if not _leads(folder / name, target):
            if (folder / name).is_dir():
                files.remove(folder / name)
            files.point(folder / name, target)
    for leftover in files.unfinished(folder):
        files.remove(leftover)
    files.settle_folder(folder, unit.mode, unit.owner)


def switch(parent: Path, name: str) -> None:
    """Let ``current`` lead to the unit ``name``, at one instant."""
    files.point(parent / CURRENT, name)


def newest_first(parent: Path, candidates: Iterable[str]) -> list[str]:
    """``candidates`` by the time their folders were placed, the newest first."""
    return sorted(candidates, key=lambda name: (os.lstat(parent / name).st_mtime_ns, name), reverse=True)
