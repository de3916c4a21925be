"""The engine is killed after each step of a roll: what served goes on, and the next run heals what is left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.integration.containers import Containers, build, serving
from tests.integration.engine import OwnEngine, private_network

IMAGE = "mtls-kit-gateway:engine-test"
STEPS = ("create", "start", "execute", "signal", "keep", "retire")
DEFAULT = ("signal", True)


@pytest.fixture(scope="module")
def own() -> Iterator[OwnEngine]:
    build(IMAGE)
    # Paths of sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="mk-") as folder, private_network(), pytest.MonkeyPatch.context() as patch:
        engine = OwnEngine(Path(folder))
        try:
            engine.start(live_restore=True)
            engine.take(IMAGE)
            patch.setenv("DOCKER_HOST", engine.host)
            yield engine
        finally:
            engine.end()


@pytest.fixture(scope="module")
def gateway(own: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    with serving(tmp_path_factory.mktemp("gateway"), IMAGE) as gateway:
        yield gateway


def seconds_until_it_serves(gateway: Containers) -> float:
    begun = time.monotonic()
    while gateway.ask("/").status != 200:
        assert time.monotonic() - begun < 30, "the gateway doesn't come back"
    return time.monotonic() - begun


def faults() -> Iterator[Any]:
    for live_restore in (True, False):
        for step in STEPS:
            marks = [] if (step, live_restore) == DEFAULT else [pytest.mark.slow]
            name = f"{step}-{'live-restore' if live_restore else 'as-installed'}"
            yield pytest.param(step, live_restore, marks=marks, id=name)


@pytest.mark.parametrize(("step", "live_restore"), faults())
def test_an_engine_that_is_killed_after_a_step_costs_nothing_that_served(
    own: OwnEngine, gateway: Containers, monkeypatch: pytest.MonkeyPatch, step: str, live_restore: bool
) -> None:
    gateway.roll()
    before = gateway.current
    gateway.options["memory"] = f"{200 + time.monotonic_ns() % 1000}m"
    verb: Any = getattr(gateway.engine, step)

    def killed(*arguments: Any, **more: Any) -> Any:
        found = verb(*arguments, **more)
        if own.daemon is not None:
            own.kill()
        return found

    with gateway.load(anew=2, kept=2) as load:
        with monkeypatch.context() as patch, pytest.raises(KitError) as refused:
            patch.setattr(gateway.engine, step, killed)
            gateway.roll()
        # What the shims keep alive serves without an engine.
        time.sleep(1)
        if live_restore:
            own.start(live_restore=True)
            time.sleep(1)
    assert load.failures == []
    assert load.anew.answered > 10
    (told,) = str(refused.value).splitlines()
    assert "found a container engine that doesn't answer" in told and "Next: start it (systemctl start docker)" in told
    if step != "retire":
        assert told.endswith(f"{before.name} goes on serving.")
    if not live_restore:
        # It ends what it finds alive, and begins what was proven anew.
        own.start(live_restore=False)
        print(f"{step}: refused for {seconds_until_it_serves(gateway):.1f} s after the engine was back")

    with gateway.load(anew=2, kept=2) as load:
        gateway.roll()
        assert gateway.roll() == []
    assert load.failures == []
    gateway.holds_nothing_that_is_left_over()
