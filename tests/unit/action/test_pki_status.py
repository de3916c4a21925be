"""The action ``pki_status`` in a real run: what is printed, and the file it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.plugin_utils._status import page
from tests.unit.action.conftest import Run
from tests.unit.plugin_utils._status.test_tables import PUBLIC, REPORT, render

HOSTS: dict[str, dict[str, Any]] = {"authority": {"report": {**REPORT, "changed": False}}}


def task(**arguments: Any) -> list[dict[str, Any]]:
    """The one task."""
    return [{"name": "Show", "mtls.kit.pki_status": {"report": "{{ report }}", **arguments}}]


def test_the_table_is_printed_as_it_is(play: Callable[..., Run]) -> None:
    run = play(task(), HOSTS)
    assert run.returncode == 0, run.output
    assert f"\n\n{render(REPORT)}\n" in run.output
    assert "changed=0" in run.output


def test_the_limit_is_the_tables(play: Callable[..., Run]) -> None:
    assert " and 3 more: 1 due, 1 valid, 1 revoked\n" in play(task(limit=1), HOSTS).output


def test_the_file_has_all_of_it_and_is_the_owners(play: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "pki.json"
    foreseen = play(task(json=str(file), limit=1), HOSTS, "--check")
    assert "changed=1" in foreseen.output
    assert not file.exists()
    assert "changed=1" in play(task(json=str(file), limit=1), HOSTS).output
    assert json.loads(file.read_text()) == REPORT
    assert file.stat().st_mode & 0o777 == 0o600
    assert "changed=0" in play(task(json=str(file)), HOSTS).output
    assert [path.name for path in tmp_path.glob("*pki*")] == ["pki.json"]


def test_the_page_is_written_as_the_json_is(play: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "pki.html"
    assert "changed=1" in play(task(page=str(file)), HOSTS, "--check").output
    assert not file.exists()
    assert "changed=1" in play(task(page=str(file), json=str(tmp_path / "pki.json")), HOSTS).output
    assert file.read_text() == page.render(REPORT, 500)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "changed=0" in play(task(page=str(file)), HOSTS).output


def test_a_file_that_cannot_be_written_is_told(play: Callable[..., Run], tmp_path: Path) -> None:
    run = play(task(json=str(tmp_path / "absent" / "pki.json")), HOSTS)
    assert run.returncode != 0
    assert "found no folder" in run.output
    assert not (tmp_path / "absent").exists()


def test_public_certificates_become_part_of_it(play: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "pki.json"
    attention = [{"level": "wrong", "text": "1 public certificate expired: server/gw1/shop"}]
    run = play(task(json=str(file), public={"states": PUBLIC, "attention": attention}), HOSTS)
    assert run.returncode == 0, run.output
    assert "1 public certificate expired: server/gw1/shop" in run.output
    report = json.loads(file.read_text())
    assert report["public"] == PUBLIC
    assert [entry["level"] for entry in report["attention"]] == ["wrong", "wrong", "due"]
