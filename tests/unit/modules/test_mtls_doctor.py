"""The module mtls_doctor as Ansible calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.modules import mtls_doctor
from tests.unit.module_utils._gateway.test_probe import PASSWORD, SmallPki


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        mtls_doctor.main()
    said = capsys.readouterr().out
    assert PASSWORD not in said
    assert "PRIVATE KEY" not in said
    result: dict[str, Any] = json.loads(said)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> str:
    issued = SmallPki().issue("alice", PASSWORD)
    (tmp_path / "client.crt").write_text(issued.chain)
    (tmp_path / "client.key").write_text(issued.key)
    (tmp_path / "strange.crt").write_text(SmallPki().anchor)
    return str(tmp_path)


def test_a_bundle_is_judged_and_nothing_changes(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, bundle=folder, password=PASSWORD)
    assert (result["changed"], result["findings"]) == (False, [])
    (found,) = run(capsys, bundle=folder)["findings"]
    assert (found["cause"], set(found)) == ("no-password", {"cause", "text", "proof", "fix"})


def test_the_files_of_a_gateway_judge_it_too(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, bundle=folder, password=PASSWORD, client_ca=f"{folder}/strange.crt")["findings"]
    assert [one["cause"] for one in found] == ["error-21"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "nothing to look at"),
        ({"bundle": "/nowhere"}, "bundle /nowhere"),
        ({"url": "orders"}, "doctor_url"),
        ({"url": "https://orders.test/", "trust_anchor": "/nowhere"}, "file /nowhere"),
    ],
)
def test_bad_input_is_told(capsys: pytest.CaptureFixture[str], arguments: dict[str, str], found: str) -> None:
    result = run(capsys, **arguments)
    assert result["failed"]
    assert found in result["msg"]
