"""Runs module ``pki_probe`` as any module is run; documented in plugins/modules/pki_probe.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.pki_session import with_session


class ActionModule(NormalAction):
    """The module's own run, in a session with OpenBao where keys of CAs are there."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""

        def run() -> dict[str, Any]:
            result: dict[str, Any] = super(ActionModule, self).run(tmp, task_vars)
            return result

        return with_session(self._task, run)
