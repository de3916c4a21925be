"""Refuses a connection that would put secrets into a file; documented in plugins/modules/verify_secret_transport.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


class ActionModule(ActionBase):
    """Asks the connection itself: its own option, how it becomes root, and ANSIBLE_KEEP_REMOTE_FILES all count."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail when the arguments of a module would be written to a file on another machine."""
        result = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        result["changed"] = False
        fault = transport_fault(self._connection, (task_vars or {}).get("inventory_hostname"))
        return result if fault is None else {**result, "failed": True, "msg": str(fault)}


def transport_fault(connection: Any, host: Any) -> KitError | None:
    """Why secrets must not be sent by ``connection``; None when they may be."""
    if connection.transport == "local" or connection.is_pipelining_enabled():
        return None
    return KitError(
        f"connection {connection.transport!r} to {host}",
        "pipelining off, or kept from working by the become plugin or by ANSIBLE_KEEP_REMOTE_FILES",
        "pipelining, for without it passwords would lie in a file in the target's temporary folder",
        "set 'pipelining = True' under [connection] in ansible.cfg as this checkout does, and use sudo rather than su",
    )
