"""The vaults by the name that ``key_password_backend`` has for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.ansible_vault import AnsibleVault
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Backend, Controller, Opener
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.command import Command
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.environment import Environment
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.lookup import Lookup
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao import OpenBao

BACKENDS: dict[str, Opener] = {
    "ansible_vault": AnsibleVault,
    "openbao": OpenBao,
    "lookup": Lookup,
    "env": Environment,
    "command": Command,
}


def open_backend(name: str, options: Mapping[str, Any], controller: Controller) -> AbstractContextManager[Backend]:
    """Open the vault ``name`` for one run. Raises ``KitError`` for an unknown name or options it can't use."""
    if name not in BACKENDS:
        raise KitError(
            "key_password_backend",
            f"{name!r}",
            f"one of {', '.join(sorted(BACKENDS))}",
            "correct key_password_backend",
        )
    return BACKENDS[name](options, controller)
