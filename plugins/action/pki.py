"""Runs module ``pki`` as any module is run, and tells meanwhile how far it is; documented in plugins/modules/pki.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.path import unfrackpath

from ansible_collections.mtls.kit.plugins.module_utils._pki import store
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.pki_session import with_session

FIRST_PAUSE: Final = 2.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two looks, half as many more each time: a short run says nothing, a log of an hour stays short."""


@contextmanager
def told(folder: Path, tell: Callable[[str], None], first_pause: float = FIRST_PAUSE) -> Iterator[None]:
    """While the block runs, ``tell`` what a run on this host says of itself in the lock of the store at ``folder``."""
    over = Event()
    began = time.monotonic()

    def look() -> None:
        pause, before = first_pause, ""
        while not over.wait(pause):
            owner = store.running(folder)
            if owner is not None and owner.doing not in ("", before):
                before = owner.doing
                tell(f"pki: {before}, {time.monotonic() - began:.0f} s")
            pause = min(pause * 1.5, LONGEST_PAUSE)

    watcher = Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


class ActionModule(NormalAction):
    """A module can't print while it runs, but it says in its lock how far it is, and this reads it.

    Only of a CA host that is the controller itself; of another, ``playbooks/status.yml`` tells the same.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, in a session with OpenBao where keys of CAs are there."""
        return with_session(self._task, lambda: self._told(tmp, task_vars))

    def _told(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        folder = self._task.args.get("store")
        if self._connection.transport != "local" or not isinstance(folder, str) or self._task.check_mode:
            return self._run(tmp, task_vars)
        # To standard error, line by line, so that what reads standard output (JSON, for one) gets nothing else.
        with told(Path(unfrackpath(folder)), lambda line: self._display.display(line, stderr=True)):
            return self._run(tmp, task_vars)

    def _run(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result
