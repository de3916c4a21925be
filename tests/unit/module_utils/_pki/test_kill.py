"""kill -9 at any instant: the store stays valid, the next run heals it, the one after changes nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Ledger
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import Owner
from tests.unit.module_utils._pki.authority_host import AuthorityHost
from tests.unit.module_utils._pki.kill_me import wishes

CHECKOUT = Path(__file__).resolve().parents[4]
# How many runs are killed, and the seconds after which the test gives up waiting for a kill that hits.
SAMPLE = (36, 120.0)
ALL = (200, 600.0)
WORK = {"issue", "renew", "re-issue", "revoke", "sign-crl", "write"}
"""What the runs that were killed had to do, each of it."""
STEPS = ("", "issued", "signing", "rendering", "wrote")
"""How what a run tells in its lock begins; nothing until its first batch is in the ledger."""


def assert_sound(host: AuthorityHost) -> tuple[int, int]:
    """Everything handed out is whole and known to the ledger; returns the highest trust and CRL number."""
    ledger = Ledger.open(host.store / "ledger.sqlite")
    try:
        assert ledger._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert ledger._db.execute("PRAGMA foreign_key_check").fetchall() == []
        known = {row[0] for row in ledger._db.execute("SELECT der FROM certificates")}
        numbers = [unit.number for unit in ledger.trust_units().values()]
        crls = [crl.number for crl in ledger.crls().values()]
    finally:
        ledger.close()
    for path in host.store.glob("certificates/client/*/client.crt"):
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        assert leaf.public_bytes(Encoding.DER) in known
    for path in host.store.glob("certificates/client/*/client.key"):
        assert path.stat().st_size > 0
    return max(numbers, default=0), max(crls, default=0)


def step_of(host: AuthorityHost, process: int) -> str:
    """The step at which a run stands or was killed, as its lock says."""
    lock = host.store / "lock"
    owner = Owner.parsed(lock.read_text()) if lock.exists() else None
    return "" if owner is None or owner.pid != process else owner.doing.partition(" ")[0]


def wait_until(host: AuthorityHost, process: int, step: str, patience: float) -> None:
    """Until the run is at ``step`` or past it, has ended, or patience has."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and STEPS.index(step_of(host, process)) < STEPS.index(step):
        time.sleep(0.0005)


def assert_pairs(host: AuthorityHost) -> None:
    for entry in host.arguments["certificates"][::5]:
        folder = host.store / "certificates" / entry["name"]
        key = load_pem_private_key((folder / "client.key").read_bytes(), f"password of {entry['name']}".encode())
        assert key.public_key() == x509.load_pem_x509_certificates((folder / "client.crt").read_bytes())[0].public_key()


@pytest.mark.parametrize(("wanted", "longest"), [SAMPLE, pytest.param(*ALL, marks=pytest.mark.slow)])
def test_random_kills(tmp_path: Path, wanted: int, longest: float) -> None:
    chance = random.Random(3)  # noqa: S311  no secret
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}/collections:{CHECKOUT}"}
    command = [sys.executable, "-m", "tests.unit.module_utils._pki.kill_me", str(tmp_path)]
    began = time.monotonic()
    kills, numbers = 0, (0, 0)
    work: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for seed in range(1, 12 * wanted):
            if kills >= wanted or time.monotonic() - began > longest:
                break
            host = wishes(tmp_path, seed)
            foreseen = {change.action for change in host.run(dry=True).changes}
            print(seed, file=server.stdin, flush=True)
            process = int(server.stdout.readline())
            step = chance.choice(STEPS)
            wait_until(host, process, step, 2.0)
            # Before the first step is told a run plans, opens its keys and signs.
            time.sleep(chance.uniform(0.0, 0.02 if step else 0.1))
            os.kill(process, signal.SIGKILL)
            print("killed", file=server.stdin, flush=True)
            if int(server.stdout.readline()) == -signal.SIGKILL:
                kills += 1
                work.update(foreseen)
                steps[step_of(host, process)] += 1
            if (host.store / "ledger.sqlite").exists():
                after_kill = assert_sound(host)
                assert after_kill[0] >= numbers[0]
                assert after_kill[1] >= numbers[1]
            host.run()
            numbers = assert_sound(host)
            assert_pairs(host)
            assert host.run().changes == [], f"seed {seed}"
            assert not list(host.store.rglob("*.tmp"))
        server.stdin.close()
    assert work.keys() >= WORK
    assert len(steps) >= len(STEPS) - 1, steps
    assert kills >= wanted, f"only {kills} kills in {longest} s"
