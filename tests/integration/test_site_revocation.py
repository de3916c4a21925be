"""A revoked client is refused at once: on a new handshake, a resumed session and an open connection."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.identities import Issuers
from tests.integration.wire import Echo, Wire, started

REVOKED = "client certificate revoked"
EXPIRED = "client certificate expired"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with started(tmp_path) as one:
        yield one


def revoke(wire: Wire, name: str, *, reload: bool = True) -> None:
    """Revoke, and deliver the new trust unit and the configuration that follows from it."""
    staying = [one for one in wire.clients if one["name"] != f"client/{name}"]
    wire.host.run(revoke=[{"name": f"client/{name}", "reason": "keyCompromise"}], certificates=staying)
    wire.trust("orders")
    wire.configure(wire.site())
    wire.reload()


def request(session: ssl.SSLSocket, *, close: bool = False) -> str:
    """Status and body of one request over an open connection; empty when it was closed."""
    ending = "close" if close else "keep-alive"
    try:
        session.sendall(f"GET / HTTP/1.1\r\nHost: orders.test\r\nConnection: {ending}\r\n\r\n".encode())
        received = session.recv(65536)
        while received and b"\r\n\r\n" not in received:
            received += session.recv(65536)
    except (ssl.SSLError, ConnectionError):
        return ""
    return received.decode()


def test_without_resumption_no_session_is_ever_resumed(wire: Wire) -> None:
    wire.serve(wire.site())
    for version in VERSIONS:
        context = wire.context("alice", version)
        with wire.connect(context) as first:
            assert " 200 " in request(first)
            session = first.session
        with wire.connect(context, session=session) as second:
            assert " 200 " in request(second)
            assert not second.session_reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_of_a_revoked_client_is_refused_by_the_map(wire: Wire, version: ssl.TLSVersion) -> None:
    wire.settings = {"resumption": True}
    wire.serve(wire.site())
    contexts = {name: wire.context(name, version) for name in ("alice", "mallory")}
    sessions = {}
    for name, context in contexts.items():
        with wire.connect(context) as first:
            assert " 200 " in request(first)
            sessions[name] = first.session
    # The zone keeps its name, as with a reload that came too early: the sessions are resumed for real.
    staying = [one for one in wire.clients if one["name"] != "client/mallory"]
    wire.host.run(revoke=[{"name": "client/mallory", "reason": "keyCompromise"}], certificates=staying)
    wire.trust("orders")
    wire.reload()
    for name, status in (("alice", " 200 "), ("mallory", " 403 ")):
        with wire.connect(contexts[name], session=sessions[name]) as again:
            answer = request(again)
            assert again.session_reused
            assert status in answer
    # And the next configuration ends them.
    wire.configure(wire.site())
    wire.reload()
    with wire.connect(contexts["alice"], session=sessions["alice"]) as ended:
        assert " 200 " in request(ended)
        assert not ended.session_reused


def test_a_revoked_client_s_websocket_ends_within_the_bound(wire: Wire) -> None:
    class Holding(Echo):
        def do_GET(self) -> None:
            super().do_GET()
            # A WebSocket that nobody closes.
            while self.rfile.read(1):
                pass

    backend = ThreadingHTTPServer(("127.0.0.1", 0), Holding)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    wire.serve(wire.site(backend=f"http://127.0.0.1:{backend.server_address[1]}", websocket=True))
    main = wire.prefix / "nginx.conf"
    assert "worker_shutdown_timeout 300s;" in main.read_text()
    main.write_text(main.read_text().replace("shutdown_timeout 300s", "shutdown_timeout 3s"))
    wire.restart()
    upgrade = "GET / HTTP/1.1\r\nHost: orders.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    try:
        with wire.connect(wire.context("mallory")) as socket:
            socket.settimeout(10)
            socket.sendall(upgrade.encode())
            received = b""
            while b'"headers"' not in received:
                received += socket.recv(65536)
            assert received.startswith(b"HTTP/1.1 101 ")
            staying = [one for one in wire.clients if one["name"] != "client/mallory"]
            wire.host.run(revoke=[{"name": "client/mallory", "reason": "keyCompromise"}], certificates=staying)
            wire.trust("orders")
            wire.reload()
            reloaded = time.monotonic()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                while socket.recv(65536):
                    pass
            assert time.monotonic() - reloaded < 8
        assert wire.ask("/", "mallory").status == 403
    finally:
        backend.shutdown()
        backend.server_close()


def test_the_map_refuses_what_somebody_else_s_default_server_resumes(wire: Wire) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - as Nginx's configuration is read
    wire.found = {
        "listeners": [
            {"address": everywhere, "port": wire.port, "default": True, "ssl": True, "http2": False, "file": "other"}
        ]
    }
    wire.place(wire.site())
    # As a generator for TLS settings writes it.
    release = wire.mtls / "orders" / "releases" / "current"
    other = f"""
        server {{
            listen 0.0.0.0:{wire.port} ssl default_server;
            server_name other.test;
            ssl_certificate {release}/server.crt; ssl_certificate_key {release}/server.key;
            ssl_password_file {release}/password;
            ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:other:1m; ssl_session_tickets off;
            return 200 "another server";
        }}
    """
    wire.configure(wire.site(), files={"aa-other.conf": other})
    wire.restart()
    context = wire.context("mallory", ssl.TLSVersion.TLSv1_3)
    with wire.connect(context) as first:
        assert " 200 " in request(first)
        session = first.session
    staying = [one for one in wire.clients if one["name"] != "client/mallory"]
    wire.host.run(revoke=[{"name": "client/mallory", "reason": "keyCompromise"}], certificates=staying)
    wire.trust("orders")
    wire.reload()
    with wire.connect(context, session=session) as again:
        answer = request(again)
        assert again.session_reused, "or nothing would be proven"
        assert " 403 " in answer and REVOKED in answer


@pytest.mark.parametrize("revocation", ["map", "crl", "both"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_revoked_client_gets_the_same_answer_however_it_comes(
    wire: Wire, revocation: str, version: ssl.TLSVersion
) -> None:
    wire.settings = {"revocation": revocation, "crl_renewed": True, "resumption": True}
    wire.serve(wire.site())
    context = wire.context("mallory", version)
    with wire.connect(context) as kept:
        assert " 200 " in request(kept)
        session = kept.session
        revoke(wire, "mallory")
        # The worker that had it has closed it, or a new one refuses.
        left = request(kept)
        assert left == "" or " 403 " in left
    with wire.connect(context, session=session) as resumed:
        answer = request(resumed, close=True)
        assert " 403 " in answer
        assert REVOKED in answer
    new = wire.ask("/", "mallory", context=wire.context("mallory", version))
    assert (new.status, new.error) == (403, REVOKED)
    assert wire.ask("/", "alice", context=wire.context("alice", version)).status == 200
    time.sleep(0.1)
    refused = [one for one in wire.log() if one["status"] == "403"]
    assert {one["reason"] for one in refused} == {REVOKED}


def bounded_by(wire: Wire, directive: str, seconds: int) -> None:
    """Have the bound of five minutes that ``directive`` is rendered with in seconds, for a test to live through."""
    site_file = wire.prefix / "conf.d/zz-mtls-site-orders.conf"
    assert f"    {directive} 5m;\n" in site_file.read_text()
    # Of sessions the port's default server has its say, too.
    for path in (site_file, wire.prefix / "conf.d/zz-mtls-gateway.conf"):
        path.write_text(path.read_text().replace(f"{directive} 5m", f"{directive} {seconds}s"))
    wire.restart()


def short_lived(wire: Wire, seconds: int) -> Callable[[ssl.TLSVersion], ssl.SSLContext]:
    """A client whose certificate ends in so many seconds, in any version of TLS."""
    shown = Issuers(wire.host, datetime.now(UTC)).good(days=(-1, seconds / 86400)).shown()
    (wire.folder / "short.pem").write_bytes(shown.chain + shown.key)

    def context(version: ssl.TLSVersion) -> ssl.SSLContext:
        found = wire.context(None, version)
        found.load_cert_chain(wire.folder / "short.pem")
        return found

    return context


def until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_expired_client_keeps_its_open_connection_no_longer_than_the_bound(
    wire: Wire, version: ssl.TLSVersion
) -> None:
    wire.serve(wire.site())
    bounded_by(wire, "keepalive_time", 4)
    ends = time.monotonic() + 2
    context = short_lived(wire, 2)(version)
    with wire.connect(context) as kept:
        opened = time.monotonic()
        assert " 200 " in request(kept)
        until(ends + 1.2)
        new = wire.ask("/", context=context)
        assert (new.status, new.error) == (400, EXPIRED)
        while answer := request(kept):
            assert " 200 " in answer and time.monotonic() - opened < 10
            time.sleep(0.2)
    assert time.monotonic() - opened > 3


def test_an_expired_client_resumes_no_longer_than_the_bound(wire: Wire) -> None:
    wire.settings = {"resumption": True}
    wire.serve(wire.site())
    bounded_by(wire, "ssl_session_timeout", 6)
    context_of = short_lived(wire, 2)
    contexts = {version: context_of(version) for version in VERSIONS}
    sessions: dict[ssl.TLSVersion, ssl.SSLSession | None] = dict.fromkeys(VERSIONS)

    def resumed(version: ssl.TLSVersion) -> tuple[bool, str]:
        """Whether the session that was kept is resumed, and the answer; the newest session is kept from then on."""
        with wire.connect(contexts[version], session=sessions[version]) as connection:
            answer = request(connection, close=True)
            sessions[version] = connection.session
            return connection.session_reused, answer

    assert all(" 200 " in resumed(version)[1] for version in VERSIONS)
    opened = time.monotonic()
    until(opened + 2.2)
    # Nobody looks at the certificate again: both get in, although each new handshake is refused.
    for version in VERSIONS:
        new = wire.ask("/", context=contexts[version])
        assert (new.status, new.error) == (400, EXPIRED)
        reused, answer = resumed(version)
        assert reused and " 200 " in answer
    # A session of TLS 1.2 keeps its age; one of TLS 1.3 is replaced by each resumption, and goes on.
    for seconds in (4, 6, 8):
        until(opened + seconds)
        reused, answer = resumed(ssl.TLSVersion.TLSv1_3)
        assert reused and " 200 " in answer
    reused, answer = resumed(ssl.TLSVersion.TLSv1_2)
    assert not reused and EXPIRED in answer
    # Until the next trust unit, which ends them all; the bound is as it was.
    wire.host.run(crl={"days": 8, "refresh_hours": 24}, certificates=list(wire.clients))
    wire.trust("orders")
    wire.configure(wire.site())
    wire.reload()
    reused, answer = resumed(ssl.TLSVersion.TLSv1_3)
    assert not reused and EXPIRED in answer
