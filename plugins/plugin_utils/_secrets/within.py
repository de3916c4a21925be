"""A bound in time for work that has none of its own: name resolution, an answer that trickles, a foreign plugin."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


class TooSlow(Exception):
    """The work didn't end in time. It is left behind, and ends with the process at the latest."""


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns, raise what it raises, or raise ``TooSlow`` after ``seconds``."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  whatever it is, it is raised where the result is awaited
            future.set_exception(error)

    # Ansible keeps what it is working on in context variables. A daemon thread doesn't hold up the end of a process.
    Thread(target=copy_context().run, args=(run,), daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        if future.done():
            raise
        raise TooSlow from None
