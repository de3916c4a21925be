"""Lets a test act at the begin of tasks of a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from typing import Any

from ansible.playbook.task import Task
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: at_task
type: notification
short_description: Act at the begin of tasks
description:
  - C(MTLS_KIT_TEST_AT_TASKS) is a list of acts in JSON. Each has C(task), the name, C(times), which time it begins,
    and C(run), an argument list that is run before the task is. An empty one kills the run itself as C(kill -9) does.
requirements:
  - a test of the kit
"""


class CallbackModule(CallbackBase):
    """Counts the tasks of each name."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "at_task"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing has begun yet."""
        super().__init__(*args, **kwargs)
        self._acts = json.loads(os.environ.get("MTLS_KIT_TEST_AT_TASKS", "[]"))
        self._begun: Counter[str] = Counter()

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        """The run waits for this method."""
        self._begun[task.name] += 1
        for act in self._acts:
            if (task.name, self._begun[task.name]) != (act["task"], act["times"]):
                continue
            if not act["run"]:
                os.kill(os.getpid(), signal.SIGKILL)
            subprocess.run(act["run"], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=1500)
