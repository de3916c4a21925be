"""Prove in real handshakes on the loopback who accepts the certificate that was kept.

Usage: handshake.py FOLDER CERTIFICATE, with the password of its key on standard input. Ends within 20 seconds, with 0
when clients that trust the public root accept it for its name, and no others do.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from pathlib import Path

SECONDS = 5.0


def answer(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Serve one connection."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(SECONDS)
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)
        except OSError:
            return


def handshake(servers: ssl.SSLContext, clients: ssl.SSLContext, name: str) -> str:
    """What a client that calls ``name`` finds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=answer, args=(listener, servers))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=SECONDS) as connection,
                clients.wrap_socket(connection, server_hostname=name),
            ):
                return "accepted"
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        finally:
            thread.join()


def main() -> int:
    state, certificate = Path(sys.argv[1]), sys.argv[2]
    servers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    kept = state / "public" / certificate.removeprefix("server/") / "server.crt"
    key = state / "public-ca" / "certificates" / certificate / "server.key"
    servers.load_cert_chain(kept, key, sys.stdin.read().rstrip("\n"))
    public = ssl.create_default_context(cafile=str(state / "public-ca" / "trust-anchor.crt"))
    found = [
        handshake(servers, public, "orders.mtls.test"),
        handshake(servers, public, "stock.mtls.test"),
        handshake(servers, ssl.create_default_context(), "orders.mtls.test"),
    ]
    print(found)
    expected = ["accepted", "Hostname mismatch", "unable to get local issuer certificate"]
    return int(not all(text.startswith(start) for text, start in zip(found, expected, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
