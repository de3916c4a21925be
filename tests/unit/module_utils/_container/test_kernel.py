"""The kernel's setting for rolls: on now and after a reboot, and gone with the last gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container.kernel import CONTENT, Migration


@pytest.fixture
def migration(tmp_path: Path) -> Migration:
    (tmp_path / "running").write_text("0\n")
    return Migration(tmp_path / "running", tmp_path / "sysctl.d" / "60-kit.conf")


def test_it_is_set_once_and_taken_away_again(migration: Migration) -> None:
    assert len(migration.wanting()) == 2
    assert migration.set() == []
    assert (migration.running.read_text(), migration.kept.read_text()) == ("1\n", CONTENT)
    assert migration.wanting() == []
    migration.unset()
    assert (migration.running.read_text(), migration.kept.exists()) == ("0\n", False)


def test_what_somebody_else_has_set_stays(migration: Migration) -> None:
    migration.running.write_text("1\n")
    migration.unset()
    assert migration.running.read_text() == "1\n"


def test_a_kernel_without_it_is_told(migration: Migration) -> None:
    migration.running.unlink()
    assert "5.14" in migration.set()[0]
    assert migration.wanting() == []
