"""Passwords of keys are rotated on a gateway that serves, and no client notices.

The controller is this machine, the gateway a container reached over SSH. Clients open a new mutual TLS connection for
each request, all the while. A run that was cut off after the vault is finished by the next.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.integration.gateway import Gateway, with_packages
from tests.integration.load import Identity, Load, Target
from tests.integration.runs import Run, playbook

VAULT_PASSWORD = "a vault password of the test"


class Bench:
    """A gateway, an inventory, and what the vault and the store hold."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway, self.folder = gateway, folder
        self.inventory = gateway.write_inventory(folder, VAULT_PASSWORD)

    def run(self, name: str, *arguments: str) -> Run:
        found = playbook(name, self.inventory, self.folder, *arguments)
        assert found.code == 0, found.output.decode()[-4000:]
        return found

    def vault(self) -> dict[str, object]:
        content = (self.inventory / "key_passwords.vault.txt").read_bytes()
        entries: dict[str, object] = yaml.safe_load(
            VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))]).decrypt(content)
        )
        return entries

    def write_vault(self, entries: dict[str, object]) -> None:
        vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
        content = vault.encrypt(yaml.safe_dump(entries), vault.secrets[0][1])
        (self.inventory / "key_passwords.vault.txt").write_bytes(content)

    def passwords(self) -> dict[str, str]:
        return {path: entry for path, entry in self.vault().items() if isinstance(entry, str)}

    def pending(self) -> list[str]:
        records = self.vault()["records"]
        assert isinstance(records, dict)
        return sorted(path for path, record in records.items() if "previous" in record)

    def shut(self) -> list[str]:
        """Keys that don't open with the password the vault has for them, by path."""
        found = []
        for path, password in self.passwords().items():
            kind, _, rest = path.partition("/")
            if kind == "server":
                pem = self.gateway.run(["cat", f"/etc/mtls/{rest.partition('/')[2]}/releases/current/server.key"])
            else:
                place = {"ca": f"authorities/{rest}-g1/ca.key", "client": f"certificates/{path}/client.key"}[kind]
                pem = (self.folder / "store" / place).read_bytes()
            try:
                keys.load_encrypted(pem, password.encode(), path)
            except KitError:
                found.append(path)
        return found

    def target(self) -> Target:
        return Target(self.gateway.address, 8443, "orders.example.test", self.folder / "store" / "trust-anchor.crt")

    def alice(self) -> Identity:
        """Alice with the key that the store has now and the password that the vault has now."""
        folder = self.folder / "store/certificates/client/alice"
        return Identity(folder / "client.crt", folder / "client.key", self.passwords()["client/alice"])

    def release(self) -> str:
        return self.gateway.run(["readlink", "/etc/mtls/orders/releases/current"]).decode().strip()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Gateway.started(tmp_path_factory.mktemp("gateway"), with_packages()) as gateway:
        made = Bench(gateway, tmp_path_factory.mktemp("controller"))
        made.run("site")
        yield made


def test_a_rotation_under_load_loses_no_new_connection(bench: Bench) -> None:
    before = bench.passwords()
    checked = bench.run("rotate", "-e", "rotate=password", "--check")
    assert "server/gw1/orders: rotate: asked for" in checked.text
    assert "orders: install: the password of the key changed" in checked.text
    assert (bench.passwords(), bench.pending()) == (before, [])

    release = bench.release()
    with Load(bench.target(), bench.alice()) as load:
        rotated = bench.run("rotate", "-e", "rotate=password")
        bench.gateway.run(["systemctl", "reload", "nginx"])
        time.sleep(1)
    print(f"{load.answered} requests on new connections during rotation and reload, {len(load.failures)} failed")
    assert load.failures == []
    assert load.answered > 100
    assert bench.release() != release

    after = bench.passwords()
    assert {path for path in before if before[path] == after[path]} == set()
    assert (bench.shut(), bench.pending()) == ([], [])
    for path in before:
        assert f"{path}: rotate: asked for" in rotated.text
    assert "ca/root: re-encrypt: password rotated" in rotated.text
    # Nothing is left to do, and a client that has the new password gets in; one that has none doesn't.
    assert bench.run("site").changed == 0
    assert bench.target().status(bench.target().context(bench.alice())) == 200
    with pytest.raises(ssl.SSLError):
        bench.target().context(replace(bench.alice(), password=before["client/alice"]))


