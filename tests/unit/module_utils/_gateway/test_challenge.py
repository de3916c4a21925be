"""Answers to http-01: exactly those that are asked for, readable by Nginx, and never a name that leads elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import challenge
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

TOKEN, OTHER = "a" * 43, "b-_" * 10
THUMBPRINT = "T" * 43


def answers(*tokens: str) -> dict[str, str]:
    return {token: f"{token}.{THUMBPRINT}" for token in tokens}


def test_exactly_the_answers_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "mtls-kit" / "acme-challenge"
    assert [change.action for change in challenge.converge(folder, answers(TOKEN), True)] == ["write"]
    assert not folder.exists()
    challenge.converge(folder, answers(TOKEN), False)
    assert (folder / TOKEN).read_text() == f"{TOKEN}.{THUMBPRINT}"
    assert (folder.stat().st_mode & 0o7777, (folder / TOKEN).stat().st_mode & 0o7777) == (0o755, 0o444)
    assert challenge.converge(folder, answers(TOKEN), False) == []
    changes = challenge.converge(folder, answers(OTHER), False)
    assert [(change.name, change.action) for change in changes] == [(OTHER, "write"), (TOKEN, "remove")]
    challenge.converge(folder, {}, False)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("token", "answer"),
    [("../../etc/cron.d/x", "y"), (TOKEN, TOKEN), (TOKEN, f"{OTHER}.{THUMBPRINT}"), ("short", f"short.{THUMBPRINT}")],
)
def test_what_no_acme_server_gives_is_refused(tmp_path: Path, token: str, answer: str) -> None:
    with pytest.raises(KitError, match="found the token"):
        challenge.converge(tmp_path / "folder", {token: answer}, False)
    assert list(tmp_path.iterdir()) == []
