"""Module ``pki_info`` as Ansible calls it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._pki import inspection, store
from ansible_collections.mtls.kit.plugins.modules import pki_info
from tests.unit.modules.test_pki import SECRETS, assert_same, documentation, run


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A store with one client."""
    made = run(
        "pki", store=str(tmp_path / "store"), name="demo", init=True, certificates=[{"name": "client/alice"}],
        passwords=json.dumps(SECRETS),
    )  # fmt: skip
    assert made["changed"]
    return str(tmp_path / "store")


def test_the_documentation_is_what_it_takes() -> None:
    assert_same(documentation("pki_info")["options"], pki_info.ARGUMENTS, "pki_info")


def test_choices_and_defaults_are_those_of_the_core() -> None:
    options = pki_info.ARGUMENTS["filter"]["options"]
    assert options["kind"]["choices"] == ["all", *inspection.KINDS]
    assert options["state"]["choices"] == ["all", *inspection.STATES]
    assert {name: option.get("default") for name, option in options.items()} == vars(inspection.Filter())
    assert {name: pki_info.ARGUMENTS[name]["default"] for name in vars(inspection.Windows())} == vars(
        inspection.Windows()
    )


@pytest.mark.parametrize("check", [False, True])
def test_it_tells_the_store_and_no_secret(folder: str, check: bool) -> None:
    found = run("pki_info", check=check, store=folder)
    assert found["changed"] is False
    assert (found["name"], found["store"], found["attention"]) == ("demo", folder, [])
    assert [entry["name"] for entry in found["certificates"]] == ["client/alice"]
    text = json.dumps(found)
    assert "PRIVATE KEY" not in text
    assert not any(secret in text for secret in SECRETS.values())


def test_what_it_returns_is_documented(folder: str) -> None:
    documented: dict[str, Any] = yaml.safe_load(pki_info.RETURN)
    assert set(documented) == set(run("pki_info", store=folder)) - {"changed", "invocation"}


def test_it_takes_the_desired_list_as_pki_does(folder: str) -> None:
    wanted = [{"name": "client/bob", "profile": "client", "source": "key", "groups": ["x"]}]
    asked = {"kind": "client", "within_days": 90}
    found = run("pki_info", store=folder, certificates=wanted, filter=asked)
    as_text = run("pki_info", store=folder, certificates=json.dumps(wanted), filter=asked)
    assert found["not_issued"] == as_text["not_issued"] == ["client/bob"]
    assert [(entry["name"], entry["listed"]) for entry in found["certificates"]] == [("client/alice", False)]


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"name": "other"}, "found the store of PKI 'demo'"),
        ({"store": "/nonexistent/store"}, "no store there"),
        ({"filter": {"state": "late"}}, "expired, due, valid, revoked"),
        ({"certificates": [{"name": "alice"}]}, "client/<client>"),
        ({"certificates": "alice"}, "something else than a JSON list of objects"),
        ({"certificates": ["client/alice"]}, "something else than a JSON list of objects"),
    ],
)
def test_errors_are_one_readable_message(folder: str, wrong: dict[str, Any], found: str) -> None:
    result = run("pki_info", **{"store": folder, **wrong})
    assert result["failed"]
    assert found in result["msg"]


def test_a_run_at_work_and_how_far_it_is(folder: str) -> None:
    assert run("pki_info", store=folder)["running"] is None
    with store.opened(Path(folder), "demo", datetime.now(UTC)) as opened:
        opened.tell("issued 256 of 512")
        running = run("pki_info", store=folder)["running"]
        assert (running["pid"], running["doing"]) == (os.getpid(), "issued 256 of 512")
    assert run("pki_info", store=folder)["running"] is None
