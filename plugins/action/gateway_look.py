"""Looks at a gateway by its variables; documented in plugins/modules/gateway_look.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.mtls.kit.plugins.action.verify_secret_transport import transport_fault
from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.wishes import Variables, look_wish, not_judged


class ActionModule(NormalAction):
    """Hands the module what the roles' variables say of the gateway, so that the play names no default twice."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once, or not at all on a gateway that the roles have to look at anyway."""
        given = self._task.args
        variables = Variables(task_vars or {}, self._templar.template)
        self._task.args = {**given, **look_wish(variables), "now": datetime.now(UTC).isoformat()}
        fault = transport_fault(self._connection, (task_vars or {}).get("inventory_hostname"))
        reason = str(fault) if fault else not_judged(variables)
        try:
            if reason:
                return {"changed": False, "faults": [reason], "notices": [], "served": {}}
            result: dict[str, Any] = super().run(tmp, task_vars)
        finally:
            self._task.args = given
        return result
