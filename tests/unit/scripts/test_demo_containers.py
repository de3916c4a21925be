"""The demo's containers: names of its own, an engine that is stopped for nobody else, figures told as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._container.kernel import Migration
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo import containers, inventory, packages, processes, roll
from scripts.lib.demo.roll import Rolled
from scripts.lib.demo.settings import Settings
from scripts.lib.steady_load import Counts


class Engine:
    """What ``docker`` was asked for, with answers by its first words."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    def __call__(self, *arguments: str) -> str:
        said = " ".join(arguments)
        self.asked.append(said)
        return next((answer for begin, answer in self._answers.items() if said.startswith(begin)), "")


@pytest.fixture
def demo(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "demo", containers=True, probe_port=18450, echo_port=1234)


@pytest.fixture
def migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migration:
    made = Migration(tmp_path / "running", tmp_path / "kept.conf")
    made.running.write_text("1\n")
    made.kept.write_text("x")
    monkeypatch.setattr(containers, "Migration", lambda: made)
    return made


def test_demos_in_two_folders_have_gateways_of_their_own(demo: Settings) -> None:
    other = replace(demo, folder=demo.folder.parent / "other")
    assert demo.gateway_name != other.gateway_name
    assert demo.base_image != other.base_image


def test_the_inventory_is_that_of_the_demo_with_the_container_on_top(demo: Settings) -> None:
    demo.save()
    inventory.write(demo)
    over = yaml.safe_load((demo.inventory / "host_vars" / "gateway.yml").read_text())
    assert over["nginx_mtls_instance"] == "container"
    values = (demo.inventory / "group_vars" / "all" / "demo.yml").read_text()
    for name in ("demo_gateway_name", "demo_base_image", "demo_probe_port", "demo_memory"):
        assert f"{name}: !unsafe" in values
        assert name in (demo.inventory / "host_vars" / "gateway.yml").read_text()
    plain = replace(demo, folder=demo.folder.parent / "plain", containers=False)
    plain.save()
    inventory.write(plain)
    assert not (plain.inventory / "host_vars").exists()


def test_an_ordinary_user_is_told_before_anything_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(KitError, match="sudo scripts/demo --containers"):
        containers.check_user()


def test_nginx_is_not_installed_where_it_is_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "program", lambda _: None)
    monkeypatch.delenv("MTLS_KIT_BASE_IMAGE", raising=False)
    assert packages.missing(True, containers=True)[:3] == ["docker.io", "iptables", "mmdebstrap"]
    monkeypatch.setenv("MTLS_KIT_BASE_IMAGE", "debian:12")
    assert "mmdebstrap" not in packages.missing(True, containers=True)
    assert "nginx" not in packages.missing(True, containers=True)


def test_all_of_it_goes_and_the_setting_with_the_last_gateway(
    demo: Settings, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = demo.gateway_name
    engine = Engine(
        {
            f"ps --all --filter label=mtls-kit.gateway={name}": f"{name}-2\n{name}-1",
            "images --filter": "mtls-kit-gateway:1234",
            f"images --quiet {demo.base_image}": "0123",
        }
    )
    monkeypatch.setattr(containers, "docker", engine)
    told = containers.remove(demo)
    assert [line for line in engine.asked if line.startswith(("rm ", "rmi "))] == [
        *(f"rm {name}-2", f"rm {name}-1", "rmi mtls-kit-gateway:1234", f"rmi {demo.base_image}")
    ]
    assert len(told) == 5
    assert not migration.kept.exists()
    assert migration.running.read_text() == "0\n"


def test_the_setting_stays_for_another_gateway(
    demo: Settings, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "docker", Engine({"ps --all --quiet": "0123"}))
    assert containers.remove(demo) == [f"left {migration.kept}: another gateway of this machine needs it"]
    assert migration.kept.exists()


def test_an_engine_that_others_use_runs_on(demo: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "docker", Engine({"ps --quiet": "01\n02"}))
    assert containers.stop_engine(demo) == "the container engine runs on: 2 other containers in it"


@pytest.mark.parametrize(
    ("named", "there", "asked"),
    [
        ("debian:%s", "", ["pull debian:bookworm", "tag debian:bookworm {base}", "rmi debian:bookworm"]),
        ("debian:12", "01", ["tag debian:12 {base}"]),
    ],
)
def test_a_base_that_was_pulled_keeps_the_demos_name_only(
    named: str, there: str, asked: list[str], demo: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLS_KIT_BASE_IMAGE", named)
    engine = Engine({"images --quiet debian": there})
    monkeypatch.setattr(containers, "docker", engine)
    assert "MTLS_KIT_BASE_IMAGE" in containers.ensure_base(demo)
    assert [line for line in engine.asked if not line.startswith("images")] == [
        line.format(base=demo.base_image) for line in asked
    ]


def test_each_roll_goes_to_the_other_bound_and_back(demo: Settings) -> None:
    there = roll.another_memory(demo)
    assert there.memory != demo.memory
    assert roll.another_memory(there) == demo


def test_the_engines_own_clock_times_the_roll(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = {
        "inspect --format {{.State.StartedAt}} new": "2026-01-31T10:59:59.9Z",
        "inspect --format {{.State.FinishedAt}} old": "2026-01-31T11:00:01.400000001Z",
    }
    monkeypatch.setattr(containers, "docker", Engine(stamps))
    assert containers.overlap_seconds("old", "new") == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("anew", "kept", "lossless"),
    [
        (Counts(5), Counts(5), True),
        (Counts(5, failures=["cut: EOFError"]), Counts(5), False),
        (Counts(5), Counts(0), False),
    ],
)
def test_a_roll_is_lossless_when_everybody_was_answered_always(
    anew: Counts, kept: Counts, lossless: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rolled = Rolled("a-1", "a-2", (256, 384), 1.26, anew, kept)
    assert rolled.lossless is lossless
    roll.show(rolled)
    shown = capsys.readouterr().out
    assert "1.3 s" in shown
    assert ("1 failed (cut: EOFError)" in shown) is bool(anew.failures)


def test_a_pair_of_ports_is_free() -> None:
    first = processes.free_pair()
    assert processes.port_is_free(first)
    assert processes.port_is_free(first + 1)
