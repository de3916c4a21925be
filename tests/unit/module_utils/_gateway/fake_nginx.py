"""Stands in for Nginx where a test is about what the kit does with it: a real TLS port, and a reload that can fail."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway

Answerer = Callable[[ssl.SSLSocket, str], tuple[int, dict[str, Any]]]


class TlsServer:
    """Answers each connection's one request with what ``answer`` returns for (connection, request)."""

    def __init__(self, context: ssl.SSLContext, answer: Answerer, port: int = 0) -> None:
        self.context = context
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.settimeout(5)
                with self.context.wrap_socket(connection, server_side=True) as session:
                    request = session.recv(4096).decode()
                    status, document = self.answer(session, request)
                    content = json.dumps(document)
                    session.sendall(f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n{content}".encode())

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


def _value(path: Path) -> str:
    found = re.search(r'"(.*)"', path.read_text())
    return found[1] if found else ""


class FakeNginx:
    """Loads one site's release, trust unit and configuration when started and reloaded, as Nginx does."""

    def __init__(self, root: Path, fingerprint: Path, master: int | None = None) -> None:
        self.instance = gateway.Instance()
        self.root = root
        self.fingerprint = fingerprint
        self.pid = master
        self.server: TlsServer | None = None
        self.port = 0
        self.reloads = 0
        self.deaf = False
        """A reload that changes nothing, as when the master refuses the new configuration."""
        self.test_fails: Callable[[], str] = lambda: ""
        self.loaded: dict[str, Any] = {}

    def command(self, *arguments: str) -> list[str]:
        return ["nginx", *arguments]

    def test(self) -> gateway.Verdict:
        line = self.test_fails()
        return gateway.Verdict(not line, (line,) if line else ())

    def master(self) -> int | None:
        return self.pid

    def enabled(self) -> bool:
        return True

    def log_end(self) -> int:
        return 0

    def log_since(self, begin: int) -> list[str]:
        return ["[emerg] it would not"] if self.deaf else []

    def start(self) -> None:
        self._load()
        self.pid = 4711

    def reload(self, master: int) -> None:
        assert master == self.pid
        self.reloads += 1
        if not self.deaf:
            self._load()

    def stop(self, master: int) -> None:
        assert master == self.pid
        self.close()
        self.pid = None

    def _load(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        release = self.root / "releases" / "current"
        password = (release / "password").read_text().strip()
        context.load_cert_chain(release / "server.crt", release / "server.key", password)
        self.loaded = {
            "error": "no client certificate sent",
            "site": self.root.name,
            "release": _value(release / "id.map"),
            "trust": _value(self.root / "trust" / "current" / "number.map"),
            "config": self.fingerprint.read_text() if self.fingerprint.exists() else "",
        }
        if self.server:
            self.server.context = context
        else:
            self.server = TlsServer(context, lambda session, request: (400, self.loaded), self.port)
            self.port = self.server.port

    def close(self) -> None:
        if self.server:
            self.server.close()
            self.server = None
