"""The record of who is at work, and when it is over."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import backup, clock, run_lock, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost


@pytest.fixture
def mine(host: AuthorityHost) -> run_lock.Runner:
    pid = os.getpid()
    return run_lock.Runner(
        "rotate.yml", "operator", "ctl1", pid, run_lock.boot(), store.process_started(pid), clock.iso(host.now)
    )


@pytest.fixture
def host(tmp_path: Path) -> AuthorityHost:
    host = AuthorityHost(tmp_path)
    host.run()
    return host


def test_one_run_holds_it_until_it_gives_it_back(host: AuthorityHost, mine: run_lock.Runner) -> None:
    other = replace(mine, pid=mine.pid + 1, run="site.yml")
    assert run_lock.take(host.store, mine) is None
    assert (host.store / store.RUN_LOCK).stat().st_mode & 0o777 == 0o600
    # The same process again, as with a playbook that imports another one.
    assert run_lock.take(host.store, replace(mine, run="site.yml")) is None
    assert run_lock.take(host.store, other) == replace(mine, run="site.yml")
    run_lock.free(host.store, other)
    assert run_lock.holder(host.store) == replace(mine, run="site.yml")
    run_lock.free(host.store, mine)
    assert run_lock.holder(host.store) is None
    assert run_lock.take(host.store, other) is None


def test_what_is_over_is_taken_over_by_one_only(host: AuthorityHost, mine: run_lock.Runner) -> None:
    dead, second = replace(mine, pid=1, started="0"), replace(mine, pid=mine.pid + 1)
    run_lock.take(host.store, dead)
    assert run_lock.take(host.store, mine, instead_of=dead) is None
    assert run_lock.take(host.store, second, instead_of=dead) == mine


def test_a_run_is_over_when_its_process_is_not_there(host: AuthorityHost, mine: run_lock.Runner) -> None:
    soon, late = host.now + timedelta(hours=1), host.now + timedelta(hours=13)
    assert run_lock.ended(mine, "ctl1", mine.boot, late) == ""
    # The number of a process comes back, with another start.
    assert "process is gone" in run_lock.ended(replace(mine, started="1"), "ctl1", mine.boot, soon)
    assert "process is gone" in run_lock.ended(replace(mine, pid=2**22 + 1), "ctl1", mine.boot, soon)
    assert "started again" in run_lock.ended(mine, "ctl1", "another boot", soon)
    assert run_lock.ended(mine, "ctl2", "another boot", soon) == ""
    assert run_lock.ended(mine, "ctl2", "another boot", late) == "it began 13 hours ago"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', "\0\0"])
def test_a_record_that_says_nothing_holds_nobody(host: AuthorityHost, mine: run_lock.Runner, text: str) -> None:
    (host.store / store.RUN_LOCK).write_text(text)
    assert run_lock.take(host.store, mine) is None
    assert run_lock.holder(host.store) == mine


def test_without_a_store_nothing_is_made(tmp_path: Path, mine: run_lock.Runner) -> None:
    assert run_lock.take(tmp_path / "none", mine) is None
    run_lock.free(tmp_path / "none", mine)
    assert not (tmp_path / "none").exists()


def test_a_lock_that_cannot_be_written_is_told(host: AuthorityHost, mine: run_lock.Runner) -> None:
    (host.store / store.RUN_LOCK).mkdir()
    with pytest.raises(KitError, match=r"run lock can.t be written: Is a directory.*nothing was changed"):
        run_lock.take(host.store, mine)


def test_a_backup_leaves_it_out(host: AuthorityHost, mine: run_lock.Runner) -> None:
    run_lock.take(host.store, mine)
    assert store.RUN_LOCK not in {path.name for path in backup._files_of(host.store)}
