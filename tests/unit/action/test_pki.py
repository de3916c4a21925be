"""The action ``pki``: the module's own result, and how far it is meanwhile."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.action import pki
from ansible_collections.mtls.kit.plugins.module_utils._pki import store
from tests.unit.action.conftest import Run
from tests.unit.module_utils._pki.authority_host import NOON

HOSTS: dict[str, dict[str, Any]] = {
    "authority": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
}
SECRETS = {"ca/root": "secret-of-the-root", "ca/issuing": "secret-of-issuing", "client/alice": "secret-of-alice"}


def task(folder: Path, **more: Any) -> list[dict[str, Any]]:
    """One task that makes a store."""
    arguments = {"store": str(folder), "name": "demo", "init": True, "passwords": json.dumps(SECRETS), **more}
    return [{"name": "Make", "mtls.kit.pki": arguments}]


def test_it_runs_the_module_in_every_mode(play: Callable[..., Run], tmp_path: Path) -> None:
    tasks = task(tmp_path / "store", certificates=[{"name": "client/alice"}])
    foreseen = play(tasks, HOSTS, "--check", "--diff")
    assert "client/alice: issue (issue: new)" in foreseen.output
    assert not (tmp_path / "store").exists()
    made = play(tasks, HOSTS, "-vvv")
    assert "changed=1" in made.output
    assert not any(secret in made.output for secret in SECRETS.values())
    assert "changed=0" in play(tasks, HOSTS).output
    wrong = play(task(tmp_path / "store", issuing=[]), HOSTS)
    assert wrong.returncode != 0
    assert "expected" in wrong.output


def test_each_step_is_told_once_while_the_block_runs(tmp_path: Path) -> None:
    lines: list[str] = []

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 10
        while not any(text in line for line in lines):
            assert time.monotonic() < deadline, lines
            time.sleep(0.01)

    with pki.told(tmp_path / "store", lines.append, 0.01):
        with store.opened(tmp_path / "store", "demo", NOON, init=True) as opened:
            opened.ledger.set_meta("name", "demo")
            opened.tell("issued 256 of 512")
            wait_for("pki: issued 256 of 512, ")
            opened.tell("issued 512 of 512")
            wait_for("pki: issued 512 of 512, ")
        told = list(lines)
        time.sleep(0.1)
    assert lines == told
    assert len(lines) == 2


def test_a_short_run_says_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    with store.opened(tmp_path / "store", "demo", NOON, init=True) as opened, pki.told(tmp_path, lines.append):
        opened.tell("issued 256 of 512")
    assert lines == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\udcff"])
def test_a_lock_that_says_nothing_is_nobodys(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_bytes(content.encode(errors="surrogateescape"))
    assert store.running(tmp_path) is None
