"""Runs a playbook and shows a compact view of it: a line per task that changed something, with the stated reasons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo.screen import heading, paint, say
from scripts.lib.demo.settings import ROOT, Settings


@dataclass
class Run:
    """What a playbook did so far."""

    tasks: int = 0
    changes: list[str] = field(default_factory=list)
    failure: str = ""
    noise: deque[str] = field(default_factory=lambda: deque(maxlen=10))


def run(settings: Settings, playbook: str, title: str) -> list[str]:
    """Run ``playbooks/<playbook>.yml`` on the demo's inventory; the changes it made, in words.

    Raises KitError with the failing task's own message; the log has the full result of every task.
    """
    heading(title)
    settings.logs.mkdir(mode=0o700, exist_ok=True)
    log = settings.logs / f"{playbook}.log"
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = inherited | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
        "ANSIBLE_NOCOLOR": "1",
        # Compiled files go with the demo, not into the checkout.
        "PYTHONPYCACHEPREFIX": str(settings.folder / "ansible" / "pycache"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        *(str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "playbooks" / f"{playbook}.yml")),
        *("--inventory", str(settings.inventory / "hosts.yml")),
        *("--vault-password-file", str(settings.vault_password_file)),
    ]
    state = Run()
    started = time.monotonic()
    with log.open("w") as record:
        log.chmod(0o600)
        record.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.stdout is None:
            raise RuntimeError("no pipe to read the playbook's events from")
        follow(process.stdout, record, state)
        code = process.wait()
    if code != 0:
        raise KitError(
            f"playbooks/{playbook}.yml",
            state.failure or "\n".join(state.noise) or f"exit status {code}",
            "every task to succeed",
            f"correct it and run scripts/demo again; {log} has the full results",
        )
    said = counted(state.changes) if state.changes else "nothing to change"
    say(f"  {said}, {state.tasks} tasks in {time.monotonic() - started:.0f} s")
    return state.changes


def counted(changes: list[str]) -> str:
    """``1 change``, ``2 changes``."""
    return f"{len(changes)} change{'' if len(changes) == 1 else 's'}"


def follow(events: IO[str], record: IO[str], state: Run) -> None:
    """Read the playbook's events to their end, showing what matters and recording everything."""
    for line in events:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "_event" not in event:
            if line.strip():
                state.noise.append(line.rstrip())
                record.write(line)
            continue
        _take(event, record, state)
        record.flush()


def _take(event: dict[str, Any], record: IO[str], state: Run) -> None:
    kind = event["_event"]
    if kind == "v2_playbook_on_play_start":
        say(paint(f"  {event['play']['name']}", "dim"))
        record.write(f"\nPLAY {event['play']['name']}\n")
    elif kind in ("v2_playbook_on_task_start", "v2_playbook_on_handler_task_start"):
        state.tasks += 1
    elif kind.startswith("v2_runner_on_") and "hosts" in event:
        task = event["task"]["name"]
        for host, result in event["hosts"].items():
            outcome = _outcome(kind, result)
            record.write(f"\n{outcome.upper()} [{host}] {task}\n{json.dumps(result, indent=2)}\n")
            _show(task, host, outcome, result, state)


def _outcome(kind: str, result: dict[str, Any]) -> str:
    outcome = kind.removeprefix("v2_runner_on_")
    return "changed" if outcome == "ok" and result.get("changed") else outcome


def _show(task: str, host: str, outcome: str, result: dict[str, Any], state: Run) -> None:
    name = task.rpartition(" : ")[2]
    if outcome == "changed":
        changes = [_worded(change) for change in _changes(result)] or [name]
        for change in changes:
            say(f"    {paint('changed', 'yellow')}  {change}")
        state.changes.extend(changes)
    elif outcome in ("failed", "unreachable"):
        state.failure = f"task {name!r} on {host}: {message(result)}"
        say(f"    {paint('failed', 'red')}   {name}")


def _changes(result: dict[str, Any]) -> list[dict[str, str]]:
    """The kit's modules state each change with its reason; others only say that something changed."""
    changes = result.get("changes")
    if not isinstance(changes, list):
        return []
    return [change for change in changes if isinstance(change, dict) and {"name", "action", "reason"} <= change.keys()]


def _worded(change: dict[str, str]) -> str:
    action, reason = change["action"], change["reason"]
    return f"{reason if reason.startswith(action) else f'{action}: {reason}'}  ({change['name']})"


def message(result: dict[str, Any]) -> str:
    """What a failed result says for itself; for a loop, what its first failed item says."""
    for item in result.get("results", []):
        if isinstance(item, dict) and item.get("failed"):
            return message(item)
    text = str(result.get("msg", "no message"))
    errors = str(result.get("stderr", "")).strip()
    return f"{text}\n{errors}" if errors else text
