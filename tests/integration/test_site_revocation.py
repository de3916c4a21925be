"""A revoked client is refused at once: on a new handshake, a resumed session and an open connection."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.identities import Issuers
from tests.integration.wire import Wire, started

REVOKED = "client certificate revoked"
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


@pytest.mark.parametrize("version", VERSIONS)
def test_an_expired_client_keeps_its_open_connection_no_longer_than_the_bound(
    wire: Wire, version: ssl.TLSVersion
) -> None:
    wire.serve(wire.site())
    site_file = wire.prefix / "conf.d/zz-mtls-site-orders.conf"
    bounded = site_file.read_text()
    assert "    keepalive_time 5m;\n" in bounded
    # The same bound in seconds.
    site_file.write_text(bounded.replace("keepalive_time 5m", "keepalive_time 4s"))
    wire.restart()
    ends = time.monotonic() + 2
    shown = Issuers(wire.host, datetime.now(UTC)).good(days=(-1, 2 / 86400)).shown()
    (wire.folder / "short.pem").write_bytes(shown.chain + shown.key)
    context = wire.context(None, version)
    context.load_cert_chain(wire.folder / "short.pem")
    with wire.connect(context) as kept:
        opened = time.monotonic()
        assert " 200 " in request(kept)
        time.sleep(max(0.0, ends - time.monotonic()) + 1.2)
        new = wire.ask("/", context=context)
        assert (new.status, new.error) == (400, "client certificate expired")
        while answer := request(kept):
            assert " 200 " in answer and time.monotonic() - opened < 10
            time.sleep(0.2)
    assert time.monotonic() - opened > 3
