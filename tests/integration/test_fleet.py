"""A rotation over a fleet that goes wrong on one gateway, loses another, and is finished by the next run."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.gateway import Gateway, with_packages
from tests.integration.runs import Run, playbook
from tests.integration.test_rotation import Client

NAME = "orders.example.test"
PROBE = "/.well-known/mtls-kit/probe"
VAULT_PASSWORD = "password of the vault of the fleet"


@dataclass(frozen=True)
class Fleet:
    """Three gateways, ``gw1`` to ``gw3``; the first is the canary."""

    gateways: dict[str, Gateway]
    folder: Path
    inventory: Path

    def run(self, name: str, *arguments: str) -> Run:
        return playbook(name, self.inventory, self.folder, *arguments)

    def shown(self) -> dict[str, bytes | None]:
        """The certificate that each gateway shows to who connects anew."""
        context = ssl.create_default_context(cafile=str(self.folder / "store/trust-anchor.crt"))
        found = {}
        for name, gateway in self.gateways.items():
            with (
                socket.create_connection((gateway.address, 8443), timeout=10) as raw,
                context.wrap_socket(raw, server_hostname=NAME) as connection,
            ):
                found[name] = connection.getpeercert(binary_form=True)
        return found

    def alice(self) -> Client:
        """The client, with what she holds from the first run."""
        folder = self.folder / "alice"
        password = self.gateways["gw1"].key_passwords(self.inventory, VAULT_PASSWORD)["client/alice"]
        return Client(folder, password) if folder.exists() else Client.handed(self.folder / "store", folder, password)

    def calls(self) -> list[str]:
        """What Alice finds at each gateway."""
        return [self.alice().calls(gateway.address, 8443, NAME, PROBE) for gateway in self.gateways.values()]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        image = with_packages()
        gateways = {
            name: stack.enter_context(Gateway.started(tmp_path_factory.mktemp(name), image))
            for name in ("gw1", "gw2", "gw3")
        }
        inventory = gateways["gw1"].write_inventory(folder, VAULT_PASSWORD)
        for name in ("gw2", "gw3"):
            gateways[name].join(inventory, name)
        fleet = Fleet(gateways, folder, inventory)
        run = fleet.run("site")
        assert run.code == 0, run.text[-3000:]
        assert "GATEWAYS" not in run.text
        yield fleet


def test_what_the_canary_refuses_comes_to_no_other_and_the_next_runs_finish_it(fleet: Fleet) -> None:
    canary, lost = fleet.gateways["gw1"], fleet.gateways["gw2"]
    before = fleet.shown()
    assert fleet.calls() == ["in"] * 3

    # A master that takes no signal: the reload is accepted and has no effect.
    master = canary.run(["cat", "/run/nginx.pid"]).decode().strip()
    canary.run(["kill", "-STOP", master])
    refused = fleet.run("rotate", "-e", "rotate=leaf", "-e", "rotate_names=server/*")
    canary.run(["kill", "-CONT", master])
    assert refused.code != 0
    assert "left alone: gw2, gw3" in refused.text, refused.text[-3000:]
    assert "failed: gw1: " in refused.text
    assert fleet.shown() == before
    assert fleet.calls() == ["in"] * 3

    # Only the operator's way to it is gone: it serves on.
    lost.run(["systemctl", "stop", "ssh.socket", "ssh.service"], check=False)
    lost.run(["systemctl", "kill", "--signal=KILL", "ssh.service"], check=False)
    partly = fleet.run("rotate")
    assert partly.code != 0
    assert "was taken over: its process is gone" in partly.text
    assert "not reached: gw2" in partly.text, partly.text[-3000:]
    assert "done: gw1, gw3" in partly.text
    assert [name for name, shown in fleet.shown().items() if shown == before[name]] == ["gw2"]
    assert fleet.calls() == ["in"] * 3

    lost.run(["systemctl", "start", "ssh.service"])
    healed = fleet.run("rotate")
    assert healed.code == 0, healed.text[-3000:]
    assert "GATEWAYS" not in healed.text
    assert all(shown != before[name] for name, shown in fleet.shown().items())
    again = fleet.run("rotate")
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]
    assert "taken over" not in again.text
    assert fleet.calls() == ["in"] * 3
