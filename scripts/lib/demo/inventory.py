"""The demo's inventory: inventory/demo as it is in the checkout, and the few values that are this machine's."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
from typing import Final

from scripts.lib.demo.settings import ADDRESS, ROOT, Settings

TEMPLATE: Final = ROOT / "inventory" / "demo"
CONTAINERS: Final = ROOT / "inventory" / "demo-containers"


def write(settings: Settings) -> None:
    """Write it anew on every run; the vault and its password are made once and kept."""
    for template in (TEMPLATE, CONTAINERS) if settings.containers else (TEMPLATE,):
        shutil.copytree(template, settings.inventory, dirs_exist_ok=True)
    values = {
        "demo_dir": settings.folder,
        "demo_gateway_dir": settings.gateway_prefix,
        "demo_user": getpass.getuser(),
        "demo_address": ADDRESS,
        "demo_port": settings.port,
        "demo_server_name": settings.server_name,
        "demo_backend": settings.backend_url,
    }
    if settings.containers:
        values |= {
            "demo_gateway_name": settings.gateway_name,
            "demo_base_image": settings.base_image,
            "demo_probe_port": settings.probe_port,
            "demo_memory": settings.memory,
        }
    lines = [
        "---",
        "# Written by scripts/demo at every run.",
        *(f"{name}: {quoted(str(v))}" for name, v in values.items()),
    ]
    settings.inventory.joinpath("group_vars", "all", "demo.yml").write_text("\n".join(lines) + "\n")
    if not settings.vault_password_file.exists():
        descriptor = os.open(settings.vault_password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{secrets.token_urlsafe(32)}\n")


def quoted(text: str) -> str:
    """A YAML string that Jinja leaves alone."""
    return "!unsafe '" + text.replace("'", "''") + "'"
