"""The session that the controller opens for the CA host: what is in it, and when it ends."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Session
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import pki_session
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_session import OpenBaoSession

TOKEN = "s.a-token-that-nobody-may-see"
OPTIONS = {"url": "https://bao.example:8200", "token": TOKEN, "mounts": {"root": "pki/root"}, "timeout": 7}


def test_a_token_that_was_given_is_handed_on_with_the_ca(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    with pki_session.handed_over({**OPTIONS, "ca_cert": str(tmp_path / "ca.pem"), "namespace": "team"}) as text:
        session = Session.parsed(text)
    assert session == Session(OPTIONS["url"], TOKEN, "PEM", "team", 7.0, {"root": "pki/root"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": None}, "pki_openbao.url"),
        ({"mount": "secret"}, "unknown option 'mount'"),
        ({"mounts": {"root": "pki root"}}, "pki_openbao.root"),
        ({"mounts": "pki-root"}, "pki_openbao.mounts"),
        ({"auth": "approle"}, "unknown option 'token'"),
    ],
)
def test_wrong_options_are_told_by_the_variable_they_are_in(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(KitError, match=told) as refused, pki_session.handed_over({**OPTIONS, **wrong}):
        pass
    assert "key_password" not in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_a_dictionary_is_expected() -> None:
    with pytest.raises(KitError, match="a dictionary"), pki_session.handed_over(TOKEN):
        pass


def test_an_action_has_the_session_for_its_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(OpenBaoSession, "close", lambda self: ended.append(True))
    task = SimpleNamespace(args={"name": "demo", "openbao": OPTIONS})

    def run() -> dict[str, Any]:
        assert json.loads(task.args["openbao"])["token"] == TOKEN
        assert not ended
        return {"changed": False}

    assert pki_session.with_session(task, run) == {"changed": False}
    assert (ended, task.args["openbao"]) == ([True], OPTIONS)
    wrong = SimpleNamespace(args={"openbao": {**OPTIONS, "url": "ftp://x"}})
    failed = pki_session.with_session(wrong, run)
    assert failed["failed"]
    assert "pki_openbao.url" in failed["msg"]
    assert pki_session.with_session(SimpleNamespace(args={}), dict) == {}
