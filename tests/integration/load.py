"""A steady load of requests with a client certificate, each on a connection of its own, and what became of them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

PROBE = "/.well-known/mtls-kit/probe"


@dataclass(frozen=True)
class Identity:
    """A client's certificate, key and the key's password."""

    certificate: Path
    key: Path
    password: str = field(repr=False)


@dataclass(frozen=True)
class Target:
    """A site as its clients see it."""

    address: str
    port: int
    name: str
    trust_anchor: Path

    def context(self, identity: Identity | None) -> ssl.SSLContext:
        """What a client with ``identity`` connects with, or one without any."""
        context = ssl.create_default_context(cafile=str(self.trust_anchor))
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.key, identity.password)
        return context

    def status(self, context: ssl.SSLContext, seconds: float = 5) -> int:
        """The status of one request on a new connection. Raises OSError where there is none."""
        with (
            socket.create_connection((self.address, self.port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=self.name) as connection,
        ):
            connection.sendall(f"GET {PROBE} HTTP/1.1\r\nHost: {self.name}\r\nConnection: close\r\n\r\n".encode())
            answer = connection.recv(4096)
        if not answer.startswith(b"HTTP/1.1 "):
            raise ConnectionError("no HTTP")
        return int(answer.split()[1])


class Load:
    """Clients that each make a new connection per request, until the block ends."""

    def __init__(self, target: Target, identity: Identity, clients: int = 2, pause: float = 0.03) -> None:
        self.answered = 0
        self.failures: list[tuple[float, str]] = []
        """When, by time.monotonic(), and how."""
        self._pause = pause
        self.take(target, identity)
        self._stopped = threading.Event()
        self._count = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def take(self, target: Target, identity: Identity) -> None:
        """Be asked for with these from the next request on, as by a client that took a new bundle."""
        self._target, self._context = target, target.context(identity)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(10)

    def _ask(self) -> None:
        while not self._stopped.wait(self._pause):
            begun = time.monotonic()
            try:
                status = self._target.status(self._context)
                failure = "" if status == 200 else f"status {status}"
            except OSError as error:
                failure = f"{type(error).__name__}: {error}"
            with self._count:
                if failure:
                    self.failures.append((begun, failure))
                else:
                    self.answered += 1
