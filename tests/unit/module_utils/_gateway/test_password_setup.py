"""What fills the memory: installed as a whole or not at all, and gone without a trace when no site needs it."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import password_delivery, password_setup
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.password_delivery import CREDENTIAL, FILE, MEMORY
from ansible_collections.mtls.kit.plugins.module_utils._gateway.password_setup import (
    Gateway,
    Places,
    VaultSettings,
    Wish,
)
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import SiteFolders
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway import delivery
from tests.unit.module_utils._gateway.delivery import PASSWORD

SECRET_ID = "5c6b1d0e-the-secret-id"
OLD = "das-Passwort-von-gestern-0123456789"

PROGRAM = """
import base64, json, pathlib, sys
config = json.loads(pathlib.Path(sys.argv[2]).read_bytes())
section = config[sys.argv[3]]
for site, one in section["sites"].items():
    file = pathlib.Path(config["runtime"], site, "credential" if "file" in one else "password")
    file.parent.mkdir(parents=True, exist_ok=True)
    if "file" in one:
        content = base64.b64decode(pathlib.Path(one["file"]).read_bytes()).partition(b":")[2]
    else:
        vault = pathlib.Path(config["runtime"], "..", "vault")
        if not vault.exists():
            sys.exit("mtls-kit: the vault is away")
        content = vault.read_bytes()
    file.write_bytes(content + b"\\n")
"""


@dataclass
class FakeSystemd:
    """Units that are enabled and active, and credentials that anybody can read."""

    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    running: bool = True
    credentials: bool = True

    def is_running(self) -> bool:
        return self.running

    def has_credentials(self) -> bool:
        return self.credentials

    def is_enabled(self, unit: str) -> bool:
        return unit in self.enabled

    def is_active(self, unit: str) -> bool:
        return unit in self.active

    def reload(self) -> None:
        self.calls.append("reload")

    def enable(self, unit: str) -> None:
        self.enabled.add(unit)

    def run_again(self, unit: str) -> None:
        self.calls.append(f"run {unit}")
        self.active.add(unit)

    def forget(self, unit: str) -> None:
        self.calls.append(f"forget {unit}")
        self.enabled.discard(unit)
        self.active.discard(unit)

    def encrypt(self, name: str, content: bytes, key: str) -> bytes:
        return base64.b64encode(f"{name}:".encode() + content)

    def decrypt(self, name: str, content: bytes) -> bytes | None:
        found, _, held = base64.b64decode(content).partition(b":")
        return held if found.decode() == name else None


@dataclass
class Machine:
    """A gateway's disk, and sites with their deliveries."""

    folder: Path
    systemd: FakeSystemd = field(default_factory=FakeSystemd)
    vault: VaultSettings = field(
        default_factory=lambda: VaultSettings(
            url="https://bao.example.test:8200",
            ca="-----BEGIN CERTIFICATE-----\n",
            namespace="",
            auth_mount="approle",
            mount="secret",
            kv_version=2,
            prefix="mtls-kit",
            field="password",
            approle_at_rest="file",
            role_id="role",
            secret_id=SECRET_ID,
        )
    )
    unit: str = "nginx.service"
    password: str = PASSWORD

    def __post_init__(self) -> None:
        (self.folder / "mounts").write_text("tmpfs /run tmpfs rw 0 0\n")
        (self.folder / "etc/systemd/system").mkdir(parents=True)
        (self.folder / "run/mtls").mkdir(parents=True)
        (self.folder / "run/vault").write_text(PASSWORD)

    def gateway(self, **deliveries: str) -> Gateway:
        places = Places(
            self.folder / "etc/mtls-kit",
            self.folder / "lib",
            self.folder / "etc/systemd/system",
            self.folder / "mounts",
        )
        root = self.folder / "etc/mtls"
        wishes = [
            Wish(SiteFolders(root / name, name), kind, self.password.encode()) for name, kind in deliveries.items()
        ]
        return Gateway(
            wishes, "gw1", self.unit, Ownership.current(), PROGRAM, "auto", self.vault, self.systemd, places  # type: ignore[arg-type]
        )  # fmt: skip

    def prepare(self, **deliveries: str) -> list[str]:
        return self._told(self.gateway(**deliveries).prepare, False)

    def finish(self, **deliveries: str) -> list[str]:
        return self._told(self.gateway(**deliveries).finish, False)

    def _told(self, work: Any, check_mode: bool) -> list[str]:
        return [f"{Path(one['name']).name}: {one['reason']}" for one in work(check_mode)[0].changes]

    def tree(self) -> dict[str, Any]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(self.folder.rglob("*"))
        }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(password_delivery, "RUNTIME", tmp_path / "run/mtls")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Ownership, "current", classmethod(lambda cls: cls(os.getuid(), os.getgid())))
    return Machine(tmp_path)


