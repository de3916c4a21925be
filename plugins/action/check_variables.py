"""Checks a host's variables against all roles; documented in plugins/modules/check_variables.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.rules import RULES
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.specs import (
    Role,
    load_roles,
    misspelt_prefixes,
    owner_of,
    unknown_variable,
)
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.values import faults

ROLES_FOLDER = Path(__file__).resolve().parents[2] / "roles"

_UNDEFINED = re.compile(r"'\w+' is undefined")


class ActionModule(ActionBase):
    """All faults of a host in one message, on the controller alone."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with every fault, numbered; change nothing."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec={"roles": {"type": "list", "elements": "str"}})
        variables = task_vars or {}
        host = variables.get("inventory_hostname", "localhost")
        roles = load_roles(ROLES_FOLDER)
        unknown_roles = sorted(set(arguments["roles"] or ()) - set(roles))
        if unknown_roles:
            error = KitError("check_variables, roles", unknown_roles[0], f"some of {', '.join(roles)}", "correct it")
            return {**result, "failed": True, "msg": str(error)}

        found = list(self._faults(variables, host, roles, arguments["roles"] or roles))
        result["changed"] = False
        if not arguments["roles"]:
            result["warnings"] = misspelt_prefixes(variables, roles)
        if found:
            result["failed"] = True
            result["msg"] = _in_one_message(found, host)
        return result

    def _faults(
        self, variables: Mapping[str, Any], host: str, roles: Mapping[str, Role], checked: Any
    ) -> Iterator[KitError]:
        for name in sorted(variables):
            role = owner_of(name, roles)
            if role is None or role.name not in checked:
                continue
            unknown = unknown_variable(name, role)
            if unknown:
                yield unknown
            elif name in role.options:
                yield from self._value_faults(name, variables[name], role.options[name], host)

    def _value_faults(self, name: str, template: Any, option: Mapping[str, Any], host: str) -> Iterator[KitError]:
        try:
            value = self._templar.template(template)
        except AnsibleError as error:
            # No more of the error is quoted: it shows the source of the template, with whatever stands there.
            undefined = _UNDEFINED.search(str(error))
            yield KitError(
                name,
                f"a template in which {undefined[0]}" if undefined else "a template or encrypted value that fails",
                "one that uses only variables and vault passwords that are there",
                f"look at it with: ansible {host} -m ansible.builtin.debug -a var={name}",
            )
            return
        found = list(faults(name, value, option))
        if not found and name in RULES and value:
            found = list(RULES[name](value, host))
        yield from found


def _in_one_message(found: list[KitError], host: str) -> str:
    if len(found) == 1:
        return str(found[0])
    lines = [f"{number}. {error}" for number, error in enumerate(found, start=1)]
    return "\n".join([f"{len(found)} faults in the variables of {host}:", *lines])
