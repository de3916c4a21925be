"""What a run says of its gateways when it did not go well on all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml

from ansible_collections.mtls.kit.plugins.callback import fleet_outcome
from tests.unit.action.conftest import CHECKOUT

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def run(folder: Path, broken: list[str], lost: list[str], batches: list[str]) -> str:
    """All that a play over five gateways prints; ``broken`` fail in it, ``lost`` can't be reached."""
    hosts = {f"gw{number}": dict(LOCAL) for number in range(1, 6)}
    for name in lost:
        hosts[name] = {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_connection": "ssh"}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"gateways": {"hosts": hosts}}))
    deliver = {
        "name": fleet_outcome.PLAY,
        "hosts": "gateways",
        "gather_facts": False,
        "serial": batches,
        "tasks": [
            {"ansible.builtin.ping": {}},
            {"ansible.builtin.fail": {"msg": "the disk is full"}, "when": f"inventory_hostname in {broken}"},
            {"ansible.builtin.set_fact": {fleet_outcome.DONE: True}},
        ],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([deliver]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", folder / "hosts.yml", folder / "play.yml"]
    finished = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return finished.stderr


def test_a_run_that_went_well_says_nothing(tmp_path: Path) -> None:
    assert "GATEWAYS" not in run(tmp_path, [], [], ["100%"])


def test_each_gateway_is_in_one_of_four_lists(tmp_path: Path) -> None:
    told = run(tmp_path, ["gw3", "gw4"], ["gw2"], ["1", "1", "2", "1"])
    assert "done: gw1\n" in told
    # A batch of which nothing is left ends the run.
    assert "left alone: gw3, gw4, gw5\n" in told
    told = run(tmp_path, ["gw3", "gw4"], ["gw2"], ["2", "2", "1"])
    assert "done: gw1\n" in told
    assert "not reached: gw2\n" in told
    assert "left alone: gw5\n" in told
    assert "failed: gw3: the disk is full" in told
    assert "run the same command again" in told


def test_a_single_gateway_needs_no_list() -> None:
    assert fleet_outcome.outcome(["gw1"], set(), {"gw1": "x"}, set()) == []


def test_a_long_error_is_cut_and_one_that_was_rescued_does_not_count() -> None:
    lines = fleet_outcome.outcome(["gw1", "gw2"], {"gw1"}, {"gw1": "rescued", "gw2": "x"}, set())
    assert "  done: gw1" in lines
    assert "  failed: gw2: x" in lines
    assert not any("rescued" in line for line in lines)


def test_a_gateway_on_which_nothing_is_due_is_done() -> None:
    listener = fleet_outcome.CallbackModule()
    compares = SimpleNamespace(action=fleet_outcome.COMPARES)
    before, after = {"unchanged": ["gw1", "gw2"], "due": {}}, {"unchanged": ["gw1"], "due": {"gw2": ["site orders: …"]}}
    listener.v2_runner_on_ok(SimpleNamespace(_task=compares, _result=before))
    assert listener._done == {"gw1", "gw2"}
    listener.v2_runner_on_ok(SimpleNamespace(_task=compares, _result=after))
    assert listener._done == {"gw1"}
