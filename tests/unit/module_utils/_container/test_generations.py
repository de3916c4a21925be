"""Which container serves, what is left over, and why another one is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container import generations
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Container, Options
from ansible_collections.mtls.kit.plugins.module_utils._container.generations import (
    GATEWAY_LABEL,
    PROBE,
    PUBLIC,
    RECORD_LABEL,
    Folders,
    Generation,
    Record,
)
from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import Listen, Site
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

OPTIONS = Options(mounts=("/etc/mtls/orders/trust",), user="www-data", binary="nginx", log_options={"max-size": "10m"})
PUBLIC_PLACE = Listen("127.0.0.1", 443)


def site(place: Listen) -> Site:
    return Site("orders", Path("/etc/mtls/orders"), (place,), place.address, place.port, "orders.test", (), "c0ffee")


def record(number: int) -> Record:
    probe = Listen("127.0.0.1", 18440 + number % 2)
    return generations.record(
        number, number % 2, "gateway:one", "c0ffee", OPTIONS, (site(probe),), (site(PUBLIC_PLACE),)
    )


def container(number: int, *, running: bool = True, restarting: bool = False) -> Container:
    labels = {GATEWAY_LABEL: "gw", RECORD_LABEL: record(number).as_label()}
    return Container(f"id{number}", f"gw-{number}", "sha256:one", labels, running, restarting, 100 + number, 0)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def placed(folders: Folders, number: int, *, public: bool) -> None:
    folder = folders.place(number, {"nginx.conf": "x"}, {"site": "probe"}, {"site": "public"})
    if public:
        (folder / "listeners").unlink()
        (folder / "listeners").symlink_to(PUBLIC)


def survey(folders: Folders, *containers: Container, listening: tuple[int, ...] = ()) -> list[Generation]:
    """``listening``: numbers of those that hold the public listener; every other has its probe's."""
    pids = {100 + number for number in listening}
    return generations.survey(
        containers, folders, lambda pid: [PUBLIC_PLACE] if pid in pids else [Listen("127.0.0.1", 18440)]
    )


def names(*found: Generation | None) -> list[str]:
    return [one.name for one in found if one]


def test_a_record_comes_back_from_its_label() -> None:
    assert Record.of_label(record(7).as_label()) == replace(record(7), options=generations._plain(OPTIONS))


def test_a_finished_roll_leaves_one_that_serves_and_one_to_go_back_to(folders: Folders) -> None:
    for number in (1, 2, 3):
        placed(folders, number, public=True)
    found = generations.standing(
        survey(folders, container(1, running=False), container(2, running=False), container(3), listening=(3,))
    )
    assert names(found.current, found.previous) == ["gw-3", "gw-2"]
    assert names(*found.unfinished) == ["gw-1"]
    assert found.draining == ()


def test_one_that_was_cut_off_before_it_was_proven_goes(folders: Folders) -> None:
    placed(folders, 1, public=True)
    placed(folders, 2, public=False)
    found = generations.standing(survey(folders, container(1), container(2), listening=(1,)))
    assert names(found.current) == ["gw-1"]
    assert names(*found.unfinished) == ["gw-2"]


def test_of_two_that_serve_the_newer_was_proven(folders: Folders) -> None:
    for number in (1, 2):
        placed(folders, number, public=True)
    found = generations.standing(survey(folders, container(1), container(2), listening=(1, 2)))
    assert names(found.current) == ["gw-2"]
    assert names(*found.draining) == ["gw-1"]
    assert found.unfinished == ()


def test_one_that_was_told_to_end_and_still_works_is_not_cut(folders: Folders) -> None:
    for number in (1, 2):
        placed(folders, number, public=True)
    found = generations.standing(survey(folders, container(1), container(2), listening=(2,)))
    assert names(*found.draining) == ["gw-1"]


def test_one_that_is_started_again_and_again_does_not_serve(folders: Folders) -> None:
    placed(folders, 1, public=True)
    found = generations.standing(survey(folders, container(1, running=False, restarting=True)))
    assert found.current is None
    assert names(*found.draining) == ["gw-1"]


def test_a_container_of_somebody_else_with_our_label_is_named(folders: Folders) -> None:
    foreign = replace(container(1), labels={GATEWAY_LABEL: "gw", RECORD_LABEL: "[]"})
    with pytest.raises(KitError, match="docker rm -f gw-1"):
        survey(folders, foreign)


def test_every_roll_has_its_reasons(folders: Folders) -> None:
    placed(folders, 1, public=True)
    (current,) = survey(folders, container(1), listening=(1,))
    same = ("sha256:one", "gateway:one", "c0ffee", OPTIONS)
    assert generations.reasons(current, *same) == []
    assert generations.reasons(None, *same) == ["no container serves"]
    assert generations.reasons(current, "sha256:two", "gateway:two", "beef", replace(OPTIONS, memory="64m")) == [
        "image changed (gateway:one -> gateway:two)",
        "configuration changed (c0ffee -> beef)",
        "engine options changed: memory",
    ]
    assert generations.reasons(current, "sha256:two", *same[1:]) == ["image gateway:one changed"]


def test_a_generation_begins_with_the_probe_alone_and_keeps_what_was_written(folders: Folders) -> None:
    placed(folders, 1, public=False)
    assert (folders.of(1) / "listeners" / "site.conf").read_text() == "probe"
    assert str((folders.of(1) / "listeners").readlink()) == PROBE
    assert folders.altered(1, {"nginx.conf": "x"}) == []
    (folders.of(1) / "nginx.conf").write_text("another")
    assert folders.altered(1, {"nginx.conf": "x"}) == ["nginx.conf"]


def test_a_release_that_is_gone_cannot_be_gone_back_to(tmp_path: Path) -> None:
    assert not generations.is_usable(tmp_path / "gone", datetime.now(UTC))
