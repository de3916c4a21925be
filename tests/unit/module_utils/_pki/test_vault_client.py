"""Calls of OpenBao's API against a server that misbehaves; the real one is in tests/integration."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import vault_client, vault_http
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Client, Session

TOKEN = "s.a-token-that-nobody-may-see"


class Server(ThreadingHTTPServer):
    """Answers with what it was told to, one after another, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, Any] | Callable[[Handler], None]] = []
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.connections: set[int] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.connections.add(self.client_address[1])
        self.server.asked.append(
            (self.command, self.path, dict(self.headers.items()), json.loads(body) if body else None)
        )
        step = self.server.script.pop(0)
        if callable(step):
            step(self)
            return
        self.send(step[0], b"" if step[1] is None else json.dumps(step[1]).encode())

    do_GET = do_POST = do_LIST = do_DELETE = answer

    def send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(Session(server.url, TOKEN, namespace="team", seconds=2))
    yield made
    made.close()


def test_requests_share_a_connection_and_bear_token_and_namespace(server: Server, client: Client) -> None:
    server.script = [(200, {"data": {"a": 1}}), (204, None), (404, {"errors": []}), (404, {"errors": []}), (204, None)]
    assert client.get("x", "m/one") == {"a": 1}
    assert client.write("x", "m/two", {"b": 2}) == {}
    assert client.find("x", "m/three") is None
    assert client.list("x", "m/four") == {}
    client.delete("x", "m/five")
    assert [(method, path, body) for method, path, _, body in server.asked] == [
        ("GET", "/v1/m/one", None),
        ("POST", "/v1/m/two", {"b": 2}),
        ("GET", "/v1/m/three", None),
        ("LIST", "/v1/m/four", None),
        ("DELETE", "/v1/m/five", None),
    ]
    assert len(server.connections) == 1
    assert all(headers["X-Vault-Token"] == TOKEN for _, _, headers, _ in server.asked)
    assert all(headers["X-Vault-Namespace"] == "team" for _, _, headers, _ in server.asked)


def test_many_are_sent_over_a_few_connections_in_their_order(server: Server, client: Client) -> None:
    server.script = [(200, {"data": {}})] * 40
    numbers = list(client.in_parallel(lambda number: (client.get("x", f"m/{number}"), number)[1], range(40)))
    assert numbers == list(range(40))
    assert 1 <= len(server.connections) <= vault_client.CONNECTIONS


def test_a_standby_and_a_closed_connection_are_asked_again(server: Server, client: Client) -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    server.script = [(200, {"data": {"n": 1}}), hang_up, (472, {}), (200, {"data": {"n": 2}})]
    assert [client.get("x", "m/a")["n"], client.get("x", "m/b")["n"]] == [1, 2]


def no_json(handler: Handler) -> None:
    handler.send(200, b"<html>")


def slow(handler: Handler) -> None:
    time.sleep(3)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([(503, {"errors": ["Vault is sealed"]})], "a sealed server"),
        ([(503, {})] * 3, "status 503 after 3 tries"),
        ([(403, {"errors": ["permission denied"]})], "the capability update on m/sign"),
        ([(400, {"errors": ["no\n such role"]})], r"status 400 for POST m/sign \(no such role\)"),
        ([no_json], "something that isn't HTTP with JSON"),
        ([slow, slow, slow], "no answer within 2 s"),
        ([lambda handler: handler.send(502, b"<html>")] * 3, "status 502 after 3 tries"),
    ],
)
def test_what_goes_wrong_is_told_without_the_token(
    server: Server, client: Client, script: list[Any], told: str
) -> None:
    server.script = script
    began = time.monotonic()
    with pytest.raises(KitError, match=told) as refused:
        client.write("certificate 'client/alice'", "m/sign", {})
    assert time.monotonic() - began < 5
    assert "certificate 'client/alice'" in refused.value.what
    assert TOKEN not in str(refused.value)
    assert TOKEN not in repr(Session(server.url, TOKEN))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(KitError, match="no connection"):
        Client(Session(f"http://127.0.0.1:{port}", TOKEN, seconds=1)).get("x", "m/a")


def test_a_plain_server_under_https_is_told(server: Server) -> None:
    with pytest.raises(KitError, match="a TLS handshake that failed"):
        Client(Session(server.url.replace("http:", "https:"), TOKEN, seconds=2)).get("x", "m/a")


def test_a_session_is_read_from_what_the_controller_hands_over() -> None:
    given = {"url": "https://bao.example:8200", "token": TOKEN, "mounts": {"root": "pki-root"}}
    found = Session.parsed(json.dumps(given))
    assert found == Session("https://bao.example:8200", TOKEN, mounts={"root": "pki-root"})
    assert Session.parsed("") is None
    for wrong in ("{", '{"token": 1, "more": 2}', '["x"]'):
        with pytest.raises(KitError, match="something else than a session"):
            Session.parsed(wrong)
    with pytest.raises(KitError, match="a file without a certificate"):
        Client(Session("https://bao.example:8200", TOKEN, ca_pem="nothing"))
    assert vault_http.tls_context("").check_hostname
