"""The modules of public certificates as Ansible calls them: arguments in, one JSON out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.modules import acme_account_key, acme_challenge, public_certificate
from tests.unit.module_utils._gateway.delivery import Authority, pem

Call = Callable[..., dict[str, Any]]
SECRET = "a-password-of-the-account-key"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(module: ModuleType, **arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_what_is_issued_is_kept(tmp_path: Path, call: Call) -> None:
    now = datetime.now(UTC)
    root = Authority.create("public Root", begin=now - timedelta(days=1), end=now + timedelta(days=900))
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    chain = pem(root.sign(key, begin=now - timedelta(days=1), end=now + timedelta(days=89)))
    (tmp_path / "roots.crt").write_text(pem(root.certificate))
    name, arguments = (
        "server/gw1/orders",
        {"folder": str(tmp_path / "public"), "roots_file": str(tmp_path / "roots.crt")},
    )
    wish = {"name": name, "dns": ["orders.example.test"], "public_key_sha256": keys.public_key_sha256(key)}
    before = call(public_certificate, **arguments, certificates=[wish])
    assert (before["changed"], before["certificates"]) == (False, {})
    assert before["due"] == {name: "issue: no public certificate at hand"}
    kept = call(public_certificate, **arguments, certificates=[wish], issued={name: chain})
    assert (kept["changed"], kept["due"]) == (True, {})
    assert kept["changes"] == [{"name": name, "action": "write", "reason": "write: issued by the public CA"}]
    after = call(public_certificate, **arguments, certificates=[wish])
    assert after["certificates"][name]["chain"] == chain
    refused = call(public_certificate, **arguments, certificates=[{**wish, "dns": ["x.test"]}], issued={name: chain})
    assert "that covers the server name 'x.test'" in refused["msg"]
    assert call(public_certificate, folder="/nowhere", roots_file="/nowhere", certificates=[])["due"] == {}


def test_the_account_key_and_no_secret_of_it(tmp_path: Path, call: Call) -> None:
    arguments = {"path": str(tmp_path / "account.key"), "passwords": json.dumps({"acme/account": SECRET})}
    planned = call(acme_account_key, **arguments, _ansible_check_mode=True)
    assert (planned["changed"], planned["taken"]) == (True, [])
    made = call(acme_account_key, **arguments)
    assert (made["changed"], made["taken"]) == (True, ["acme/account"])
    assert made["changes"][0] == {"name": "acme/account", "action": "issue", "reason": "issue: no account key yet"}
    assert SECRET not in json.dumps(made)
    assert call(acme_account_key, **arguments)["changed"] is False
    assert "password of acme/account: found none" in call(acme_account_key, path="/x/y", passwords="{}")["msg"]


def test_answers(tmp_path: Path, call: Call) -> None:
    token, folder = "t" * 43, str(tmp_path / "answers")
    placed = call(acme_challenge, answers={token: f"{token}.{'T' * 43}"}, folder=folder)
    assert placed["changes"] == [{"name": token, "action": "write", "reason": "write: the answer to an ACME challenge"}]
    assert call(acme_challenge, answers={}, folder=folder)["changed"] is True
    assert call(acme_challenge, answers={"x": "y"}, folder=folder)["failed"] is True


@pytest.mark.parametrize("module", [acme_account_key, acme_challenge, public_certificate])
def test_a_host_without_the_library_is_told_so(
    module: ModuleType, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MISSING", ImportError("none"))
    arguments = {"path": "/x", "passwords": "{}"} if module is acme_account_key else {"answers": {}}
    arguments = {"folder": "/x", "certificates": []} if module is public_certificate else arguments
    assert "cryptography" in call(module, **arguments)["msg"]
