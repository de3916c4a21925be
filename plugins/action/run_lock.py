"""Says which run takes the lock of a PKI, and whether another is over; documented in plugins/modules/run_lock.py."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, run_lock, store


def this_run(name: str, pid: int, now: datetime) -> run_lock.Runner:
    """The record of the run that process ``pid`` of this controller is."""
    return run_lock.Runner(
        run=name,
        user=getpass.getuser(),
        host=socket.gethostname(),
        pid=pid,
        boot=run_lock.boot(),
        started=store.process_started(pid),
        since=clock.iso(now),
    )


class ActionModule(ActionBase):
    """Only the controller sees whether a run that began on it is still there, wherever the CA host is."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Hold the lock or give it back."""
        result = super().run(tmp, task_vars)
        now = datetime.now(UTC)
        # A task runs in a child of the process that runs the playbook.
        mine = this_run(str(self._task.args.get("run", "")), os.getppid(), now)

        def call(instead_of: run_lock.Runner | None = None) -> dict[str, Any]:
            arguments = {**self._task.args, "mine": vars(mine), "instead_of": vars(instead_of) if instead_of else {}}
            answer: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
            return answer

        answer = call()
        if answer.get("failed") or not answer.get("holder"):
            return {**result, **answer}
        found = run_lock.Runner(**answer["holder"])
        if found.same_process(mine):
            return {**result, **answer}
        why = run_lock.ended(found, mine.host, mine.boot, now)
        if not why and self._task.args.get("take_over"):
            why = "run_lock=take"
        if self._task.check_mode:
            return {**result, **answer, "warnings": [] if why else [f"Beside a run that is at work: {found}"]}
        if why:
            answer = call(found)
            if answer.get("failed"):
                return {**result, **answer}
            if not answer["holder"]:
                return {**result, **answer, "warnings": [f"The lock of {found} was taken over: {why}"]}
            found = run_lock.Runner(**answer["holder"])
        return {**result, "failed": True, "msg": str(run_lock.held_by(str(self._task.args.get("store")), found))}
