"""Packages: what is missing, and services held back by a policy that leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo import packages


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "POLICY", path)
    return path


def test_the_policy_is_there_for_the_installation_only(policy: Path) -> None:
    with packages.services_held_back():
        assert policy.read_text().endswith("exit 101\n")
        assert policy.stat().st_mode & 0o777 == 0o755
    assert list(policy.parent.iterdir()) == []


def test_a_policy_of_the_machine_is_put_back_even_after_a_failure(policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o711)
    with pytest.raises(RuntimeError), packages.services_held_back():
        assert policy.read_text().endswith("exit 101\n")
        raise RuntimeError
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.stat().st_mode & 0o777 == 0o711
    assert list(policy.parent.iterdir()) == [policy]


def test_a_killed_run_is_made_good_by_the_next(policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 0\n")
    unfinished = packages.services_held_back()
    unfinished.__enter__()
    with packages.services_held_back():
        assert policy.read_text().endswith("exit 101\n")
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert list(policy.parent.iterdir()) == [policy]


def test_an_ordinary_user_is_told_the_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(packages, "program", lambda name: f"/usr/bin/{name}")
    with pytest.raises(KitError) as caught:
        packages.check_installable(["nginx", "python3-venv"])
    commands = [line for line in str(caught.value).splitlines() if "apt-get install" in line]
    assert len(commands) == 1
    assert commands[0].strip().startswith("sudo systemctl mask nginx && sudo apt-get install")
    assert "nginx python3-venv; sudo systemctl unmask nginx; sudo systemctl disable nginx" in commands[0]


def test_nothing_missing_is_installable_by_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    packages.check_installable([])


def test_another_distribution_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "program", lambda _: None)
    with pytest.raises(KitError, match="no apt-get"):
        packages.check_installable(["nginx"])
