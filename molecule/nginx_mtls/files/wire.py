"""What a client on another machine sees of a gateway: headers, names, protocols and refusals.

Arguments: address, trust anchor, client certificate and key, and whether an Nginx was there before ("foreign" or
"bare"). The password of the client's key comes on standard input.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys

ADDRESS, ANCHOR, CERTIFICATE, KEY, KIND = sys.argv[1:6]
PASSWORD = sys.stdin.read().strip()
NAMES = ("orders.mtls.test", "stock.mtls.test", "foreign.test", "unknown.test")

FORGED = {
    "VERIFIED": "FORGED",
    "DN": "FORGED",
    "X-Client-Verify": "FORGED",
    "X-Client-Name": "FORGED",
    "x-client-groups": "FORGED",
    "X-Client-SAN": "FORGED",
    "X-Client-Cert": "FORGED",
    "X_Client_Name": "FORGED",
    "SSL_CLIENT_VERIFY": "FORGED",
    "Client-Cert": "FORGED",
    "Client-Cert-Chain": "FORGED",
    "Forwarded": "for=FORGED",
    "X-Forwarded-For": "FORGED",
    "X-Forwarded-Host": "FORGED",
    "X-Forwarded-Client-Cert": "FORGED",
    "X-Real-IP": "FORGED",
    "X-Request-ID": "FORGED",
}


def curl(url: str, *options: str, client: bool = True, trusting: bool = False) -> tuple[int, str, str]:
    """Status (0: no answer), HTTP version and body."""
    words = ["curl", "--silent", "--max-time", "5", "--write-out", "\n%{http_code} %{http_version}", "--config", "-"]
    words += [word for name in NAMES for word in ("--resolve", f"{name}:443:{ADDRESS}")]
    words += ["--insecure"] if trusting else ["--cacert", ANCHOR]
    secret = f'cert = "{CERTIFICATE}:{PASSWORD}"\nkey = "{KEY}"\n' if client else ""
    done = subprocess.run([*words, *options, url], input=secret, capture_output=True, text=True, check=False)
    body, _, end = done.stdout.rpartition("\n")
    status, version = end.split()
    return int(status), version, body


def headers_the_backend_got(*options: str) -> dict[str, str]:
    """By name, all lower case; a name that comes twice is joined."""
    status, _, body = curl("https://orders.mtls.test/a/path", *options)
    found: dict[str, str] = {}
    for name, value in json.loads(body)["headers"] if status == 200 else []:
        found[name.lower()] = found.get(name.lower(), "") + value
    return found


def check_identity() -> str:
    """The backend is told who the client is, over HTTP/1.1 and HTTP/2, whatever the client says."""
    forged = [word for name, value in FORGED.items() for word in ("--header", f"{name}: {value}")]
    for protocol in ("--http1.1", "--http2"):
        got = headers_the_backend_got(protocol, *forged)
        if got.get("verified") != "SUCCESS" or "CN=alice" not in got.get("dn", ""):
            return f"no identity with {protocol}: {got}"
        if "alice" not in got["x-client-name"] or got["x-client-groups"] != "admins,buyers":
            return f"another name or other groups with {protocol}: {got}"
        if [name for name, value in got.items() if "FORGED" in value] or {"client-cert", "forwarded"} & set(got):
            return f"forged headers got through with {protocol}: {got}"
    return ""


def check_refusals() -> str:
    """No certificate: JSON with a reason that tells nothing about release and trust; plain HTTP the same."""
    status, _, body = curl("https://orders.mtls.test/", client=False)
    told = json.loads(body)
    if status != 400 or set(told) != {"error", "site"} or "no client certificate" not in told["error"]:
        return f"without a certificate: {status} {body}"
    status, _, body = curl("http://orders.mtls.test:443/", client=False)
    return "" if status == 400 and "https only" in body else f"plain HTTP: {status} {body}"


def check_protocols() -> str:
    """HTTP/2 and TLS 1.2 are there, TLS 1.1 is not; a session is never resumed."""
    if curl("https://stock.mtls.test/")[:2] != (200, "1.1" if KIND == "foreign" else "2"):
        return "another HTTP version than agreed on"
    if curl("https://stock.mtls.test/", "--tls-max", "1.2")[0] != 200:
        return "no TLS 1.2"
    if curl("https://stock.mtls.test/", "--tls-max", "1.1")[0] != 0:
        return "TLS 1.1"
    return ""


def check_names() -> str:
    """An unknown name never gets a site's page; a host that is somebody else's serves theirs, as before."""
    status, _, body = curl("https://orders.mtls.test/", "--header", "Host: unknown.test")
    if "headers" in body or (KIND == "bare" and status != 0):
        return f"unknown Host: {status} {body}"
    status, _, body = curl("https://orders.mtls.test/", "--header", "Host: stock.mtls.test")
    if status != 421:
        return f"Host of another site: {status} {body}"
    status, _, body = curl("https://unknown.test/", trusting=True)
    if (status, body.strip()) != ((200, "foreign site") if KIND == "foreign" else (0, "")):
        return f"unknown name: {status} {body}"
    if KIND == "foreign" and curl("https://foreign.test/", trusting=True)[2].strip() != "foreign site":
        return "the foreign site is not served any more"
    return ""


def check_sessions() -> str:
    """A second connection that offers the first one's session gets a new one."""
    context = ssl.create_default_context(cafile=ANCHOR)
    context.load_cert_chain(CERTIFICATE, KEY, PASSWORD)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.maximum_version = version
        session = None
        for _ in range(2):
            with (
                socket.create_connection((ADDRESS, 443), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="orders.mtls.test", session=session) as secured,
            ):
                secured.sendall(b"GET / HTTP/1.1\r\nHost: orders.mtls.test\r\nConnection: close\r\n\r\n")
                while secured.recv(4096):
                    pass
                if secured.session_reused:
                    return f"a session was resumed with {secured.version()}"
                session = secured.session
    return ""


def main() -> None:
    """Print what is wrong; exit status 1 when anything is."""
    checks = (check_identity, check_refusals, check_protocols, check_names, check_sessions)
    wrong = {check.__name__: found for check in checks if (found := check())}
    sys.exit("\n".join(f"{name}: {found}" for name, found in wrong.items()) or 0)


if __name__ == "__main__":
    main()
