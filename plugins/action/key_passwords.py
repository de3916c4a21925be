"""Resolves the passwords of private keys; documented in plugins/modules/key_passwords.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.passwords import resolve
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.registry import open_backend
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.rotation import Wish

ARGUMENTS = {
    "backend": {"type": "str", "default": "ansible_vault"},
    # raw, and checked by the backend: an error of Ansible's own type conversion would quote a token.
    "options": {"type": "raw"},
    "paths": {"type": "list", "elements": "str", "required": True},
    "generate": {"type": "bool", "default": True},
    "known": {"type": "str", "no_log": True, "default": "{}"},
    "rotate": {"type": "list", "elements": "str", "default": []},
    "max_age_days": {"type": "int", "default": 0},
    "taken": {"type": "list", "elements": "str", "default": []},
    "in_use": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):
    """One session with the vault for all passwords of a play, on the controller alone."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``passwords_json`` and ``changes``; the result is censored whatever the task says."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            resolved = self._resolve(arguments, task_vars or {})
        except KitError as error:
            # Not raised: a traceback of the cause could quote what a vault answered.
            return {**result, "failed": True, "msg": str(error)}
        # Set here and not by the task, so that a failure, which never holds a secret, can still be read.
        result["_ansible_no_log"] = True
        result["changed"] = bool(resolved.changes)
        result["changes"] = resolved.changes
        result["pending"] = resolved.pending
        result["kept"] = resolved.kept
        result["passwords_json"] = json.dumps(resolved.passwords, sort_keys=True)
        return result

    def _resolve(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> Any:
        options = {} if arguments["options"] is None else arguments["options"]
        if not isinstance(options, dict):
            raise KitError("key_password_options", "something else", "a dictionary", "correct it")
        inventory_dir = task_vars.get("inventory_dir")
        controller = Controller(
            # Ansible offers actions no other way to encrypt with the vault passwords of a run.
            vault=self._loader._vault,
            inventory_dir=Path(inventory_dir) if inventory_dir else None,
            lookup=partial(self._lookup, task_vars),
        )
        with open_backend(arguments["backend"], options, controller) as backend:
            return resolve(
                backend,
                [str(path) for path in arguments["paths"]],
                now=datetime.now(UTC).replace(microsecond=0),
                may_generate=arguments["generate"],
                check_mode=self._task.check_mode,
                known=_passwords_from(arguments["known"]),
                wish=Wish([str(glob) for glob in arguments["rotate"]], arguments["max_age_days"]),
                taken=[str(path) for path in arguments["taken"]],
                in_use=[str(path) for path in arguments["in_use"]],
            )

    def _lookup(self, task_vars: dict[str, Any], name: str, terms: list[str], options: Mapping[str, Any]) -> Any:
        plugin = lookup_loader.get(name, loader=self._loader, templar=self._templar)
        if plugin is None:
            raise KitError(
                "key_password_options.plugin of backend lookup",
                f"no lookup plugin {name!r}",
                "the full name of one that is installed on the controller",
                "see ansible-doc -t lookup -l, and install the collection it is in",
            )
        # At -vvv some plugins show what the vault answered.
        display = Display()
        verbosity, display.verbosity = display.verbosity, 0
        try:
            return plugin.run(terms, variables=task_vars, **options)
        finally:
            display.verbosity = verbosity


def _passwords_from(text: str) -> dict[str, str]:
    try:
        passwords = json.loads(text)
    except ValueError:
        passwords = None
    if not isinstance(passwords, dict) or not all(isinstance(value, str) for value in passwords.values()):
        raise KitError("key_password_known", "something else", "one JSON text {path: password}", "correct it")
    return passwords
