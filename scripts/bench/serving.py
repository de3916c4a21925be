"""What the benchmarks of a running Nginx share: its worker's CPU, a backend, and clients that keep it busy."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
ANSWER = "hello, this is the backend\n"


@dataclass(frozen=True)
class Server:
    """An Nginx with one worker. What it costs is the CPU of that worker, whatever else the machine does."""

    pid: int
    port: int

    def worker(self) -> int:
        """The worker that accepts connections: the newest one."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return max(map(int, children))

    def cpu(self) -> float:
        """Microseconds of CPU that the worker has had."""
        return int(Path(f"/proc/{self.worker()}/schedstat").read_text().split()[0]) / 1000

    def memory(self) -> float:
        """MiB of the master and its worker, what they share counted once."""
        pids = (self.pid, self.worker())
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def idle(self) -> None:
        """Wait until the worker has closed what it had to."""
        before = -1.0
        while before != (before := self.cpu()):
            time.sleep(0.05)


@contextlib.contextmanager
def running(folder: Path, configuration: str, port: int) -> Iterator[Server]:
    """An Nginx with this configuration; ``port`` is where it listens. One worker, and no daemon."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(configuration)
    process = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "logs/error.log"),
         "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(port)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, seconds: float = 300) -> None:
    """Until somebody listens; TimeoutError when nobody does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on port {port}")


def minimal(port: int, server: str, more: str = "") -> str:
    """A whole configuration around the directives of one server."""
    return f"""\
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log logs/access.log;
    client_body_temp_path client_body_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    {more}
    server {{
        listen 127.0.0.1:{port}{server}
    }}
}}
"""


@contextlib.contextmanager
def backend(folder: Path, port: int) -> Iterator[str]:
    """Something that answers at once; its URL."""
    answer = f""";
        keepalive_requests 1000000;
        access_log off;
        large_client_header_buffers 4 32k;
        location / {{ return 200 "{ANSWER.strip()}\\n"; }}"""
    with running(folder, minimal(port, answer), port):
        yield f"http://127.0.0.1:{port}"


def connected(context: ssl.SSLContext, server: Server, name: str) -> ssl.SSLSocket:
    """A new connection, never with an earlier session."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=name)


def handshakes(context: ssl.SSLContext, server: Server, name: str, count: int) -> float:
    """Microseconds of the worker's CPU for each of ``count`` new connections, the end of each included."""
    server.idle()
    before = server.cpu()
    for _ in range(count):
        with connected(context, server, name) as session, contextlib.suppress(OSError):
            # In TLS 1.3 a client is done before the server has looked at its certificate.
            session.unwrap()
    server.idle()
    return (server.cpu() - before) / count


def requests(context: ssl.SSLContext, server: Server, name: str, count: int) -> float:
    """Microseconds of the worker's CPU for each of ``count`` requests, a thousand on a connection."""
    each = 1000
    request = f"GET /orders HTTP/1.1\r\nHost: {name}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()
    used, made = 0.0, 0
    while made < count:
        with connected(context, server, name) as session:
            _one(session, request)
            server.idle()
            before = server.cpu()
            for _ in range(each - 100):
                _one(session, request)
            used += server.cpu() - before
            made += each - 100
    return used / made


def _one(session: ssl.SSLSocket, request: bytes) -> None:
    session.sendall(request)
    answer = session.recv(8192)
    while not answer.endswith(ANSWER.encode()):
        received = session.recv(8192)
        if not received:
            raise ConnectionError(answer.decode(errors="replace"))
        answer += received
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer.decode(errors="replace"))


def pinned() -> None:
    """The clients keep to one CPU where there are several, so that they and the server don't chase each other."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(0, cpus[:1])
