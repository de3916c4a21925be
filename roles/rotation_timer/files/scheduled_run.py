#!/usr/bin/python3
"""Runs one of the kit's playbooks by a schedule and keeps a report of it.

mTLS Kit installs it, and systemd or cron runs it: scheduled_run.py [--config FILE] [--if-due] JOB
All that the playbook prints is passed on, for the journal. The last line says how it ended, and so does the exit
status: the playbook's, 0 for nothing wrong. The vault password is read by Ansible itself, from the credential that
systemd handed over or from the file that the configuration names; it passes through no argument or environment.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = "/etc/mtls-kit/rotation_timer.json"
CREDENTIAL = "vault-password"
KEPT_LINES = 40
"""Of what the playbook printed, for a report of a run that came to no end of its own."""
EARLY = 0.9
"""A run that is due in a tenth of its interval is run now: schedules of cron don't meet the minute."""


def due(folder: Path, hours: float, now: float) -> bool:
    """Whether the last run that succeeded is long enough ago."""
    ends = [report["ended"] for report in reports(folder) if report["succeeded"]]
    return not ends or now - max(ends) >= hours * 3600 * EARLY


def reports(folder: Path) -> list[dict[str, Any]]:
    """All that are kept, the oldest first; one that can't be read counts as none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(json.loads(path.read_bytes()))
        except ValueError:
            continue
    return found


def command(config: Mapping[str, Any], job: Mapping[str, Any]) -> list[str]:
    """What is run."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    password = Path(credentials) / CREDENTIAL if credentials else None
    if password is None or not password.exists():
        password = Path(config["vault_password_file"]) if config["vault_password_file"] else None
    found = [config["ansible_playbook"], "--inventory", config["inventory"]]
    if password is not None:
        found += ["--vault-password-file", str(password)]
    return [*found, job["playbook"], *job["arguments"]]


def run(config: Mapping[str, Any], job: Mapping[str, Any], details: Path) -> tuple[int, list[str]]:
    """The exit status and the last lines; what is printed goes on to our own standard output at once."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": f"{config['checkout']}/ansible.cfg",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACKS_ENABLED": "mtls.kit.fleet_outcome,mtls.kit.run_report",
        "MTLS_KIT_RUN_REPORT": str(details),
        "PYTHONUNBUFFERED": "1",
    }
    lines: list[str] = []
    process = subprocess.Popen(
        command(config, job),
        cwd=config["checkout"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    # A stop of the unit reaches Ansible, which ends in order; then we write the report of it.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    assert process.stdout is not None  # noqa: S101 (asked for above)
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines = [*lines[1 - KEPT_LINES :], line.rstrip()]
    return process.wait(), lines


def report_of(job: str, began: float, ended: float, status: int, lines: list[str], details: Path) -> dict[str, Any]:
    """What is kept of a run."""
    try:
        hosts = json.loads(details.read_bytes())["hosts"]
    except (OSError, ValueError, KeyError):
        # It ended before any host was looked at: a wrong vault password, for one.
        hosts = {}
    wrong = {name: host for name, host in hosts.items() if host["state"] != "done"}
    message = "; ".join(f"{name}: {host['message']}" for name, host in wrong.items())
    if status != 0 and not message:
        message = next((line for line in lines if "ERROR" in line), lines[-1] if lines else f"exit status {status}")
    return {
        "job": job,
        "began": int(began),
        "ended": int(ended),
        "status": status,
        "succeeded": status == 0,
        "message": message,
        "unreachable": [name for name, host in wrong.items() if host["state"] == "unreachable"],
        "failed": [name for name, host in wrong.items() if host["state"] == "failed"],
        "changed": {name: host["reasons"] for name, host in hosts.items() if host["changed"]},
        "hosts": len(hosts),
        "tail": lines if status != 0 and not hosts else [],
    }


def keep(folder: Path, report: Mapping[str, Any], number: int) -> Path:
    """Write the report, complete or not at all, and remove the oldest above ``number``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("%Y%m%dT%H%M%SZ.json", time.gmtime(report["ended"]))
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    temporary.replace(path)
    for old in sorted(folder.glob("*.json"))[:-number]:
        old.unlink()
    return path


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--if-due", action="store_true", help="do nothing as long as the last success is recent")
    parser.add_argument("job")
    given = parser.parse_args(arguments)
    config = json.loads(Path(given.config).read_bytes())
    job, folder = config["jobs"][given.job], Path(config["runs"]) / given.job
    if given.if_due and not due(folder, job["hours"], time.time()):
        return 0
    os.umask(0o027)
    began = time.time()
    with tempfile.TemporaryDirectory() as temporary:
        details = Path(temporary) / "report.json"
        try:
            status, lines = run(config, job, details)
        except OSError as error:
            status, lines = 1, [f"ERROR: {config['ansible_playbook']}: {error.strerror}"]
        report = report_of(given.job, began, time.time(), status, lines, details)
    path = keep(folder, report, config["keep"])
    if report["succeeded"]:
        changed = sum(len(reasons) for reasons in report["changed"].values())
        print(f"{given.job}: succeeded, {changed} changes on {report['hosts']} hosts; {path}")
    else:
        print(f"{given.job}: FAILED: {report['message']}; {path}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
