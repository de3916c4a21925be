"""A steady load of two kinds of clients: those that connect anew for each request, and those that keep a connection.

As a program it runs until a file is there, and prints what became of the requests as JSON. The password of the client's
key comes by standard input.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

SLOW_PATH = "/slow"
SLOW_SECONDS = 0.5
SLOW_EVERY = 4
"""Every so many requests of a client one takes half a second."""


class Cut(Exception):
    """An answer began, or a request was sent on a new connection, and it ended before it was whole."""


class Stale(Exception):
    """A connection that was kept was closed before a byte of the answer came: HTTP lets a client repeat (RFC 9110)."""


@dataclass
class Counts:
    """What became of the requests."""

    answered: int = 0
    repeated: int = 0
    """Requests on a kept connection that were sent again on a new one."""
    failures: list[str] = field(default_factory=list)
    longest: float = 0
    """Seconds of the longest answer."""

    def summary(self) -> str:
        """For people."""
        kinds = Counter(self.failures)
        told = "".join(f"; {number} {what}" for what, number in kinds.most_common(4))
        return f"{self.answered} answered, {len(self.failures)} failed{told}; {self.repeated} repeated"


class Connection:
    """One TLS connection that speaks HTTP/1.1."""

    def __init__(self, port: int, name: str, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        try:
            self._socket = context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        self._name = name
        self._used = False

    def ask(self, path: str, *, keep: bool) -> int:
        """The status of a whole answer. Raises Stale and Cut."""
        fresh, self._used = not self._used, True
        received = b""
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: {self._name}\r\n{'' if keep else 'Connection: close'}\r\n\r\n"
            if keep:
                head = f"GET {path} HTTP/1.1\r\nHost: {self._name}\r\n\r\n"
            self._socket.sendall(head.encode())
            while b"\r\n\r\n" not in received:
                received += self._more()
            top, _, body = received.partition(b"\r\n\r\n")
            (length,) = [line[15:] for line in top.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            while len(body) < int(length):
                body += self._more()
        except (OSError, EOFError) as error:
            if not received and not fresh:
                raise Stale from error
            raise Cut(f"{'cut' if received else 'no answer'}: {type(error).__name__}") from error
        return int(top.split()[1])

    def _more(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise EOFError
        return part

    def close(self) -> None:
        self._socket.close()


class SteadyLoad:
    """Runs until the block ends."""

    def __init__(
        self,
        port: int,
        name: str,
        context: Callable[[], ssl.SSLContext],
        anew: int = 8,
        kept: int = 8,
        pause: float = 0.02,
        fine: Container[int] = (200,),
    ) -> None:
        """``fine`` has the statuses of an answer that counts as one."""
        self.anew, self.kept = Counts(), Counts()
        self._port, self._name, self._context, self._pause = port, name, context, pause
        self._fine = fine
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        kinds = [False] * anew + [True] * kept
        self._threads = [threading.Thread(target=self._client, args=(keep,), daemon=True) for keep in kinds]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(0.5)
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def failures(self) -> list[str]:
        return self.anew.failures + self.kept.failures

    def summary(self) -> str:
        """Both kinds, for people."""
        return f"new connections: {self.anew.summary()}; kept ones: {self.kept.summary()}"

    def _client(self, keep: bool) -> None:
        counts, context = (self.kept if keep else self.anew), self._context()
        connection: Connection | None = None
        number = 0
        while not self._stopped.wait(self._pause):
            number += 1
            path = SLOW_PATH if number % SLOW_EVERY == 0 else "/"
            begun = time.monotonic()
            repeated, failure = 0, ""
            while True:
                try:
                    connection = connection or Connection(self._port, self._name, context)
                    status = connection.ask(path, keep=keep)
                    failure = "" if status in self._fine else f"status {status}"
                    if keep and not failure:
                        break
                except Stale:
                    repeated += 1
                    connection = None
                    continue
                except Cut as error:
                    failure = str(error)
                except OSError as error:
                    failure = f"no connection: {type(error).__name__}"
                if connection is not None:
                    connection.close()
                    connection = None
                break
            with self._lock:
                counts.repeated += repeated
                counts.longest = max(counts.longest, time.monotonic() - begun)
                if failure:
                    counts.failures.append(failure)
                else:
                    counts.answered += 1


def main() -> None:
    """Run until the file is there; exit status 1 when anything failed or nothing was answered."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="name of the site")
    parser.add_argument("--trust-anchor", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=8, help="of each kind (8)")
    parser.add_argument("--until", type=Path, required=True, help="a file whose appearance ends it")
    parser.add_argument("--seconds", type=float, default=300, help="the longest it runs (300)")
    options = parser.parse_args()
    password = sys.stdin.readline().strip()

    def context() -> ssl.SSLContext:
        found = ssl.create_default_context(cafile=str(options.trust_anchor))
        found.load_cert_chain(options.certificate, options.key, password)
        return found

    end = time.monotonic() + options.seconds
    with SteadyLoad(options.port, options.name, context, options.clients, options.clients) as load:
        while not options.until.exists() and time.monotonic() < end:
            time.sleep(0.1)
    answered = load.anew.answered + load.kept.answered
    print(json.dumps({"answered": answered, "failed": len(load.failures), "summary": load.summary()}))
    sys.exit(0 if answered and not load.failures else 1)


if __name__ == "__main__":
    main()
