"""The action run_lock: a second run is refused, one that is over is taken over."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, run_lock, store
from tests.unit.action.conftest import Run
from tests.unit.module_utils._pki.authority_host import AuthorityHost

HOSTS = {"ca1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with its first run behind it."""
    host = AuthorityHost(tmp_path / "ca")
    host.run()
    return host.store


@pytest.fixture
def hold(play: Callable[..., Run], folder: Path) -> Callable[..., Run]:
    """A playbook that takes the lock, and more tasks after that."""

    def run(*arguments: str, then: tuple[dict[str, Any], ...] = (), **more: Any) -> Run:
        task = {"mtls.kit.run_lock": {"store": str(folder), "run": "rotate.yml", "state": "held", **more}}
        return play([{"name": "Hold", **task}, *then], HOSTS, *arguments)

    return run


def left(folder: Path, **differently: Any) -> None:
    """What an earlier run left: by default this living process's."""
    pid, now = os.getpid(), datetime.now(UTC)
    record = {
        "run": "site.yml", "user": "alice", "host": socket.gethostname(), "pid": pid, "boot": run_lock.boot(),
        "started": store.process_started(pid), "since": clock.iso(now), **differently,
    }  # fmt: skip
    (folder / store.RUN_LOCK).write_text(json.dumps(record))


def test_it_is_held_by_the_process_that_runs_the_playbook(hold: Callable[..., Run], folder: Path) -> None:
    free = {"mtls.kit.run_lock": {"store": str(folder), "run": "rotate.yml", "state": "free"}}
    look = {"ansible.builtin.slurp": {"src": f"{folder}/{store.RUN_LOCK}"}, "register": "told"}
    show = {"ansible.builtin.debug": {"msg": "PID {{ (told.content | b64decode | from_json).pid }}"}}
    run = hold(then=(look, show, free))
    assert run.returncode == 0, run.output
    assert "PID " in run.output
    assert "taken over" not in run.output
    assert run_lock.holder(folder) is None


def test_a_second_run_says_whose_the_first_is(hold: Callable[..., Run], folder: Path) -> None:
    left(folder)
    run = hold()
    assert run.returncode == 2
    said = f"found that a run is at work: site.yml of alice on {socket.gethostname()}, pid {os.getpid()}, since 20"
    assert said in run.output
    assert "-e run_lock=take" in run.output
    assert "Beside a run that is at work: site.yml of alice" in hold("--check").output
    assert hold(take_over=True).returncode == 0


@pytest.mark.parametrize(
    ("differently", "why"),
    [
        ({"pid": 2**22 + 1}, "its process is gone"),
        ({"started": "1"}, "its process is gone"),
        ({"boot": "before"}, "the machine was started again since"),
        ({"host": "ctl9", "since": clock.iso(datetime.now(UTC) - timedelta(hours=13))}, "it began 13 hours ago"),
    ],
)
def test_what_is_over_is_taken_over_with_a_note(
    hold: Callable[..., Run], folder: Path, differently: dict[str, Any], why: str
) -> None:
    left(folder, **differently)
    run = hold()
    assert run.returncode == 0, run.output
    assert f"was taken over: {why}" in " ".join(run.output.split())


def test_a_run_of_another_controller_may_be_at_work(hold: Callable[..., Run], folder: Path) -> None:
    left(folder, host="ctl9", boot="another")
    assert "site.yml of alice on ctl9" in hold().output
    run = hold(take_over=True)
    assert (run.returncode, "was taken over: run_lock=take" in " ".join(run.output.split())) == (0, True)