def test_a_credential_fills_the_memory_and_no_plain_password_touches_the_disk(machine: Machine) -> None:
    foreseen = machine._told(machine.gateway(orders=CREDENTIAL).prepare, True)
    assert machine.prepare(orders=CREDENTIAL) == foreseen
    assert foreseen == [
        "key_passwords.py: write: new",
        "key_passwords.json: write: new",
        "mtls-kit.conf: write: new",
        "mtls-key-credentials.service: write: new",
        "orders.cred: write: new",
        "mtls-key-credentials.service: write: the password of site orders isn't in "
        f"{machine.folder}/run/mtls/orders/credential",
    ]
    files = {name: content for name, content in machine.tree().items() if content is not None}
    assert {name for name, content in files.items() if PASSWORD.encode() in content} == {
        "run/mtls/orders/credential",
        "run/vault",
    }
    assert (machine.folder / "etc/mtls-kit/credentials/orders.cred").stat().st_mode & 0o777 == 0o400
    unit = files["etc/systemd/system/mtls-key-credentials.service"].decode()
    assert "Before=nginx.service docker.service" in unit
    assert "ReloadPropagatedFrom=nginx.service" in unit
    drop_in = files["etc/systemd/system/nginx.service.d/mtls-kit.conf"].decode()
    assert "After=mtls-key-credentials.service" in drop_in
    assert "Restart" not in drop_in
    assert machine.systemd.enabled == machine.systemd.active == {"mtls-key-credentials.service"}
    before = machine.tree()
    assert machine.prepare(orders=CREDENTIAL) == []
    assert machine.finish(orders=CREDENTIAL) == []
    assert machine.tree() == before


def test_an_engine_waits_for_its_passwords_and_keeps_its_own_way_of_coming_back(machine: Machine) -> None:
    """A container is started again by its engine until it stays; that one must come up whatever becomes of a vault."""
    machine.unit = "docker.service"
    machine.prepare(orders=MEMORY)
    drop_in = (machine.folder / "etc/systemd/system/docker.service.d/mtls-kit.conf").read_text()
    assert "After=mtls-key-passwords.service" in drop_in
    assert "Restart" not in drop_in and "StartLimit" not in drop_in


def test_check_mode_writes_nothing_and_makes_no_key(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FakeSystemd, "encrypt")
    before = machine.tree()
    assert machine.gateway(orders=CREDENTIAL, stock=MEMORY).prepare(True)[0].changes
    assert machine.tree() == before
    assert machine.systemd.calls == []
    # What is to be made is told once.
    assert machine.gateway(orders=CREDENTIAL).finish(True)[0].changes == []


def test_memory_is_filled_from_the_vault(machine: Machine) -> None:
    machine.prepare(orders=MEMORY)
    approle = machine.folder / "etc/mtls-kit/openbao-approle"
    assert json.loads(approle.read_bytes())["secret_id"] == SECRET_ID
    assert approle.stat().st_mode & 0o777 == 0o400
    config = json.loads((machine.folder / "etc/mtls-kit/key_passwords.json").read_bytes())
    assert config["memory"]["sites"]["orders"]["path"] == "mtls-kit/server/gw1/orders"
    assert SECRET_ID not in json.dumps(config)
    assert "Restart=on-failure" in (machine.folder / "etc/systemd/system/nginx.service.d/mtls-kit.conf").read_text()
    assert machine.prepare(orders=MEMORY) == []


