"""What has no end of its own gets one."""

from __future__ import annotations

import time
from contextvars import ContextVar
from threading import Event

import pytest

from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.within import TooSlow, within


def test_results_and_errors_come_back() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


def test_a_time_out_of_the_work_itself_is_its_own() -> None:
    def work() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        within(5, work)


def test_work_without_an_end_is_left_behind() -> None:
    never = Event()
    started = time.monotonic()
    with pytest.raises(TooSlow):
        within(0.1, never.wait)
    assert time.monotonic() - started < 2
    never.set()


def test_context_variables_are_those_of_the_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    variable.set("set")
    assert within(5, variable.get) == "set"
