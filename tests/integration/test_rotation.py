"""Rotation on the wire: an old and a new client in every phase, against a real Nginx."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.gateway import Gateway, with_packages
from tests.integration.openbao import free_port
from tests.integration.runs import Run, playbook
from tests.unit.module_utils._pki.authority_host import AuthorityHost
from tests.unit.module_utils._pki.rotating_fleet import SITE, Fleet

NAME = "orders.example.com"

CONFIG = """
daemon off; pid nginx.pid; error_log error.log; worker_processes 1;
events {{}}
http {{
  access_log off;
  map $ssl_client_i_dn $authority {{ default ""; include issuers.map; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate server.crt; ssl_certificate_key server.key;
    ssl_client_certificate client-ca.crt; ssl_verify_client on;
    ssl_session_cache off; ssl_session_tickets off;
    if ($authority = "") {{ return 403; }}
    location / {{ return 200 "in"; }}
  }}
}}
"""


@dataclass(frozen=True)
class Client:
    """What a client holds: a folder with the files it was handed once."""

    folder: Path
    password: str

    @classmethod
    def handed(cls, store: Path, folder: Path, password: str, name: str = "alice") -> Client:
        """A client that took its files as they are in the store now."""
        folder.mkdir()
        for file in ("client.crt", "client.key"):
            (folder / file).write_bytes((store / f"certificates/client/{name}" / file).read_bytes())
        (folder / "anchor.crt").write_bytes((store / "trust-anchor.crt").read_bytes())
        return cls(folder, password)

    def calls(self, address: str, port: int, name: str = NAME, path: str = "/") -> str:
        """``in``, or who refused: ``the client`` what the server showed, or ``the server`` the client."""
        context = ssl.create_default_context(cafile=str(self.folder / "anchor.crt"))
        context.load_cert_chain(self.folder / "client.crt", self.folder / "client.key", self.password)
        try:
            with (
                socket.create_connection((address, port), timeout=10) as raw,
                context.wrap_socket(raw, server_hostname=name) as connection,
            ):
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                answer = connection.recv(4096)
        except ssl.SSLCertVerificationError:
            return "refused by the client"
        return "in" if b" 200 " in answer.partition(b"\r\n")[0] else "refused by the server"


class LocalNginx:
    """An Nginx of this test's own, that serves what its folder holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "nginx.conf").write_text(CONFIG.format(port=self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def serve(self, fleet: Fleet) -> None:
        """Take the release and the trust unit that the CA host made, and start anew with them."""
        store = fleet.host.store
        chain = (store / f"certificates/{SITE}/server.crt").read_bytes()
        if not (self.folder / "server.crt").exists() or (self.folder / "server.crt").read_bytes() != chain:
            (self.folder / "server.crt").write_bytes(chain)
            key = fleet.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (self.folder / "server.key").write_bytes(key)
        for file in ("client-ca.crt", "issuers.map"):
            unit = store / f"trust/issuing/{fleet.served['trust']}"
            (self.folder / file).write_bytes((unit / file).read_bytes())
        self.stop()
        self._process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", f"{self.folder}/", "-c", "nginx.conf", "-e", "error.log"]
        )
        for _ in range(100):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "error.log").read_text())

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)


@dataclass
class Wire:
    """A fleet under rotation, its Nginx, and the clients."""

    fleet: Fleet
    nginx: LocalNginx
    folder: Path

    def client(self, name: str) -> Client:
        """A client as it is handed now."""
        return Client.handed(self.fleet.host.store, self.folder / name, "password of client/alice")

    def rotate(self, expected: str, *clients: Client, kind: str = "root", **wish: object) -> list[str]:
        """A run that must take the step ``expected``, and what each of ``clients`` then finds."""
        assert self.fleet.step(kind=kind, confirmed=True, clients="now", **wish).startswith(expected)
        self.nginx.serve(self.fleet)
        return self.calls(*clients)

    def calls(self, *clients: Client) -> list[str]:
        """What each client finds."""
        return [client.calls("127.0.0.1", self.nginx.port) for client in clients]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    host = AuthorityHost(tmp_path)
    host.now = datetime.now(UTC).replace(microsecond=0)
    fleet, nginx = Fleet(host), LocalNginx(tmp_path / "nginx")
    nginx.serve(fleet)
    yield Wire(fleet, nginx, tmp_path)
    nginx.stop()


def test_old_and_new_clients_get_in_until_the_old_root_is_retired(wire: Wire) -> None:
    old = wire.client("old")
    assert wire.calls(old) == ["in"]
    assert wire.rotate("rotate: introduce", old) == ["in"]
    both = wire.client("both")
    assert wire.calls(both) == ["in"]

    # Back from introduce, and once more: nobody notices.
    assert wire.rotate("rotate: back: root-g2, issuing-g2 withdrawn", old, both, step="back") == ["in", "in"]
    assert wire.rotate("rotate: introduce root-g3", old, again=True) == ["in"]
    both = wire.client("both again")

    # A gateway that did not take the trust holds it.
    taken = wire.fleet.served
    wire.fleet.served = {**taken, "trust": taken["trust"] - 1}
    held = wire.fleet.step(kind="root", confirmed=True, clients="now", deliver=False)
    assert held.startswith("gw1/orders: it serves trust")
    wire.fleet.served = taken

    # The bundle of the overlap, with its old certificate, verifies the new server; a client that took nothing can't.
    assert wire.rotate("rotate: switch", both, old) == ["in", "refused by the client"]
    new = wire.client("new")
    assert wire.calls(new, both) == ["in", "in"]
    assert wire.rotate("rotate: back: root-g1 signs again", new, both, old, step="back") == ["in", "in", "in"]
    assert wire.rotate("rotate: switch", new, both) == ["in", "in"]
    assert wire.rotate("rotate: retire", wire.client("newest"), new, both) == ["in", "in", "refused by the server"]


