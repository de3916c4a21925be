"""Rolls of a gateway that is a container, on a real engine, under load: nothing is refused and nothing is cut."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container import roll
from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.modules import container_roll
from tests.integration.containers import Containers, docker, serving


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    with serving(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Containers) -> Containers:
    """As it is wished, whatever the test before has left."""
    shared.site_settings.clear()
    shared.options.clear()
    shared.start_seconds = 20
    shared.roll()
    return shared


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a file, for this process alone; in bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)


def kinds(gateway: Containers) -> dict[str, Callable[[int], list[str]]]:
    """Everything that can change, each time another way."""

    def image(number: int) -> list[str]:
        gateway.image = gateway.variant(f"LABEL number={time.monotonic_ns()}")
        return gateway.roll()

    def configuration(number: int) -> list[str]:
        gateway.site_settings["client_max_body_size"] = f"{number + 2}m"
        return gateway.roll()

    def options(number: int) -> list[str]:
        gateway.options["memory"] = f"{256 + number}m"
        return gateway.roll()

    def release(number: int) -> list[str]:
        gateway.another_release(f"release-{time.monotonic_ns()}")
        return gateway.roll()

    return {"image": image, "configuration": configuration, "engine options": options, "release": release}


def test_every_kind_of_change_under_load_loses_nothing(gateway: Containers) -> None:
    with gateway.load(anew=3, kept=3) as load:
        for kind, change in kinds(gateway).items():
            name = gateway.current.name
            reasons = change(1)
            if kind == "release":
                assert [reason.split(" ")[0] for reason in reasons] == ["reload:"] and gateway.current.name == name
            else:
                assert reasons[0].startswith(f"roll: {kind} changed") and gateway.current.name != name
            assert gateway.roll() == []
    assert load.failures == []
    assert load.anew.answered > 50 and load.kept.answered > 50
    assert len(gateway.containers()) == 2
    assert gateway.ask("/").status == 200 and gateway.ask("/", who=None).status == 400


def test_going_back_has_the_image_and_the_release_of_before(gateway: Containers) -> None:
    before = gateway.current
    gateway.image, kept = gateway.variant("LABEL back=1"), gateway.image
    gateway.roll()
    gateway.another_release("later")
    gateway.roll()
    with gateway.load(anew=3, kept=3) as load:
        outcome = gateway.roller().back(False)
    gateway.image = kept
    assert load.failures == []
    assert gateway.current.container.id == before.container.id
    assert outcome.served["orders"]["release"] != "later"
    assert (gateway.mtls / "orders/releases/current").readlink().name == outcome.served["orders"]["release"]
    assert gateway.roll() == []


WITH_A_CERTIFICATE_OF_ITS_OWN = (
    "RUN openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -keyout /other.key"
    " -out /other.crt",
    r"RUN printf '%s\n' '#!/bin/sh' 'cp -r /etc/mtls-kit /run/nginx/own && cd /run/nginx/own'"
    r" 'find . -name \*.conf | xargs sed -i -e s,/etc/mtls-kit,/run/nginx/own,"
    r" -e s,/.\*/server[.]crt,/other.crt, -e s,/.\*/server[.]key,/other.key,'"
    """ 'exec nginx -c /run/nginx/own/nginx.conf -e stderr -g "daemon off;"' >/usr/local/bin/nginx-of-its-own"""
    " && chmod 755 /usr/local/bin/nginx-of-its-own",
)
"""An image that serves another certificate than that on the disk."""


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("ends at once", "ended with status 3.*no such luck"),
        ("unhealthy", "health check ended with status 1: not well"),
        pytest.param("configuration", r"no_such_directive|unknown directive|invalid", marks=pytest.mark.slow),
        pytest.param("serial", r"serial \S+ is on disk, \S+ is served", marks=pytest.mark.slow),
        pytest.param("port", "listening there", marks=pytest.mark.slow),
        pytest.param("image", "no such image", marks=pytest.mark.slow),
        ("disk", "File too large"),
    ],
)
def test_whatever_fails_the_old_one_serves_and_the_next_run_heals(gateway: Containers, fault: str, found: str) -> None:
    before, image = gateway.current, gateway.image
    gateway.start_seconds = 3
    with gateway.load(anew=2, kept=2) as load, pytest.raises(KitError, match=f"(?s){found}") as refused:
        if fault == "ends at once":
            gateway.image = gateway.variant(
                "RUN printf '#!/bin/sh\\necho no such luck >&2\\nexit 3\\n' >/usr/local/bin/nginx-ends"
                " && chmod 755 /usr/local/bin/nginx-ends"
            )
            gateway.options["binary"] = "/usr/local/bin/nginx-ends"
            gateway.roll()
        elif fault == "unhealthy":
            gateway.roll(gateway.variant("HEALTHCHECK CMD echo not well; exit 1"))
        elif fault == "configuration":
            arguments = gateway.arguments(image)
            broken = {"path": "/etc/mtls-kit/conf.d/zzz.conf", "content": "no_such_directive on;\n"}
            gateway.roller().run(container_roll._wish({**arguments, "files": [*arguments["files"], broken]}), False)
        elif fault == "serial":
            gateway.image = gateway.variant(*WITH_A_CERTIFICATE_OF_ITS_OWN)
            gateway.options["binary"] = "/usr/local/bin/nginx-of-its-own"
            gateway.roll()
        elif fault == "port":
            gateway.options["memory"] = "300m"
            with socket.create_server(("127.0.0.1", gateway.probe_port + 1 - before.record.slot)):
                gateway.roll()
        elif fault == "image":
            gateway.roll("mtls-kit-gateway:none")
        else:
            gateway.site_settings["client_max_body_size"] = "9m"
            with files_no_larger_than(512):
                gateway.roll()
    assert load.failures == []
    if fault not in ("port", "disk"):
        assert f"{before.name} goes on serving" in str(refused.value)
    gateway.image = image
    gateway.options.clear()
    gateway.site_settings.clear()
    assert gateway.current.container.id == before.container.id
    assert gateway.roll() == []
    assert before.name in gateway.containers() and len(gateway.containers()) <= 2


def test_a_wrong_password_is_rolled_back_and_the_old_release_served(gateway: Containers) -> None:
    gateway.certify()
    gateway.roll()
    before, release = gateway.current, (gateway.mtls / "orders/releases/current").readlink().name
    gateway.another_release(f"wrong-{time.monotonic_ns()}", password="not the password of this key")
    with gateway.load(anew=2, kept=2) as load, pytest.raises(KitError, match=f"rolled back to {release}"):
        gateway.roll()
    assert load.failures == []
    assert gateway.current.container.id == before.container.id
    assert gateway.roll() == []


@pytest.mark.slow
def test_images_that_nothing_is_made_from_are_kept_as_many_as_wished_and_no_volume_is_made(gateway: Containers) -> None:
    kept = gateway.image
    made = [gateway.variant(f"LABEL number={time.monotonic_ns()}") for _ in range(4)]
    for gateway.image in made:
        gateway.roll()
    outcome = deploy.Outcome()
    label = f"mtls-kit.image={gateway.name}"
    roll.prune(gateway.engine, label, 1, outcome, check_mode=False)
    left = {tag for image in gateway.engine.images(label) for tag in image.tags}
    assert left & {*made} == {*made[1:]}, "two are used by containers, one more is kept"
    assert {one["reason"] for one in outcome.changes} == {"remove: 1 images are kept beside those in use"}
    mounts = docker("inspect", "--format", "{{range .Mounts}}{{.Type}} {{end}}", *gateway.containers())
    assert {*mounts.split()} == {"bind"}, "a volume would outlast its container"
    gateway.image = kept


STEPS = ("create", "start", "execute", "signal", "keep", "retire", "remove")


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_roll_that_is_killed_at_any_step_is_healed_by_the_next(gateway: Containers, step: str, after: bool) -> None:
    gateway.site_settings["client_max_body_size"] = f"{1 + time.monotonic_ns() % 1000}m"
    verb: Any = getattr(gateway.engine, step)

    def killed(*arguments: Any, **more: Any) -> Any:
        if after:
            verb(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    with gateway.load(anew=2, kept=2) as load:
        child = os.fork()
        if child == 0:
            setattr(gateway.engine, step, killed)
            with contextlib.suppress(BaseException):
                gateway.roll()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "that step was never reached"
        gateway.roll()
        assert gateway.roll() == []
    assert load.failures == []
    gateway.holds_nothing_that_is_left_over()


@pytest.mark.slow
def test_five_rolls_of_each_kind_beside_a_restart_and_stop_then_start(gateway: Containers) -> None:
    figures = []
    for kind, change in kinds(gateway).items():
        seconds = []
        with gateway.load() as load:
            for number in range(5):
                begun = time.monotonic()
                assert change(number + 10)
                seconds.append(time.monotonic() - begun)
        figures.append(f"{kind}: {load.summary()}; {min(seconds):.1f} to {max(seconds):.1f} s each")
        assert load.failures == [], figures
    others = {
        "docker restart": [["restart", "--time", "20"]],
        "stop, then start": [["stop", "--time", "20"], ["start"]],
    }
    for way, commands in others.items():
        with gateway.load() as load:
            for _ in range(5):
                name = gateway.current.name
                for command in commands:
                    docker(*command, name)
                time.sleep(1)
        figures.append(f"{way}: {load.summary()}")
        assert load.failures, f"{way} lost nothing: does the load load?"
    print("\n".join(figures))
