"""Faults that meet a rotation: the fleet serves on, and the next run finishes what was begun.

What is so for every one of them is in ``faults.meets`` and ``faults.refuses``; which fault has which test, in
docs/faults.md. Without ``--full`` one of them is drawn, by MTLS_KIT_TEST_FAULT_SEED.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.integration.faults import Fault, Fleet, Setting, at, meets, refuses

SIGN = "Ensure every request has its certificate"
"""Without a canary, so that one run meets a fault on each gateway."""


# --- a run that ends ------------------------------------------------------------------------------------------------


@contextmanager
def killed_between_key_and_certificate(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    yield Setting(("Ensure a key and a request for every certificate that is due",), environment=at(SIGN))


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
        yield Setting(("issuing-g1", "Next:"))


@contextmanager
def configuration_refused(fleet: Fleet, gateway: str) -> Iterator[Setting]:
    broken = "/etc/nginx/conf.d/of-somebody-else.conf"
    with fleet.changed(gateway, f"echo 'server {{ listen nowhere; }}' >{broken}", f"rm {broken}"):
        yield Setting(("before this run changed anything", broken, "Next: repair"))


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
