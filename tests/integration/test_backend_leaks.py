"""Whichever vault the passwords come from, a run at -vvvv --diff leaves none of them where it doesn't belong.

The run is that of site.yml on the CA host: what the gateways get is the same for every vault, and test_leaks.py looks
there. Looked through are the same places as in that test.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from tests.integration.gateway import Gateway
from tests.integration.openbao import Bao
from tests.integration.runs import playbook
from tests.integration.test_leaks import PLAIN_KEYS, ProcessWatch, environment_in, found_in

VAULT_PASSWORD = secrets.token_urlsafe(18)
PATHS = ("ca/issuing", "ca/root", "client/alice", "server/gw1/orders")
POLICY = 'path "secret/data/mtls-kit/*" { capabilities = ["read", "create", "update"] }'
# A plugin that tells what it reads to whoever listens at -vvv.
PLUGIN = """
import json

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **options):
        with open(options["file"]) as handle:
            found = json.load(handle)[terms[0]]
        Display().vvv(f"{options['token']} read {found}")
        return [found]
"""
# A program that complains aloud about all it handles.
PROGRAM = """
import pathlib, sys

verb, path = sys.argv[1:]
file = pathlib.Path(__file__).with_name("entries") / path.replace("/", "-")
if verb == "put":
    file.parent.mkdir(exist_ok=True)
    file.write_text(sys.stdin.read())
if not file.exists():
    sys.exit(3)
print("handled", file.read_text(), file=sys.stderr)
print(file.read_text())
"""


@dataclass
class Vault:
    """What a run needs of a vault, and what is known of it afterwards."""

    options: Mapping[str, Any]
    passwords: Callable[[], dict[str, str]] = field(repr=False)
    others: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets of the options, such as a token."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    belongs: Callable[[Path], bool] = lambda path: False
    """Whether the test's own vault keeps its passwords in this file."""


def made() -> dict[str, str]:
    return {path: secrets.token_urlsafe(24) for path in PATHS}


@contextmanager
def openbao(folder: Path) -> Iterator[Vault]:
    with Bao.dev(folder) as bao:
        bao.set("sys/policies/acl/mtls-kit", {"policy": POLICY})
        bao.set("sys/auth/approle", {"type": "approle"})
        bao.set("auth/approle/role/kit", {"token_policies": "mtls-kit"})
        role = bao.api("GET", "auth/approle/role/kit/role-id").json()["data"]["role_id"]
        secret = bao.set("auth/approle/role/kit/secret-id")["data"]["secret_id"]
        credentials = {"role_id": role, "secret_id": secret}

        def passwords() -> dict[str, str]:
            stored = {path: bao.api("GET", f"secret/data/mtls-kit/{path}").json() for path in PATHS}
            return {path: answer["data"]["data"]["password"] for path, answer in stored.items()}

        yield Vault({"url": bao.url, "auth": "approle", **credentials}, passwords, credentials)


@contextmanager
def lookup(folder: Path) -> Iterator[Vault]:
    (folder / "plugins").mkdir()
    (folder / "plugins/of_the_test.py").write_text(PLUGIN)
    passwords, token, file = made(), secrets.token_urlsafe(24), folder / "passwords.json"
    file.write_text(json.dumps(passwords))
    yield Vault(
        {"plugin": "of_the_test", "options": {"file": str(file), "token": token}},
        lambda: passwords,
        {"token": token},
        {"ANSIBLE_LOOKUP_PLUGINS": str(folder / "plugins")},
        lambda path: path == file,
    )


@contextmanager
def env(folder: Path) -> Iterator[Vault]:
    vault, passwords = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))]), made()
    environment = {
        "MTLS_KIT_PASSWORD_" + re.sub("[^A-Z0-9]", "_", path.upper()): vault.encrypt(password).decode()
        for path, password in passwords.items()
    }
    yield Vault({}, lambda: passwords, environment=environment)


@contextmanager
def command(folder: Path) -> Iterator[Vault]:
    (folder / "program.py").write_text(PROGRAM)
    program, entries = [sys.executable, str(folder / "program.py")], folder / "entries"
    yield Vault(
        {"get_argv": [*program, "get", "{path}"], "put_argv": [*program, "put", "{path}"], "missing_codes": [3]},
        lambda: {path: (entries / path.replace("/", "-")).read_text() for path in PATHS},
        belongs=lambda path: path.parent == entries,
    )


VAULTS: dict[str, Callable[[Path], AbstractContextManager[Vault]]] = {
    "openbao": openbao,
    "lookup": lookup,
    "env": env,
    "command": command,
}


@pytest.mark.parametrize("name", VAULTS)
def test_a_run_leaves_no_secret_behind(name: str, tmp_path: Path) -> None:
    # Nobody is at this address, and nobody is asked: only its variables count.
    gateway = Gateway("", "192.0.2.1", tmp_path, secrets.token_urlsafe(18))
    inventory = gateway.write_inventory(tmp_path, VAULT_PASSWORD)
    (inventory / "host_vars").mkdir()
    variables = inventory / "host_vars/localhost.yml"
    folder = tmp_path / "vault"
    folder.mkdir()
    planted = secrets.token_urlsafe(24)
    with VAULTS[name](folder) as vault:
        chosen = {"key_password_backend": name, "key_password_options": dict(vault.options)}
        variables.write_text(yaml.safe_dump(chosen))
        environment = {**environment_in(tmp_path), **vault.environment}
        watch = ProcessWatch()
        watch.start()
        try:
            run = playbook("site", inventory, tmp_path, "-vvvv", "--diff", "--limit", "ca", environment=environment)
            # For the search to find in both places, as it would a secret.
            waiting = [sys.executable, "-c", "import time; time.sleep(0.3)"]
            subprocess.run([*waiting, f"an argument {planted}"], check=True)
            subprocess.run(waiting, env={**os.environ, "PLANTED": f"a value {planted}"}, check=True)
        finally:
            watch.stop()
        assert run.code == 0, run.text[-3000:]
        passwords = vault.passwords()

    # These are the passwords that the run worked with, and what it wrote is encrypted.
    for place, path in (("authorities/root-g1/ca.key", "ca/root"), ("certificates/client/alice/client.key", PATHS[2])):
        keys.load_encrypted((tmp_path / "store" / place).read_bytes(), passwords[path].encode(), path)

    hidden = {
        **passwords,
        **vault.others,
        "vault password": VAULT_PASSWORD,
        "sudo password": gateway.sudo_password,
    }
    assert found_in(run.output, hidden) == []
    assert [mark for mark in PLAIN_KEYS if mark in run.output] == []
    assert [each for text in watch.seen for each in found_in(text, hidden)] == []
    seen = [text for text in watch.seen if found_in(text, {"planted": planted})]
    assert any(b"an argument " in text for text in seen)
    assert any(b"PLANTED=" in text for text in seen)

    belongs = {
        tmp_path / "vault-password": {"vault password"},
        tmp_path / "become-password": {"sudo password"},
        variables: set(vault.others),
    }
    assert (tmp_path / "ansible.log").stat().st_size > 0
    met: set[str] = set()
    for file in (each for each in tmp_path.rglob("*") if each.is_file()):
        content = file.read_bytes()
        found = set(found_in(content, hidden))
        assert found <= (set(passwords) | set(vault.others) if vault.belongs(file) else belongs.get(file, set())), file
        assert not any(mark in content for mark in PLAIN_KEYS), file
        met |= found
    # The search itself finds what does lie there.
    assert met >= {"vault password", "sudo password", *vault.others}
