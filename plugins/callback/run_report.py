"""Writes what a run did to each host, as JSON: the reasons of its changes, what failed, and who was not reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_report
type: aggregate
short_description: Write what a run of the kit's playbooks did as JSON
version_added: "0.1.0"
description:
  - Writes one file at the end of a run, complete or not at all, mode 0640.
  - Results that Ansible censors (C(no_log)) stay censored; nothing secret is in the file.
requirements:
  - It has to be enabled, for example by E(ANSIBLE_CALLBACKS_ENABLED) set to V(mtls.kit.run_report).
options:
  file:
    description: The file. Nothing is written without one.
    type: str
    default: ""
    env:
      - name: MTLS_KIT_RUN_REPORT
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ansible.plugins.callback import CallbackBase

REASONS: Final = "Ensure the reasons of the changes are shown"
"""Tasks of this name tell them, for a result that holds secrets is censored as a whole."""


class CallbackModule(CallbackBase):
    """Collects while the run goes on, and writes when it ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "mtls.kit.run_report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        """Nothing is known yet."""
        super().__init__()
        self._reasons: dict[str, list[str]] = {}
        self._messages: dict[str, str] = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        """Keep the reasons of what was changed."""
        if result.task.get_name().rpartition(" : ")[2] == REASONS:
            told = result.result.get("msg")
            known = self._reasons.setdefault(result.host.get_name(), [])
            known += [line for line in (told if isinstance(told, list) else [str(told)]) if line not in known]

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Keep why; a failure that is rescued is forgotten at the end."""
        if not ignore_errors:
            self._messages[result.host.get_name()] = _one_line(result.result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Keep why."""
        self._messages[result.host.get_name()] = _one_line(result.result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the file."""
        file = self.get_option("file")
        if not file:
            return
        hosts = {}
        for host in sorted(stats.processed):
            summary = stats.summarize(host)
            wrong = summary["failures"] or summary["unreachable"]
            hosts[host] = {
                "state": "unreachable" if summary["unreachable"] else "failed" if summary["failures"] else "done",
                "changed": summary["changed"],
                "reasons": self._reasons.get(host, []),
                "message": self._messages.get(host, "") if wrong else "",
            }
        _write(Path(file), json.dumps({"hosts": hosts}, indent=2, ensure_ascii=False) + "\n")


def _one_line(result: Mapping[str, Any]) -> str:
    """Why, on one line; of a censored result, that it is censored."""
    return " ".join(str(result.get("msg") or result.get("censored", "")).split())


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
