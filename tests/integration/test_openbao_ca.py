"""A CA host without a gateway, with keys of its CAs in an OpenBao with TLS and AppRole: faults, and what is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.openbao import Bao
from tests.integration.runs import Run, playbook
from tests.integration.test_leaks import PLAIN_KEYS, ProcessWatch, environment_in, found_in

TOKEN = re.compile(rb"\bs\.[A-Za-z0-9]{24}\b")
"""What OpenBao calls its tokens."""

POLICY = """
path "sys/mounts/pki-test-root"    { capabilities = ["update"] }
path "sys/mounts/pki-test-issuing" { capabilities = ["update"] }
path "pki-test-root/*"             { capabilities = ["create", "read", "update", "delete", "list"] }
path "pki-test-issuing/*"          { capabilities = ["create", "read", "update", "delete", "list"] }
"""


def with_approle(bao: Bao, folder: Path) -> dict[str, str]:
    """``pki_openbao`` for a role that may use the mounts of PKI ``test``; its credentials are in ``folder``."""
    bao.set("sys/policies/acl/kit", {"policy": POLICY})
    bao.set("sys/auth/approle", {"type": "approle"})
    bao.set("auth/approle/role/kit", {"token_policies": ["kit"], "token_ttl": "10m"})
    role_id = bao.api("GET", "auth/approle/role/kit/role-id").json()["data"]["role_id"]
    secret_id = bao.set("auth/approle/role/kit/secret-id")["data"]["secret_id"]
    for name, content in (("role-id", role_id), ("secret-id", secret_id)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(content)
    return {
        "url": bao.url,
        "ca_cert": str(bao.ca_cert),
        "auth": "approle",
        "role_id_file": str(folder / "role-id"),
        "secret_id_file": str(folder / "secret-id"),
    }


@dataclass
class Host:
    """This machine as the CA host, and OpenBao with its keys."""

    bao: Bao
    folder: Path
    options: dict[str, str]
    environment: dict[str, str]

    def run(self, name: str, *arguments: str, fails: bool = False, **options: Any) -> Run:
        """Run a playbook, with other options of ``pki_openbao`` where they are given."""
        inventory = self.folder / "inventory"
        inventory.mkdir(exist_ok=True)
        interpreter = "{{ ansible_playbook_python }}"
        variables = {
            "pki_name": "test",
            "pki_store": f"{self.folder}/store",
            "pki_init": True,
            "pki_backend": "openbao",
            "pki_openbao": {**self.options, **options},
            "pki_clients": [{"name": "alice"}, {"name": "bob"}],
        }
        local = {"ansible_connection": "local", "ansible_python_interpreter": interpreter}
        hosts = {"all": {"vars": variables, "children": {"ca": {"hosts": {"localhost": local}}}}}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        done = playbook(name, inventory, self.folder, *arguments, environment=self.environment)
        assert (done.code != 0) == fails, done.output.decode()[-4000:]
        return done


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("ca")
    for name in ("vault-password", "become-password"):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text("a password of the operators\n")
    with Bao.with_tls(tmp_path_factory.mktemp("bao")) as bao:
        yield Host(bao, folder, with_approle(bao, folder), environment_in(folder))


def test_a_run_leaves_no_token_and_no_key(host: Host) -> None:
    secret = {"secret id": (host.folder / "secret-id").read_text(), "root token": host.bao.token}
    assert TOKEN.search(host.bao.token.encode())
    watch = ProcessWatch()
    watch.start()
    try:
        first = host.run("site", "-vvvv", "--diff")
    finally:
        watch.stop()
    assert "client/alice: issue (issue: new)" in first.text
    assert TOKEN.findall(first.output) == []
    assert found_in(first.output, secret) == []
    assert [text for text in watch.seen if TOKEN.search(text)] == []
    written = {path: path.read_bytes() for path in host.folder.rglob("*") if path.is_file()}
    assert [path for path, content in written.items() if TOKEN.search(content) or PLAIN_KEYS[0] in content] == []
    assert {path.name for path, content in written.items() if found_in(content, secret)} == {"secret-id"}
    assert not list((host.folder / "store").glob("authorities/*/ca.key"))
    # The tokens of the logins have ended: what is left is root's, with which this test looks.
    assert len(host.bao.api("LIST", "auth/token/accessors").json()["data"]["keys"]) == 1
    assert host.run("site").changed == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ca_cert": None}, "a server certificate that isn't trusted"),
        ({"url": "https://127.0.0.1:1"}, "no connection"),
        ({"secret_id_file": "role-id"}, "correct the credentials"),
        ({"mount": "pki"}, "an unknown option 'mount'"),
    ],
)
def test_what_is_wrong_is_told_by_its_variable_and_nothing_is_changed(
    host: Host, wrong: dict[str, Any], told: str
) -> None:
    before = (host.folder / "store/ledger.sqlite").read_bytes()
    wrong = {key: f"{host.folder}/{value}" if key == "secret_id_file" else value for key, value in wrong.items()}
    failed = host.run("site", "-vvvv", "--diff", fails=True, **wrong)
    assert told in failed.text
    assert "key_password_options" not in failed.text
    assert TOKEN.findall(failed.output) == []
    assert (host.folder / "store/ledger.sqlite").read_bytes() == before


def test_a_policy_that_is_too_narrow_and_a_sealed_server(host: Host) -> None:
    host.bao.set("sys/policies/acl/kit", {"policy": POLICY.replace('"list"]', '"sudo"]')})
    assert "the capability list on pki-test-" in host.run("site", fails=True).text
    host.bao.set("sys/policies/acl/kit", {"policy": POLICY})
    host.bao.set("sys/seal")
    assert "a sealed server" in host.run("site", fails=True).text
    host.bao.unseal()
    assert host.run("site").changed == 0
