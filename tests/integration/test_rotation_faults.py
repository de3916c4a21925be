"""Faults that meet a rotation: the fleet serves on, and the next run finishes what was begun.

What is so for every one of them is in ``faults.meets`` and ``faults.refuses``; which fault has which test, in
docs/faults.md. Without ``--full`` some of them are drawn, by MTLS_KIT_TEST_FAULT_SEED.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.integration.faults import FORCED, PYTHON, SITE, Fault, Fleet, Setting, another_time, at, meets, refuses
from tests.integration.gateway import USER

RELEASE = "Ensure release and trust of every site"
SERVE = "Ensure the sites are served as they lie on disk"
SIGN = "Ensure every request has its certificate"
LISTED = "GATEWAYS"
CONFIGURATION = "/etc/nginx/sites-enabled/zz-mtls-site-orders.conf"
CALLS = 8
"""Of a gateway's Python, by a run that has everything to do there."""
AT_ONCE = (*FORCED, "-e", "fleet_batches=100%")
"""Without a canary, so that one run meets a fault on each gateway."""


# --- a run that ends ------------------------------------------------------------------------------------------------


@contextmanager
def killed_between_key_and_certificate(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    yield Setting(("Ensure a key and a request for every certificate that is due",), acts=(at(SIGN),))


@contextmanager
def killed_between_switch_and_reload(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    before = fleet.releases()
    yield Setting((RELEASE,), acts=(at(SERVE),))
    assert [name for name, release in fleet.releases().items() if release != before[name]] == [gateway]


KILLER = """
import json, os, signal, sys, time
from pathlib import Path
store, run = Path(sys.argv[1]), os.getppid()
if os.fork():
    os._exit(0)
os.closerange(0, 3)
journal = store / "ledger.sqlite-journal"
for _ in range(300_000):
    if journal.exists():
        module = json.loads((store / "lock").read_text())["pid"]
        os.kill(module, signal.SIGSTOP)
        time.sleep(0.05)
        if journal.exists():
            os.kill(run, signal.SIGKILL)
            os.kill(module, signal.SIGKILL)
            break
        os.kill(module, signal.SIGCONT)
    time.sleep(0.0005)
"""
"""Waits until the ledger is in the middle of a transaction; the run and its module end there."""


@contextmanager
def killed_inside_the_ledger(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    store = fleet.folder / "store"
    yield Setting((SIGN,), acts=(at(SIGN, sys.executable, "-c", KILLER, str(store)),))
    assert (store / "ledger.sqlite-journal").exists()


@contextmanager
def powered_off_before_the_flush(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """The links are as a disk has them that heard nothing of the switch."""
    links = f"{SITE}/releases/current", f"{SITE}/trust/current"
    back = "; ".join(f"ln -sfn {fleet.shell(gateway, f'readlink {link}')} {link}" for link in links)
    before, machine = fleet.releases(), fleet.gateways[gateway]
    unflushed, off = at(SERVE, *fleet.command(gateway, back)), at(SERVE, "docker", "kill", machine.container)
    others = [name for name in fleet.gateways if name != gateway]
    told = LISTED, f"not reached: {gateway}", f"left alone: {', '.join(others)}"
    try:
        yield Setting(told, acts=(unflushed, off), dark=frozenset({gateway}))
    finally:
        machine.power_on()
    assert fleet.releases() == before


@contextmanager
def lost_in_the_middle_of_a_fleet(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """After the canary was done a gateway lets nobody in, and in the end it wakes up in the middle of its task."""
    asleep = fleet.command(gateway, "pkill -STOP -x sshd")
    try:
        yield Setting((LISTED, "done: gw1", f"not reached: {gateway}"), acts=(at(RELEASE, *asleep, times=2),))
    finally:
        fleet.shell(gateway, "pkill -CONT -x sshd")


# --- a connection that is cut ---------------------------------------------------------------------------------------


def cut_in_call(number: int) -> Fault:
    """The way to a gateway is cut in that call of its Python, which does its work to the end and tells nobody."""
    script = (
        "calls=$(($(cat /run/calls 2>/dev/null || echo 0) + 1)); echo $calls >/run/calls; "
        f'[ $calls = {number} ] || exec {PYTHON} "$@"; module=$(cat); pkill -KILL -u {USER} -x sshd; '
        f'printf "%s\\n" "$module" | {PYTHON} "$@"'
    )

    @contextmanager
    def cut(fleet: Fleet, gateway: str) -> Iterator[Setting]:
        with fleet.python(gateway, script):
            try:
                if number > CALLS:
                    yield Setting(("re-issue: on demand",), fails=False, arguments=AT_ONCE)
                else:
                    yield Setting((LISTED, "not reached:", gateway), arguments=AT_ONCE)
                assert fleet.shell(gateway, "cat /run/calls") == str(min(number, CALLS))
            finally:
                fleet.shell(gateway, "rm -f /run/calls")

    return cut


# --- disks ----------------------------------------------------------------------------------------------------------


@contextmanager
def disk_full(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    ballast = "/etc/mtls/ballast"
    with fleet.changed(gateway, f"dd if=/dev/zero of={ballast} bs=1k 2>/dev/null || true", f"rm {ballast}"):
        yield Setting((LISTED, f"failed: {gateway}", "No space left on device"), arguments=AT_ONCE)


@contextmanager
def immutable_folder(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    with fleet.changed(gateway, f"chattr +i {SITE}/releases", f"chattr -i {SITE}/releases"):
        yield Setting((LISTED, f"failed: {gateway}", "Operation not permitted"), arguments=AT_ONCE)


@contextmanager
def read_only_folder(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    with fleet.changed(gateway, "mount -o remount,ro /etc/mtls", "mount -o remount,rw /etc/mtls"):
        yield Setting((LISTED, f"failed: {gateway}", "Read-only file system"), arguments=AT_ONCE)


# --- what lies on a gateway -----------------------------------------------------------------------------------------


@contextmanager
def mismatched_pair(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """A key that the site's password opens, and that isn't the certificate's."""
    fleet.shell(
        gateway,
        f"cd {SITE}/releases/current/; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 "
        "-pass file:password -out server.key",
    )
    yield Setting(("re-issue:",), fails=False, arguments=())


@contextmanager
def manual_edits(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """Whose reload would shut everybody out."""
    fleet.shell(
        gateway,
        f"echo 'deny all;' >>{CONFIGURATION}; cd {SITE}/trust/current/; : >client-ca.crt; echo '# nobody' >issuers.map",
    )
    yield Setting(("install: trust:", f"name: {CONFIGURATION}", "content changed"), fails=False, arguments=())


@contextmanager
def rollback_that_fails_itself(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """A master that takes no signal, and a release of before whose key somebody altered."""
    broken = f"echo >>{SITE}/releases/previous/server.key; kill -STOP $(cat /run/nginx.pid)"
    told = "AND SO DID TAKING IT BACK", "no rollback", "by hand:", LISTED, f"failed: {gateway}"
    with fleet.variables(gateway, nginx_mtls_poll_seconds=5):
        try:
            yield Setting(told, arguments=AT_ONCE, acts=(at(SERVE, *fleet.command(gateway, broken)),))
        finally:
            fleet.shell(gateway, "kill -CONT $(cat /run/nginx.pid)")


# --- clocks ---------------------------------------------------------------------------------------------------------


def clock_apart(offset: str) -> Fault:
    """Another day on a gateway, for the whole of a run."""

    @contextmanager
    def apart(fleet: Fleet, gateway: str) -> Iterator[Setting]:
        before = fleet.releases()[gateway]
        with fleet.python(gateway, another_time(offset)):
            yield Setting((LISTED, f"failed: {gateway}", "clock of the gateway"), arguments=AT_ONCE)
        assert fleet.releases()[gateway] == before

    return apart


@contextmanager
def clock_jumping(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """An hour ahead from one task to the next, and right again afterwards."""
    before = fleet.releases()[gateway]
    with fleet.python(gateway, f'[ ! -e /run/jumped ] || {{ {another_time("+1h")}; }}; exec {PYTHON} "$@"'):
        jump = at(RELEASE, *fleet.command(gateway, "touch /run/jumped"))
        yield Setting((LISTED, f"failed: {gateway}", "clock of the gateway"), arguments=AT_ONCE, acts=(jump,))
    assert fleet.releases()[gateway] == before


# --- the CA ---------------------------------------------------------------------------------------------------------


@contextmanager
def old_backup_by_hand(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """The store of before a rotation takes the place of what followed, as if that had never been."""
    store, backup, newer = (fleet.folder / name for name in ("store", "backup", "newer"))
    shutil.copytree(store, backup, symlinks=True)
    rotated = fleet.run("rotate", *FORCED)
    assert rotated.code == 0, rotated.text[-3000:]
    before = fleet.releases()
    store.rename(newer)
    backup.rename(store)
    try:
        yield Setting(("a number that only grows", "restore it with mtls.kit.restore"), arguments=())
        assert fleet.releases() == before
    finally:
        shutil.rmtree(store)
        newer.rename(store)


# --- passwords and configuration: refused before anything is changed ------------------------------------------------


@contextmanager
def wrong_password(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    with fleet.vault_with("ca/issuing", "another-one-0Zx9-7Qy3-4Wv8"):
        yield Setting(("issuing-g1", "Next:"))


@contextmanager
def empty_password(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    with fleet.vault_with("ca/issuing", ""):
        yield Setting(("ca/issuing", "empty password", "Next:"))


@contextmanager
def missing_password(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    with fleet.vault_with("ca/issuing", None):
        yield Setting(("ca/issuing", "found no entry", "Next: put it back"))


@contextmanager
def configuration_refused(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    broken = "/etc/nginx/conf.d/of-somebody-else.conf"
    with fleet.changed(gateway, f"echo 'server {{ listen nowhere; }}' >{broken}", f"rm {broken}"):
        yield Setting(("before this run changed anything", broken, "Next: repair"))


# --- two at once ----------------------------------------------------------------------------------------------------


@contextmanager
def two_rotations_and_two_issuances_at_once(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    others = [fleet.at_once(name) for name in ("rotate", "site")]
    program = "import json, subprocess, sys\nfor one in json.loads(sys.argv[1]): subprocess.run(one)"
    both = json.dumps([command for command, _ in others])
    yield Setting(("re-issue: on demand",), fails=False, acts=(at(SERVE, sys.executable, "-c", program, both),))
    for _, output in others:
        said = " ".join(output.read_text().split())
        assert "found that a run is at work: rotate.yml of" in said, said[-3000:]
        assert "expected one run at a time. Next: wait until it has ended" in said
        assert said.endswith("exit status 2")


# --- surroundings ---------------------------------------------------------------------------------------------------


@contextmanager
def other_umask_and_locale(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    """Umasks that would let everybody read and write, and a gateway that doesn't speak UTF-8."""
    sudoers = "/etc/sudoers.d/umask"
    mask = os.umask(0)
    try:
        fleet.shell(
            gateway,
            f"echo 'Defaults umask=0000, umask_override' >{sudoers}; chmod 0440 {sudoers}; "
            "echo LC_ALL=POSIX >/etc/environment; echo LANG=tr_TR.ISO-8859-9 >>/etc/environment",
        )
        yield Setting(("re-issue: on demand",), fails=False, environment={"LANG": "C", "LC_MESSAGES": "POSIX"})
        modes = fleet.shell(gateway, f"cd {SITE}/releases/current/ && stat -c '%n %a' . *").split()
        assert modes == [".", "700", "id.map", "444", "password", "400", "server.crt", "444", "server.key", "400"]
        files = [path for path in (fleet.folder / "store").rglob("*") if not path.is_symlink()]
        assert [path for path in files if path.stat().st_mode & 0o022] == []
        assert [path for path in files if path.suffix == ".key" and path.stat().st_mode & 0o777 != 0o400] == []
        assert fleet.vault_file.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)
        fleet.shell(gateway, f"rm {sudoers}; : >/etc/environment")


# --- the tests ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, Fault] = {
    "wrong password": wrong_password,
    "empty password": empty_password,
    "missing password": missing_password,
    "nginx -t fails": configuration_refused,
}
"""Met before anything is changed."""
MET: tuple[Mapping[str, tuple[str, Fault]], ...] = (
    {"kill -9 between key and certificate": ("gw1", killed_between_key_and_certificate)},
    {"kill -9 between switch and reload": ("gw1", killed_between_switch_and_reload)},
    {"immutable folder": ("gw1", immutable_folder), "disk full on a gateway": ("gw2", disk_full)},
    {"kill -9 inside the ledger": ("gw1", killed_inside_the_ledger)},
    {"gateway powered off after the switch before the flush": ("gw1", powered_off_before_the_flush)},
    {"host lost in the middle of a fleet": ("gw2", lost_in_the_middle_of_a_fleet)},
    {"rollback that fails itself": ("gw1", rollback_that_fails_itself)},
    {"manual edits of installed files": ("gw1", manual_edits), "mismatched pair": ("gw2", mismatched_pair)},
    {
        "gateway's clock a day ahead": ("gw1", clock_apart("+1d")),
        "gateway's clock a day behind": ("gw2", clock_apart("-1d")),
    },
    {"gateway's clock jumping": ("gw1", clock_jumping), "read-only folder": ("gw2", read_only_folder)},
    {"old backup of the CA put back by hand": ("gw1", old_backup_by_hand)},
    {
        "two rotations and two issuances at once": ("gw1", two_rotations_and_two_issuances_at_once),
        "other umask and locale": ("gw2", other_umask_and_locale),
    },
)
"""Each line by one run: on ``gw1``, the canary, whose disk survives a reboot, or ``gw2``, whose disk is small."""

CUTS: dict[str, Mapping[str, Fault]] = {
    f"in calls {first} and {second}": {"gw1": cut_in_call(first), "gw2": cut_in_call(second)}
    for first, second in zip(range(1, CALLS // 2 + 2), range(CALLS // 2 + 1, CALLS + 2), strict=False)
}
"""Every call, and one more, which there isn't."""

MEETINGS: dict[str, Mapping[str, Fault]] = {
    **{" + ".join(line): dict(line.values()) for line in MET},
    **{f"SSH connection cut {calls}": faults for calls, faults in CUTS.items()},
}
LOT = random.Random(os.environ.get("MTLS_KIT_TEST_FAULT_SEED", ""))  # noqa: S311  no secret
DRAWN = {*LOT.sample(list(REFUSED), 2), LOT.choice(list(MEETINGS))}


def drawn(names: Iterable[str]) -> list[object]:
    return [name if name in DRAWN else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet.started(tmp_path_factory.mktemp("fleet")) as made:
        yield made


@pytest.mark.parametrize("name", drawn(REFUSED))
def test_it_is_told_before_anything_is_changed(fleet: Fleet, name: str) -> None:
    refuses(fleet, REFUSED[name], "gw2")


@pytest.mark.parametrize("name", drawn(MEETINGS))
def test_the_fleet_serves_on_and_the_next_run_finishes_it(fleet: Fleet, name: str) -> None:
    meets(fleet, MEETINGS[name])
