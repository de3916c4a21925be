"""The action ``certificate_release``: long trust units go as files, everything else as it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.action import certificate_release as action
from tests.unit.action.conftest import Run

LONG = {"revoked.map": '"2:0A" 1;\n' * 200_000}
PASSWORD = "password-of-the-key"


def site(name: str, files: Any, number: int = 7) -> dict[str, Any]:
    """A site's argument, as far as the action looks at it."""
    return {"name": name, "trust": {"number": number, "sha256": "ab" * 32, "files": files}}


def test_each_long_unit_goes_once_and_short_ones_stay() -> None:
    sites = [site("a", LONG), site("b", LONG), site("c", {"revoked.map": ""}, 8)]
    (unit,) = action.long_units(sites).items()
    assert unit[1] == LONG
    shipped = action.shipped(sites, {unit[0]: "/far/trust-0.json"})
    assert [entry["trust"].get("files_path") for entry in shipped] == ["/far/trust-0.json"] * 2 + [None]
    assert "files" not in shipped[0]["trust"]
    assert shipped[2] == sites[2]
    assert sites[0]["trust"]["files"] == LONG


def test_what_has_another_form_is_left_to_the_module() -> None:
    for sites in (None, "text", ["text"], [{}], [{"trust": None}], [site("a", "x" * 2_000_000)], [site("a", {"b": 1})]):
        assert action.long_units(sites) == {}


def test_a_long_unit_arrives_and_leaves_nothing_behind(play: Callable[..., Run], tmp_path: Path) -> None:
    remote = tmp_path / "remote_tmp"
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts: dict[str, dict[str, Any]] = {"gw1": {**local, "ansible_remote_tmp": str(remote)}}
    whole = {**site("orders", {**LONG, "crl.pem": 7}), "chain": "x", "trust_anchor": "x", "server_names": ["x"]}
    arguments = {
        "root": str(tmp_path / "mtls"), "now": "{{ now(utc=true).isoformat() }}+00:00",
        "passwords": json.dumps({"orders": PASSWORD}), "sites": [whole],
    }  # fmt: skip
    run = play([{"name": "Release", "mtls.kit.certificate_release": arguments}], hosts, "-vvv")
    # The module read the file, for it names what is wrong in it.
    assert "trust of site 'orders': found a file that is no text" in run.output
    assert "trust-0.json" in run.output
    assert list(remote.iterdir()) == []
    assert PASSWORD not in run.output
