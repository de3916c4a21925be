"""A connection that would put the arguments of a module into a file on the target is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.mtls.kit.plugins.action.verify_secret_transport import ActionModule


def verdict(transport: str, pipelining: bool, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    connection = SimpleNamespace(
        transport=transport, is_pipelining_enabled=lambda: pipelining, _shell=SimpleNamespace(tmpdir=None)
    )
    task = Task()
    task.args = arguments or {}
    task.async_val = 0
    action = ActionModule(task, connection, None, DataLoader(), None, None)
    return action.run(task_vars={"inventory_hostname": "gw1"})


@pytest.mark.parametrize(("transport", "pipelining"), [("ssh", True), ("local", True), ("local", False)])
def test_what_is_safe_passes(transport: str, pipelining: bool) -> None:
    result = verdict(transport, pipelining)
    assert not result.get("failed")
    assert result["changed"] is False


def test_what_is_not_is_refused_with_the_reason_and_the_cure() -> None:
    result = verdict("ssh", False)
    assert result["failed"] is True
    assert "connection 'ssh' to gw1: found pipelining off" in result["msg"]
    assert "pipelining = True" in result["msg"]
