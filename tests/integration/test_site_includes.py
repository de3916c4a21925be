"""Includes only: somebody else's Nginx, which listens and has servers of its own, and mutual TLS in one of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import OUR_FILES, Configuration
from tests.integration.wire import Wire, free_port, started


def own_configuration(wire: Wire, other: int) -> str:
    """As somebody writes it who has read docs/include-into-your-own-servers.md."""
    return f"""\
pid {wire.prefix}/nginx.pid;
events {{ }}
http {{
    proxy_temp_path {wire.prefix}/proxy_temp;
    client_body_temp_path {wire.prefix}/client_body_temp;
    fastcgi_temp_path {wire.prefix}/fastcgi_temp;
    uwsgi_temp_path {wire.prefix}/uwsgi_temp;
    scgi_temp_path {wire.prefix}/scgi_temp;
    access_log off;
    include {wire.prefix}/mtls/*-mtls-*.conf;
    server {{
        listen 127.0.0.1:{wire.port} ssl;
        server_name orders.test;
        include {wire.prefix}/mtls/orders-server.conf;
        location /own {{ return 200 "my own page"; }}
        location /own-backend {{
            include {wire.prefix}/mtls/orders-identity.conf;
            proxy_pass {wire.backend_url};
        }}
    }}
    server {{
        listen 127.0.0.1:{other};
        location / {{ return 200 "another server"; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with started(tmp_path_factory.mktemp("includes")) as one:
        one.settings = {"instance": "includes"}
        one.found = {"config_directory": str(one.prefix), "included": []}
        one.place(one.site())
        yield one


def take_up(wire: Wire) -> int:
    """Somebody's own configuration, as it includes ours; the port of the other server."""
    other = free_port()
    (wire.prefix / "logs").mkdir(exist_ok=True)
    for path in (wire.prefix / "mtls").iterdir():
        path.write_text(path.read_text().replace("/var/log/nginx", str(wire.prefix / "logs")))
    (wire.prefix / "nginx.conf").write_text(own_configuration(wire, other))
    return other


def test_nothing_that_listens_is_written_and_what_is_missing_is_told(wire: Wire) -> None:
    written = {Path(one["path"]): one["content"] for one in wire.plan["files"]}
    assert {path.parent for path in written} == {wire.prefix / "mtls"}
    assert not [path for path, content in written.items() if "listen " in content or "server {" in content]
    assert all(any(path.match(pattern) for pattern in OUR_FILES) for path in written)
    assert wire.plan["sites"] == []
    (warning,) = wire.plan["warnings"]
    assert f"include {wire.prefix}/mtls/orders-server.conf;" in warning


def test_it_is_seen_once_it_is_included(wire: Wire) -> None:
    take_up(wire)
    ours = Configuration(wire.prefix / "nginx.conf", lambda path: any(path.match(one) for one in OUR_FILES)).included
    assert f"{wire.prefix}/mtls/orders-server.conf" in ours
    wire.found["included"] = ours
    wire.configure(wire.site())
    assert wire.plan["warnings"] == []
    assert [(one["name"], one["port"]) for one in wire.plan["sites"]] == [("orders", wire.port)]


def test_the_server_asks_for_a_certificate_and_the_others_stay_as_they_were(wire: Wire) -> None:
    other = take_up(wire)
    wire.restart()
    assert wire.ask("/", "alice").headers["x-client-name"] == "alice"
    assert wire.ask("/own", "alice").body == "my own page"
    got = wire.ask("/own-backend", "alice", headers={"VERIFIED": "FORGED", "X-Client-Name": "FORGED"}).headers
    assert (got["verified"], got["x-client-name"]) == ("SUCCESS", "alice")
    for path in ("/", "/own", "/own-backend"):
        assert wire.ask(path, None).status == 400
        assert wire.ask(path, "pam").status == 403
    answer = subprocess.run(["curl", "-s", "-m", "5", f"http://127.0.0.1:{other}/"], capture_output=True, check=True)
    assert answer.stdout == b"another server"
    assert '"release":"one"' in wire.ask("/.well-known/mtls-kit/probe", "alice").body


@pytest.mark.parametrize("more", [{"redirect_port": 80}, {"addresses": ["192.0.2.1"]}])
def test_listeners_are_not_the_kit_s_to_give(wire: Wire, more: dict[str, object]) -> None:
    with pytest.raises(Exception, match="your own servers'"):
        wire.configure(wire.site(**more))