def test_the_approle_can_be_a_credential_itself(machine: Machine) -> None:
    machine.vault = replace(machine.vault, approle_at_rest=CREDENTIAL)
    machine.prepare(orders=MEMORY)
    assert SECRET_ID.encode() not in (machine.folder / "etc/mtls-kit/openbao-approle").read_bytes()
    assert machine.prepare(orders=MEMORY) == []
    machine.vault = replace(machine.vault, secret_id="another")
    assert "openbao-approle: write: what it is to hold changed" in machine.prepare(orders=MEMORY)


@pytest.mark.parametrize("fault", ["away", "another password"])
def test_what_fails_leaves_the_machine_as_it_was(machine: Machine, fault: str) -> None:
    vault = machine.folder / "run/vault"
    vault.unlink() if fault == "away" else vault.write_text(OLD)
    before = machine.tree()
    message = "failed: the vault is away" if fault == "away" else "another one at secret, mtls-kit/server/gw1/orders"
    with pytest.raises(KitError, match=message) as caught:
        machine.prepare(orders=MEMORY)
    assert OLD not in str(caught.value)
    after = {name: content for name, content in machine.tree().items() if not name.startswith("run/mtls/")}
    assert after == before
    assert machine.systemd.enabled == set()


def test_an_empty_folder_that_a_refused_fetch_left_is_wanted(machine: Machine) -> None:
    machine.folder.joinpath("run/mtls/orders").mkdir(parents=True)
    foreseen = machine.gateway(orders=MEMORY)
    assert foreseen.prepare(True)[0].changes
    assert foreseen.finish(True)[0].changes == []
    # Of a site that takes its password from a file, it is in the way.
    assert machine.finish(orders=FILE) == ["orders: remove: not wanted any more"]


def test_a_new_password_comes_in_before_its_release_and_the_old_one_stays(machine: Machine) -> None:
    site = delivery.Gateway(machine.folder / "etc/mtls", delivery.Pki(), delivery.current_user())
    site.password_delivery = CREDENTIAL
    machine.prepare(orders=CREDENTIAL)
    site.deploy()
    machine.password = OLD
    assert machine.prepare(orders=CREDENTIAL) == [
        "orders.cred: write: what it is to hold changed",
        "mtls-key-credentials.service: write: the password of site orders isn't in "
        f"{machine.folder}/run/mtls/orders/credential",
    ]
    held = (machine.folder / "run/mtls/orders/credential").read_text().split()
    assert held == [OLD, PASSWORD]
    assert machine.prepare(orders=CREDENTIAL) == []


def test_a_credential_of_another_machine_is_made_anew(machine: Machine) -> None:
    machine.prepare(orders=CREDENTIAL)
    path = machine.folder / "etc/mtls-kit/credentials/orders.cred"
    path.unlink()
    path.write_bytes(base64.b64encode(b"of-another:" + PASSWORD.encode()))
    assert "orders.cred: write: this machine can't decrypt it" in machine.prepare(orders=CREDENTIAL)


@pytest.mark.parametrize("before", [CREDENTIAL, MEMORY])
def test_nothing_is_left_when_no_site_needs_it(machine: Machine, before: str) -> None:
    empty = machine.tree()
    machine.prepare(orders=before)
    # Until Nginx proved the new release, the old one can still be started.
    assert machine.folder.joinpath("run/mtls/orders").is_dir()
    unit = password_setup.UNITS[before]
    told = machine.finish(orders=FILE)
    assert f"{unit}: remove: not wanted any more" in told
    assert "orders: remove: not wanted any more" in told
    # The folder of the memory itself goes, too.
    assert machine.tree() == {name: content for name, content in empty.items() if name != "run/mtls"}
    assert f"forget {unit}" in machine.systemd.calls
    assert machine.finish(orders=FILE) == []


