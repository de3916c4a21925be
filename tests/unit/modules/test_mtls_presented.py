"""The module mtls_presented as Ansible calls it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.modules import mtls_presented


def test_each_site_has_its_own_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "verify": "SUCCESS", "name": "alice",
        "issuer": "CN=demo Issuing G1", "serial": "0A",
    }  # fmt: skip
    (tmp_path / "mtls-orders.access.log").write_text(json.dumps(line, separators=(",", ":")) + "\n")
    arguments = {"sites": ["orders", "silent"], "directory": str(tmp_path)}
    with patch_module_args({**arguments, "_ansible_check_mode": True}), pytest.raises(SystemExit):
        mtls_presented.main()
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] is False
    assert [one["serial"] for one in result["sites"]["orders"]["certificates"]] == ["0A"]
    assert result["sites"]["silent"]["certificates"] == []
    assert result["sites"]["silent"]["complete"] is True
