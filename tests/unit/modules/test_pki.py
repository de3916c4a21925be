"""The modules of the PKI: what they document is what they take."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._pki import desired, keys
from ansible_collections.mtls.kit.plugins.modules import pki

CHECKOUT = Path(__file__).resolve().parents[3]
MODULES = ["pki", "pki_probe", "pki_backup", "pki_restore"]


def documentation(module: str) -> dict[str, Any]:
    """The DOCUMENTATION of a module, without importing it."""
    tree = ast.parse((CHECKOUT / f"plugins/modules/{module}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            loaded: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))
            return loaded
    raise AssertionError(module)


def assert_same(documented: dict[str, Any], taken: dict[str, Any], where: str) -> None:
    """Names, types, defaults, choices and suboptions, all the way down."""
    assert set(documented) == set(taken), where
    for name, option in documented.items():
        spec = taken[name]
        assert option["description"], name
        for what in ("type", "elements", "choices", "required"):
            assert option.get(what) == spec.get(what), f"{where}.{name}: {what}"
        assert option.get("default") == spec.get("default"), f"{where}.{name}: default"
        assert_same(option.get("suboptions") or {}, spec.get("options") or {}, f"{where}.{name}")


def test_the_documentation_of_pki_is_what_it_takes() -> None:
    assert_same(documentation("pki")["options"], pki.ARGUMENTS, "pki")


def test_choices_are_those_of_the_core() -> None:
    assert list(keys.KEY_TYPES) == pki._KEY_TYPES
    assert tuple(pki._REVOCATION_REASONS) == desired.REVOCATION_REASONS


def run(module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module as Ansible does, with its arguments on standard input."""
    text = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}})
    command = [sys.executable, "-m", f"ansible_collections.mtls.kit.plugins.modules.{module}"]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(CHECKOUT / "collections"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


SECRETS = {"ca/root": "root-secret-1234", "ca/issuing": "issuing-secret-1234", "client/alice": "alice-secret-1234"}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """Arguments of a small PKI."""
    return {
        "store": str(tmp_path / "store"),
        "name": "demo",
        "init": True,
        "certificates": [{"name": "client/alice"}],
        "trust": [{"scope": "issuing", "accept": ["issuing"]}],
        "passwords": json.dumps(SECRETS),
    }


def test_the_modules_work_together_and_return_no_secret(arguments: dict[str, Any], tmp_path: Path) -> None:
    foreseen = run("pki", check=True, **arguments)
    first = run("pki", **arguments)
    assert foreseen["changes"] == first["changes"] != []
    assert foreseen["diff"] == first["diff"]
    second = run("pki", **arguments)
    assert (second["changed"], second["changes"]) == (False, [])
    store = {"store": arguments["store"], "passwords": arguments["passwords"]}
    probes = run("pki_probe", trust=arguments["trust"], probe_password="probe-secret-12345", **store)
    assert probes["identities"]["issuing"][0]["name"] == "good"
    archive = str(tmp_path / "backup")
    backup = run("pki_backup", archive=archive, archive_password="archive-secret-12345", **store)
    assert backup["changed"]
    restored = run(
        "pki_restore", store=str(tmp_path / "again"), name="demo", archive=archive,
        archive_password="archive-secret-12345", passwords_file=str(tmp_path / "passwords"),
    )  # fmt: skip
    assert restored["changed"]
    assert json.loads((tmp_path / "passwords").read_text()) == SECRETS
    output = json.dumps([foreseen, first, second, probes, backup, restored])
    for secret in (*SECRETS.values(), "probe-secret-12345", "archive-secret-12345"):
        assert secret not in output


def test_errors_are_one_readable_message(arguments: dict[str, Any]) -> None:
    for wrong, found in (
        ({"passwords": "{}"}, "password of ca/root: found none"),
        ({"passwords": "no json"}, "something else than a JSON object"),
        ({"certificates": [{"name": "client/a,b"}]}, "client: found the name 'a,b'"),
        ({"init": False}, "pki_init=true"),
    ):
        result = run("pki", **{**arguments, **wrong})
        assert result["failed"]
        assert found in result["msg"]
        assert "Next: " in result["msg"]
    assert not Path(arguments["store"], "authorities").exists()
