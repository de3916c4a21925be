"""The virtual environment goes with the demo only when nobody else has taken to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib.demo import environment


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / ".venv"
    made.joinpath(".kit").mkdir(parents=True)
    made.joinpath(".kit", "root").touch()
    made.joinpath(".kit", environment.REQUIREMENTS).touch()
    cache = tmp_path / ".cache"
    cache.mkdir()
    cache.joinpath("venv.lock").touch()
    monkeypatch.setattr(environment, "FOLDER", made)
    monkeypatch.setattr(environment, "_STAMPS", made / ".kit")
    monkeypatch.setattr(environment, "_CACHE", cache)
    return made


def test_it_goes_with_its_lock(folder: Path) -> None:
    assert environment.remove()
    assert list(folder.parent.iterdir()) == []
    assert not environment.remove()


def test_it_stays_when_the_tests_live_in_it(folder: Path) -> None:
    folder.joinpath(".kit", "requirements-test.txt").touch()
    assert not environment.remove()
    assert folder.exists()


def test_the_cache_of_others_stays(folder: Path) -> None:
    folder.parent.joinpath(".cache", "test").mkdir()
    assert environment.remove()
    assert folder.parent.joinpath(".cache", "test").exists()
