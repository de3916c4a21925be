"""Faults that meet a rotation: the fleet serves on, and the next run finishes what was begun.

What is so for every one of them is in ``faults.meets`` and ``faults.refuses``; which fault has which test, in
docs/faults.md. Without ``--full`` one of them is drawn, by MTLS_KIT_TEST_FAULT_SEED.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.integration.faults import FORCED, SITE, Fault, Fleet, Setting, at, meets, refuses

RELEASE = "Ensure release and trust of every site"
SERVE = "Ensure the sites are served as they lie on disk"
SIGN = "Ensure every request has its certificate"
LISTED = "GATEWAYS"
AT_ONCE = (*FORCED, "-e", "fleet_batches=100%")
"""Without a canary, so that one run meets a fault on each gateway."""


# --- a run that ends ------------------------------------------------------------------------------------------------


@contextmanager
def killed_between_key_and_certificate(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    yield Setting(("Ensure a key and a request for every certificate that is due",), environment=at(SIGN))


@contextmanager
def killed_between_switch_and_reload(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    before = fleet.releases()
    yield Setting((RELEASE,), environment=at(SERVE))
    assert [name for name, release in fleet.releases().items() if release != before[name]] == [gateway]


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
    yield Setting(("re-issue: on demand",), fails=False, environment=at(SERVE, sys.executable, "-c", program, both))
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
    {
        "two rotations and two issuances at once": ("gw1", two_rotations_and_two_issuances_at_once),
        "other umask and locale": ("gw2", other_umask_and_locale),
    },
)
"""Each line by one run: on ``gw1``, the canary, whose disk survives a reboot, or ``gw2``, whose disk is small."""

NAMES = [*REFUSED, *(" + ".join(faults) for faults in MET)]
DRAWN = random.Random(os.environ.get("MTLS_KIT_TEST_FAULT_SEED", "")).choice(NAMES)  # noqa: S311  no secret


def drawn(name: str) -> object:
    return name if name == DRAWN else pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet.started(tmp_path_factory.mktemp("fleet")) as made:
        yield made


@pytest.mark.parametrize("name", map(drawn, REFUSED))
def test_it_is_told_before_anything_is_changed(fleet: Fleet, name: str) -> None:
    refuses(fleet, REFUSED[name], "gw2")


@pytest.mark.parametrize("number", [drawn(name) for name in NAMES[len(REFUSED) :]])
def test_the_fleet_serves_on_and_the_next_run_finishes_it(fleet: Fleet, number: str) -> None:
    faults = MET[NAMES.index(number) - len(REFUSED)]
    meets(fleet, dict(faults.values()))
