"""A fleet of two gateways that is to be rotated, and what every fault has to leave as it was."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.integration.gateway import CREDENTIALS, Gateway, network_of_its_own, with_packages
from tests.integration.load import Identity, Load, Target
from tests.integration.runs import ROOT, Run, playbook
from tests.integration.test_leaks import found_in
from tests.unit.module_utils._gateway.test_cut_off import check_set_in_use

VAULT_PASSWORD = "a vault password of the test"
NAME = "orders.example.test"
SITE = "/etc/mtls/orders"
PYTHON = "/usr/bin/python3.11"
FORCED = ("-e", "rotate=leaf")
"""New keys and certificates for all, and so a new trust unit."""


Act = dict[str, Any]
"""What happens at the begin of a task, as tests' own callback takes it."""


@dataclass(frozen=True)
class Setting:
    """How a run meets a fault, and what it has to say."""

    told: tuple[str, ...]
    """Words of its output, in their order."""
    fails: bool = True
    arguments: tuple[str, ...] = FORCED
    environment: Mapping[str, str] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    dark: frozenset[str] = frozenset()
    """Gateways without power: nobody expects an answer from them meanwhile."""


Fault = Callable[["Fleet", str], AbstractContextManager[Setting]]
"""Something that is wrong for the time of a run, on that gateway if on any."""


def at(task: str, *command: str, times: int = 1) -> Act:
    """Have ``command`` run when ``task`` begins; without one the run is killed."""
    return {"task": task, "times": times, "run": list(command)}


def another_time(offset: str) -> str:
    """How a gateway's Python is started so that it is another time for it."""
    return f'LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) FAKETIME={offset} exec {PYTHON} "$@"'


def acting(acts: list[Act]) -> dict[str, str]:
    """The environment of a run in which these acts are done."""
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "mtls.kit.fleet_outcome,at_task",
        "MTLS_KIT_TEST_AT_TASKS": json.dumps(acts),
    }


@dataclass
class Fleet:
    """Gateways ``gw1``, the canary, and ``gw2``, whose sites lie on a small disk of their own."""

    gateways: dict[str, Gateway]
    folder: Path
    inventory: Path

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Fleet]:
        """A fleet that serves."""
        with ExitStack() as stack:
            network, _ = stack.enter_context(network_of_its_own())
            image = with_packages()
            gateways = {}
            # To remount a disk, and to make a folder immutable.
            powers = (*CREDENTIALS, "--cap-add", "LINUX_IMMUTABLE")
            for name, disk in (("gw1", ()), ("gw2", ("--tmpfs", "/etc/mtls:size=4m,mode=0755"))):
                (folder / name).mkdir()
                gateways[name] = stack.enter_context(
                    Gateway.started(folder / name, image, privileges=(*powers, *disk), network=network)
                )
            inventory = gateways["gw1"].write_inventory(folder, VAULT_PASSWORD)
            gateways["gw2"].join(inventory, "gw2")
            made = cls(gateways, folder, inventory)
            first = made.run("site")
            assert first.code == 0, first.text[-3000:]
            yield made

    # --- the runs ---------------------------------------------------------------------------------------------------

    def run(self, name: str, *arguments: str, **environment: str) -> Run:
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment}
        return playbook(name, self.inventory, self.folder, *arguments, environment={**os.environ, **settings})

    def at_once(self, name: str) -> tuple[list[str], Path]:
        """An argument list that makes one more run, and the file that gets what it says."""
        output = self.folder / f"{name} of somebody else"
        program = (
            "import subprocess, sys\n"
            "with open(sys.argv[1], 'wb') as file:\n"
            "    done = subprocess.run(sys.argv[2:], stdout=file, stderr=file, check=False)\n"
            "    file.write(b'exit status %d' % done.returncode)\n"
        )
        command = [
            f"{ROOT}/.venv/bin/ansible-playbook", "-i", str(self.inventory),
            "--vault-password-file", str(self.folder / "vault-password"),
            "--become-password-file", str(self.folder / "become-password"), f"playbooks/{name}.yml",
        ]  # fmt: skip
        return [sys.executable, "-c", program, str(output), *command], output

    # --- the vault --------------------------------------------------------------------------------------------------

    @property
    def _vault(self) -> VaultLib:
        return VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])

    @property
    def vault_file(self) -> Path:
        return self.inventory / "key_passwords.vault.txt"

    def vault(self) -> dict[str, Any]:
        entries: dict[str, Any] = yaml.safe_load(self._vault.decrypt(self.vault_file.read_bytes()))
        return entries

    @contextmanager
    def vault_with(self, path: str, password: str | None) -> Iterator[None]:
        """Another entry for a while, or none (None)."""
        before, entries = self.vault_file.read_bytes(), self.vault()
        del entries[path]
        if password is not None:
            entries[path] = password
        vault = self._vault
        self.vault_file.write_bytes(vault.encrypt(yaml.safe_dump(entries), vault.secrets[0][1]))
        try:
            yield
            assert self.vault() == entries
        finally:
            self.vault_file.write_bytes(before)

    def secrets(self) -> dict[str, str]:
        passwords = {path: entry for path, entry in self.vault().items() if isinstance(entry, str)}
        sudo = {f"sudo password of {name}": gateway.sudo_password for name, gateway in self.gateways.items()}
        return {**passwords, **sudo, "vault password": VAULT_PASSWORD}

    # --- a gateway --------------------------------------------------------------------------------------------------

    def command(self, gateway: str, script: str) -> list[str]:
        """An argument list that has a script run on a gateway, by root."""
        return ["docker", "exec", self.gateways[gateway].container, "sh", "-euc", script]

    def shell(self, gateway: str, script: str) -> str:
        """What such a script prints."""
        return subprocess.run(self.command(gateway, script), capture_output=True, check=True).stdout.decode().strip()

    @contextmanager
    def changed(self, gateway: str, script: str, back: str) -> Iterator[None]:
        """Something else on a gateway for a while."""
        self.shell(gateway, script)
        try:
            yield
        finally:
            self.shell(gateway, back)

    @contextmanager
    def variables(self, host: str, **variables: Any) -> Iterator[None]:
        """Variables of one host for a while."""
        folder = self.inventory / "host_vars"
        folder.mkdir(exist_ok=True)
        (folder / f"{host}.yml").write_text(yaml.safe_dump(variables))
        try:
            yield
        finally:
            (folder / f"{host}.yml").unlink()

    @contextmanager
    def python(self, gateway: str, script: str) -> Iterator[None]:
        """Another start of a gateway's Python for a while: a script of the shell that comes to ``PYTHON "$@"``."""
        found_first = "/usr/local/bin/python3.11"
        put = f"printf '#!/bin/sh\\n%s\\n' {shlex.quote(script)} >{found_first}; chmod 0755 {found_first}"
        with self.changed(gateway, put, f"rm {found_first}"):
            yield

    def releases(self) -> dict[str, str]:
        """The release that each gateway has in use."""
        return {name: self.shell(name, f"readlink {SITE}/releases/current") for name in self.gateways}

    def state(self) -> dict[str, Any]:
        """Every file of gateways, store and vault; the run that looks enters itself in the store's run lock."""
        listed = "find /etc/mtls /etc/nginx ! -type d -printf '%p %m %U:%G %T@ %l\\n' -type f -exec sha256sum {} +"
        store = self.folder / "store"
        return {
            **{name: sorted(self.shell(name, listed).splitlines()) for name in self.gateways},
            "store": {
                path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.name != "run.lock"
            },
            "vault": self.vault(),
        }

    def check_sets(self) -> None:
        """On the disk of each gateway is a set that belongs together, and Nginx would take it."""
        for name, gateway in self.gateways.items():
            copy = self.folder / f"disk of {name}"
            shutil.rmtree(copy, ignore_errors=True)
            gateway.copy("/etc/mtls", copy)
            check_set_in_use(SimpleNamespace(root=copy))  # type: ignore[arg-type]  # all that is looked at

    # --- the clients ------------------------------------------------------------------------------------------------

    def load(self, gateway: str) -> Load:
        """Alice as she is now, at one gateway."""
        folder, store = self.folder / "alice", self.folder / "store"
        folder.mkdir(exist_ok=True)
        for source in (store / "trust-anchor.crt", *(store / "certificates/client/alice").glob("client.*")):
            (folder / source.name).unlink(missing_ok=True)
            shutil.copy(source, folder)
        alice = Identity(folder / "client.crt", folder / "client.key", self.vault()["client/alice"])
        target = Target(self.gateways[gateway].address, 8443, NAME, folder / "trust-anchor.crt")
        return Load(target, alice, clients=1, pause=0.1)


