"""Everything that can be wrong between a client and a gateway, made for real.

``python -m tests.integration.broken FOLDER`` writes it for the Molecule scenario ``doctor``, whose list of faults names
these clients and gateways: a client is a bundle as the kit hands it out, a gateway one server of a hand-written Nginx.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
NAME = "orders.example.test"
PASSWORD = "the password of the key"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
FIRST_PORT = 9000
ON_THE_GATEWAY = "/etc/doctor"
SKEWED_PORT = 8999
"""Of a backend whose clock is wrong, which the site's answer then tells: a container can't have a clock of its own."""
SKEWED = f"""\
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer


class Skewed(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response_only(200)
        self.send_header("Date", format_datetime(datetime.now(UTC) + timedelta(minutes=9), usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()


HTTPServer(("127.0.0.1", {SKEWED_PORT}), Skewed).serve_forever()
"""


def pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def small_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505  broken on purpose


@dataclass
class Party:
    """A certificate and its key, which may sign others."""

    certificate: x509.Certificate
    key: Any

    def sign(
        self, name: str, *, usage: Any = None, ca: bool = False, key: Any = None,
        days: tuple[float, float] = (-1, 30), dns: str = "", permitted: str = "", subject: x509.Name | None = None,
    ) -> Party:  # fmt: skip
        return issue(self, name, usage, ca, key, days, dns, permitted, subject)

    def crl(self, *revoked: x509.Certificate, days: float = 7) -> str:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(NOW - timedelta(days=30)).next_update(NOW + timedelta(days=days))
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(NOW)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def issue(
    by: Party | None, name: str, usage: Any = None, ca: bool = False, key: Any = None,
    days: tuple[float, float] = (-1, 30), dns: str = "", permitted: str = "", subject: x509.Name | None = None,
) -> Party:  # fmt: skip
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
    if permitted:
        limits = x509.NameConstraints([x509.DNSName(permitted)], None)
        builder = builder.add_extension(limits, critical=True)
    return Party(builder.sign(by.key if by else key, hashes.SHA256()), key)


class Pki:
    """A root, an issuing CA, a server, and everything that can be wrong with a client."""

    def __init__(self) -> None:
        self.root = issue(None, "Root", ca=True)
        self.issuing = self.root.sign("Issuing", ca=True)
        self.second = self.issuing.sign("Second", ca=True)
        self.server = self.issuing.sign("server", usage=SERVER, dns=NAME)
        self.stranger_root = issue(None, "Stranger Root", ca=True)
        self.stranger = self.stranger_root.sign("Stranger", ca=True)
        self.weak = self.root.sign("Weak", ca=True, key=small_key())
        self.bounded = self.root.sign("Bounded", ca=True, permitted="example.test")
        self.cas = pem(self.issuing.certificate, self.root.certificate)
        self.crls = self.issuing.crl() + self.root.crl()
        self.revoked = self.good()

    def good(self, **more: Any) -> Party:
        return self.issuing.sign("alice", usage=CLIENT, **more)


def signed_with_sha1(pki: Pki) -> Party:
    """As only OpenSSL's command still does it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
        (folder / "ca").write_text(pem(pki.issuing.certificate) + key_pem(pki.issuing.key))
        (folder / "extensions").write_text("extendedKeyUsage=clientAuth\n")
        command = ["openssl", "x509", "-req", "-sha1", "-days", "9", "-in", "csr", "-CA", "ca", "-out", "crt"]
        command += ["-CAcreateserial", "-extfile", "extensions"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return Party(x509.load_pem_x509_certificate((folder / "crt").read_bytes()), key)


def key_pem(key: Any, password: str = "") -> str:
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    form = serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(serialization.Encoding.PEM, form, encryption)
    return text.decode()


Client = tuple[Party, list[Party]]


def clients(pki: Pki) -> Mapping[str, Client]:
    """By name, whom a gateway meets: a certificate with its key, and the chain that is sent along."""

    def of(client: Party, *chain: Party) -> Client:
        return client, list(chain)

    good = pki.good()
    stray = ec.generate_private_key(ec.SECP256R1())
    return {
        "good": of(good, pki.issuing),
        "early": of(pki.good(days=(1, 30)), pki.issuing),
        "late": of(pki.good(days=(-30, -1)), pki.issuing),
        "self-signed": of(issue(None, "alice", usage=CLIENT)),
        "named-as-its-ca": of(pki.good(subject=pki.issuing.certificate.subject), pki.issuing),
        "of-a-strange-root": of(pki.stranger.sign("alice", usage=CLIENT), pki.stranger, pki.stranger_root),
        "of-a-strange-ca": of(pki.stranger.sign("alice", usage=CLIENT), pki.stranger),
        "alone": of(pki.second.sign("alice", usage=CLIENT)),
        "of-too-long-a-chain": of(pki.second.sign("alice", usage=CLIENT), pki.second, pki.issuing),
        "revoked": of(pki.revoked, pki.issuing),
        "a-server": of(pki.issuing.sign("alice", usage=SERVER), pki.issuing),
        "out-of-bounds": of(pki.bounded.sign("alice", usage=CLIENT, dns="alice.other.test"), pki.bounded),
        "small": of(pki.good(key=small_key()), pki.issuing),
        "of-a-small-ca": of(pki.weak.sign("alice", usage=CLIENT), pki.weak),
        "of-sha1": of(signed_with_sha1(pki), pki.issuing),
        "with-another-key": of(Party(good.certificate, stray), pki.issuing),
        "garbled": of(Party(good.certificate, None), pki.issuing),
    }


@dataclass(frozen=True)
class Gateway:
    """A server of the Nginx. Without ``crls`` it enforces none."""

    cas: str
    server: Party
    crls: str = ""
    more: str = ""
    location: str = "return 200 in;"


def gateways(pki: Pki) -> Mapping[str, Gateway]:
    """By name, in the order of their ports."""

    def of(cas: str = pki.cas, server: Party = pki.server, **more: str) -> Gateway:
        return Gateway(cas, server, **more)

    def server(*days: float) -> Party:
        return pki.issuing.sign("server", usage=SERVER, dns=NAME, days=(days[0], days[1]))

    return {
        "well": of(),
        "rootless": of(cas=pem(pki.issuing.certificate)),
        "half-listed": of(crls=pki.issuing.crl()),
        "late-list": of(crls=pki.issuing.crl(days=-1) + pki.root.crl()),
        "revoking": of(crls=pki.issuing.crl(pki.revoked.certificate) + pki.root.crl()),
        "opened": of(more="error_page 495 496 =200 /;"),
        "old": of(more="ssl_protocols TLSv1.1;"),
        "mute": of(location="return 444;"),
        "skewed": of(location=f"proxy_pass http://127.0.0.1:{SKEWED_PORT}; proxy_pass_header Date;"),
        "expired": of(server=server(-30, -1)),
        "ending": of(server=server(-80, 5)),
        "stale": of(),
    }


def configuration(servers: Mapping[str, Gateway]) -> str:
    """Of an Nginx as somebody may have it who wrote it by hand."""
    blocks = []
    for port, (name, one) in enumerate(servers.items(), FIRST_PORT):
        place = f"{ON_THE_GATEWAY}/{name}"
        crl = f"ssl_crl {place}/crl.pem;" if one.crls else ""
        blocks.append(f"""
        server {{
            listen {port} ssl; server_name {NAME};
            ssl_certificate {place}/server.crt; ssl_certificate_key {place}/server.key;
            ssl_verify_client on; ssl_verify_depth 1; ssl_client_certificate {place}/ca.crt;
            {crl} {one.more}
            location / {{ {one.location} }}
        }}""")
    return f"""
    user www-data; pid /run/nginx.pid; error_log /var/log/nginx/error.log info;
    events {{ }}
    http {{
        access_log off; ssl_protocols TLSv1.2 TLSv1.3;
        {"".join(blocks)}
        include /etc/nginx/conf.d/*.conf;
    }}
    """


def bundle(folder: Path, client: Party, chain: list[Party], key: str = "") -> Path:
    """As the kit writes it, encrypted key and all."""
    folder.mkdir(parents=True)
    (folder / "client.crt").write_text(pem(client.certificate, *(ca.certificate for ca in chain)))
    (folder / "client.key").write_text(key or (key_pem(client.key, PASSWORD) if client.key else "no key at all"))
    return folder


def write(folder: Path) -> None:
    """Bundles, the gateways' files with their Nginx, and all that is the gateway's in one archive."""
    pki = Pki()
    for name, (client, chain) in clients(pki).items():
        bundle(folder / "bundles" / name, client, chain)
    servers = gateways(pki)
    for name, one in servers.items():
        place = folder / "gateway" / "doctor" / name
        place.mkdir(parents=True)
        (place / "ca.crt").write_text(one.cas)
        if one.crls:
            (place / "crl.pem").write_text(one.crls)
        (place / "server.crt").write_text(pem(one.server.certificate, pki.issuing.certificate))
        (place / "server.key").write_text(key_pem(one.server.key))
    renewed = pki.issuing.sign("server", usage=SERVER, dns=NAME, key=pki.server.key)
    (folder / "gateway/doctor/stale/renewed.crt").write_text(pem(renewed.certificate, pki.issuing.certificate))
    for name, content in {
        "nginx/nginx.conf": configuration(servers),
        "doctor/nonsense": "nonsense;\n",
        "doctor/skewed.py": SKEWED,
        "systemd/system/skewed.service": f"[Service]\nExecStart=/usr/bin/python3 {ON_THE_GATEWAY}/skewed.py\n",
    }.items():
        (folder / "gateway" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "gateway" / name).write_text(content)
    (folder / "root.crt").write_text(pem(pki.root.certificate))
    (folder / "strange-root.crt").write_text(pem(pki.stranger_root.certificate))
    (folder / "ports.json").write_text(json.dumps({name: port for port, name in enumerate(servers, FIRST_PORT)}))
    with tarfile.open(folder / "gateway.tar", "w") as archive:
        for path in sorted((folder / "gateway").rglob("*")):
            if path.is_file():
                archive.add(path, arcname=str(path.relative_to(folder / "gateway")))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
