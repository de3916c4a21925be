"""What every vault offers: read many passwords, write many passwords, in one session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


@dataclass(frozen=True)
class Controller:
    """What a backend may use of the controller it runs on."""

    vault: Any
    """Ansible's ``VaultLib`` with the vault passwords of this run."""
    inventory_dir: Path | None
    """Folder of the inventory that the host came from; None for a host given on the command line."""
    lookup: Callable[[str, list[str], Mapping[str, Any]], Any]
    """Runs an installed lookup plugin by its name, with terms and options. Raises ``KitError`` when there is none."""


@dataclass(frozen=True)
class Record:
    """What a vault keeps beside a password."""

    since: datetime | None = None
    """When it was stored, aware; None where nobody wrote that down."""
    previous: str | None = field(default=None, repr=False)
    """The password it replaced, as long as a key may still have that one."""


@dataclass(frozen=True)
class Replacement:
    """What is to be stored for a path that holds the password ``found`` now."""

    found: str = field(repr=False)
    password: str = field(repr=False)
    record: Record


class Backend(Protocol):
    """A vault, open for one run.

    Every method raises ``KitError`` naming backend, path and next step, never a password or a token. Nothing waits
    for ever: a fault ends the run after ``timeout`` seconds at the latest, an option that every backend has and that
    is never above 30.
    """

    writable: bool
    """False where the kit can only read: nothing is ever generated there."""

    def location(self, path: str) -> str:
        """Where the password of ``path`` lies, as a person would look for it."""
        ...

    def remedy(self, path: str) -> str:
        """The command or action by which a person changes the password of ``path``."""
        ...

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        """The passwords that the vault holds; a path it doesn't hold is left out."""
        ...

    def records(self, paths: Iterable[str]) -> dict[str, Record]:
        """What is kept beside the passwords of ``paths``; a path of which nothing is known is left out."""
        ...

    def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        """Store those that are missing, as of ``now``, and return what the vault holds for all of them afterwards.

        An entry that is there already wins: of two runs that generate at the same time both go on with the same
        password. A vault without transactions stores one after another in the order of the paths; when that ends
        early, the error says how many were stored.
        """
        ...

    def replace_many(self, replacements: Mapping[str, Replacement]) -> None:
        """Replace passwords and their records, those of one path together.

        A vault that can't store the two at once stores the record first, and takes a previous password that equals
        the password for none. Raises ``KitError`` for a path that holds another password than the one ``found``:
        somebody replaced it meanwhile. One path is stored after another, as ``put_many`` does it.
        """
        ...


class ReadOnly(Backend, Protocol):
    """The half of a backend that can only be read: every wish to write is refused, with how a person does it."""

    writable: bool = False

    def records(self, paths: Iterable[str]) -> dict[str, Record]:
        """Always nothing: what is only read here is kept and replaced elsewhere."""
        return {}

    def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        """Always an error."""
        raise self._read_only(min(passwords, default=""))

    def replace_many(self, replacements: Mapping[str, Replacement]) -> None:
        """As ``put_many``."""
        raise self._read_only(min(replacements, default=""))

    def _read_only(self, path: str) -> KitError:
        return KitError(
            f"password {self.location(path)}",
            "a backend that can only be read",
            "one that can be written, for a password is to be stored",
            f"store it with {self.remedy(path)}, or choose another key_password_backend",
        )


class Opener(Protocol):
    """Makes a session from the user's options; a class with such a constructor will do."""

    def __call__(self, options: Mapping[str, Any], controller: Controller) -> AbstractContextManager[Backend]:
        """Check the options, then log in. Raises ``KitError``; the session is closed on leaving the context."""
        ...
