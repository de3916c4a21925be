"""The action in real runs: it stores what it says, says why, and never shows a password."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.unit.action.conftest import CHECKOUT, Run

Play = Callable[..., Run]

HOSTS = {"ca1": {}}
PATHS = ["ca/root", "client/alice"]
VAULT_PASSWORD = "the-vault-password-of-this-test"


def tasks(**arguments: Any) -> list[dict[str, Any]]:
    """Resolve, show the reasons, and hand the passwords on as the role does; only a hash of them is shown."""
    return [
        {"name": "Ensure", "mtls.kit.key_passwords": {"paths": PATHS, **arguments}, "register": "__resolved"},
        {"name": "Show the reasons", "ansible.builtin.debug": {"var": "__resolved.changes"}},
        {
            "name": "Hand on",
            "ansible.builtin.set_fact": {"key_password_json": "{{ __resolved.passwords_json }}"},
            "no_log": True,
        },
        {
            "name": "Show a hash",
            "ansible.builtin.debug": {
                "msg": "sum={{ (key_password_json | from_json)['client/alice'] | hash('sha256') }}"
            },
        },
    ]


@pytest.fixture
def vault_password_file(tmp_path: Path) -> Path:
    file = tmp_path / "vault-password"
    file.write_text(VAULT_PASSWORD)
    return file


def vault_of(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "inventory" / "key_passwords.vault.txt"
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    entries = yaml.safe_load(vault.decrypt(file.read_bytes()))
    assert set(entries.pop("records")) == set(entries)
    return entries


def test_all_output_of_all_modes_is_free_of_passwords(play: Play, tmp_path: Path, vault_password_file: Path) -> None:
    loud = ["--vault-password-file", str(vault_password_file), "-vvvv", "--diff"]
    checked = play(tasks(), HOSTS, *loud, "--check")
    assert checked.returncode == 0, checked.output
    assert not (tmp_path / "inventory" / "key_passwords.vault.txt").exists()
    first = play(tasks(), HOSTS, *loud)
    assert first.returncode == 0, first.output
    passwords = vault_of(tmp_path)
    assert set(passwords) == set(PATHS)
    second = play(tasks(), HOSTS, *loud)

    for run, changed in ((checked, 1), (first, 1), (second, 0)):
        assert f"changed={changed} " in run.output
        assert VAULT_PASSWORD not in run.output
        for password in passwords.values():
            assert password not in run.output
    for run in (checked, first):
        assert run.output.count("write: the vault had none") == len(PATHS)
    # What is handed on is what is stored; and the output is really there to be searched.
    for run in (first, second):
        assert f"sum={sha256(passwords['client/alice'].encode()).hexdigest()}" in run.output
    assert "sum=" in checked.output

    left = [file for file in tmp_path.rglob("*") if file.is_file()]
    for file in left:
        assert passwords["ca/root"].encode() not in file.read_bytes(), file


def test_a_failure_is_readable_and_shows_no_secret(play: Play, tmp_path: Path, vault_password_file: Path) -> None:
    weak = "hunter234hunter234"
    (tmp_path / "inventory").mkdir()
    file = tmp_path / "inventory" / "key_passwords.vault.txt"
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    file.write_bytes(vault.encrypt(json.dumps({"client/alice": weak})))
    before = file.read_bytes()
    run = play(tasks(), HOSTS, "--vault-password-file", str(vault_password_file), "-vvvv", "--diff")
    assert run.returncode == 2
    assert f"password 'client/alice' in backend ansible_vault, file {file}: found a password that repeats" in run.output
    assert weak not in run.output
    assert file.read_bytes() == before


def test_a_wrong_vault_password_and_none_are_told(play: Play, tmp_path: Path, vault_password_file: Path) -> None:
    assert play(tasks(), HOSTS, "--vault-password-file", str(vault_password_file)).returncode == 0
    wrong = tmp_path / "wrong"
    wrong.write_text("another-password")
    run = play(tasks(), HOSTS, "--vault-password-file", str(wrong), "-vvvv")
    assert run.returncode == 2
    assert "found that none of the given vault passwords opens it" in run.output
    assert "another-password" not in run.output
    run = play(tasks(), HOSTS, "-vvvv")
    assert run.returncode == 2
    assert "run again with --vault-password-file or --vault-id" in run.output


def test_bad_arguments_are_told(play: Play, tmp_path: Path, vault_password_file: Path) -> None:
    good = {"backend": "ansible_vault", "options": {}, "paths": PATHS, "generate": True}
    bad = {
        "h1": ({"generate": False}, "found no entry, and none for 1 more paths"),
        "h2": ({"paths": ["client/a\nb"]}, "client: found the name 'a\\\\nb'"),
        "h3": ({"backend": "valt"}, "key_password_backend: found 'valt'; expected one of ansible_vault, command"),
        "h4": ({"options": "token-hunter2"}, "key_password_options: found something else; expected a dictionary"),
        "h5": ({"options": {"token": "hunter2"}}, "found an unknown option 'token'"),
    }
    hosts = {host: {**good, **arguments} for host, (arguments, _) in bad.items()}
    run = play(
        tasks(**{name: f"{{{{ {name} }}}}" for name in good}), hosts, "--vault-password-file", str(vault_password_file)
    )
    for host, (_, message) in bad.items():
        assert f"fatal: [{host}]: FAILED!" in run.output
        assert message in run.output
    assert "hunter2" not in run.output
    assert not (tmp_path / "inventory" / "key_passwords.vault.txt").exists()


ROLE = [
    {"name": "Resolve", "ansible.builtin.include_role": {"name": "mtls.kit.key_password"}},
    {
        "name": "Show a hash",
        "ansible.builtin.debug": {"msg": "sum={{ (key_password_json | from_json)['client/alice'] | hash('sha256') }}"},
    },
]
LOOKUP = """
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