def test_a_cross_signed_root_lets_clients_in_that_know_the_old_root_only(wire: Wire) -> None:
    old = wire.client("old")
    assert wire.rotate("rotate: introduce", old, cross_sign=True) == ["in"]
    assert wire.rotate("rotate: switch", old, cross_sign=True) == ["in"]
    new = wire.client("new")
    (new.folder / "anchor.crt").write_bytes((wire.fleet.host.store / "authorities/root-g2/ca.crt").read_bytes())
    assert wire.calls(new) == ["in"]
    assert wire.rotate("rotate: retire", new, old, cross_sign=True) == ["in", "refused by the client"]


def test_an_issuing_ca_is_replaced_and_no_anchor_changes(wire: Wire) -> None:
    old = wire.client("old")
    assert wire.rotate("rotate: introduce", old, kind="issuing") == ["in"]
    assert wire.rotate("rotate: switch", old, kind="issuing") == ["in"]
    new = wire.client("new")
    (new.folder / "anchor.crt").write_bytes((old.folder / "anchor.crt").read_bytes())
    assert wire.calls(new) == ["in"]
    assert wire.rotate("rotate: retire", new, old, kind="issuing") == ["in", "refused by the server"]


def test_the_playbook_carries_a_root_through_all_phases(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over SSH, as an ordinary user; each run goes one phase on and says what the next one waits for."""
    probe = "/.well-known/mtls-kit/probe"
    with Gateway.started(tmp_path_factory.mktemp("gateway"), with_packages()) as gateway:
        inventory = gateway.write_inventory(tmp_path, os.urandom(18).hex())
        vault_password = (tmp_path / "vault-password").read_text().strip()

        def rotate(*options: str) -> Run:
            arguments = [word for option in options for word in ("-e", option)]
            run = playbook("rotate", inventory, tmp_path, *arguments)
            assert run.code == 0, run.output.decode()[-4000:]
            return run

        def handed(name: str) -> Client:
            password = gateway.key_passwords(inventory, vault_password)["client/alice"]
            return Client.handed(tmp_path / "store", tmp_path / name, password)

        def calls(*clients: Client) -> list[str]:
            return [client.calls(gateway.address, 8443, "orders.example.test", probe) for client in clients]

        # Without a word it does what is due, from nothing too.
        assert "rotate:" not in rotate().text
        old = handed("old")
        assert calls(old) == ["in"]

        assert "rotate: introduce root-g2, issuing-g2" in rotate("rotate=root").text
        assert (tmp_path / "bundles/alice/trust-anchor.crt").read_text().count("BEGIN") == 2
        both = handed("both")
        assert calls(old, both) == ["in", "in"]

        hosts = inventory / "hosts.yml"
        reached = hosts.read_text()
        listed = yaml.safe_load(reached)
        gateways = listed["all"]["children"]["gateways"]["hosts"]
        gateways["gw2"] = {**gateways["gw1"], "ansible_host": "127.0.0.1", "ansible_port": free_port()}
        hosts.write_text(yaml.safe_dump(listed))
        held = playbook("rotate", inventory, tmp_path, "--check", "-e", "rotate=root")
        hosts.write_text(reached)
        assert "gw2/orders: what it serves is not known" in held.text
        assert "not known of gw2: its access logs were not read" in held.text
        assert "not known of gw1" not in held.text
        assert "clients: 30 of 30 days left to take the new trust anchor" in held.text
        assert "client/alice at gw1 would be cut off by the end: last seen" in held.text
        assert "of issuing-g1, and it has no new one yet" in held.text

        taken = rotate("rotate=root", "rotate_confirmed=true", "rotate_clients=now")
        assert "rotate: switch: root-g2 replaces root-g1" in taken.text
        assert "re-issue: issuing-g2 replaces issuing-g1" in taken.text
        new = handed("new")
        assert calls(old, both, new) == ["refused by the client", "in", "in"]

        # The new certificate was seen, too, and the name's old one is told of.
        retired = rotate("rotate=root", "rotate_confirmed=true").text
        assert "rotate: retire root-g1, issuing-g1" in retired
        assert "client/alice at gw1 is refused from now on: last seen" in retired
        assert "of issuing-g1, and it got a new one" in retired
        assert calls(both, new) == ["refused by the server", "in"]

        again = rotate("rotate=root")
        assert "was retired" in again.text
        assert again.changed == 0
