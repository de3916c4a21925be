"""Compares all gateways with what is wished of them; documented in plugins/modules/gateways_due.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.unchanged import HandedOut, from_variables
from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.wishes import Variables

ARGUMENTS: Final = {
    "pki": {"type": "dict"},
    "passwords": {"type": "str", "no_log": True},
    "salt": {"type": "str", "required": True, "no_log": True},
}


class ActionModule(ActionBase):
    """All gateways in one process: the templates of a site are compiled once, and no host costs a task."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return C(due) and C(unchanged)."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS, required_by={"pki": ("passwords",)})
        known = task_vars or {}
        gateways = list(known["groups"].get("gateways", []))
        handed_out = None
        if arguments["pki"] is not None:
            handed_out = HandedOut(
                pki=arguments["pki"],
                issuing=Variables(known, self._templar.template).of("pki", "issuing") or [],
                passwords=json.loads(arguments["passwords"]),
                salt=arguments["salt"].encode(),
                now=datetime.now(UTC),
            )
        due: dict[str, list[str]] = {}
        warnings: list[str] = []
        for gateway in gateways:
            differences, told = _compared(gateway, known["hostvars"][gateway], handed_out)
            if differences:
                due[gateway] = differences
            elif handed_out is not None:
                warnings += [f"gateway {gateway}: {warning}" for warning in told]
        return {
            **result,
            "changed": False,
            "due": due,
            "unchanged": [gateway for gateway in gateways if gateway not in due],
            "warnings": warnings,
        }


def _compared(gateway: str, of_host: Mapping[str, Any], handed_out: HandedOut | None) -> tuple[list[str], list[str]]:
    """Differences and warnings of one gateway; what can't be compared the roles will refuse with their own words."""
    variables = Variables(of_host)
    try:
        look = of_host.get("gateway_look")
        differences, warnings = from_variables(look, variables)
        if look is not None and not differences and handed_out is not None:
            differences = list(handed_out.differences(gateway, look, variables))
    except (KitError, AnsibleError) as error:
        return [str(error)], []
    return differences, warnings
