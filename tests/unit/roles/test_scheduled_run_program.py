"""The program that runs a playbook by a schedule, with a playbook of the test's own in place of Ansible's."""

from __future__ import annotations

import json
import stat
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.roles.conftest import CHECKOUT, load_program

PROGRAM = CHECKOUT / "roles" / "rotation_timer" / "files" / "scheduled_run.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_program(PROGRAM)


class Host:
    """A configuration, and a program that stands for ansible-playbook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs" / "rotation"
        self.config: dict[str, Any] = {
            "checkout": str(folder),
            "inventory": "/srv/inventory",
            "ansible_playbook": str(folder / "ansible-playbook"),
            "vault_password_file": "",
            "jobs": {"rotation": {"playbook": "playbooks/rotate.yml", "arguments": ["-e", "x=1"], "hours": 168}},
            "runs": str(folder / "runs"),
            "keep": 3,
        }
        self.ends(0, {"ca": {"state": "done", "changed": 1, "reasons": ["client/a: renew"], "message": ""}})

    def ends(self, status: int, hosts: dict[str, Any] | None, printed: str = "PLAY RECAP") -> None:
        """How the next run ends, and what it reports."""
        program = self.folder / "ansible-playbook"
        report = "" if hosts is None else json.dumps({"hosts": hosts})
        program.write_text(
            textwrap.dedent(f"""\
                #!{sys.executable}
                import json, os, pathlib, sys
                pathlib.Path({str(self.folder / "called")!r}).write_text(json.dumps([sys.argv[1:], dict(os.environ)]))
                print({printed!r})
                if {report!r}:
                    pathlib.Path(os.environ["MTLS_KIT_RUN_REPORT"]).write_text({report!r})
                sys.exit({status})
                """)
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run(self, program: ModuleType, *options: str) -> int:
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.config))
        status: int = program.main(["--config", str(path), *options, "rotation"])
        return status

    @property
    def called(self) -> tuple[list[str], dict[str, str]]:
        arguments, environment = json.loads((self.folder / "called").read_text())
        return arguments, environment

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.runs.glob("*.json"))]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return Host(tmp_path)


def test_a_run_leaves_a_report(program: ModuleType, host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    assert host.run(program) == 0
    (report,) = host.reports
    assert report["succeeded"]
    assert report["changed"] == {"ca": ["client/a: renew"]}
    assert (report["unreachable"], report["failed"], report["message"]) == ([], [], "")
    arguments, environment = host.called
    assert arguments == ["--inventory", "/srv/inventory", "playbooks/rotate.yml", "-e", "x=1"]
    assert environment["ANSIBLE_CONFIG"] == f"{host.folder}/ansible.cfg"
    printed = capfd.readouterr().out
    assert "PLAY RECAP" in printed
    assert "rotation: succeeded, 1 changes on 1 hosts" in printed


def test_the_vault_password_comes_from_the_credential(
    program: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host.config["vault_password_file"] = "/etc/elsewhere"
    assert host.run(program) == 0
    assert host.called[0][2:4] == ["--vault-password-file", "/etc/elsewhere"]
    (tmp_path / "vault-password").write_text("the secret itself")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert host.run(program) == 0
    arguments, environment = host.called
    assert arguments[2:4] == ["--vault-password-file", str(tmp_path / "vault-password")]
    assert "the secret itself" not in str((arguments, environment))


def test_who_failed_and_who_was_not_reached_is_kept(
    program: ModuleType, host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    host.ends(
        4,
        {
            "ca": {"state": "done", "changed": 0, "reasons": [], "message": ""},
            "gw1": {"state": "failed", "changed": 0, "reasons": [], "message": "nginx -t failed"},
            "gw2": {"state": "unreachable", "changed": 0, "reasons": [], "message": "no route"},
        },
    )
    assert host.run(program) == 4
    (report,) = host.reports
    assert not report["succeeded"]
    assert (report["unreachable"], report["failed"]) == (["gw2"], ["gw1"])
    assert report["message"] == "gw1: nginx -t failed; gw2: no route"
    assert "rotation: FAILED: gw1: nginx -t failed; gw2: no route" in capfd.readouterr().err


def test_a_run_that_never_began_says_why(program: ModuleType, host: Host) -> None:
    host.ends(1, None, "[ERROR]: Decryption failed\nmore")
    assert host.run(program) == 1
    assert host.reports[0]["message"] == "[ERROR]: Decryption failed"
    assert host.reports[0]["tail"] == ["[ERROR]: Decryption failed", "more"]
    host.config["ansible_playbook"] = "/nowhere/ansible-playbook"
    assert host.run(program) == 1
    assert host.reports[-1]["message"].startswith("ERROR: /nowhere/ansible-playbook: No such file")


def test_only_so_many_reports_are_kept(program: ModuleType, tmp_path: Path) -> None:
    for ended in (1000, 2000, 3000, 4000, 5000):
        program.keep(tmp_path, {"ended": ended}, 3)
    assert [report["ended"] for report in program.reports(tmp_path)] == [3000, 4000, 5000]
    (tmp_path / "99991231T235959Z.json").write_text("cut off")
    assert len(program.reports(tmp_path)) == 3


@pytest.mark.parametrize(
    ("succeeded", "ago", "expected"),
    [(True, 10, False), (True, 150, False), (True, 152, True), (True, 200, True), (False, 1, True)],
)
def test_cron_runs_what_is_due(
    program: ModuleType, tmp_path: Path, succeeded: bool, ago: float, expected: bool
) -> None:
    now = 1_000_000_000.0
    assert program.due(tmp_path, 168, now)
    program.keep(tmp_path, {"ended": now - ago * 3600, "succeeded": succeeded}, 3)
    assert program.due(tmp_path, 168, now) == expected


def test_what_is_not_due_is_not_run(program: ModuleType, host: Host) -> None:
    assert host.run(program) == 0
    (host.folder / "called").unlink()
    assert host.run(program, "--if-due") == 0
    assert not (host.folder / "called").exists()
    assert len(host.reports) == 1