def test_a_run_that_was_cut_off_after_the_vault_is_finished_by_the_next(bench: Bench) -> None:
    """As the vault stands when a run is killed right after its first step."""
    entries = bench.vault()
    records = entries["records"]
    assert isinstance(records, dict)
    for path, password in bench.passwords().items():
        entries[path] = f"a-new-password-0Zx9-for-{path}"
        records[path] = {"since": "2026-01-01T00:00:00Z", "previous": password}
    bench.write_vault(entries)
    assert sorted(bench.shut()) == sorted(bench.passwords())
    finished = bench.run("site")
    assert "client/alice: re-encrypt: password rotated" in finished.text
    assert "orders: install: the password of the key changed" in finished.text
    assert (bench.shut(), bench.pending()) == ([], [])


def test_by_age_what_is_due_is_replaced_once(bench: Bench) -> None:
    by_age = ["-e", "key_password_max_age_days=30"]
    assert "of client/alice" not in bench.run("site", *by_age, "--check").text
    entries = bench.vault()
    records = entries["records"]
    assert isinstance(records, dict)
    records["server/gw1/orders"] = {"since": "2020-01-01T00:00:00Z"}
    bench.write_vault(entries)
    before = bench.passwords()
    assert "days old, 30 are allowed" in bench.run("site", *by_age).text
    assert bench.passwords()["server/gw1/orders"] != before["server/gw1/orders"]
    assert (bench.shut(), bench.pending()) == ([], [])
    assert bench.run("site", *by_age).changed == 0


def test_a_gateway_that_a_run_left_out_stays_on_its_password_until_the_next(bench: Bench) -> None:
    before = bench.passwords()
    bench.run("rotate", "-e", "rotate=password", "--limit", "ca")
    assert bench.pending() == bench.shut() == ["server/gw1/orders"]
    # It runs, and its release still has the pair of before.
    release = "/etc/mtls/orders/releases/current"
    assert bench.gateway.run(["cat", f"{release}/password"]).decode().strip() == before["server/gw1/orders"]
    bench.gateway.run(["systemctl", "restart", "nginx"])
    assert bench.target().status(bench.target().context(bench.alice())) == 200

    waiting = bench.passwords()["server/gw1/orders"]
    again = bench.run("rotate", "-e", "rotate=password", "-e", "rotate_names=server/gw1/*")
    assert "Not rotated again" in again.text
    assert bench.passwords()["server/gw1/orders"] == waiting
    assert (bench.shut(), bench.pending()) == ([], [])


def test_an_offline_root_takes_its_password_when_its_medium_is_there(bench: Bench) -> None:
    stick = bench.folder / "stick"
    stick.mkdir()
    hosts = bench.inventory / "hosts.yml"
    content = yaml.safe_load(hosts.read_text())
    content["all"]["vars"]["pki_root"] = {"key_type": "ec-p256", "days": 3650, "offline": True}
    hosts.write_text(yaml.safe_dump(content))
    ceremony = ["--limit", "ca", "-e", f"pki_root_keys={stick}"]
    rotate = ["--limit", "ca", "-e", "rotate=password", "-e", "rotate_names=ca/*"]

    def opened_by(password: str) -> None:
        keys.load_encrypted((stick / "test-root-g1.key").read_bytes(), password.encode(), "root-g1")

    assert f"key of root-g1 moved to {stick}" in bench.run("site", *ceremony).text
    before = bench.passwords()

    rotated = bench.run("rotate", *rotate).text
    assert "root-g1: its key is kept offline and has the password before" in rotated
    assert "ca/issuing: re-encrypt: password rotated" in rotated
    assert bench.pending() == ["ca/root"]
    after = bench.passwords()
    assert after["ca/root"] != before["ca/root"]
    opened_by(before["ca/root"])
    assert (
        "Not rotated again, for their keys may still have the password before: ca/root"
        in bench.run("rotate", *rotate).text
    )

    brought = bench.run("site", *ceremony).text
    assert "ca/root: re-encrypt: password rotated" in brought
    assert "make the copies again" in brought
    assert bench.pending() == []
    assert bench.passwords()["ca/root"] == after["ca/root"]
    opened_by(after["ca/root"])
    assert bench.run("site", *ceremony).changed == 0
