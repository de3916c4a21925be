"""Checks a host's variables against all roles; documented in plugins/modules/check_variables.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.mtls.kit.plugins.filter.trust_scopes import accepted_issuers
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.rules import RULES, authority_faults, missing_faults
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.specs import (
    KIT_ROLES,
    Role,
    misspelt_prefixes,
    owner_of,
    unknown_variable,
)
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.values import faults

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
        roles = KIT_ROLES
        unknown_roles = sorted(set(arguments["roles"] or ()) - set(roles))
        if unknown_roles:
            error = KitError("check_variables, roles", unknown_roles[0], f"some of {', '.join(roles)}", "correct it")
            return {**result, "failed": True, "msg": str(error)}

        found = list(self._faults(variables, host, roles, arguments["roles"] or roles))
        result["changed"] = False
        if not arguments["roles"]:
            found += missing_faults(variables, host)
            # Values of the wrong form are told already, and nothing else can be said of them.
            found = found or list(authority_faults(self._of_the_pki(variables)))
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
                found = list(self._value_faults(name, variables[name], role.options[name], host))
                if not found and name == "nginx_mtls_sites":
                    found = list(self._issuer_faults(variables, roles))
                yield from found

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

    def _of_the_pki(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        wanted = ("pki_name", "pki_issuing", "pki_clients")
        return {name: self._templar.template(variables[name]) for name in wanted if name in variables}

    def _issuer_faults(self, variables: Mapping[str, Any], roles: Mapping[str, Role]) -> Iterator[KitError]:
        """Sites that accept an issuing CA which the CA host doesn't have."""
        authorities = variables["groups"].get("ca", [])
        if "pki" not in roles or len(authorities) != 1:
            return
        try:
            issuing = variables["hostvars"][authorities[0]].get("pki_issuing", [])
            sites = self._templar.template(variables["nginx_mtls_sites"])
        except AnsibleError:
            # The CA host's own check tells what is wrong with its variables.
            return
        if list(faults("pki_issuing", issuing, roles["pki"].options["pki_issuing"])):
            return
        for site in sites:
            try:
                accepted_issuers(site, issuing)
            except KitError as error:
                yield error


def _in_one_message(found: list[KitError], host: str) -> str:
    if len(found) == 1:
        return str(found[0])
    lines = [f"{number}. {error}" for number, error in enumerate(found, start=1)]
    return "\n".join([f"{len(found)} faults in the variables of {host}:", *lines])
