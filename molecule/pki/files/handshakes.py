"""Shakes hands over TLS on the loopback, as a gateway with the trust unit of a store would.

Arguments: the store, the server's key. Standard input: JSON with the passwords, and who is to get in and who is not
(null stands for a client without a certificate). Ends with an error for the first that does not come true.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from pathlib import Path

TIMEOUT = 10.0


def server_context(store: Path, key: Path) -> ssl.SSLContext:
    """A server that asks for a client certificate and knows the CRLs of the whole chain."""
    (unit,) = (store / "trust/issuing").iterdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(store / "certificates/server/gw1/orders/server.crt", key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_verify_locations(unit / "client-ca.crt")
    context.load_verify_locations(unit / "crl.pem")
    return context


def client_context(store: Path, name: str | None, passwords: dict[str, str]) -> ssl.SSLContext:
    """A client of this name that trusts the root alone."""
    context = ssl.create_default_context(cafile=str(store / "trust-anchor.crt"))
    if name is not None:
        folder = store / "certificates/client" / name
        context.load_cert_chain(folder / "client.crt", folder / "client.key", passwords[f"client/{name}"])
    return context


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """``in``, or what the server said against it."""
    found: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(TIMEOUT)

    def serve() -> None:
        connection, _ = listener.accept()
        connection.settimeout(TIMEOUT)
        try:
            with server.wrap_socket(connection, server_side=True) as secure:
                secure.sendall(b"welcome")
                found.append("in")
        except ssl.SSLError as error:
            found.append(str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), TIMEOUT) as plain,
            client.wrap_socket(plain, server_hostname="orders.pki.test") as secure,
        ):
            secure.recv(16)
    except ssl.SSLError as error:
        found.append(f"the client met {error}")
    finally:
        thread.join(TIMEOUT)
        listener.close()
    return found[0]


def main() -> None:
    """Shake hands with everyone."""
    store, key = Path(sys.argv[1]), Path(sys.argv[2])
    wishes = json.load(sys.stdin)
    server = server_context(store, key)
    for expected in ("in", "out"):
        for name in wishes[expected]:
            answer = shaken(server, client_context(store, name, wishes["passwords"]))
            print(f"{name}: {answer}")
            if (answer == "in") != (expected == "in"):
                sys.exit(f"{name or 'a client without a certificate'} was to be {expected}: {answer}")


if __name__ == "__main__":
    main()
