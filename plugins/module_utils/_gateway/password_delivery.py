"""How the password of a site's key reaches Nginx: what lies in its release, and what lies in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

FILE: Final = "file"
CREDENTIAL: Final = "systemd_credential"
MEMORY: Final = "memory"
NONE: Final = "none"
DELIVERIES: Final = (FILE, CREDENTIAL, MEMORY, NONE)

ENGINE_UNIT: Final = "docker.service"
"""What brings the Nginx of a container back."""

RUNTIME: Final = Path("/run/mtls")
"""A folder for each site, in a file system that a reboot empties."""

_RUNTIME_FILES: Final[Mapping[str, str]] = {CREDENTIAL: "credential", MEMORY: "password"}


def check_delivery(name: str, site: str) -> str:
    """Return the delivery ``name``, or raise KitError naming those there are."""
    if name not in DELIVERIES:
        raise KitError(
            f"password delivery of site {site!r}",
            repr(name),
            f"one of {', '.join(DELIVERIES)}",
            "correct certificate_install_password_delivery, or password_delivery of the site",
        )
    return name


def runtime_file(site: str, delivery: str) -> Path | None:
    """The file in memory that holds the password of ``site``; None for a delivery that has none."""
    name = _RUNTIME_FILES.get(delivery)
    return None if name is None else RUNTIME / site / name


def lines(path: Path) -> list[bytes]:
    """The passwords in a file, one a line; none where there is no such file. OSError when it can't be read."""
    return [line for line in (files.read(path) or b"").split(b"\n") if line]


def delivered_by(entry: Path, site: str, key_pem: bytes | None) -> str | None:
    """The delivery of a release that has ``entry`` for its password and ``key_pem`` for its key; None: can't be told.

    A release says so itself, so that a rollback takes the delivery back with the key.
    """
    if key_pem is not None and keys.load_plain(key_pem) is not None:
        return NONE
    if entry.is_symlink():
        target = entry.readlink()
        return next((name for name in _RUNTIME_FILES if runtime_file(site, name) == target), None)
    return FILE if entry.is_file() else None


def passwords_of(entry: Path, site: str) -> list[bytes]:
    """The passwords that ``entry`` of a release holds or leads to. OSError when they can't be read."""
    if not entry.is_symlink():
        return lines(entry)
    target = entry.readlink()
    return lines(target) if target in {runtime_file(site, name) for name in _RUNTIME_FILES} else []


def check_in_memory(site: str, delivery: str, password: bytes) -> None:
    """KitError unless the file in memory holds ``password``: Nginx could not open the key that is about to come."""
    path = runtime_file(site, delivery)
    if path is not None and password not in lines(path):
        raise KitError(
            f"password of site {site!r}, delivered by {delivery}",
            f"another one in {path}, or none",
            "the password that the vault of this run has",
            "run mtls.kit.site, which fills it before it switches a release",
        )
