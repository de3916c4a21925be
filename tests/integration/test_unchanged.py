"""A gateway with nothing due is recognised by one look, and whatever differs is seen: on a real Nginx."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._gateway import install, settled
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.unchanged import HandedOut, from_variables
from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.wishes import Variables, look_wish, not_judged
from tests.integration.runs import Run, playbook
from tests.integration.wire import Wire, free_port, started

SALT = b"salt of a test"
PATH = "server/gw1/orders"


@dataclass
class Settled:
    """A gateway on this machine on which nothing is due, as the roles leave it."""

    wire: Wire
    variables: dict[str, Any] = field(default_factory=dict)
    handed: dict[str, Any] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Path:
        return self.wire.mtls / "orders"

    @property
    def release(self) -> Path:
        return (self.site / "releases" / "current").resolve()

    @property
    def trust(self) -> Path:
        return (self.site / "trust" / "current").resolve()

    @property
    def file(self) -> Path:
        return self.wire.prefix / "conf.d" / "zz-mtls-site-orders.conf"

    def begin(self) -> None:
        """Issue, install and serve."""
        self.wire.host.run()
        self.variables = {
            "nginx_mtls_sites": [self.wire.site()],
            "nginx_mtls_root": str(self.wire.mtls),
            "nginx_mtls_instance": "own",
            "nginx_mtls_prefix": str(self.wire.prefix),
            "nginx_mtls_binary": self.wire.binary,
            "certificate_install_root": str(self.wire.mtls),
            "certificate_install_owner": str(Ownership.current()).partition(":")[0],
        }
        self.install()
        self.wire.configure(self.wire.site())
        self.wire.restart()

    def install(self, **more: Any) -> None:
        """What the CA hands out comes into use on the gateway's disk; Nginx isn't told."""
        wanted = {"name": PATH, "san": {"dns": ["orders.test"]}}
        self.handed = asdict(self.wire.host.run(certificates=[*self.wire.clients, wanted], **more))
        self.passwords = {PATH: self.wire.host.passwords[PATH]}
        store = self.wire.host.store / "certificates" / PATH
        leaf = self.wire.host.leaf(PATH)
        self.handed["servers"] = {
            PATH: {
                "serial": settled.nginx.names.serial_text(leaf.serial_number),
                "chain": (store / "server.crt").read_text(),
                "public_key_sha256": "",
            }
        }
        pending = self.site / "pending"
        pending.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy(store / "server.key", pending / "server.key")
        unit = self.handed["trust"]["issuing"]
        delivery = install.Delivery.of(
            self.wire.mtls,
            {
                "name": "orders",
                "chain": self.handed["servers"][PATH]["chain"],
                "trust_anchor": self.handed["trust_anchor"],
                "server_names": ["orders.test"],
                "trust": unit,
                "password_delivery": "file",
            },
            {"orders": self.passwords[PATH]},
        )
        install.converge(self.wire.mtls, [delivery], Ownership.current(), 3, datetime.now(UTC), False)

    def differences(self, skew: timedelta = timedelta(0), **changed: Any) -> list[str]:
        """What a run would find different; ``changed`` are other variables."""
        variables = Variables({**self.variables, **changed})
        wish = {**look_wish(variables), "salt": SALT}
        now = datetime.now(UTC)
        look = settled.look(settled.Wish(**wish), now, now + skew)
        found, _ = from_variables(look, variables)
        handed_out = HandedOut(self.handed, [{"name": "issuing"}], self.passwords, SALT, now)
        return found or list(handed_out.differences("gw1", look, variables))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settled]:
    with started(tmp_path_factory.mktemp("settled")) as wire:
        one = Settled(wire)
        one.begin()
        yield one


@pytest.fixture
def gateway(whole: Settled, tmp_path: Path) -> Iterator[Settled]:
    """The gateway, with everything on its disk put back when the test is over."""
    assert whole.differences() == []
    folders = (whole.wire.mtls, whole.wire.prefix / "conf.d", whole.wire.prefix / "mtls")
    for number, folder in enumerate(folders):
        shutil.copytree(folder, tmp_path / str(number), symlinks=True)
    handed, passwords = whole.handed, whole.passwords
    yield whole
    whole.handed, whole.passwords = handed, passwords
    for number, folder in enumerate(folders):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / str(number), folder, symlinks=True)


def _append(path: Path, text: str = "# by hand\n") -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_text(path.read_text() + text)
    path.chmod(mode)


def _another_key(one: Settled) -> None:
    (one.release / "server.key").chmod(0o600)
    shutil.copy(one.wire.host.store / "certificates/client/alice/client.key", one.release / "server.key")
    (one.release / "server.key").chmod(0o400)


def _another_trust(one: Settled) -> None:
    number = str(int(one.trust.name) + 1)
    shutil.copytree(one.trust, one.site / "trust" / number)
    (one.site / "trust" / "current").unlink()
    (one.site / "trust" / "current").symlink_to(number)


def _leftover(one: Settled) -> None:
    (one.site / "releases" / settled.files.temporary_name()).mkdir()


EVERY_SERVER = {"names": ["server/*"], "before": "2100-01-01T00:00:00+00:00"}
DRIFTS: dict[str, tuple[Callable[[Settled], Any], str]] = {
    "mode of the key": (lambda one: (one.release / "server.key").chmod(0o440), "had mode 0440"),
    "owner of the key": (lambda one: os.chown(one.release / "server.key", 12345, -1), "owned by"),
    "another key": (_another_key, "still to be issued"),
    "certificate": (lambda one: _append(one.release / "server.crt"), "altered|chain"),
    "password": (lambda one: _append(one.release / "password", "x\n"), "password"),
    "id": (lambda one: _append(one.release / "id.map"), "id.map altered"),
    "no release in use": (lambda one: (one.site / "releases" / "current").unlink(), "no usable release"),
    "revocations": (lambda one: _append(one.trust / "revoked.map", '"9:AA" 1;\n'), "other content"),
    "mode of the trust": (lambda one: (one.trust / "crl.pem").chmod(0o644), "had mode 0644"),
    "a file of the trust": (lambda one: (one.trust / "identities.map").unlink(), "no whole trust|refuses"),
    "trust switched by hand": (_another_trust, "trust"),
    "unfinished": (_leftover, "unfinished"),
    "pending": (lambda one: shutil.copytree(one.release, one.site / "pending"), "pending"),
    "site file": (lambda one: _append(one.file), "not as it is to be"),
    "mode of a site file": (lambda one: one.file.chmod(0o600), "not as it is to be"),
    "no site file": (lambda one: one.file.unlink(), "not as it is to be"),
    "a broken file of others": (lambda one: (one.file.parent / "x.conf").write_text("x"), "nginx -t refuses"),
    "not reloaded": (lambda one: one.install(reissue=EVERY_SERVER), "is served"),
}  # fmt: skip


@pytest.mark.parametrize("drift", DRIFTS)
def test_whatever_differs_on_the_gateway_is_seen(gateway: Settled, drift: str) -> None:
    if drift.startswith("owner") and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    make, expected = DRIFTS[drift]
    make(gateway)
    found = gateway.differences()
    assert any(re.search(expected, one) for one in found), found


def test_a_clock_that_is_wrong_is_seen(gateway: Settled) -> None:
    assert "clock of the gateway" in gateway.differences(timedelta(minutes=3))[0]


def test_other_variables_are_seen(gateway: Settled) -> None:
    site = gateway.variables["nginx_mtls_sites"][0]
    assert gateway.differences(nginx_mtls_sites=[{**site, "backend": "http://127.0.0.1:1"}]) != []
    assert gateway.differences(nginx_mtls_sites=[{**site, "port": free_port()}]) != []
    assert gateway.differences(nginx_mtls_sites=[site, {**site, "name": "more", "port": free_port()}]) != []
    assert gateway.differences(nginx_mtls_resumption=True) != []
    assert gateway.differences(certificate_install_owner="nobody") != []
    assert not_judged(Variables({**gateway.variables, "nginx_mtls_instance": "container"})) != ""
    assert not_judged(Variables({**gateway.variables, "certificate_install_password_delivery": "memory"})) != ""
    assert not_judged(Variables({**gateway.variables, "nginx_mtls_sites": [{**site, "certificate": "acme"}]})) != ""


def test_what_the_ca_hands_out_is_compared(gateway: Settled) -> None:
    handed = gateway.handed
    server, unit = handed["servers"][PATH], handed["trust"]["issuing"]
    others: list[tuple[dict[str, Any], dict[str, str], str]] = [
        ({"csr_wanted": {PATH: "renew: 29 of 90 days left"}}, {}, "renew: 29 of 90 days left"),
        ({"servers": {}}, {}, "no certificate yet"),
        ({"servers": {PATH: {**server, "serial": "00"}}}, {}, "certificate 00 is to be served"),
        ({"servers": {PATH: {**server, "chain": server["chain"] + handed["trust_anchor"]}}}, {}, "chain differs"),
        ({"trust": {**handed["trust"], "issuing": {**unit, "number": unit["number"] + 1}}}, {}, "is to be installed"),
        ({}, {PATH: "another one"}, "the password of its key differs"),
        ({}, {f"previous/{PATH}": "of before"}, "rotation of its key's password"),
    ]
    for pki, passwords, expected in others:
        gateway.handed, gateway.passwords = {**handed, **pki}, {PATH: gateway.wire.host.passwords[PATH], **passwords}
        found: list[str] = []
        try:
            found = gateway.differences()
        except settled.KitError as error:
            # The roles would refuse to install it.
            found = [str(error)]
        assert any(expected in one for one in found) or "trust" in pki, found
        assert found


def test_a_stopped_nginx_is_seen(gateway: Settled) -> None:
    gateway.wire.stop()
    try:
        found = gateway.differences()
        assert "Nginx isn't running" in found
        assert any("not served" in one for one in found)
    finally:
        gateway.wire.restart()


# --- whole runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """Two gateways on this machine, each with an Nginx of its own."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Fleet:
        (folder / "inventory").mkdir()
        for name in ("vault-password", "become-password"):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text("of a test\n")
        gateways = {
            name: {
                "nginx_mtls_instance": "own",
                "nginx_mtls_prefix": f"{folder}/{name}/nginx",
                "nginx_mtls_root": f"{folder}/{name}/mtls",
                "certificate_install_root": f"{folder}/{name}/mtls",
                "certificate_install_owner": str(Ownership.current()).partition(":")[0],
                "nginx_mtls_sites": [
                    {"name": "orders", "server_names": ["orders.test"], "port": free_port(), "backend": "http://127.0.0.1:9",
                     "listen_addresses": ["127.0.0.1"]}
                ],
            }
            for name in ("gw1", "gw2")
        }  # fmt: skip
        everyone = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "pki_name": "settled",
            "pki_store": f"{folder}/store",
            "pki_init": True,
            "client_bundle_dir": f"{folder}/clients",
        }
        groups = {"ca": {"hosts": {"authority": {}}}, "gateways": {"hosts": gateways}}
        hosts = yaml.safe_dump({"all": {"vars": everyone, "children": groups}})
        (folder / "inventory" / "hosts.yml").write_text(hosts)
        return cls(folder)

    def run(self, name: str, *arguments: str) -> Run:
        return playbook(name, self.folder / "inventory", self.folder, *arguments)

    def stop(self) -> None:
        for pid in self.folder.glob("gw*/nginx/nginx.pid"):
            os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    one = Fleet.of(tmp_path_factory.mktemp("fleet"))
    try:
        first = one.run("site")
        assert first.code == 0, first.text[-3000:]
        yield one
    finally:
        one.stop()


def _on(name: str, run: Run) -> tuple[int, int]:
    """Calls of modules and tasks on a gateway, of a run with -vvv."""
    calls = run.output.decode().count(f"<{name}> EXEC ")
    recap = re.search(rf"^{name}\s+: ok=(\d+)", run.output.decode(), re.MULTILINE)
    assert recap
    return calls, int(recap[1])


def test_an_unchanged_gateway_takes_one_call_and_a_changed_one_is_healed(fleet: Fleet) -> None:
    mended = fleet.folder / "gw2/nginx/conf.d/zz-mtls-site-orders.conf"
    before = mended.read_text()
    mended.write_text(before + "# by hand\n")
    key = next(fleet.folder.glob("gw2/mtls/orders/releases/current/server.key"))
    key.chmod(0o440)
    run = fleet.run("rotate", "-vvv")
    assert run.code == 0, run.text[-3000:]
    assert _on("gw1", run) == (1, 2)
    assert _on("gw2", run) > (5, 20)
    assert run.changed == 2, run.text[-3000:]
    assert mended.read_text() == before
    assert key.stat().st_mode & 0o777 == 0o400
    assert "content changed" in run.text
    assert "server.key had mode 0440, not 0400" in run.text