DOCUMENTATION = 'name: pass\\noptions: {token: {type: str, required: true, description: A token.}}'


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **options):
        self.set_options(var_options=variables, direct=options)
        if 'broken' in terms[0]:
            raise AnsibleError(f"no {self.get_option('token')} for SECRET")
        # As Google's does.
        Display().vvv(f"asked for {terms[0]} with {self.get_option('token')}, got SECRET")
        return ['SECRET']
"""


def test_every_vault_keeps_tokens_and_passwords_out_of_all_output(
    play: Play, tmp_path: Path, vault_password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good and broken ones, through the role as a user sets it; OpenBao has its own in tests/integration."""
    token, password = "s.the-token-0Zx9", "0Zx9-good-enough-7Qy3"
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    folder = tmp_path / "test_collections" / "ansible_collections" / "test" / "vault" / "plugins" / "lookup"
    folder.mkdir(parents=True)
    (folder / "pass.py").write_text(LOOKUP.replace("SECRET", password))
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", f"{CHECKOUT / 'collections'}:{tmp_path / 'test_collections'}")
    monkeypatch.setenv("MTLS_KIT_PASSWORD_CLIENT_ALICE", vault.encrypt(password).decode())
    monkeypatch.setenv("BROKEN_CLIENT_ALICE", password)
    store = tmp_path / "store"
    store.mkdir()
    get = f"if [ -f {store}/$0 ]; then cat {store}/$0; else exit 3; fi"
    vaults: dict[str, tuple[str, dict[str, Any], str]] = {
        "lookup": ("lookup", {"plugin": "test.vault.pass", "options": {"token": token}}, "sum="),
        "env": ("env", {}, "sum="),
        "command": (
            "command",
            {
                "get_argv": ["sh", "-c", get, "{name}"],
                "put_argv": ["sh", "-c", f"cat >{store}/$0", "{name}"],
                "missing_codes": [3],
            },
            "write: the vault had none",
        ),
        "lookup_broken": (
            "lookup",
            {"plugin": "test.vault.pass", "term": "broken/{path}", "options": {"token": token}},
            "found that the plugin failed with AnsibleError",
        ),
        "lookup_unknown": (
            "lookup",
            {"plugin": "test.vault.nowhere", "options": {"token": token}},
            "found no lookup plugin 'test.vault.nowhere'",
        ),
        "env_broken": ("env", {"prefix": "BROKEN_"}, "found a text that isn't encrypted"),
        "command_broken": (
            "command",
            {"get_argv": ["sh", "-c", f"echo {token}; echo {password} >&2; exit 7", "{path}"]},
            "found exit code 7",
        ),
        "openbao_broken": (
            "openbao",
            {"url": "http://127.0.0.1:1", "token": token, "timeout": 1},
            "found no connection (Connection refused)",
        ),
    }
    hosts = {
        host: {
            "key_password_backend": backend,
            "key_password_options": options,
            "key_password_paths": ["client/alice"],
        }
        for host, (backend, options, _) in vaults.items()
    }
    run = play(ROLE, hosts, "--vault-password-file", str(vault_password_file), "-vvvv", "--diff", "--forks", "8")
    assert run.returncode == 2
    for host, (_, _, expected) in vaults.items():
        assert expected in run.output, run.output
        [recap] = [line for line in run.output.splitlines() if line.startswith(f"{host} ") and "ok=" in line]
        assert f"failed={1 if '_' in host else 0}" in recap, run.output
    stored = (store / "client-alice").read_text()
    for secret in (token, password, stored, VAULT_PASSWORD):
        assert secret not in run.output
    assert run.output.count(f"sum={sha256(password.encode()).hexdigest()}") == 2
    assert f"sum={sha256(stored.encode()).hexdigest()}" in run.output
