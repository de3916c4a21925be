"""A real Nginx with real sites, run by an ordinary user from a folder of its own, and clients that talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.nginx_plan import nginx_plan
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx, tls
from ansible_collections.mtls.kit.plugins.modules.nginx_info import inspect
from tests.integration.container_nginx import program
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("MTLS_KIT_TEST_NGINX", "")
"""Debian release whose Nginx runs the sites, out of a container; empty for this machine's own."""

CLIENTS = (
    client("alice", groups=["buyers", "admins"], san={"uri": ["urn:example:alice"]}),
    client("bob", groups=["buyers"], subject={"common_name": 'Bob, the=builder+\\ "x" é', "organization": "Example"}),
    client("mallory", groups=["admins-not"]),
    client("pam", issuer="partners", groups=["admins"]),
)


class Echo(BaseHTTPRequestHandler):
    """Answers with what it got, as JSON; agrees to become a WebSocket and says what it got over that."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = json.dumps({"path": self.path, "headers": self.headers.items()}).encode()
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "upgrade")
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@dataclass
class Answer:
    """What came back for one request."""

    status: int
    """0 without an answer."""
    body: str

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> str:
        return str(self.document.get("error", ""))

    @property
    def path(self) -> str:
        """What the backend was asked for."""
        return str(self.document["path"])

    @property
    def headers(self) -> dict[str, str]:
        """What the backend got, names in lower case; one that came twice is joined by ' TWICE '."""
        found: dict[str, str] = {}
        for name, value in self.document["headers"]:
            found[name.lower()] = f"{found[name.lower()]} TWICE {value}" if name.lower() in found else value
        return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@dataclass
class Wire:
    """A CA host, an Nginx with sites, and a backend."""

    folder: Path
    host: AuthorityHost = field(init=False)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    """What the gateway is taken to have, in place of what is there."""
    clients: tuple[dict[str, Any], ...] = CLIENTS
    binary: str = field(default_factory=lambda: BINARY)

    def __post_init__(self) -> None:
        self.host = AuthorityHost(self.folder)
        self.host.now = datetime.now(UTC)
        self.prefix = self.folder / "nginx"
        self.mtls = self.folder / "mtls"
        self.backend = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        common = {"key_type": "ec-p256", "days": 1095}
        self.host.arguments |= {
            "issuing": [
                {"name": "issuing", "purposes": ["server", "client"], **common},
                {"name": "partners", "purposes": ["client"], **common},
            ],
            "certificates": list(CLIENTS),
            "trust": [
                {"scope": "issuing", "accept": ["issuing"]},
                {"scope": "both", "accept": ["issuing", "partners"]},
            ],
        }

    @property
    def backend_url(self) -> str:
        return f"http://127.0.0.1:{self.backend.server_address[1]}"

    def site(self, **more: Any) -> dict[str, Any]:
        """A site for ``orders.test`` with the scope's trust."""
        return {
            "name": "orders",
            "server_names": ["orders.test"],
            "port": self.port,
            "backend": self.backend_url,
            **more,
        }

    def serve(self, *sites: dict[str, Any], scope: str = "issuing", files: Mapping[str, str] | None = None) -> None:
        """Certify the sites, write all the files and (re)start Nginx."""
        self.place(*sites, scope=scope, files=files)
        self.restart()

    def place(self, *sites: dict[str, Any], scope: str = "issuing", files: Mapping[str, str] | None = None) -> None:
        """Certify the sites and write all the files."""
        servers = [{"name": f"server/gw1/{one['name']}", "san": {"dns": one["server_names"]}} for one in sites]
        self.host.run(certificates=[*self.clients, *servers])
        for one in sites:
            self._release(one["name"], scope)
        self.configure(*sites, files=files)

    def configure(self, *sites: dict[str, Any], files: Mapping[str, str] | None = None) -> None:
        """Write the files of the sites, and ``files`` beside them."""
        shutil.rmtree(self.prefix, ignore_errors=True)
        settings = {
            "root": str(self.mtls), "instance": "own", "prefix": str(self.prefix), "service": "auto",
            "binary": self.binary,
            "removed": "report", "templates": str(ROOT / "roles/nginx_mtls/templates"), "revocation": "map",
            "crl_renewed": False, "resumption": False, **self.settings,
        }  # fmt: skip
        info = inspect(self.binary, str(self.prefix), [str(self.mtls / one["name"]) for one in sites]) | self.found
        self.plan = nginx_plan(list(sites), settings, info)
        for directory in self.plan["directories"]:
            Path(directory).mkdir(parents=True, exist_ok=True)
        for one in self.plan["files"]:
            Path(one["path"]).parent.mkdir(parents=True, exist_ok=True)
            Path(one["path"]).write_text(one["content"])
        for name, content in (files or {}).items():
            (self.prefix / "conf.d" / name).write_text(content)

    def _release(self, site: str, scope: str) -> None:
        release = self.mtls / site / "releases" / "one"
        release.mkdir(parents=True, exist_ok=True)
        source = self.host.store / "certificates/server/gw1" / site
        for name in ("server.crt", "server.key"):
            (release / name).write_bytes((source / name).read_bytes())
        (release / "password").write_text(self.host.passwords[f"server/gw1/{site}"] + "\n")
        (release / "id.map").write_text('default "one";\n')
        self._link(release.parent / "current", release)
        self.trust(site, scope)

    def trust(self, site: str, scope: str = "issuing") -> None:
        """Have the newest trust unit of the scope in use."""
        newest = max((self.host.store / "trust" / scope).glob("[0-9]*"), key=lambda path: int(path.name))
        self._link(self.mtls / site / "trust" / "current", newest)

    @staticmethod
    def _link(link: Path, target: Path) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)

    def restart(self) -> None:
        self.stop()
        command = [self.binary, "-p", str(self.prefix), "-c", str(self.prefix / "nginx.conf")]
        command += ["-e", str(self.error_log)]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert tested.returncode == 0 and "[warn]" not in tested.stderr, tested.stderr
        self.process = subprocess.Popen([*command, "-g", "daemon off;"], stdin=subprocess.DEVNULL)
        self.wait()

    def wait(self) -> None:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError(self.error_log.read_text())

    def reload(self) -> None:
        """Have Nginx take up what lies on disk, and wait until no worker of before accepts."""
        assert self.process
        self.process.send_signal(1)
        # Out of a container the signal takes its time.
        time.sleep(1.5 if RELEASE else 0.5)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def close(self) -> None:
        self.stop()
        self.backend.shutdown()
        self.backend.server_close()

    @property
    def error_log(self) -> Path:
        return self.prefix / "logs" / "error.log"

    def log(self, site: str = "orders") -> list[dict[str, Any]]:
        """The access log, once Nginx has written it."""
        lines = (self.prefix / "logs" / f"mtls-{site}.access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    # --- clients ----------------------------------------------------------------------------------------------------

    def files_of(self, name: str) -> tuple[Path, Path, str]:
        """Certificate with chain, key and its password."""
        folder = self.host.store / "certificates/client" / name
        return folder / "client.crt", folder / "client.key", self.host.passwords[f"client/{name}"]

    def context(self, name: str | None = "alice", version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A client's context, that of ``name`` or of one without a certificate."""
        context = ssl.create_default_context(cafile=str(self.host.store / "trust-anchor.crt"))
        if name is not None:
            context.load_cert_chain(*self.files_of(name))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def connect(
        self, context: ssl.SSLContext, name: str = "orders.test", session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        return context.wrap_socket(plain, server_hostname=name, session=session)

    def ask(
        self,
        path: str = "/",
        who: str | None = "alice",
        *,
        headers: Mapping[str, str] | None = None,
        host: str = "orders.test",
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """One request over HTTP/1.1 with exactly this path; status 0 when TLS ends it."""
        lines = {"Host": host, "Connection": "close", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        try:
            with self.connect(context or self.context(who)) as session:
                session.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
                status, _, content = tls._read_answer(session, tls.Deadline(5))
        except (ssl.SSLError, tls.NoSession, ConnectionError):
            return Answer(0, "")
        return Answer(status, content.decode())

    def curl(self, *options: str, who: str | None = "alice", path: str = "/", name: str = "orders.test") -> Answer:
        """One request as curl makes it, HTTP/2 where it can be had."""
        command = [
            "curl", "--silent", "--max-time", "5", "--write-out", "\n%{http_code}", "--config", "-", "--path-as-is",
            "--resolve", f"{name}:{self.port}:127.0.0.1", "--cacert", str(self.host.store / "trust-anchor.crt"),
        ]  # fmt: skip
        secret = ""
        if who is not None:
            certificate, key, password = self.files_of(who)
            secret = f'cert = "{certificate}:{password}"\nkey = "{key}"\n'
        url = f"https://{name}:{self.port}{path}"
        done = subprocess.run([*command, *options, url], input=secret, capture_output=True, text=True, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return Answer(int(status), body)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Wire]:
    """A wire whose Nginx ends with the test, whatever happens."""
    wire = Wire(folder)
    try:
        yield wire
    finally:
        wire.close()


BINARY = program(RELEASE) if RELEASE else shutil.which("nginx") or "/usr/sbin/nginx"
VERSION, OPENSSL = nginx.version_numbers(nginx.run([BINARY, "-V"]).stderr)
