"""The way to the backend: verified as strictly as the clients are, spread, bounded, and never answered by another."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import has_ipv6
from tests.integration.wire import CLIENTS, VERSION, Echo, Wire, free_port, started


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with started(tmp_path) as one:
        yield one


def tls_backend(wire: Wire, name: str) -> ThreadingHTTPServer:
    """A backend with the server certificate ``name`` that wants a certificate of its clients."""
    folder = wire.host.store / "certificates/server/app" / name
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    password = wire.host.passwords[f"server/app/{name}"]
    context.load_cert_chain(folder / "server.crt", folder / "server.key", password)
    context.load_verify_locations(wire.host.store / "trust-anchor.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_backend_over_tls_is_verified_and_verifies(wire: Wire) -> None:
    backend = {"name": "server/app/one", "san": {"dns": ["app.test"]}}
    wire.clients = (*CLIENTS, backend)
    wire.host.run(certificates=list(wire.clients))
    server = tls_backend(wire, "one")
    url = f"https://127.0.0.1:{server.server_address[1]}"
    certificate, key, password = wire.files_of("alice")
    (wire.folder / "secret").write_text(password + "\n")
    shown = {"certificate": str(certificate), "key": str(key), "password_file": str(wire.folder / "secret")}
    anchor = {"trusted_certificate": str(wire.host.store / "trust-anchor.crt")}
    try:
        for settings, status in [
            ({"name": "app.test", **anchor, **shown}, 200),
            ({"name": "other.test", **anchor, **shown}, 502),
            ({"name": "app.test", **shown}, 502),
            ({"name": "app.test", **anchor}, 502),
        ]:
            wire.serve(wire.site(backend=url, backend_tls=settings))
            assert wire.ask("/").status == status, settings
    finally:
        server.shutdown()
        server.server_close()


def test_a_grpc_backend_over_tls_is_verified_and_verifies(wire: Wire) -> None:
    backend = {"name": "server/app/one", "san": {"dns": ["app.test"]}}
    wire.clients = (*CLIENTS, backend)
    wire.host.run(certificates=list(wire.clients))
    folder, port = wire.host.store / "certificates/server/app/one", free_port()
    certificate, key, password = wire.files_of("alice")
    (wire.folder / "secret").write_text(f"{password}\n{wire.host.passwords['server/app/one']}\n")
    listen = f"listen 127.0.0.1:{port} ssl; http2 on;"
    if tuple(VERSION) < (1, 25, 1):
        listen = f"listen 127.0.0.1:{port} ssl http2;"
    served = f"""
        server {{
            {listen}
            ssl_certificate {folder}/server.crt; ssl_certificate_key {folder}/server.key;
            ssl_password_file {wire.folder}/secret;
            ssl_verify_client on; ssl_client_certificate {wire.host.store}/trust-anchor.crt; ssl_verify_depth 2;
            default_type application/grpc;
            location / {{ return 200 "$ssl_client_s_dn|$http_x_client_name"; }}
        }}
    """
    common = {"trusted_certificate": str(wire.host.store / "trust-anchor.crt"), "name": "app.test"}
    shown = {"certificate": str(certificate), "key": str(key), "password_file": str(wire.folder / "secret")}
    grpc = ["--http2", "--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", ""]
    for settings, status, told in [
        ({**common, **shown}, 200, "CN=alice,O=Example Ltd|bob"),
        ({**common, **shown, "name": "other.test"}, 502, ""),
        (common, 400, ""),
    ]:
        wire.serve(wire.site(backend=f"grpcs://127.0.0.1:{port}", backend_tls=settings), files={"grpc.conf": served})
        answer = wire.curl(*grpc, who="bob", path="/demo.Echo/Call")
        assert (answer.status, told in answer.body) == (status, True), (settings, answer)


def test_requests_are_spread_and_a_path_can_have_a_backend_of_its_own(wire: Wire) -> None:
    class Other(Echo):
        def do_GET(self) -> None:
            self.path = "other"
            super().do_GET()

    other = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{other.server_address[1]}"
    try:
        wire.serve(wire.site(more_backends=[url], locations=[{"path": "/own", "backend": url}]))
        assert {wire.ask("/x").path for _ in range(12)} == {"/x", "other"}
        assert {wire.ask("/own").path for _ in range(6)} == {"other"}
    finally:
        other.shutdown()
        other.server_close()


def test_a_certificate_has_a_rate_of_its_own(wire: Wire) -> None:
    wire.serve(wire.site(rate_limit="1r/m", rate_burst=2))
    answers = [wire.ask("/", "alice") for _ in range(5)]
    assert [one.status for one in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].error == "too many requests with this certificate"
    assert wire.ask("/", "bob").status == 200
    assert wire.ask("/", None).status == 400


def test_two_sites_have_their_own_names_clients_and_backends(wire: Wire) -> None:
    stock = wire.site(name="stock", server_names=["stock.test"], locations=[{"path": "/", "allow": {"names": ["bob"]}}])
    wire.serve(wire.site(), stock)
    assert wire.ask("/", "alice").status == 200
    assert wire.curl(who="alice", name="stock.test").status == 403
    assert wire.curl(who="bob", name="stock.test").status == 200
    assert wire.ask("/", "bob", host="stock.test").status == 421


def test_a_sibling_ca_s_clients_stay_out_where_only_the_other_is_accepted(wire: Wire) -> None:
    wire.serve(wire.site())
    assert wire.ask("/", "pam").status == 403
    assert wire.ask("/", "alice").status == 200


def test_a_body_above_the_bound_of_its_path_is_refused(wire: Wire) -> None:
    wire.serve(wire.site(client_max_body_size="1k", locations=[{"path": "/large", "client_max_body_size": "1m"}]))
    body = ["--data-binary", "x" * 5000, "--http1.1"]
    assert wire.curl(*body, path="/").status == 413
    assert wire.curl(*body, path="/large").status == 200


def test_a_backend_that_keeps_silent_too_long_is_answered_for(wire: Wire) -> None:
    class Slow(Echo):
        def do_GET(self) -> None:
            time.sleep(2)
            super().do_GET()

    slow = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=slow.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{slow.server_address[1]}"
    nobody = f"http://127.0.0.1:{free_port()}"
    patient = {"path": "/patient", "backend": url, "backend_timeout": 10}
    try:
        wire.serve(wire.site(backend=url, backend_timeout=1, locations=[patient, {"path": "/gone", "backend": nobody}]))
        begun = time.monotonic()
        late = wire.ask("/")
        assert late.status == 504 and time.monotonic() - begun < 2
        assert wire.ask("/patient").status == 200
        assert wire.ask("/gone").status == 502
        # Whoever may not come in is told so and nothing of the backend.
        assert wire.ask("/", None).status == 400
        time.sleep(0.1)
        assert [(one["status"], one["reason"]) for one in wire.log()][:3] == [("504", ""), ("200", ""), ("502", "")]
        assert "nginx/" not in late.body
    finally:
        slow.shutdown()
        slow.server_close()


def test_debug_writes_a_log_of_its_own(wire: Wire) -> None:
    wire.serve(wire.site(debug=True))
    assert wire.ask("/").status == 200
    assert "[debug]" in (wire.prefix / "logs/mtls-orders.error.log").read_text()


def test_optional_no_ca_lets_anything_through_and_never_calls_it_verified(wire: Wire) -> None:
    open_to_all = [{"path": "/", "certificate": "optional"}, {"path": "/api"}]
    wire.serve(wire.site(verify="optional_no_ca", locations=open_to_all))
    with started(wire.folder / "strangers") as strangers:
        strangers.folder.mkdir(exist_ok=True)
        strangers.host.run()
        context = wire.context(None)
        context.load_cert_chain(*strangers.files_of("alice"))
        got = wire.ask("/", context=context)
        assert got.status == 200
        assert got.headers["verified"].startswith("FAILED:")
        assert got.headers["x-client-cert"].startswith("-----BEGIN")
        assert not {"dn", "x-client-name", "x-client-subject", "x-client-serial"} & set(got.headers)
        assert wire.ask("/api", context=context).status == 403
        wire.serve(wire.site(verify="optional", locations=open_to_all))
        assert wire.ask("/", context=context).status == 400
    assert wire.ask("/", None).headers["verified"] == "NONE"
    assert wire.ask("/api", None).status == 403
    assert wire.ask("/api", "alice").status == 200
    shutil.rmtree(wire.folder / "strangers")


def test_a_revoked_client_is_nobody_on_an_open_path(wire: Wire) -> None:
    wire.serve(
        wire.site(
            verify="optional",
            locations=[{"path": "/", "certificate": "optional"}, {"path": "/open", "certificate": "none"}],
        )
    )
    assert wire.ask("/", "mallory").headers["verified"] == "SUCCESS"
    wire.host.run(
        revoke=[{"name": "client/mallory", "reason": "keyCompromise"}],
        certificates=[one for one in wire.clients if one["name"] != "client/mallory"],
    )
    wire.trust("orders")
    wire.reload()
    answer = wire.ask("/", "mallory")
    assert (answer.status, answer.error) == (403, "client certificate revoked")
    got = wire.ask("/open", "mallory").headers
    assert got["verified"] == "FAILED:client certificate revoked"
    assert not {"dn", "x-client-name", "x-client-cert"} & set(got)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_clients_come_over_ipv6_and_the_backend_is_told_so(wire: Wire) -> None:
    wire.serve(wire.site())
    context = wire.context("alice")
    with (
        socket.create_connection(("::1", wire.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="orders.test") as session,
    ):
        session.sendall(b"GET / HTTP/1.1\r\nHost: orders.test\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: session.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 200 ")
    assert '["X-Real-IP", "::1"]' in answer and '["X-Client-Name", "alice"]' in answer
    # An address that a site names is the only one it has.
    wire.serve(wire.site(listen_addresses=["127.0.0.1"]))
    assert wire.ask("/").status == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", wire.port), timeout=5)


def test_plain_http_leads_to_https_for_the_site_s_names_alone(wire: Wire) -> None:
    port = free_port()
    wire.serve(wire.site(redirect_port=port))

    def head(host: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall(f"GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: plain.recv(4096), b""))

    answer = head("orders.test")
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert f"Location: https://orders.test:{wire.port}/a?b=c\r\n".encode() in answer
    assert head("evil.test") == b""
