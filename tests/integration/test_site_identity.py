"""What a backend is told of a client, over every protocol, whatever the client says of itself."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.plugin_utils._nginx import headers
from tests.integration.wire import VERSION, Wire, free_port, started
from tests.unit.module_utils._pki.authority_host import client

CHOSEN = {
    "verify": ["VERIFIED", "X-Client-Verify"], "client_cert": ["Client-Cert"],
    "client_cert_chain": ["Client-Cert-Chain"], "name": ["X-Who"], "san": [],
}  # fmt: skip
NAMES = sorted(
    {name for _, default in headers.FACTS.values() for name in default} | set(headers.FOREIGN) | {"X-Who"}
    | (set(headers.CONNECTION) - {"Host", "Connection", "Upgrade"})
)  # fmt: skip
FORGED = {name: "FORGED" for name in NAMES} | {
    "X_Client_Name": "FORGED", "X_WHO": "FORGED", "SSL_CLIENT_VERIFY": "FORGED", "x-client-GROUPS": "FORGED",
    "X.Who": "FORGED", "Verified": "FORGED",
}  # fmt: skip
"""Whatever a backend may believe in, and the same in spellings that some backends take for it."""

Ask = Callable[[str], dict[str, str]]


def grpc_backend(port: int) -> str:
    """An Nginx that answers HTTP/2 without TLS with the headers it got."""
    told = "".join(f"{name}: $http_{name.lower().replace('-', '_')}\n" for name in NAMES)
    directive = "listen 127.0.0.1:{0}; http2 on;" if tuple(VERSION) >= (1, 25, 1) else "listen 127.0.0.1:{0} http2;"
    return f"""
    server {{
        {directive.format(port)}
        default_type application/grpc;
        location / {{ return 200 '{told}'; }}
    }}
    """


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with started(tmp_path_factory.mktemp("identity")) as one:
        port = free_port()
        one.serve(
            one.site(
                headers=CHOSEN,
                websocket=True,
                locations=[{"path": "/grpc.Echo", "backend": f"grpc://127.0.0.1:{port}"}],
            ),
            files={"grpc.conf": grpc_backend(port)},
        )
        yield one


def over_http1(wire: Wire, who: str) -> dict[str, str]:
    return wire.ask("/", who, headers=FORGED).headers


def over_http2(wire: Wire, who: str) -> dict[str, str]:
    options = [word for name, value in FORGED.items() for word in ("--header", f"{name}: {value}")]
    return wire.curl("--http2", *options, who=who).headers


def over_grpc(wire: Wire, who: str) -> dict[str, str]:
    options = [word for name, value in FORGED.items() for word in ("--header", f"{name}: {value}")]
    grpc = ["--http2", "--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", ""]
    answer = wire.curl(*grpc, *options, who=who, path="/grpc.Echo/Call")
    assert answer.status == 200, answer.body
    told = (line.split(": ", 1) for line in answer.body.splitlines())
    return {name.lower(): value for name, value in told if value}


def over_websocket(wire: Wire, who: str) -> dict[str, str]:
    lines = {"Host": "orders.test", "Connection": "Upgrade", "Upgrade": "websocket", **FORGED}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with wire.connect(wire.context(who)) as session:
        session.sendall(f"GET / HTTP/1.1\r\n{head}\r\n".encode())
        received = b""
        while part := session.recv(65536):
            received += part
    first, _, content = received.partition(b"\r\n\r\n")
    assert b" 101 " in first.splitlines()[0], first
    got = {name.lower(): value for name, value in json.loads(content)["headers"]}
    assert (got.pop("upgrade"), got.pop("connection")) == ("websocket", "upgrade")
    return got


@pytest.mark.parametrize("over", [over_http1, over_http2, over_grpc, over_websocket])
def test_the_backend_learns_who_it_is_and_nothing_that_the_client_made_up(
    wire: Wire, over: Callable[[Wire, str], dict[str, str]]
) -> None:
    leaf = wire.host.leaf("client/alice")
    got = over(wire, "alice")
    assert got["verified"] == got["x-client-verify"] == "SUCCESS"
    assert got["dn"] == got["x-client-subject"] == "CN=alice,O=Example Ltd"
    assert got["x-client-issuer"] == "CN=demo Issuing G1,O=Example Ltd"
    assert int(got["x-client-serial"], 16) == leaf.serial_number
    assert got["x-client-fingerprint"] == leaf.fingerprint(hashes.SHA256()).hex()
    assert (got["x-who"], got["x-client-groups"]) == ("alice", "admins,buyers")
    assert got["x-client-not-after"].endswith("GMT")
    assert x509.load_pem_x509_certificate(unquote(got["x-client-cert"]).encode()) == leaf
    assert got["client-cert"] == f":{base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()}:"
    issuing = x509.load_pem_x509_certificate((wire.host.store / "authorities/issuing-g1/ca.crt").read_bytes())
    assert got["client-cert-chain"] == f":{base64.b64encode(issuing.public_bytes(Encoding.DER)).decode()}:"
    assert not {"x-client-name", "x-client-san", "forwarded", "x-forwarded-client-cert"} & set(got)
    assert (got["x-real-ip"], got["x-forwarded-for"]) == ("127.0.0.1", "127.0.0.1")
    assert (got["x-forwarded-proto"], got["x-forwarded-host"]) == ("https", "orders.test")
    assert not [name for name, value in got.items() if "FORGED" in value or "TWICE" in value], got


@pytest.mark.parametrize("over", [over_http1, over_http2, over_grpc, over_websocket])
def test_a_hostile_subject_stays_one_header(wire: Wire, over: Callable[[Wire, str], dict[str, str]]) -> None:
    got = over(wire, "bob")
    assert got["dn"] == r"CN=Bob\, the=builder\+\\ \"x\" \C3\A9,O=Example"


def test_a_connection_becomes_nothing_but_a_websocket(wire: Wire) -> None:
    got = wire.ask("/", headers={"Connection": "close, Upgrade", "Upgrade": "h2c", "HTTP2-Settings": "AA"}).headers
    assert not {"upgrade", "connection"} & set(got)


def test_certificates_of_every_kind_become_an_rfc_9440_header(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        kinds = [client(f"c-{kind}", key_type=kind) for kind in ("ec-p384", "rsa-2048", "rsa-4096")]
        one.clients = (*one.clients, *kinds)
        one.serve(one.site(headers=CHOSEN))
        for kind in kinds:
            name = str(kind["name"]).removeprefix("client/")
            der = one.host.leaf(f"client/{name}").public_bytes(Encoding.DER)
            assert one.ask("/", name).headers["client-cert"] == f":{base64.b64encode(der).decode()}:"


@pytest.mark.parametrize(
    ("mode", "said", "forwarded_for", "real_ip"),
    [
        ("append", "203.0.113.7", "203.0.113.7, 127.0.0.1", "203.0.113.7"),
        ("append", 'evil"quoted', "127.0.0.1", "127.0.0.1"),
        ("replace", "198.51.100.1, 203.0.113.7", "203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_way_through_trusted_proxies(
    tmp_path: Path, mode: str, said: str, forwarded_for: str, real_ip: str
) -> None:
    with started(tmp_path) as one:
        one.serve(one.site(forwarded_for=mode, trusted_proxies=["127.0.0.0/8"]))
        got = one.ask("/", headers={"X-Forwarded-For": said}).headers
        assert (got["x-forwarded-for"], got["x-real-ip"]) == (forwarded_for, real_ip)


def test_a_stranger_is_no_trusted_proxy(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        one.serve(one.site(forwarded_for="append", trusted_proxies=["192.0.2.0/24"]))
        got = one.ask("/", headers={"X-Forwarded-For": "203.0.113.7"}).headers
        assert (got["x-forwarded-for"], got["x-real-ip"]) == ("127.0.0.1", "127.0.0.1")


def test_the_log_says_who_was_refused_where_and_why(wire: Wire) -> None:
    assert wire.ask("/", None).status == 400
    assert wire.ask("//x", "alice").status == 403
    time.sleep(0.1)
    log = wire.log()
    (none,) = [one for one in log if one["verify"] == "NONE"]
    assert (none["status"], none["reason"][:21]) == ("400", "no client certificate")
    (spelt,) = [one for one in log if one["status"] == "403"]
    assert "spelled" in spelt["reason"]
    assert spelt["fingerprint"] == wire.host.leaf("client/alice").fingerprint(hashes.SHA256()).hex()


def test_tls_of_the_site_is_what_was_asked_for(tmp_path: Path) -> None:
    with started(tmp_path) as one:
        one.serve(one.site(tls="modern"))
        assert one.ask(context=one.context(version=ssl.TLSVersion.TLSv1_3)).status == 200
        assert one.ask(context=one.context(version=ssl.TLSVersion.TLSv1_2)).status == 0
        one.serve(one.site(tls_ciphers=["ECDHE-ECDSA-AES256-GCM-SHA384"]))
        context = one.context(version=ssl.TLSVersion.TLSv1_2)
        assert one.ask(context=context).status == 200
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        assert one.ask(context=context).status == 0
