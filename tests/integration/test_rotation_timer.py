"""Jobs by a schedule on Debian 12, with and without systemd: whose they are and what becomes of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.gateway import Gateway, with_packages
from tests.integration.runs import ROOT, Run

pytestmark = pytest.mark.slow

VAULT_PASSWORD = "a-vault-password-of-the-test"
HOME = "/var/lib/mtls-kit"
STAMP = "/var/lib/systemd/timers/stamp-mtls-kit-rotation.timer"
KEPT = 2
# In the place of Ansible: what it is given, by whom, and an exit status to order.
PROGRAM = f"""#!/bin/sh
id -un >{HOME}/user
echo "$*" >{HOME}/arguments
env >{HOME}/environment
for word; do [ "$last" = --vault-password-file ] && cat "$word" >{HOME}/password; last=$word; done
exit $(cat {HOME}/status || echo 0)
"""
SETTINGS: dict[str, Any] = {
    "rotation_timer_checkout": "/opt/mtls-kit",
    "rotation_timer_inventory": "/srv/inventory",
    "rotation_timer_ansible_playbook": "/usr/local/bin/ansible-playbook",
    "rotation_timer_vault_password_file": "/etc/vault-password",
    "rotation_timer_on_failure": ["alarm.service"],
    "rotation_timer_delay": "0",
    "rotation_timer_keep": KEPT,
}


class Host:
    """A container that is to run jobs."""

    def __init__(self, container: str, folder: Path) -> None:
        self.container, self.folder = container, folder
        host = {
            "ansible_connection": "community.docker.docker",
            "ansible_docker_host": container,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"box": host}}}))
        role = {"name": "mtls.kit.rotation_timer"}
        play = {
            "name": "Schedule", "hosts": "box", "gather_facts": False,
            "tasks": [{"name": "Schedule", "ansible.builtin.import_role": role, "vars": SETTINGS}],
        }  # fmt: skip
        (folder / "play.yml").write_text(yaml.safe_dump([play]))
        self.call("mkdir -p /opt/mtls-kit/playbooks && touch /opt/mtls-kit/playbooks/rotate.yml /srv/inventory")
        self.write("/usr/local/bin/ansible-playbook", PROGRAM, "0755")
        self.write("/etc/vault-password", VAULT_PASSWORD, "0400")

    def call(self, script: str, *, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "exec", self.container, "sh", "-euc", script], capture_output=True, check=check, timeout=120
        )
        return done.stdout.decode().strip()

    def write(self, path: str, content: str, mode: str) -> None:
        subprocess.run(
            ["docker", "exec", "--interactive", self.container, "sh", "-euc", f"cat >{path}; chmod {mode} {path}"],
            input=content.encode(), check=True,
        )  # fmt: skip

    def converge(self) -> Run:
        run = subprocess.run(
            [f"{ROOT}/.venv/bin/ansible-playbook", "-i", str(self.folder / "hosts.yml"), str(self.folder / "play.yml")],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=False,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        )  # fmt: skip
        return Run(run.returncode, run.stdout + run.stderr)

    def reports(self) -> list[dict[str, Any]]:
        listed = self.call(f"ls {HOME}/runs/rotation/*.json 2>/dev/null || true").split()
        return [json.loads(self.call(f"cat {path}")) for path in sorted(listed)]

    def wait_for_reports(self, number: int) -> list[dict[str, Any]]:
        for _ in range(300):
            if len(found := self.reports()) >= number:
                return found
            time.sleep(0.2)
        raise TimeoutError(self.call("journalctl -u mtls-kit-rotation --no-pager | tail", check=False))

    def check_what_it_got(self) -> None:
        """The user is the jobs' own, and the vault password is in no argument and no environment."""
        assert self.call(f"cat {HOME}/user") == "mtls-kit"
        assert self.call(f"cat {HOME}/password") == VAULT_PASSWORD
        assert VAULT_PASSWORD not in self.call(f"cat {HOME}/arguments {HOME}/environment")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    with ExitStack() as stack:
        image = with_packages()
        box = stack.enter_context(Gateway.started(tmp_path_factory.mktemp("systemd"), image))
        plain = subprocess.run(
            ["docker", "run", "--detach", "--entrypoint", "sleep", image, "3600"], capture_output=True, check=True
        ).stdout.decode().strip()  # fmt: skip
        stack.callback(subprocess.run, ["docker", "rm", "--force", "--volumes", plain], capture_output=True, check=True)
        found = {"systemd": box.container, "cron": plain}
        yield {name: Host(container, tmp_path_factory.mktemp(name)) for name, container in found.items()}


def test_systemd_runs_them_as_their_own_user_catches_up_and_calls_somebody(hosts: dict[str, Host]) -> None:
    host = hosts["systemd"]
    host.write("/etc/systemd/system/alarm.service", "[Service]\nType=oneshot\nExecStart=touch /run/alarm\n", "0644")
    first = host.converge()
    assert first.code == 0, first.text[-3000:]
    assert host.converge().changed == 0
    assert host.reports() == []

    # The machine was off when the job was due.
    timer = "mtls-kit-rotation.timer"
    host.call(f"systemctl stop {timer}; touch -d '30 days ago' {STAMP}; systemctl start {timer}")
    (caught_up,) = host.wait_for_reports(1)
    assert caught_up["succeeded"]
    host.check_what_it_got()
    assert "/credentials/mtls-kit-rotation.service/vault-password " in host.call(f"cat {HOME}/arguments")
    assert host.call("cat /etc/vault-password; stat -c %U%a /etc/vault-password") == f"{VAULT_PASSWORD}root400"
    assert host.call("ls /run/alarm 2>/dev/null", check=False) == ""

    for number in range(KEPT + 1):
        host.write(f"{HOME}/status", str(number + 3), "0644")
        assert host.call("systemctl start mtls-kit-rotation.service 2>&1 && echo well", check=False) != "well"
        # Reports are named by the second.
        time.sleep(1.1)
    host.call("for i in $(seq 50); do test -e /run/alarm && break; sleep 0.1; done; test -e /run/alarm")
    kept = host.reports()
    assert [(report["status"], report["succeeded"]) for report in kept] == [(KEPT + 2, False), (KEPT + 3, False)]
    assert host.call("systemctl is-failed mtls-kit-rotation.service", check=False) == "failed"


def test_cron_runs_them_where_there_is_no_systemd(hosts: dict[str, Host]) -> None:
    host = hosts["cron"]
    first = host.converge()
    assert first.code == 0, first.text[-3000:]
    # Nobody hands it over here: the user has to be able to read it.
    host.call("chown mtls-kit /etc/vault-password")
    assert host.converge().changed == 0

    fields = host.call("tail -1 /etc/cron.d/mtls-kit-rotation").split(maxsplit=6)
    assert (fields[1:5], fields[5]) == (["*"] * 4, "mtls-kit")
    line = f"runuser -u {fields[5]} -- {fields[6]}"
    host.call(line)
    (report,) = host.reports()
    assert report["succeeded"]
    host.check_what_it_got()
    # It was just done, and is not due in the next hour.
    host.call(f"rm {HOME}/user; {line}; test ! -e {HOME}/user")
    # What was missed is caught up by the next line that comes.
    host.call(
        f'sed -i \'s/"ended": .*/"ended": 1000000000,/\' {HOME}/runs/rotation/*.json; {line}; test -e {HOME}/user'
    )
    # A real cron takes the line: it reads no file of another owner or mode, and says so.
    assert host.call("stat -c %U:%G:%a /etc/cron.d/mtls-kit-rotation") == "root:root:644"
