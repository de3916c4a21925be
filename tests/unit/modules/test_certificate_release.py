"""The module certificate_release as Ansible calls it: arguments in, one JSON out, nothing secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.modules import certificate_release
from tests.unit.module_utils._gateway import delivery
from tests.unit.module_utils._gateway.delivery import PASSWORD, Gateway, Pki, current_user

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            certificate_release.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


class Clock(datetime):
    """Stands still at the tests' moment."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return delivery.NOW


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(certificate_release, "datetime", Clock)
    gateway = Gateway(tmp_path / "mtls", Pki(), current_user())
    gateway.certify(gateway.request()["csrs"])
    return gateway


def test_it_installs_and_shows_no_secret(certified: Gateway, call: Call) -> None:
    result = call(**certified.arguments())
    assert result["changed"] is True
    assert [change["reason"] for change in result["changes"]] == [
        "install: trust 1, the first",
        "install: the first release, until 2026-08-29T12:00:00Z",
    ]
    assert result["sites"]["orders"] == {"release": certified.current().name, "previous": None, "trust": 1}
    assert PASSWORD not in json.dumps(result)
    assert "PRIVATE KEY" not in json.dumps(result)
    second = call(**certified.arguments())
    assert (second["changed"], second["changes"], second["diff"]) == (False, [], {"before": "{}\n", "after": "{}\n"})


def test_a_unit_that_comes_as_a_file_is_the_same(certified: Gateway, call: Call, tmp_path: Path) -> None:
    arguments = certified.arguments()
    unit = arguments["sites"][0]["trust"]
    path = tmp_path / "unit.json"
    path.write_text(json.dumps(unit.pop("files")))
    for wrong, told in ((tmp_path / "absent.json", "No such file"), (Path(__file__), "no JSON object in it")):
        unit["files_path"] = str(wrong)
        assert told in call(**arguments)["msg"]
    unit["files_path"] = str(path)
    assert call(**arguments)["changed"] is True
    assert call(**certified.arguments())["changed"] is False
    assert "mutually exclusive" in call(**{**arguments, "sites": [_with_both(arguments["sites"][0])]})["msg"]


def _with_both(site: dict[str, Any]) -> dict[str, Any]:
    return {**site, "trust": {**site["trust"], "files": {}}}


def test_check_mode(certified: Gateway, call: Call) -> None:
    before = certified.tree()
    assert call(**certified.arguments(), _ansible_check_mode=True)["changed"] is True
    assert certified.tree() == before


def test_what_is_wrong_fails_with_the_four_parts(certified: Gateway, call: Call) -> None:
    result = call(**{**certified.arguments(), "now": (delivery.NOW - timedelta(hours=1)).isoformat()})
    assert result["failed"] is True
    assert "clock of the gateway: found 2026-06-01T12:00:00Z here and 2026-06-01T11:00:00Z" in result["msg"]


def test_a_keep_of_none_is_refused(certified: Gateway, call: Call) -> None:
    assert "certificate_install_keep: found 0" in call(**{**certified.arguments(), "keep": 0})["msg"]


def test_a_gateway_without_the_library_is_told_so(
    certified: Gateway, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_release, "MISSING", "Traceback")
    assert "cryptography" in call(**certified.arguments())["msg"]
