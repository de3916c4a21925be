"""The compact view: changes with their reasons, failures with their own words, everything in the log."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from scripts.lib.demo import playbooks
from scripts.lib.demo.playbooks import Run


def event(kind: str, result: dict[str, Any] | None = None) -> str:
    data = {"_event": kind, "task": {"name": "mtls.kit.pki : Ensure the CAs"}, "play": {"name": "Converge"}}
    return json.dumps(data | ({"hosts": {"authority": result}} if result is not None else {})) + "\n"


def follow(*events: str) -> tuple[Run, str]:
    state, record = Run(), io.StringIO()
    playbooks.follow(io.StringIO("".join(events)), record, state)
    return state, record.getvalue()


@pytest.mark.parametrize("reason", ["issue: new client", "new client"])
def test_a_change_is_shown_with_its_reason(reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    change = {"name": "client/alice", "action": "issue", "reason": reason}
    state, log = follow(
        event("v2_playbook_on_play_start"),
        event("v2_playbook_on_task_start"),
        event("v2_runner_on_ok", {"changed": True, "changes": [change]}),
    )
    assert (state.tasks, state.changes) == (1, ["issue: new client  (client/alice)"])
    assert "changed  issue: new client  (client/alice)" in capsys.readouterr().out
    assert "CHANGED [authority]" in log


def test_a_change_without_reasons_is_shown_by_the_task() -> None:
    state, _ = follow(event("v2_runner_on_ok", {"changed": True, "changes": "none"}))
    assert state.changes == ["Ensure the CAs"]


def test_what_did_not_change_is_only_logged(capsys: pytest.CaptureFixture[str]) -> None:
    state, log = follow(event("v2_runner_on_ok", {"changed": False}), event("v2_runner_on_skipped", {"skipped": True}))
    assert state.changes == []
    assert capsys.readouterr().out == ""
    assert "OK [authority]" in log
    assert "SKIPPED [authority]" in log


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "disk full"}, "disk full"),
        ({"msg": "non-zero return code", "stderr": "no such file\n"}, "non-zero return code\nno such file"),
        ({"msg": "some items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "bad"}]}, "bad"),
        ({}, "no message"),
    ],
)
def test_a_failure_is_told_in_its_own_words(result: dict[str, Any], said: str) -> None:
    state, _ = follow(event("v2_runner_on_failed", result))
    assert state.failure == f"task 'Ensure the CAs' on authority: {said}"


def test_other_output_is_kept_for_a_failure_before_any_task() -> None:
    state, log = follow("ERROR! no such playbook\n", "\n", "[1]\n")
    assert list(state.noise) == ["ERROR! no such playbook", "[1]"]
    assert log.startswith("ERROR! no such playbook")
