"""The module certificate_password as Ansible calls it: arguments in, one JSON out, nothing secret in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.module_utils._gateway import password_delivery, password_setup
from ansible_collections.mtls.kit.plugins.modules import certificate_password
from tests.unit.module_utils._gateway.delivery import current_user
from tests.unit.module_utils._gateway.test_password_setup import PASSWORD, PROGRAM, SECRET_ID, FakeSystemd

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    places = password_setup.Places(tmp_path / "etc", tmp_path / "lib", tmp_path / "units", tmp_path / "mounts")
    places.mounts.write_text("tmpfs /run tmpfs rw 0 0\n")
    places.units.mkdir()
    systemd = FakeSystemd()
    gateway = password_setup.Gateway
    monkeypatch.setattr(
        password_setup, "Gateway", lambda **arguments: gateway(**arguments, systemd=systemd, places=places)
    )
    monkeypatch.setattr(password_delivery, "RUNTIME", tmp_path / "run/mtls")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "mtls").mkdir()

    def call(**arguments: Any) -> dict[str, Any]:
        common = {
            "root": str(tmp_path / "mtls"), "owner": current_user(), "gateway": "gw1", "program": PROGRAM,
            "sites": [{"name": "orders", "password_delivery": "systemd_credential"}],
        }  # fmt: skip
        with patch_module_args({**common, **arguments}), pytest.raises(SystemExit):
            certificate_password.main()
        text = capsys.readouterr().out
        assert PASSWORD not in text
        assert SECRET_ID not in text
        result: dict[str, Any] = json.loads(text)
        return result

    return call


def test_ready_then_finished_then_gone(call: Call, tmp_path: Path) -> None:
    passwords = json.dumps({"orders": PASSWORD})
    assert call(state="checked")["changed"] is False
    foreseen = call(passwords=passwords, _ansible_check_mode=True)
    done = call(passwords=passwords, _ansible_diff=True)
    assert foreseen["changes"] == done["changes"] != []
    assert any("mtls-key-credentials.service" in one["after_header"] for one in done["diff"])
    assert call(passwords=passwords)["changed"] is False
    assert call(state="finished")["changed"] is False
    assert call(state="removed", sites=[])["changed"] is True
    assert [path.name for path in tmp_path.iterdir() if path.name in ("etc", "lib")] == []


def test_what_is_missing_is_told_before_anything_changes(call: Call, tmp_path: Path) -> None:
    result = call(state="checked", unit="")
    assert result["failed"] is True
    assert "found an Nginx that no unit of systemd starts" in result["msg"]
    assert "Next: use password delivery file" in result["msg"]
    result = call(passwords="{}")
    assert "password of site 'orders': found none" in result["msg"]
    result = call(state="checked", sites=[{"name": "orders", "password_delivery": "memory"}], secret_id=SECRET_ID)
    assert "no openbao.url" in result["msg"]
    assert not (tmp_path / "etc").exists()


def test_a_gateway_without_the_library_is_told_so(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_password, "MISSING", "Traceback")
    assert "cryptography" in call()["msg"]
