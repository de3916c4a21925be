"""What every vault offers: read many passwords, write many passwords, in one session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Controller:
    """What a backend may use of the controller it runs on."""

    vault: Any
    """Ansible's ``VaultLib`` with the vault passwords of this run."""
    inventory_dir: Path | None
    """Folder of the inventory that the host came from; None for a host given on the command line."""
    lookup: Callable[[str, list[str], Mapping[str, Any]], Any]
    """Runs an installed lookup plugin by its name, with terms and options. Raises ``KitError`` when there is none."""


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

    def put_many(self, passwords: Mapping[str, str], *, replace: bool) -> dict[str, str]:
        """Store all, and return what the vault holds for these paths afterwards.

        A vault without transactions stores one after another in the order of the paths; when that ends early, the
        error says how many were stored.

        Without ``replace`` an entry that is there already wins: of two runs that generate at the same time both
        go on with the same password. With it, the new password wins (a rotation).
        """
        ...


class Opener(Protocol):
    """Makes a session from the user's options; a class with such a constructor will do."""

    def __call__(self, options: Mapping[str, Any], controller: Controller) -> AbstractContextManager[Backend]:
        """Check the options, then log in. Raises ``KitError``; the session is closed on leaving the context."""
        ...
