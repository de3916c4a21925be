"""Work on all cores by forked processes.

Neither a thread pool (signing holds the interpreter's lock) nor multiprocessing's own pools (they need shared
semaphores, which some containers lack, and outlive a killed parent) fit. A worker here reads jobs from a pipe and ends
when its parent does. It keeps what it inherited, the open lock of the store among it, so that nobody enters the store
before the last worker of a killed run has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import NoReturn, TypeVar, cast

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

Job = TypeVar("Job")
Result = TypeVar("Result")


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def _work(work: Callable[[Job], Result], jobs: Connection) -> NoReturn:
    # OpenSSL and os.urandom give a forked process random numbers of its own. os._exit: this process shares the open
    # ledger and the buffers of its parent and must not end them.
    status = 1
    try:
        while True:
            try:
                outcome: tuple[bool, object] = (True, work(jobs.recv()))
            except EOFError:
                status = 0
                break
            except Exception as error:  # noqa: BLE001  handed to the parent, which raises it
                outcome = (False, error)
            jobs.send(outcome)
    finally:
        os._exit(status)


def in_parallel(work: Callable[[Job], Result], jobs: Iterable[Job], count: int) -> Iterator[Result]:
    """``work`` done on each job by ``count`` processes; results as they come. Jobs and results are pickled.

    Raises what a worker raised, or KitError when one was killed. With less than two processes nothing is forked.
    """
    if count < 2:
        yield from map(work, jobs)
        return
    waiting = iter(jobs)
    team: dict[Connection, int] = {}
    try:
        for job in waiting:
            ours, theirs = Pipe()
            process = os.fork()
            if process == 0:
                for other in (ours, *team):
                    other.close()
                _work(work, theirs)
            theirs.close()
            team[ours] = process
            ours.send(job)
            if len(team) == count:
                break
        busy = set(team)
        while busy:
            for ready in cast(list[Connection], wait(list(busy))):
                try:
                    done, outcome = ready.recv()
                except EOFError:
                    raise KitError(
                        f"worker process {team[ready]}",
                        "that it was killed, perhaps for want of memory",
                        "that it ends by itself",
                        "see dmesg, make room and run again; what was entered so far is kept",
                    ) from None
                if not done:
                    raise outcome
                busy.discard(ready)
                for job in waiting:
                    ready.send(job)
                    busy.add(ready)
                    break
                yield outcome
    finally:
        for connection, process in team.items():
            connection.close()
            os.waitpid(process, 0)
