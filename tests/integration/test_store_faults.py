"""A store on a disk that is really full, or really read-only, with Debian's own Python and cryptography."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway import CREDENTIALS, IMAGE

CHECKOUT = Path(__file__).resolve().parents[2]
DISK = 32 << 20
LEAST = 1 << 20
"""What a run wants to be free before it begins."""

RUN = """
import json, sys
from pathlib import Path
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client
host = AuthorityHost(Path("/disk"))
host.arguments["certificates"] = [client(f"c{number}") for number in range(int(sys.argv[1]))]
host.arguments["revoke"] = [{"name": f"client/c{number}"} for number in range(int(sys.argv[2]))]
try:
    print(json.dumps({"changes": [change.reason for change in host.run().changes]}))
except KitError as error:
    print(json.dumps({"error": str(error)}))
"""
"""Clients and revocations in the arguments; a line of JSON with the reasons of the changes, or the error."""

LOOK = """
import json, os, sqlite3
from pathlib import Path
store = Path("/disk/store")
ledger = sqlite3.connect(f"file:{store}/ledger.sqlite?mode=ro", uri=True)
def one(statement):
    return ledger.execute(statement).fetchone()[0]
known = {row[0] for row in ledger.execute("SELECT name FROM certificates WHERE current = 1")}
# A map of nobody is empty.
files = [path for path in store.rglob("*") if path.is_file() and path.name != "lock" and path.suffix != ".map"]
print(json.dumps({
    "integrity": one("PRAGMA integrity_check"),
    "twice": one("SELECT count(*) - count(DISTINCT serial) FROM certificates"),
    "crl": one("SELECT max(number) FROM crls"),
    "trust": one("SELECT max(number) FROM trust"),
    "empty": [str(path) for path in files if not path.stat().st_size],
    "unknown": [path.name for path in (store / "certificates/client").iterdir() if f"client/{path.name}" not in known],
}))
"""


class Disk:
    """A small disk of its own in a container, and the kit beside it."""

    def __init__(self, container: str) -> None:
        self._container = container

    def call(self, *command: str) -> str:
        """What a command in the container prints."""
        done = subprocess.run(
            ["docker", "exec", "--env", "PYTHONPATH=/kit:/kit/collections", "--env", "PYTHONDONTWRITEBYTECODE=1",
             self._container, *command],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def run(self, clients: int, revoked: int = 0) -> dict[str, Any]:
        """One run of the PKI."""
        found: dict[str, Any] = json.loads(self.call("python3", "-c", RUN, str(clients), str(revoked)))
        return found

    def empty(self) -> None:
        """Begin anew: another test's store, with its revocations, is no part of this one."""
        self.call("find", "/disk", "-mindepth", "1", "-delete")

    def leave(self, room: int) -> None:
        """Fill the disk but for ``room`` bytes."""
        free = int(self.call("df", "--output=avail", "--block-size=1", "/disk").split()[-1])
        self.call("fallocate", "--length", str(free - room), "/disk/ballast")

    def make_room(self) -> None:
        """Take away what fills it."""
        self.call("rm", "/disk/ballast")

    def numbers(self) -> tuple[int, int]:
        """The highest CRL and trust numbers, once the store was found to be whole."""
        found = json.loads(self.call("python3", "-c", LOOK))
        assert found | {"crl": 0, "trust": 0} == {
            "integrity": "ok", "twice": 0, "crl": 0, "trust": 0, "empty": [], "unknown": [],
        }  # fmt: skip
        return found["crl"], found["trust"]


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    container = subprocess.run(
        ["docker", "run", "--detach", "--volume", f"{CHECKOUT}:/kit:ro", "--tmpfs", f"/disk:size={DISK}", *CREDENTIALS,
         "--entrypoint", "sleep", IMAGE, "600"],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout.strip()  # fmt: skip
    try:
        found = Disk(container)
        found.call("apt-get", "-qq", "update")
        found.call("apt-get", "-qq", "install", "--yes", "--no-install-recommends", "python3-cryptography")
        yield found
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], capture_output=True, check=True, timeout=60)


def test_a_full_disk_loses_nothing_wherever_it_fills_up(disk: Disk) -> None:
    disk.empty()
    clients = 20
    disk.run(clients)
    before = disk.numbers()
    refused = 0
    for number, pages in enumerate((-256, 1, 20, 50, 90, 140, 200)):
        clients += 200
        disk.leave(LEAST + pages * 4096)
        told = disk.run(clients, number)
        refused += "error" in told
        assert "error" not in told or "no space left" in told["error"] or "full" in told["error"], told
        after = disk.numbers()
        assert after >= before
        disk.make_room()
        assert "error" not in disk.run(clients, number)
        assert disk.run(clients, number) == {"changes": []}
        before = disk.numbers()
    assert refused >= 5


def test_a_read_only_disk_is_named_and_nothing_is_changed(disk: Disk) -> None:
    disk.empty()
    disk.run(5)
    before = disk.numbers()
    disk.call("mount", "--options", "remount,ro", "/disk")
    told = disk.run(6)
    disk.call("mount", "--options", "remount,rw", "/disk")
    assert "can't write" in told["error"]
    assert "Next: " in told["error"]
    assert disk.numbers() == before
    assert "issue: new" in disk.run(6)["changes"]
    assert disk.run(6) == {"changes": []}
