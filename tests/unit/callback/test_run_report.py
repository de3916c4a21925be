"""The callback ``run_report`` in real runs: what is written, and that censored results stay so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.action.conftest import Run, play

__all__ = ["play"]

TASKS: list[dict[str, Any]] = [
    {
        "name": "Ensure the reasons of the changes are shown",
        "ansible.builtin.debug": {"msg": ["client/alice: renew: 29 of 90 days left", "the CRL: sign-crl"]},
    },
    {"name": "Change", "ansible.builtin.debug": {"msg": "x"}, "changed_when": True},
    {
        "name": "Keep silent",
        "ansible.builtin.fail": {"msg": "password hunter2"},
        "no_log": True,
        "when": "inventory_hostname == 'gw1'",
    },
    {
        "block": [{"name": "Fail", "ansible.builtin.fail": {"msg": "rescued"}}],
        "rescue": [{"name": "Go on", "ansible.builtin.debug": {"msg": "x"}}],
    },
]


def test_what_was_done_and_what_failed_is_written(
    play: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "mtls.kit.run_report")
    monkeypatch.setenv("MTLS_KIT_RUN_REPORT", str(file))
    run = play(TASKS, {"ca": {}, "gw1": {}})
    assert run.returncode == 2, run.output
    hosts = json.loads(file.read_text())["hosts"]
    reasons = ["client/alice: renew: 29 of 90 days left", "the CRL: sign-crl"]
    assert hosts["ca"] == {"state": "done", "changed": 1, "reasons": reasons, "message": ""}
    assert hosts["gw1"]["state"] == "failed"
    assert "no_log" in hosts["gw1"]["message"]
    assert "hunter2" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640


def test_nothing_is_written_without_a_file(
    play: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "mtls.kit.run_report")
    assert play(TASKS[:1], {"ca": {}}).returncode == 0
    assert not list(tmp_path.glob("*report*"))
