"""A run may end at any instant: what is in use stays a matching set, the next run heals, the one after does nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.trust import digest
from tests.unit.module_utils._gateway.delivery import Gateway, Pki

CALLS = ("open", "write", "fsync", "fchmod", "fchown", "mkdir", "rename", "replace", "symlink", "unlink", "rmdir")
"""Every call by which the gateway's files change."""


class Killed(BaseException):
    """Stands for a kill: nothing that runs after it may tidy up."""


@contextmanager
def ends_at(call_number: int, failure: Callable[[], BaseException]) -> Iterator[list[str]]:
    """Let the call of that number, counted over all of CALLS, fail before it does anything; yields the calls made."""
    made: list[str] = []
    originals = {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return originals[name](*arguments, **options)
            made.append(name)
            if len(made) == call_number:
                raise failure()
            return originals[name](*arguments, **options)

        return call

    try:
        for name in CALLS:
            setattr(os, name, watched(name))
        yield made
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a simulated end leaves behind is what the calls before it did; the disk needs not have it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def check_set_in_use(gateway: Gateway, site: str = "orders") -> None:
    """Key, chain, password and id belong together, and the trust is a unit that the CA handed out."""
    releases, trust = gateway.root / site / "releases", gateway.root / site / "trust"
    if (releases / "current").is_symlink():
        folder = (releases / "current").resolve(strict=True)
        password = (folder / "password").read_bytes().rstrip(b"\n")
        key = keys.load_encrypted((folder / "server.key").read_bytes(), password, "key")
        leaf = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
        assert keys.public_key_sha256(key.public_key()) == keys.public_key_sha256(leaf.public_key())  # type: ignore[arg-type]
        assert (folder / "id.map").read_text() == f'default "{folder.name}";\n'
    if (trust / "current").is_symlink():
        unit = (trust / "current").resolve(strict=True)
        content = {path.name: path.read_text() for path in unit.iterdir() if path.name != "sha256"}
        assert digest(content) == (unit / "sha256").read_text().strip()
        assert content["number.map"] == f'default "{unit.name}";\n'


def check_nothing_is_left(gateway: Gateway) -> None:
    assert [str(path) for path in gateway.root.rglob(f"{files.TEMPORARY}*")] == []


def heal(gateway: Gateway) -> None:
    """The next run completes what was begun, and the one after it changes nothing."""
    gateway.deploy()
    check_set_in_use(gateway)
    check_nothing_is_left(gateway)
    leaf = x509.load_pem_x509_certificate((gateway.current() / "server.crt").read_bytes())
    assert leaf == x509.load_pem_x509_certificate(gateway.chains["orders"].encode())
    assert (gateway.root / "orders" / "trust" / "current").resolve().name == str(gateway.pki.number)
    before = gateway.tree()
    assert gateway.request()["changed"] is False
    assert gateway.release()["changed"] is False
    assert gateway.tree() == before


def renewal(gateway: Gateway) -> None:
    """Everything at once: three releases and trust units are there, so that the oldest of each has to go."""
    for number in range(3):
        gateway.deploy(wanted=f"renew: {number} of 90 days left")
        gateway.pki.next_trust(f"0A1{number}")
    gateway.release()
    gateway.pki.next_trust("0A1F")


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("failure", [Killed, lambda: OSError(28, "No space left on device")], ids=["kill", "ENOSPC"])
def test_a_release_that_ends_at_any_call(gateway: Gateway, failure: Callable[[], BaseException]) -> None:
    gateway.deploy()
    renewal(gateway)
    gateway.certify(gateway.request(wanted="renew: 9 of 90 days left")["csrs"])
    call = 0
    while True:
        call += 1
        old = gateway.current()
        with ends_at(call, failure) as made:
            try:
                gateway.release()
            except Killed:
                pass
            except KitError as error:
                assert "No space left on device" in str(error)
                assert "what is in use was left as it is" in str(error)
                check_nothing_is_left(gateway)
            else:
                break
        assert len(made) >= call
        check_set_in_use(gateway)
        assert old.is_dir()
        heal(gateway)
        gateway.pki.next_trust(f"0B{call:02X}")
        gateway.certify(gateway.request(wanted=f"renew: {call} of 90 days left")["csrs"])
    assert call > 40
    heal(gateway)


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("failure", [Killed, lambda: OSError(30, "Read-only file system")], ids=["kill", "EROFS"])
def test_a_request_that_ends_at_any_call(
    tmp_path: Path, pki: Pki, gateway: Gateway, failure: Callable[[], BaseException]
) -> None:
    call = 0
    while True:
        call += 1
        fresh = Gateway(tmp_path / str(call) / "mtls", pki, gateway.owner)
        with ends_at(call, failure):
            try:
                fresh.request()
            except Killed:
                pass
            except KitError as error:
                assert "Read-only file system" in str(error)
                check_nothing_is_left(fresh)
            else:
                break
        heal(fresh)
    assert call > 10


def renew_for_ever(gateway: Gateway) -> None:
    while True:
        gateway.pki.next_trust("0A1B" if gateway.pki.number % 2 else "0A1C")
        gateway.pki.revoked = gateway.pki.revoked[-1:]
        gateway.deploy(wanted="renew: again")


def test_kill_9_at_random_instants(gateway: Gateway) -> None:
    """Real processes that renew for ever, each killed by the kernel; the instants are seeded."""
    instants = random.Random(20260601)  # noqa: S311  not a secret
    reached = set()
    for number in range(1, 31):
        gateway.pki.number = 1000 * number
        child = os.fork()
        if child == 0:
            try:
                renew_for_ever(gateway)
            finally:
                os._exit(1)
        time.sleep(instants.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        check_set_in_use(gateway)
        reached.update(path.name for path in gateway.root.rglob("*") if path.is_file())
        # Like a CA that never signed what the killed run asked for: its ledger knows none of those keys.
        gateway.pki.number = 1000 * number + 999
        gateway.certify(
            gateway.request(wanted="issue: no certificate yet")["csrs"], names_covered=["orders.example.test"]
        )
        heal(gateway)
    assert {"server.key", "request.csr", "revoked.map"} <= reached


def test_a_full_disk_leaves_all_as_it_is(deployed: Gateway) -> None:
    """The kernel's own refusal, by the largest file a process may write."""
    import resource

    deployed.pki.next_trust("0A1B")
    before = deployed.tree()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(KitError, match=r"File too large.*ulimit -f"):
            deployed.release()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert deployed.tree() == before
    heal(deployed)


def test_a_second_run_waits_and_then_says_so(deployed: Gateway) -> None:
    with (
        files.locked(deployed.root),
        pytest.raises(KitError, match="another run has been at work"),
        files.locked(deployed.root, patience=0.2),
    ):
        pass
    assert deployed.release()["changed"] is False


def test_a_file_where_a_folder_is_to_be(gateway: Gateway) -> None:
    gateway.root.parent.mkdir(parents=True)
    gateway.root.write_text("")
    with pytest.raises(KitError, match="found a file; expected a folder"):
        gateway.request()
    gateway.root.unlink()
    gateway.root.mkdir()
    (gateway.root / "orders").write_text("")
    with pytest.raises(KitError, match="remove what stands in the way"):
        gateway.request()
