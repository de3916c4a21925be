"""Work on all cores: every result once, errors in the parent, and no process left behind."""

from __future__ import annotations

import os
import signal

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import workers
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


def work(job: int) -> tuple[int, int]:
    if job == 13:
        raise KitError("job", "13", "another number", "choose one")
    if job == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return job, os.getpid()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("jobs", [0, 1, 5, 12])
def test_every_job_is_done_once(count: int, jobs: int) -> None:
    results = list(workers.in_parallel(work, range(jobs), count))
    assert sorted(job for job, _ in results) == list(range(jobs))
    assert (os.getpid() in {process for _, process in results}) == (count < 2 and jobs > 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(KitError, match="job: found 13; expected another number") as caught:
        list(workers.in_parallel(work, range(20), 2))
    assert caught.value.next_step == "choose one"


def test_a_killed_worker_is_noticed() -> None:
    with pytest.raises(KitError, match="was killed"):
        list(workers.in_parallel(work, [1, 99, 2], 2))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
