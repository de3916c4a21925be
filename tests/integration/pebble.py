"""A real ACME server for tests, Debian's pebble, and the DNS it asks: where names lead is the test's to say."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from cryptography import x509

from tests.integration.openbao import Authority, free_port

HOOK = """\
#!/bin/sh
# What an operator writes for the DNS of their own: makes and removes the record, and says what it was asked.
echo "$@" >>"$0.log"
case $1 in
  present) data="{\\"host\\": \\"$3.\\", \\"value\\": \\"$4\\"}" path=set-txt ;;
  cleanup) data="{\\"host\\": \\"$3.\\"}" path=clear-txt ;;
esac
exec curl --silent --fail --max-time 10 --data "$data" "DNS_URL/$path"
"""


@dataclass(frozen=True)
class Pebble:
    """A running server; ``ca_file`` verifies the server itself, ``roots_file`` what it issues."""

    directory_url: str
    ca_file: Path
    roots_file: Path
    _dns: str

    @classmethod
    @contextmanager
    def started(cls, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Pebble]:
        """Start it and its DNS in ``folder``; names are looked at on port 80. Both are ended on leaving."""
        directory, management, dns, dns_management = (free_port() for _ in range(4))
        authority = Authority.made(folder / "ca.crt")
        authority.issue(folder, "server", [x509.DNSName("localhost")])
        config = {
            "listenAddress": f"127.0.0.1:{directory}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": f"{folder}/server.crt",
            "privateKey": f"{folder}/server.key",
            "httpPort": 80,
            "tlsPort": free_port(),
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        # No pauses, and no proof of an earlier order counts for a later one.
        environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", **(environment or {})}
        with ExitStack() as stack:
            for argv in (
                [
                    "pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}",
                    "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "", "-defaultIPv6", "",
                ],
                ["pebble", "-config", f"{folder}/pebble.json", "-dnsserver", f"127.0.0.1:{dns}"],
            ):  # fmt: skip
                stack.enter_context(_running(folder, argv, environment))
            pebble = cls(
                f"https://localhost:{directory}/dir", folder / "ca.crt", folder / "roots.crt",
                f"http://127.0.0.1:{dns_management}",
            )  # fmt: skip
            root = pebble._answer(f"https://localhost:{management}/roots/0")
            pebble.roots_file.write_text(root.text)
            yield pebble

    def lead(self, name: str, *addresses: str) -> None:
        """Let ``name`` lead to ``addresses``, and nowhere else."""
        self._tell("clear-a", host=name)
        self._tell("add-a", host=name, addresses=addresses)

    def hook(self, folder: Path) -> Path:
        """A program that makes and removes DNS records; ``dns-hook.log`` beside it has the arguments of each call."""
        program = folder / "dns-hook"
        program.write_text(HOOK.replace("DNS_URL", self._dns))
        program.chmod(0o755)
        return program

    def _tell(self, what: str, **content: Any) -> None:
        requests.post(f"{self._dns}/{what}", json=content, timeout=10).raise_for_status()

    def _answer(self, url: str, seconds: float = 20) -> requests.Response:
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = requests.get(url, verify=str(self.ca_file), timeout=10)
                answer.raise_for_status()
                return answer
            except requests.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@contextmanager
def _running(folder: Path, argv: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / f"{argv[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(5)
