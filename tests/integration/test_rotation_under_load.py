"""Everything is rotated on six gateways, and no client notices: leaves with new keys, passwords, issuing CA and root.

Two clients open a new mutual TLS connection for each request at every gateway, all the while. The old one never takes
anything; the other one takes its new bundle after each run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.gateway import Gateway, with_packages
from tests.integration.load import Identity, Load, Target
from tests.integration.runs import Run, playbook

pytestmark = pytest.mark.slow

NAME = "orders.example.test"
VAULT_PASSWORD = "a vault password of the test"
CROSS_SIGNED = "rotate_cross_sign=true"
ROOT = ("rotate=root", CROSS_SIGNED, "rotate_confirmed=true")
GATEWAYS = [f"gw{number}" for number in range(1, 7)]


class Fleet:
    """Six gateways, and what their clients hold."""

    def __init__(self, gateways: dict[str, Gateway], folder: Path) -> None:
        self.gateways, self.folder = gateways, folder
        first, *others = gateways.items()
        self.inventory = first[1].write_inventory(folder, VAULT_PASSWORD)
        for name, gateway in others:
            gateway.join(self.inventory, name)

    def run(self, name: str, *options: str) -> Run:
        arguments = [word for option in options for word in ("-e", option)]
        found = playbook(name, self.inventory, self.folder, *arguments)
        assert found.code == 0, found.output.decode()[-4000:]
        return found

    def bundle(self, name: str) -> tuple[Identity, Path]:
        """What Alice is handed now, in a folder of its own: her identity, and the anchor she verifies servers by."""
        folder = self.folder / name
        folder.mkdir()
        for source in (self.folder / "bundles/alice").glob("*.*"):
            (folder / source.name).write_bytes(source.read_bytes())
        password = self.gateways["gw1"].key_passwords(self.inventory, VAULT_PASSWORD)["client/alice"]
        return Identity(folder / "client.crt", folder / "client.key", password), folder / "trust-anchor.crt"

    def target(self, gateway: str, anchor: Path) -> Target:
        return Target(self.gateways[gateway].address, 8443, NAME, anchor)

    def served(self) -> list[bytes]:
        """What each gateway has in use: its key, certificate and password."""
        current = "/etc/mtls/orders/releases/current"
        return [
            gateway.run(["cat", *(f"{current}/{file}" for file in ("server.key", "server.crt", "password"))])
            for gateway in self.gateways.values()
        ]


class Client:
    """One client, that talks to all gateways at once."""

    def __init__(self, fleet: Fleet, bundle: tuple[Identity, Path]) -> None:
        self._fleet = fleet
        self._loads = {
            name: Load(fleet.target(name, bundle[1]), bundle[0], clients=1, pause=0.25) for name in fleet.gateways
        }

    def take(self, bundle: tuple[Identity, Path]) -> None:
        for name, load in self._loads.items():
            load.take(self._fleet.target(name, bundle[1]), bundle[0])

    def __enter__(self) -> Client:
        for load in self._loads.values():
            load.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for load in self._loads.values():
            load.__exit__(None, None, None)

    @property
    def answered(self) -> dict[str, int]:
        return {name: load.answered for name, load in self._loads.items()}

    def failures(self, before: float = float("inf")) -> list[tuple[float, str, str]]:
        """Those that began before that moment of time.monotonic(): when, at which gateway, and how."""
        found = [(begun, name, how) for name, load in self._loads.items() for begun, how in load.failures]
        return sorted(one for one in found if one[0] < before)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        image = with_packages()
        started = {name: Gateway.started(tmp_path_factory.mktemp(name), image) for name in GATEWAYS}
        with ThreadPoolExecutor(len(started)) as pool:
            gateways = dict(zip(started, pool.map(lambda one: stack.enter_context(one), started.values()), strict=True))
        found = Fleet(gateways, tmp_path_factory.mktemp("fleet"))
        # From nothing, too, it does what is due: all of it, and the bundles.
        found.run("rotate")
        yield found


def test_all_is_rotated_and_old_clients_are_refused_only_after_retire(fleet: Fleet) -> None:
    began, handed = time.monotonic(), fleet.bundle("handed at first")
    before = fleet.served()
    with Client(fleet, handed) as old, Client(fleet, handed) as new:
        time.sleep(2)

        introduced = fleet.run("rotate", "rotate=all", CROSS_SIGNED)
        assert "rotate: introduce root-g2, issuing-g2" in introduced.text
        for path in ("ca/root", "ca/issuing", "client/alice", *(f"server/{name}/orders" for name in GATEWAYS)):
            assert f"{path}: rotate: asked for" in introduced.text
        after = fleet.served()
        assert [one for one, other in zip(before, after, strict=True) if one == other] == []
        new.take(fleet.bundle("overlap"))

        switched = fleet.run(
            "rotate", "rotate=root", "rotate_cross_sign=true", "rotate_confirmed=true", "rotate_clients=now"
        )
        assert "rotate: switch: root-g2 replaces root-g1" in switched.text
        new.take(fleet.bundle("switched"))
        time.sleep(2)
        assert (old.failures(), new.failures()) == ([], [])

        begun = time.monotonic()
        retired = fleet.run("rotate", *ROOT)
        assert "rotate: retire root-g1, issuing-g1" in retired.text
        new.take(fleet.bundle("retired"))
        ended = time.monotonic()
        time.sleep(3)

    refused = old.failures()
    seconds = time.monotonic() - began
    answered = sum(old.answered.values()) + sum(new.answered.values())
    print(
        f"{answered} requests on new connections to {len(GATEWAYS)} gateways in {seconds:.0f} s of rotation; failed: "
        f"{len(new.failures())} of the client that takes its bundles, {len(old.failures(begun))} of the old one before "
        f"retire and {len(refused)} since, the first {refused[0][0] - begun:.0f} s after that run began"
    )
    assert new.failures() == []
    assert old.failures(begun) == []
    assert min(new.answered.values()) > 100
    # In the end each gateway and the old client refuse each other; nothing else went wrong with it.
    assert {name for moment, name, _ in refused if moment > ended} == set(GATEWAYS)
    assert {how.partition(":")[0] for _, _, how in refused} <= {"SSLCertVerificationError", "status 400", "status 403"}
    assert fleet.run("rotate").changed == 0
