"""What a refused client reads: short, with a reason, as JSON or as a page, never a 200 and never the backend's own."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from tests.integration.wire import Wire, free_port, started

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@dataclass
class Raw:
    """An answer as it came."""

    status: int
    head: str
    body: str


@pytest.fixture(scope="module", params=["map", "both"])
def wire(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Wire]:
    with started(tmp_path_factory.mktemp("answers")) as one:
        one.settings = {"revocation": request.param, "crl_renewed": True}
        one.host.run()
        staying = [one for one in one.clients if one["name"] != "client/mallory"]
        one.host.run(revoke=[{"name": "client/mallory", "reason": "keyCompromise"}], certificates=staying)
        one.clients = tuple(staying)
        closed = [{"path": "/closed", "allow": {}}]
        one.serve(
            one.site(answers="html", locations=closed),
            one.site(name="plain", port=free_port(), locations=closed),
            one.site(name="limited", port=free_port(), answers="html", rate_limit="1r/m"),
        )
        yield one


def ask(wire: Wire, path: str, who: str | None, accept: str, *, source: str = "127.0.0.2", port: int = 0) -> Raw:
    """A request from another address than the gateway's own."""
    with socket.create_connection(("127.0.0.1", port or wire.port), 5, source_address=(source, 0)) as plain:
        context = wire.context(who)
        with context.wrap_socket(plain, server_hostname="orders.test") as session:
            lines = f"Host: orders.test\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
            session.sendall(f"GET {path} HTTP/1.1\r\n{lines}".encode())
            content = b""
            deadline = tls.Deadline(5)
            while not deadline.passed and (received := session.recv(65536)):
                content += received
    head, _, body = content.decode().partition("\r\n\r\n")
    return Raw(int(head.split()[1]), head.lower(), body)


REFUSALS = [
    ("/", None, 400, "no client certificate sent: this site asks every client for one"),
    ("/", "pam", 403, "issuer of the client certificate not accepted here"),
    ("/", "mallory", 403, "client certificate revoked"),
    ("/closed", "alice", 403, "client not authorized for this path"),
    ("//closed", "alice", 403, "path spelled in a way that can be read as another one"),
]


@pytest.mark.parametrize(("path", "who", "status", "reason"), REFUSALS)
def test_a_browser_reads_a_page_and_everybody_else_json(
    wire: Wire, path: str, who: str | None, status: int, reason: str
) -> None:
    page = ask(wire, path, who, BROWSER)
    assert page.status == status
    assert "content-type: text/html; charset=utf-8" in page.head
    assert "content-security-policy: default-src 'none'" in page.head
    assert re.sub(r"<[^>]+>", " ", page.body).split() == ["Refused", "Refused", *reason.split()]
    for accept in ("*/*", "application/json", "application/xhtml+xml", "text/htmlx"):
        document = ask(wire, path, who, accept)
        assert (document.status, document.body) == (status, f'{{"error":"{reason}","site":"orders"}}\n')
        assert "content-type: application/json" in document.head
    for answer in (page, document):
        assert "cache-control: no-store" in answer.head
        assert not re.search(r"nginx/|release|trust|config|127\.0\.0", answer.head + answer.body)


def test_without_it_a_browser_reads_json_too(wire: Wire) -> None:
    port = wire.plan["sites"][1]["port"]
    assert ask(wire, "/closed", "alice", BROWSER, port=port).body.startswith('{"error":"client not authorized')


def test_the_gateway_itself_is_always_told_what_is_loaded(wire: Wire) -> None:
    answer = ask(wire, tls.PROBE_PATH, None, "*/*", source="127.0.0.1")
    assert '"release":"one","trust":"' in answer.body


def test_plain_http_is_answered_alike(wire: Wire) -> None:
    url = f"http://127.0.0.1:{wire.port}/"
    for accept, content in (
        (BROWSER, "<p>TLS expected: this port speaks https only</p>"),
        ("*/*", '{"error":"TLS exp'),
    ):
        command = ["curl", "-s", "-i", "-m", "5", "-H", f"Accept: {accept}", "-H", "Host: orders.test", url]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert answer.startswith("HTTP/1.1 400 ") and content in answer


def test_a_client_that_asks_too_often_is_told_so(wire: Wire) -> None:
    port = wire.plan["sites"][2]["port"]
    assert ask(wire, "/", "alice", "*/*", port=port).status == 200
    page, document = (ask(wire, "/", "alice", accept, port=port) for accept in (BROWSER, "*/*"))
    assert page.status == document.status == 429
    assert "<p>too many requests with this certificate</p>" in page.body
    assert document.body == '{"error":"too many requests with this certificate","site":"limited"}\n'
    # Another certificate has a bucket of its own.
    assert ask(wire, "/", "bob", "*/*", port=port).status == 200