def told(words: tuple[str, ...], run: Run) -> None:
    """The run says these words in their order, and is readable."""
    rest = run.text
    for one in words:
        assert one in rest, (one, run.text[-5000:])
        rest = rest.partition(one)[2]
    assert "Traceback" not in run.text, run.text[-5000:]


def meets(fleet: Fleet, faults: Mapping[str, Fault]) -> None:
    """One run that meets these faults, each on a gateway, and what is so for every one of them."""
    before = fleet.secrets()
    loads = {name: fleet.load(name) for name in fleet.gateways}
    with ExitStack() as stack:
        for load in loads.values():
            stack.enter_context(load)
        with ExitStack() as meanwhile:
            settings = [meanwhile.enter_context(fault(fleet, gateway)) for gateway, fault in faults.items()]
            (arguments,) = {setting.arguments for setting in settings}
            environment = acting([act for setting in settings for act in setting.acts])
            for setting in settings:
                environment |= setting.environment
            run = fleet.run("rotate", "-v", "--diff", *arguments, **environment)
        over, answered = time.monotonic(), {name: load.answered for name, load in loads.items()}
        dark = {name for setting in settings for name in setting.dark}
        output = run.output
        assert (run.code != 0) == any(setting.fails for setting in settings), run.text[-5000:]
        for setting in settings:
            told(setting.told, run)
        fleet.check_sets()

        healed = fleet.run("rotate", "-v", "--diff")
        output += healed.output
        assert healed.code == 0, healed.text[-5000:]
        assert "GATEWAYS" not in healed.text
        fleet.check_sets()
        again = fleet.run("rotate", "-v", "--diff")
        output += again.output
        assert (again.code, again.changed) == (0, 0), again.text[-5000:]
    for name, load in loads.items():
        failures = [one for one in load.failures if name not in dark or one[0] > over]
        assert failures == [], (name, failures[:5])
        assert load.answered > answered[name]
    assert found_in(output, {**{f"old {path}": secret for path, secret in before.items()}, **fleet.secrets()}) == []


def refuses(fleet: Fleet, fault: Fault, gateway: str) -> None:
    """One run that meets a fault before it changed anything: nothing has to heal, for all is byte by byte as it was."""
    secrets, load = fleet.secrets(), fleet.load(gateway)
    before = fleet.state()
    with load, fault(fleet, gateway) as setting:
        run = fleet.run("rotate", "-v", "--diff", *setting.arguments, **setting.environment)
    assert run.code != 0
    told(setting.told, run)
    assert fleet.state() == before
    assert (load.failures, load.answered > 0) == ([], True)
    assert found_in(run.output, {**secrets, **fleet.secrets()}) == []
