"""A roll as the engine sees it: proven, let in, drained; cut off at every step; and taken back whatever fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container import roll
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Image, Options
from ansible_collections.mtls.kit.plugins.module_utils._container.kernel import Migration
from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy, tls
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._container.fake_engine import FakeEngine, Killed, refuse

SERVED = gateway.Served("one", "3", "c0ffee", "ab", "0A")


@dataclass
class Host:
    """A machine with an engine, on which whoever listens serves what is on disk."""

    folder: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    wrong_at: set[int] = field(default_factory=set)
    """Ports at which something else is served."""

    def __post_init__(self) -> None:
        for number, name in enumerate(("one", "two", "three", "four")):
            self.engine.present[name] = Image(f"sha256:{name}", (name,), f"2026-0{number + 1}", ("check",))

    def roller(self) -> roll.Roller:
        (self.folder / "running").write_text("1\n")
        (self.folder / "gw").mkdir(exist_ok=True)
        engine: Any = self.engine
        return roll.Roller(
            engine,
            "gw",
            self.folder / "gw",
            roll.Times(start=0.2, drain=5),
            Migration(self.folder / "running", self.folder / "sysctl.conf"),
            self.engine.held,
        )

    def wish(self, image: str = "one", **more: Any) -> roll.Wish:
        place = gateway.Listen("127.0.0.1", 443)
        root = self.folder / "mtls" / "orders"
        site = roll.Site(
            gateway.Site("orders", root, (place,), place.address, place.port, "orders.test", (), "c0ffee"), (8440, 8441)
        )
        listeners = {
            "site": {"public": ["127.0.0.1:443 ssl"], "probe": [["127.0.0.1:8440 ssl"], ["127.0.0.1:8441 ssl"]]}
        }
        return roll.Wish(
            image, {"nginx.conf": more.get("config", "x")}, listeners, [site], more.get("options", OPTIONS)
        )

    def run(self, *arguments: Any, check_mode: bool = False, **more: Any) -> list[str]:
        outcome = self.roller().run(self.wish(*arguments, **more), check_mode)
        return [f"{one['name']}: {one['reason']}" for one in outcome.changes]

    def poll(self, expected: dict[gateway.Site, Any], seconds: float) -> dict[str, str]:
        """As the real one: by site, what is wrong at the port that is looked at."""
        listening = {
            place.port for one in self.engine.known.values() if one.running for place in self.engine.held(one.pid)
        }
        return {
            site.name: "release: one is on disk, another one is served" if site.port in self.wrong_at else "refused"
            for site in expected
            if site.port not in listening or site.port in self.wrong_at
        }

    def look(self, site: gateway.Site) -> gateway.Served:
        if self.poll({site: None}, 0):
            raise tls.NotReachable("refused")
        return SERVED


OPTIONS = Options(mounts=(), user="www-data", binary="nginx")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    release = tmp_path / "mtls" / "orders" / "releases"
    (release / "one").mkdir(parents=True)
    (release / "current").symlink_to("one")
    monkeypatch.setattr(gateway, "on_disk", lambda site: SERVED)
    monkeypatch.setattr(gateway, "check_password_file", lambda site: None)
    monkeypatch.setattr(gateway, "check_port", lambda place, master: None)
    monkeypatch.setattr(deploy, "check_places", lambda sites, master: None)
    monkeypatch.setattr(gateway, "poll", found.poll)
    monkeypatch.setattr(gateway, "look", found.look)
    monkeypatch.setattr(roll, "PUBLIC_SECONDS", 0.2)
    monkeypatch.setattr(roll, "PAUSE_SECONDS", 0.01)
    return found


def test_a_roll_proves_then_lets_in_then_drains(host: Host) -> None:
    assert host.run()[-1] == "gw: roll: no container serves"
    host.engine.steps.clear()
    assert host.run("two") == ["gw: roll: image changed (one -> two)"]
    assert host.engine.steps == ["create", "start", "signal", "keep", "retire"]
    assert host.engine.serving() == ["gw-2"]
    assert host.engine.kept == {"id-gw-2"}
    assert host.run("two") == []


def test_one_container_is_kept_to_go_back_to_and_what_is_older_goes(host: Host) -> None:
    for image in ("one", "two", "three"):
        host.run(image)
    assert sorted(host.engine.known) == ["id-gw-2", "id-gw-3"]
    assert sorted(path.name for path in (host.folder / "gw").iterdir()) == ["2", "3"]


def test_a_dry_run_tells_the_same_and_does_nothing(host: Host) -> None:
    told = host.run(check_mode=True)
    assert host.engine.known == {}
    assert told == host.run()
    told = host.run("two", check_mode=True, options=replace(OPTIONS, memory="64m"))
    assert host.engine.serving() == ["gw-1"]
    assert told == host.run("two", options=replace(OPTIONS, memory="64m"))


@pytest.mark.parametrize("step", range(12))
def test_a_run_that_is_killed_is_healed_by_the_next(host: Host, step: int) -> None:
    host.run("one")
    host.run("two")
    host.engine.steps.clear()
    host.engine.cut_off_at = step
    try:
        host.run("three")
    except Killed:
        assert host.engine.serving(), "nobody serves"
    host.engine.cut_off_at = -1
    host.run("three")
    (serving,) = host.engine.serving()
    assert host.engine.known[f"id-{serving}"].image == "sha256:three"
    assert len(host.engine.known) <= 2
    assert len(list((host.folder / "gw").iterdir())) == len(host.engine.known)
    assert host.run("three") == []


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("dies", "ended with status 1.*of its own"),
        ("ill", "health check ended with status 1: ill"),
        ("probe", "another one is served"),
        ("public", "at its own address"),
        ("create", "no room"),
        ("signal", "no room"),
        ("image", "no such image"),
    ],
)
def test_whatever_fails_the_old_one_serves_on(host: Host, fault: str, found: str) -> None:
    host.run("one")
    wanted = "two"
    if fault in ("dies", "ill"):
        getattr(host.engine, fault).add("sha256:two")
    elif fault in ("create", "signal"):
        setattr(host.engine, fault, refuse(fault))
    elif fault == "image":
        wanted = "none"
    else:
        host.wrong_at = {8441 if fault == "probe" else 443}
    with pytest.raises(KitError, match=f"(?s){found}.*gw-1 goes on serving"):
        host.run(wanted)
    assert host.engine.serving() == ["gw-1"]
    assert sorted(host.engine.known) == ["id-gw-1"]
    assert [path.name for path in (host.folder / "gw").iterdir()] == ["1"]


def test_one_that_serves_nothing_right_alone_gives_its_place_back(host: Host) -> None:
    host.run("one")
    retire = host.engine.retire

    def and_then_wrong(id_: str, seconds: int) -> None:
        retire(id_, seconds)
        host.wrong_at = {443}

    host.engine.retire = and_then_wrong  # type: ignore[method-assign]
    with pytest.raises(KitError, match="alone, site orders"):
        host.run("two")
    assert host.engine.serving() == ["gw-1"]
    assert host.engine.kept == {"id-gw-1"}


def test_going_back_takes_the_container_of_before(host: Host) -> None:
    host.run("one")
    with pytest.raises(KitError, match="no container of before"):
        host.roller().back(False)
    host.run("two")
    told = [one["reason"] for one in host.roller().back(True).changes]
    assert host.engine.serving() == ["gw-2"]
    assert [one["reason"] for one in host.roller().back(False).changes] == told
    assert told == ["roll: back to gw-1 (image one), from gw-2"]
    assert host.engine.serving() == ["gw-1"]
    host.roller().back(False)
    assert host.engine.serving() == ["gw-2"]


def test_going_back_to_one_that_fails_leaves_what_serves(host: Host) -> None:
    host.run("one")
    host.run("two")
    host.engine.ill.add("sha256:one")
    with pytest.raises(KitError, match="gw-2 goes on serving"):
        host.roller().back(False)
    assert host.engine.serving() == ["gw-2"]
    host.engine.ill.clear()
    host.roller().back(False)
    assert host.engine.serving() == ["gw-1"]


def test_one_that_does_not_answer_is_replaced(host: Host) -> None:
    host.run("one")
    host.engine.public["id-gw-1"] = True
    host.wrong_at = {8440}
    assert host.run("one") == ["gw: roll: gw-1 doesn't answer for site orders: refused"]
    assert host.engine.serving() == ["gw-2"]


def test_a_file_that_was_altered_is_a_reason(host: Host) -> None:
    host.run("one")
    (host.folder / "gw" / "1" / "nginx.conf").write_text("altered")
    assert host.run("one") == ["gw: roll: configuration altered on this machine: nginx.conf"]


def test_images_are_kept_up_to_a_number(host: Host) -> None:
    host.run("four")
    outcome = deploy.Outcome()
    engine: Any = host.engine
    roll.prune(engine, "label", 2, outcome, check_mode=False)
    assert sorted(host.engine.present) == ["four", "three", "two"]
    assert [one["name"] for one in outcome.changes] == ["one"]


def test_the_last_gateway_takes_the_kernels_setting_along(host: Host) -> None:
    host.run("one")
    assert (host.folder / "sysctl.conf").exists()
    host.roller().remove(False)
    assert (host.engine.known, (host.folder / "sysctl.conf").exists(), (host.folder / "gw").exists()) == (
        {},
        False,
        False,
    )
    assert host.roller().remove(False).changes[:1] == [
        {"name": str(host.folder / "gw"), "action": "remove", "reason": "remove: the gateway is not wanted any more"}
    ]


def test_an_engine_that_would_end_the_gateway_with_itself_is_told_with_each_roll(host: Host) -> None:
    def warnings(image: str) -> list[str]:
        return host.roller().run(host.wish(image), False).warnings

    assert warnings("one") == []
    host.engine.live_restore = False
    (told,) = warnings("two")
    assert told.startswith("live-restore is off") and "/etc/docker/daemon.json" in told
    assert warnings("two") == []
