"""Runs real playbooks on this machine, from a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Run:
    """What a playbook ended with and all it printed."""

    returncode: int
    output: str


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Run]:
    """Run tasks against an inventory of host variables, with more arguments for ansible-playbook."""

    def run(
        tasks: list[dict[str, Any]],
        hosts: dict[str, dict[str, Any]],
        *arguments: str,
        groups: dict[str, list[str]] | None = None,
    ) -> Run:
        inventory = tmp_path / "inventory"
        inventory.mkdir(exist_ok=True)
        children = {group: {"hosts": dict.fromkeys(members)} for group, members in (groups or {}).items()}
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": children}}))
        playbook = tmp_path / "playbook.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        finished = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=CHECKOUT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local_tmp"),
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            },
        )
        return Run(finished.returncode, finished.stdout + finished.stderr)

    return run
