"""One TLS connection, one HTTP request, one answer: what the poll after a reload and the probe are made of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import (
    keeps_to_the_profile,
    load_certificates,
)

PROBE_PATH = "/.well-known/mtls-kit/probe"
"""Answered by Nginx itself on every site; no backend ever sees it."""

LARGEST_ANSWER = 64 * 1024
"""Bytes read of an answer; the probe's own are below 1 KiB."""


class NotReachable(Exception):
    """No TCP connection came about: nothing is known about the site behind it."""


class NoSession(Exception):
    """The TLS handshake failed, or the peer ended the connection before it answered."""


@dataclass(frozen=True)
class Answer:
    """What a site said to one request."""

    status: int
    content: bytes
    leaf: bytes
    """The server's certificate, DER."""
    protocol: str
    """As OpenSSL writes it: ``TLSv1.3``."""
    resumed: bool = False
    """Whether the session was an earlier one, so that the server did not look at a certificate again."""
    session: ssl.SSLSession | None = field(default=None, repr=False)
    """To be resumed with the same context."""
    date: str = ""
    """The server's clock, as its header ``Date`` says it."""

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is anything else."""
        try:
            found = json.loads(self.content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def leaf_sha256(self) -> str:
        """SHA-256 of the DER certificate, lower-case hex."""
        return hashlib.sha256(self.leaf).hexdigest()


class Deadline:
    """A span of time that several steps share."""

    def __init__(self, seconds: float) -> None:
        """Starts now."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; never below a millisecond, for a socket takes zero as "do not block"."""
        return max(0.001, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end


def client() -> ssl.SSLContext:
    """A context from TLS 1.2 on (RFC 8996), whatever Debian's or another Python takes for its least version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def unverified() -> ssl.SSLContext:
    """A context that takes any server certificate: for comparing what is served with the file it should be."""
    context = client()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verified(trust_anchor: str) -> ssl.SSLContext:
    """A context that checks chain and host name against the PEM ``trust_anchor`` alone; empty trusts nobody.

    Strict: the profile of RFC 5280 is demanded of every certificate in the chain, as Python 3.13 does by default; but
    not where an anchor itself does not keep to it, as an adopted CA's: nothing under it could pass then.
    """
    context = client()
    if trust_anchor:
        context.load_verify_locations(cadata=trust_anchor)
    if not trust_anchor or all(map(keeps_to_the_profile, load_certificates(trust_anchor, "trust anchor"))):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@contextlib.contextmanager
def file_in_memory(content: bytes) -> Iterator[str]:
    """A path to ``content`` that never touches a disk: OpenSSL loads client keys from paths only.

    Where the kernel has no memfd, or /proc isn't mounted, a file in /dev/shm with mode 0600 stands in.
    """
    try:
        descriptor = os.memfd_create("mtls-kit", os.MFD_CLOEXEC)
        path = Path(f"/proc/self/fd/{descriptor}")
        behind = path.exists()
    except OSError:
        descriptor, behind = -1, False
    if not behind:
        if descriptor >= 0:
            os.close(descriptor)
        path = Path(f"/dev/shm/mtls-kit-{os.getpid()}-{os.urandom(8).hex()}")  # noqa: S108 - memory, not a disk
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        yield str(path)
    finally:
        os.close(descriptor)
        if not behind:
            path.unlink()


def present_certificate(context: ssl.SSLContext, chain: str, key: str, password: str) -> None:
    """Make ``context`` present the PEM ``chain`` with its PEM ``key``; ``password`` is empty for a plain key.

    Raises ``ssl.SSLError`` when they don't fit together.
    """
    with file_in_memory(chain.encode()) as chain_path, file_in_memory(key.encode()) as key_path:
        context.load_cert_chain(chain_path, key_path, password=lambda: password)


def _host_header(server_name: str, port: int) -> str:
    host = f"[{server_name}]" if ":" in server_name else server_name
    return host if port == 443 else f"{host}:{port}"


def ask(
    address: str,
    port: int,
    server_name: str,
    context: ssl.SSLContext,
    deadline: Deadline,
    path: str = PROBE_PATH,
    host: str | None = None,
    headers: dict[str, str] | None = None,
    resume: ssl.SSLSession | None = None,
) -> Answer:
    """GET ``path`` over a new TLS connection; ``server_name`` is the SNI and, unless ``host`` is given, the Host.

    ``resume`` is a session of an earlier answer, offered to the server.

    Raises NotReachable without a TCP connection and NoSession without an answer, each with the cause as its text.
    """
    try:
        connection = socket.create_connection((address, port), timeout=deadline.left())
    except OSError as error:
        raise NotReachable(f"{address} port {port}: {error.strerror or error}") from error
    with connection:
        try:
            with context.wrap_socket(connection, server_hostname=server_name, session=resume) as session:
                # Asked now: OpenSSL doesn't tell any more once the peer has gone without a farewell.
                leaf, protocol = session.getpeercert(binary_form=True) or b"", session.version() or ""
                lines = {"Host": host or _host_header(server_name, port), "Connection": "close", **(headers or {})}
                head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                session.settimeout(deadline.left())
                session.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
                status, date, content = _read_answer(session, deadline)
                # The tickets of TLS 1.3 come with the answer.
                return Answer(status, content, leaf, protocol, bool(session.session_reused), session.session, date)
        except ssl.SSLCertVerificationError as error:
            raise NoSession(f"server certificate refused: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise NoSession((error.reason or str(error)).lower().replace("_", " ")) from error
        except TimeoutError as error:
            raise NoSession("no answer in time") from error
        except OSError as error:
            raise NoSession(error.strerror or str(error)) from error


def _read_answer(session: ssl.SSLSocket, deadline: Deadline) -> tuple[int, str, bytes]:
    received = b""
    while len(received) < LARGEST_ANSWER:
        session.settimeout(deadline.left())
        part = session.recv(16 * 1024)
        if not part:
            break
        received += part
    head, _, content = received.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) < 2 or not words[1].isdigit():
        raise NoSession("connection closed without an answer" if not received else "answer is not HTTP")
    dates = [line[5:].strip() for line in head.split(b"\r\n") if line[:5].lower() == b"date:"]
    return int(words[1]), b"".join(dates[:1]).decode(errors="replace"), content
