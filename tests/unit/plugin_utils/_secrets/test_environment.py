"""Encrypted values in the environment: found by a rule, opened by the vault password, never quoted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.environment import Environment
from tests.unit.plugin_utils._secrets.conftest import controller_with

ALICE = "a-password-of-alice-0Zx9"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
VARIABLE = "MTLS_KIT_PASSWORD_CLIENT_ALICE_EXAMPLE_ORG"
PATH = "client/alice@example.org"


def encrypted(controller: Controller, plaintext: str) -> str:
    return controller.vault.encrypt(plaintext).decode()


@pytest.mark.parametrize("ending", ["", "\n"])
@pytest.mark.parametrize("break_", ["\n", " ", "\\n", "\n   "])
def test_a_value_is_decrypted_however_its_lines_are_broken(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, break_: str, ending: str
) -> None:
    monkeypatch.setenv(VARIABLE, encrypted(controller, ALICE + ending).replace("\n", break_))
    with Environment({}, controller) as backend:
        assert backend.get_many([PATH, "client/bob"]) == {PATH: ALICE}


def test_only_one_line_break_is_taken_off(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_CA_ROOT", encrypted(controller, f"{ALICE}\n\n"))
    assert Environment({"prefix": "MY_"}, controller).get_many(["ca/root"]) == {"ca/root": f"{ALICE}\n"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (ALICE, "found a text that isn't encrypted; expected what ansible-vault encrypt prints"),
        ("", "found an empty value"),
        ("  ", "found an empty value"),
        ("$ANSIBLE_VAULT;1.1;AES256 6162", "found that none of the given vault passwords opens it"),
    ],
)
def test_other_values_are_refused_unquoted(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(KitError) as caught:
        Environment({}, controller).get_many([PATH])
    assert f"password '{PATH}' in backend env, variable {VARIABLE}: {message}" in str(caught.value)
    assert ALICE not in str(caught.value)


def test_a_wrong_vault_password_and_none_are_told(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, encrypted(controller, ALICE))
    with pytest.raises(KitError, match="none of the given vault passwords opens it") as caught:
        Environment({}, controller_with(tmp_path, b"another")).get_many([PATH])
    assert caught.value.__suppress_context__
    with pytest.raises(KitError, match=r"found no vault password.*--vault-password-file"):
        Environment({}, controller_with(tmp_path))


def test_two_paths_of_one_variable_are_told(controller: Controller) -> None:
    with pytest.raises(KitError, match="paths 'client/alice' and 'client/Alice': found the same entry for both"):
        Environment({}, controller).get_many(["client/alice", "client/Alice"])


def test_nothing_is_ever_written(controller: Controller) -> None:
    backend = Environment({}, controller)
    assert not backend.writable
    with pytest.raises(KitError, match="a backend that can only be read") as caught:
        backend.put_many({PATH: ALICE}, now=NOW)
    assert ALICE not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "1X"}, "key_password_options.prefix of backend env: found other characters"),
        ({"prefix": "X-"}, "key_password_options.prefix of backend env: found other characters"),
        ({"prefx": "X_"}, "write 'prefix'"),
        ({"timeout": 0}, "seconds, more than 0 and at most 30"),
    ],
)
def test_bad_options_are_refused(controller: Controller, options: dict, message: str) -> None:
    with pytest.raises(KitError) as caught:
        Environment(options, controller)
    assert message in str(caught.value)
