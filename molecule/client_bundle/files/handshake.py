"""A server that asks for client certificates, and who gets in: Python, and curl as the README says.

Arguments: bundle folder, the server's certificate and key. The password of the client's key comes on standard input.
"""

from __future__ import annotations

import re
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

NAME = "bundle.mtls.test"


def server_context(bundle: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """As strict as a gateway: it accepts what the bundle's own trust anchor has signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(bundle / "trust-anchor.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    return context


def serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Answer each client with the name in its certificate; drop those whom TLS refuses."""
    while True:
        plain, _ = listener.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(4096)
                subject = dict(pair[0] for pair in secured.getpeercert()["subject"])
                body = subject["commonName"].encode()
                secured.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                )
        except OSError:
            plain.close()


def python_client(port: int, bundle: Path, password: str | None) -> str:
    """What a Python client reads, or the error it meets."""
    context = ssl.create_default_context(cafile=str(bundle / "trust-anchor.crt"))
    if password is not None:
        context.load_cert_chain(bundle / "client.crt", bundle / "client.key", password)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as secured,
        ):
            secured.sendall(b"GET / HTTP/1.1\r\n\r\n")
            answer = b"".join(iter(lambda: secured.recv(4096), b""))
    except OSError as error:
        return f"refused: {error}"
    return answer.decode().rpartition("\r\n")[2] or "refused: no answer"


def readme_curl(port: int, bundle: Path, password: str, without: str = "") -> str:
    """What the README's command prints in the bundle's folder, less the options in ``without``."""
    command = re.search(r"^    (curl .*)$", (bundle / "README.md").read_text(), re.MULTILINE)
    if command is None:
        sys.exit("the README has no curl command")
    words = shlex.split(re.sub(without, "", command[1]) if without else command[1])
    words += ["--silent", "--show-error", "--connect-to", f"::127.0.0.1:{port}", "--config", "-"]
    done = subprocess.run(
        words, cwd=bundle, input=f'pass = "{password}"\n', capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout if done.returncode == 0 else f"refused: {done.stderr.strip()}"


def main() -> None:
    """Print what happened; exit status 1 when anything was not as it must be."""
    bundle, certificate, key = (Path(argument) for argument in sys.argv[1:4])
    password = sys.stdin.read().strip()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    context = server_context(bundle, certificate, key)
    threading.Thread(target=serve, args=(listener, context), daemon=True).start()
    results = {
        "Python with the bundle": python_client(port, bundle, password),
        "Python without": python_client(port, bundle, None),
        "curl as the README says": readme_curl(port, bundle, password),
        "curl without --cert": readme_curl(port, bundle, password, r"--(cert|key) \S+"),
        "curl without --cacert": readme_curl(port, bundle, password, r"--cacert \S+"),
    }
    expected = {name: "refused: " if "without" in name else "alice" for name in results}
    for name, result in results.items():
        print(f"{name}: {result}")
    if not all(result.startswith(expected[name]) for name, result in results.items()):
        sys.exit("not every handshake ended as it must")


if __name__ == "__main__":
    main()
