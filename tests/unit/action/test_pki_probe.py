"""The action ``pki_probe``: the module's own result, and a session with OpenBao where that is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.action.conftest import Run

HOSTS: dict[str, dict[str, Any]] = {
    "authority": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
}
SECRETS = {"ca/root": "secret-of-the-root", "ca/issuing": "secret-of-issuing"}
PROBES = "a-password-of-this-run-only"


def tasks(folder: Path, **more: Any) -> list[dict[str, Any]]:
    """A store is made, then probes of it are minted."""
    common = {"store": str(folder), "passwords": json.dumps(SECRETS)}
    trust = [{"scope": "issuing", "accept": ["issuing"]}]
    return [
        {"name": "Make", "mtls.kit.pki": {**common, "name": "demo", "init": True, "trust": trust}},
        {
            "name": "Probe",
            "mtls.kit.pki_probe": {**common, "trust": trust, "probe_password": PROBES, **more},
            "register": "probed",
        },
        {
            "name": "Tell",
            "ansible.builtin.debug": {"msg": "{{ probed.identities.issuing | map(attribute='name') | join(' ') }}"},
        },
    ]


def test_it_runs_the_module(play: Callable[..., Run], tmp_path: Path) -> None:
    made = play(tasks(tmp_path / "store"), HOSTS, "-vvv")
    assert "good none stranger expired sibling server-cert" in made.output
    assert not any(secret in made.output for secret in (*SECRETS.values(), PROBES))


def test_a_session_that_cannot_be_opened_is_told_without_its_token(play: Callable[..., Run], tmp_path: Path) -> None:
    openbao = {"url": "ftp://bao.example", "token": "s.a-token-that-nobody-may-see"}
    failed = play(tasks(tmp_path / "store", openbao=openbao), HOSTS, "-vvvv", "--diff")
    assert failed.returncode != 0
    assert "pki_openbao.url" in failed.output
    assert openbao["token"] not in failed.output
