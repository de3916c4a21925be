"""A run that ends itself with SIGKILL at its n-th durable step, for tests; between them nothing that stays is changed.

Durable steps are what an operating system is asked for that outlives a process: opening to write, syncing, renaming,
removing, and each statement of the ledger. The n-th is done or, with ``before``, not done when the run dies.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

DURABLE: Final = frozenset({"open", "write", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir"})
STATEMENTS: Final = frozenset({"execute", "executemany"})


class _Counter:
    """Counts durable steps, and dies at one of them."""

    def __init__(self, fatal: int, before: bool) -> None:
        self.seen = 0
        self._fatal = fatal
        self._event = "c_call" if before else "c_return"

    def __call__(self, _frame: Any, event: str, called: Any) -> None:
        if event != self._event:
            return
        name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
        durable = name in DURABLE and getattr(owner, "__name__", "") == "posix"
        if durable or (name in STATEMENTS and type(owner).__module__ == "sqlite3"):
            self.seen += 1
            if self.seen == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)


def steps_of(run: Callable[[], object]) -> int:
    """How many durable steps ``run`` takes, in a process of its own; raises RuntimeError where it fails."""
    read_end, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            counter = _Counter(0, before=False)
            sys.setprofile(counter)
            run()
            sys.setprofile(None)
            os.write(write_end, str(counter.seen).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        text = answer.read()
    _, status = os.waitpid(process, 0)
    if status != 0:
        raise RuntimeError("the run that is to be killed fails by itself")
    return int(text)


def killed(run: Callable[[], object], fatal: int, *, before: bool) -> bool:
    """Whether ``run`` died at its durable step number ``fatal``, in a process of its own."""
    process = os.fork()
    if process == 0:
        try:
            sys.setprofile(_Counter(fatal, before))
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL
