"""Runs to be killed: for each seed on standard input a forked process brings a store to that seed's wishes.

The answer is the pid of the run, and after one more line, once that run has ended, its exit status.
"""

from __future__ import annotations

import os
import random
import sys
from datetime import timedelta
from pathlib import Path

from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client


def wishes(folder: Path, seed: int) -> AuthorityHost:
    """The desired state number ``seed``: others than before, so that a run has everything to do."""
    host = AuthorityHost(folder)
    chance = random.Random(seed)  # noqa: S311  no secret
    people = [f"u{number}" for number in range(20)]
    host.now = NOON + timedelta(days=seed)
    # Short lives, so that whoever stays on the list for some days is renewed.
    host.arguments["leaf"] = {"key_type": "ec-p256", "days": 6, "renew_days": 4}
    host.arguments["certificates"] = [
        client(name, groups=[f"g{chance.randrange(3)}"], san={"uri": [f"urn:x:{name}:{chance.randrange(8) // 7}"]})
        for name in [*chance.sample(people, 13), *(f"new{seed}-{number}" for number in range(3))]
    ]
    host.arguments["removed"] = "revoke"
    return host


def main() -> None:
    """Serve seeds until standard input ends."""
    while line := sys.stdin.readline():
        process = os.fork()
        if process == 0:
            wishes(Path(sys.argv[1]), int(line)).run()
            os._exit(0)
        print(process, flush=True)
        # Until the kill is done, the pid must stay this process's.
        sys.stdin.readline()
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
