"""Roots that are kept offline: their keys lie on a medium that is there for a ceremony and away in between.

A key on the medium is read where it lies and never copied into the store. One that is still in the store moves out: it
is written to the medium, read back from it, opened and compared with the root's certificate, and only then removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Crl
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import KEY_MODE, Store, sync_folder

ROOT: Final = "root"
CRL_DAYS: Final = 365
"""Life of an offline root's CRL where nothing else is asked for: a ceremony a year."""

_LEAD: Final = timedelta(days=30)


def bring_key_by(crl: Crl) -> datetime:
    """When an offline root's key is to be brought, so that its next CRL is there well before this one ends."""
    return crl.next_update - min(_LEAD, (crl.next_update - crl.this_update) / 4)


@dataclass(frozen=True)
class Need:
    """What an offline root's key is needed for, and by when; ``by`` may have passed."""

    label: str
    reason: str
    by: datetime

    def __str__(self) -> str:
        """``root-g1: its CRL ends 2027-11-24; bring its key by 2027-10-25``."""
        return f"{self.label}: {self.reason}; bring its key by {self.by:%Y-%m-%d}"

    def as_dict(self) -> dict[str, str]:
        """The form of a module's result."""
        return {"label": self.label, "reason": self.reason, "by": clock.iso(self.by)}


def needs(authorities: Iterable[Authority], crls: Mapping[int, Crl], leaf: timedelta, now: datetime) -> Iterator[Need]:
    """What the roots' keys are needed for next, by root: a CRL, and a successor of the issuing CA that ends first.

    ``leaf`` is the longest life of a certificate: from that long before an issuing CA's end on, leaves are cut short.
    """
    known = [ca for ca in authorities if ca.not_after > now]
    for root in (ca for ca in known if ca.name == ROOT):
        if (crl := crls.get(root.number)) is not None:
            yield Need(root.label, f"its CRL ends {crl.next_update:%Y-%m-%d}", bring_key_by(crl))
        below = [ca for ca in known if ca.issuer == root.number]
        if below:
            first = min(below, key=lambda ca: ca.not_after)
            yield Need(root.label, f"{first.label} ends {first.not_after:%Y-%m-%d}", first.not_after - leaf)


class Medium:
    """The folder that holds the roots' keys for this run; without a folder there is none."""

    def __init__(self, pki: str, folder: Path | None) -> None:
        """Raise KitError for a folder that is not there: its medium is not mounted."""
        self.folder = folder
        self._pki = pki
        if folder is not None and not folder.is_dir():
            raise KitError(
                f"root keys in {folder}",
                "no such folder",
                "the folder on the medium that holds the root's key",
                "plug in and mount the medium, or correct pki_root_keys; nothing was changed",
            )

    def path(self, label: str) -> Path | None:
        """Where the key of a root lies on the medium: ``<pki>-<label>.key``."""
        return None if self.folder is None else self.folder / f"{self._pki}-{label}.key"

    def read(self, label: str) -> bytes | None:
        """The encrypted key of a root; None where it is not on the medium."""
        path = self.path(label)
        try:
            return None if path is None else path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KitError(
                f"key of {label} in {path}", str(error.strerror), "a readable file", "check the medium"
            ) from None

    def not_free(self, label: str) -> KitError:
        """The error where a file that is not this PKI's has a key's name: none is ever overwritten."""
        return KitError(
            f"key of {label} in {self.path(label)}",
            "a file that the password of ca/root does not open, or a key of another type",
            "a name that is not taken, for this key is still to be written",
            "use another folder, or take the file away; nothing was changed",
        )

    def check_writable(self, label: str) -> None:
        """Raise KitError where a key could not be written to the medium."""
        if self.folder is not None and not os.access(self.folder, os.W_OK | os.X_OK):
            raise KitError(
                f"key of {label} in {self.folder}",
                "a folder this user can't write",
                "one to write the key to",
                "mount the medium for writing; nothing was changed",
            )

    def write(self, label: str, pem: bytes) -> None:
        """Write an encrypted key (0400) and bring it to the medium; over nothing but the same key.

        Raises KitError, and leaves what was there, when the medium gives back something else than it was handed.
        """
        path = self.path(label)
        assert path is not None  # noqa: S101  asked for where there is a folder only
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        # No fchmod: a medium for every system (FAT) knows no modes and refuses it.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
        try:
            view = memoryview(pem)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
            # What is read back is to come from the medium, not from memory.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        if temporary.read_bytes() != pem:
            raise KitError(
                f"key of {label} in {self.folder}",
                "something else than was written",
                "the same when it is read back",
                "use another medium; the key is where it was",
            )
        temporary.rename(path)
        sync_folder(path.parent)

    def beside(self, store: Store) -> bool:
        """Whether the folder lies on the store's own file system, and so is no medium that is taken away."""
        there = next(folder for folder in (store.folder, *store.folder.parents) if folder.exists())
        return self.folder is not None and self.folder.stat().st_dev == there.stat().st_dev


def not_at_hand(label: str, purpose: str) -> KitError:
    """The error for what needs the key of an offline root while that is away."""
    return KitError(
        f"key of {label}",
        "that it is kept offline and is not at hand",
        f"the key, {purpose}",
        "bring the medium and run again with -e pki_root_keys=<folder on it>; nothing was changed",
    )
