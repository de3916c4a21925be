"""Prove in real handshakes on the loopback that the passwords of the vault open the keys, and that no others do.

Usage: handshake.py STORE, with the JSON {path: password} on standard input. Ends within 30 seconds, with 0 when all
is as it should be.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from pathlib import Path

SERVER = "server/gw1/orders"
CLIENT = "client/alice"
SECONDS = 5.0


def server_context(store: Path, password: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(store / "trust-anchor.crt")
    folder = store / "certificates" / SERVER
    context.load_cert_chain(folder / "server.crt", folder / "server.key", password)
    return context


def client_context(store: Path, password: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(store / "trust-anchor.crt"))
    if password is not None:
        folder = store / "certificates" / CLIENT
        context.load_cert_chain(folder / "client.crt", folder / "client.key", password)
    return context


def answer(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Serve one connection: an accepted client reads its own common name."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(SECONDS)
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                subject = dict(pair for rdn in secured.getpeercert()["subject"] for pair in rdn)
                secured.sendall(subject["commonName"].encode())
        except ssl.SSLError:
            return


def request(store: Path, passwords: dict[str, str]) -> str:
    """What the client of these passwords gets from the server of these passwords."""
    try:
        servers, clients = server_context(store, passwords[SERVER]), client_context(store, passwords.get(CLIENT))
    except ssl.SSLError:
        return "a key stays shut"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=answer, args=(listener, servers))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=SECONDS) as connection,
                clients.wrap_socket(connection, server_hostname="localhost") as secured,
            ):
                return secured.recv(100).decode()
        except ssl.SSLError as error:
            return f"no handshake: {error.reason}"
        finally:
            thread.join()


def main() -> int:
    store, passwords = Path(sys.argv[1]), json.load(sys.stdin)
    swapped = {SERVER: passwords[CLIENT], CLIENT: passwords[SERVER]}
    found = {
        "the right passwords": request(store, passwords),
        "a wrong client password": request(store, {**passwords, CLIENT: swapped[CLIENT]}),
        "a wrong server password": request(store, {**passwords, SERVER: swapped[SERVER]}),
        "no client certificate": request(store, {SERVER: passwords[SERVER]}),
    }
    expected = {
        "the right passwords": "alice",
        "a wrong client password": "a key stays shut",
        "a wrong server password": "a key stays shut",
        "no client certificate": "no handshake: TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
    for case, result in found.items():
        print(f"{case}: {result}")
    return int(found != expected)


if __name__ == "__main__":
    sys.exit(main())
