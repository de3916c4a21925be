"""The module client_bundle as Ansible calls it: arguments in, result out, nothing secret in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.module_utils._pki import delivery, store
from ansible_collections.mtls.kit.plugins.modules import client_bundle
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client

PASSWORDS = {path: f"the password of {path}" for path in ("ca/root", "ca/issuing", "client/alice", "client/bob")}


class Exit(Exception):
    """Carries what the module would print."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        super().__init__(str(result))


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def end(_module: basic.AnsibleModule, **result: Any) -> None:
        raise Exit(result)

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", end)
    host = AuthorityHost(tmp_path)
    host.passwords = PASSWORDS
    host.run(certificates=[client("alice"), client("bob")])
    return {
        "store": str(host.store),
        "dest": str(tmp_path / "bundles"),
        "clients": ["alice"],
        "urls": ["https://api.example.com/"],
        "passwords": json.dumps(PASSWORDS),
    }


def run(arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    with patch_module_args(arguments | more), pytest.raises(Exit) as end:
        client_bundle.main()
    return end.value.result


def test_check_mode_says_what_the_run_then_does(arguments: dict[str, Any]) -> None:
    foreseen = run(arguments, _ansible_check_mode=True)
    assert not Path(arguments["dest"]).exists()
    done = run(arguments)
    assert foreseen == done
    assert done["changes"] == [{"name": "client/alice", "action": "write", "reason": "write: new client"}]
    assert run(arguments) == {"changed": False, "changes": [], "unlisted": [], "waiting": ["alice"], "diff": []}


def test_of_which_cas_a_bundle_is_comes_into_the_ledger_and_not_in_check_mode(arguments: dict[str, Any]) -> None:
    def bundled() -> dict[str, delivery.Bundled]:
        with store.inspected(Path(arguments["store"]), "demo") as ledger:
            return delivery.bundled(ledger)

    run(arguments, _ansible_check_mode=True)
    assert bundled() == {}
    run(arguments, clients=["alice"])
    first = bundled()
    assert [(name, bundle.issuer, list(bundle.anchors)) for name, bundle in first.items()] == [("client/alice", 2, [1])]
    run(arguments)
    assert bundled() == first


def test_the_result_holds_no_secret(arguments: dict[str, Any]) -> None:
    text = json.dumps(run(arguments))
    assert PASSWORDS["client/alice"] not in text
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize("passwords", ["no json", "[]", '{"alice": 1}'])
def test_passwords_of_another_form_are_refused_unquoted(arguments: dict[str, Any], passwords: str) -> None:
    result = run(arguments, passwords=passwords)
    assert result["msg"].startswith("passwords: found something else than a JSON object")
    assert passwords not in result["msg"]


def test_a_destination_that_is_a_file_is_an_error(arguments: dict[str, Any]) -> None:
    Path(arguments["dest"]).write_text("in the way")
    assert run(arguments)["msg"].endswith("Next: make room or correct the permissions and run again.")
    assert Path(arguments["dest"]).read_text() == "in the way"


def test_a_client_that_has_its_bundle_has_its_key_alone(arguments: dict[str, Any]) -> None:
    run(arguments)
    key = Path(arguments["store"]) / "certificates/client/alice/client.key"
    foreseen = run(arguments, taken=["alice"], _ansible_check_mode=True)
    assert key.exists()
    done = run(arguments, taken=["alice"])
    assert foreseen == done
    assert [change["reason"] for change in done["changes"]] == ["remove: key handed over", "write: key handed over"]
    assert done["waiting"] == []
    assert not key.exists()
    assert run(arguments)["changes"] == []


def test_nobody_is_taken_for_a_client_that_is_not_known(arguments: dict[str, Any]) -> None:
    assert run(arguments, taken=["carol"])["msg"].startswith("client_bundle_taken: found 'carol'")
    assert not Path(arguments["dest"]).exists()


def test_a_check_before_the_store_is_made_foresees_every_bundle(arguments: dict[str, Any], tmp_path: Path) -> None:
    result = run(arguments, store=str(tmp_path / "none"), _ansible_check_mode=True)
    assert result["waiting"] == ["alice"]
    assert [change["reason"] for change in result["changes"]] == ["write: new client"]


def test_the_roots_of_public_certificates_are_trusted_too(arguments: dict[str, Any]) -> None:
    run(arguments)
    anchor = Path(arguments["dest"]) / "alice" / "trust-anchor.crt"
    ours = anchor.read_text()
    changed = run(arguments, public_roots=ours)["changes"]
    assert [change["reason"] for change in changed] == ["write: trust anchor changed"]
    assert anchor.read_text() == ours + ours
    assert run(arguments, public_roots=ours)["changed"] is False