def test_from_a_credential_to_memory_both_are_there_until_the_end(machine: Machine) -> None:
    machine.prepare(orders=CREDENTIAL)
    machine.prepare(orders=MEMORY)
    assert sorted(path.name for path in machine.folder.glob("run/mtls/orders/*")) == ["credential", "password"]
    assert machine.systemd.enabled == set(password_setup.UNITS.values())
    machine.finish(orders=MEMORY)
    assert [path.name for path in machine.folder.glob("run/mtls/orders/*")] == ["password"]
    assert machine.systemd.enabled == {"mtls-key-passwords.service"}
    assert machine.prepare(orders=MEMORY) == machine.finish(orders=MEMORY) == []


def test_a_site_that_is_not_listed_keeps_its_password_until_it_is_removed(machine: Machine) -> None:
    machine.prepare(orders=CREDENTIAL, stock=CREDENTIAL)
    assert machine.prepare(orders=CREDENTIAL) == machine.finish(orders=CREDENTIAL) == []
    machine.finish(orders=FILE)
    assert not (machine.folder / "etc/mtls-kit/credentials/orders.cred").exists()
    assert (machine.folder / "etc/mtls-kit/credentials/stock.cred").exists()
    machine.gateway().finish(False, unlisted=True)
    assert not (machine.folder / "etc/mtls-kit").exists()
    assert not (machine.folder / "run/mtls").exists()


def test_releases_of_another_delivery_go_only_when_the_new_one_is_in_use(machine: Machine) -> None:
    site = delivery.Gateway(machine.folder / "etc/mtls", delivery.Pki(), delivery.current_user())
    site.deploy()
    first = site.current()
    with pytest.raises(KitError, match="a release in use whose password is delivered by file"):
        machine.finish(orders=CREDENTIAL)
    assert first.is_dir()
    machine.prepare(orders=CREDENTIAL)
    site.password_delivery = CREDENTIAL
    assert site.release()["unfinished"] is True
    assert machine.finish(orders=CREDENTIAL) == [
        f"orders: remove: release {first.name}, whose password was delivered by file"
    ]
    assert not first.exists()
    assert not (first.parent / "previous").is_symlink()


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda m, p: p.setattr(os, "geteuid", lambda: 1000), "found an ordinary user"),
        (lambda m, p: setattr(m.systemd, "running", False), "found a machine without systemd"),
        (lambda m, p: setattr(m, "unit", ""), "an Nginx that no unit of systemd starts"),
        (lambda m, p: setattr(m.systemd, "credentials", False), "no program systemd-creds; expected systemd 250"),
        (lambda m, p: (m.folder / "mounts").write_text("/dev/sda1 / ext4 rw 0 0\n"), "found /run on a disk"),
        (lambda m, p: p.setattr(password_setup, "PYTHON", "/nowhere/python3"), "no /nowhere/python3"),
        (lambda m, p: setattr(m, "vault", replace(m.vault, url="")), "no openbao.url"),
        (lambda m, p: setattr(m, "vault", replace(m.vault, secret_id="")), "no certificate_install_openbao_secret_id"),
        (
            lambda m, p: setattr(m, "vault", replace(m.vault, url="http://bao.example.test")),
            "expected https://host:port",
        ),
        (lambda m, p: setattr(m, "vault", replace(m.vault, ca="a path")), "a text that is no certificate"),
    ],
)
def test_what_a_delivery_needs_is_asked_before_anything_changes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, alter: Any, message: str
) -> None:
    before = machine.tree()
    machine.gateway(orders=CREDENTIAL, stock=MEMORY).check()
    alter(machine, monkeypatch)
    with pytest.raises(KitError, match=message):
        machine.gateway(orders=CREDENTIAL, stock=MEMORY).check()
    # Who keeps to files isn't asked.
    machine.gateway(orders=FILE, stock="none").check()
    assert {name for name in machine.tree() if name != "mounts"} == {name for name in before if name != "mounts"}
