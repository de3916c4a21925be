"""Three requests that show what the gateway does: with the client's certificate, without, and with a stranger's."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from scripts.lib.demo.settings import ADDRESS, CLIENT, Settings

PATH: Final = "/hello"
_SECONDS: Final = 10


@dataclass(frozen=True)
class Identity:
    """A certificate with its key; ``password`` opens the key."""

    certificate: Path
    key: Path
    password: str


@dataclass(frozen=True)
class Answer:
    """``status`` is 0 where no HTTP answer came; ``body`` then says why."""

    status: int
    body: str

    @property
    def reason(self) -> str:
        """The gateway's stated reason for a refusal, or the body as it is."""
        try:
            return str(json.loads(self.body)["error"])
        except (ValueError, KeyError, TypeError):
            return self.body.strip()


def request(settings: Settings, trust_anchor: Path, identity: Identity | None) -> Answer:
    """GET the demo's path, checking the gateway's chain and name as any client must."""
    context = ssl.create_default_context(cafile=str(trust_anchor))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key, lambda: identity.password)
    try:
        with (
            socket.create_connection((ADDRESS, settings.port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=settings.server_name) as secured,
        ):
            connection = http.client.HTTPConnection(settings.server_name, settings.port, timeout=_SECONDS)
            connection.sock = secured
            connection.request("GET", PATH)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error))


def client_identity(settings: Settings, password: str) -> Identity:
    """The demo's client, from its bundle."""
    folder = settings.bundles / CLIENT
    return Identity(folder / "client.crt", folder / "client.key", password)


def stranger(folder: Path) -> Identity:
    """A client of a CA of its own that bears the client's name: it convinces nobody who checks signatures."""
    folder.mkdir(mode=0o700, exist_ok=True)
    identity = Identity(folder / "stranger.crt", folder / "stranger.key", password="stranger")  # noqa: S106 (no secret)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Stranger CA")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CLIENT)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(authority, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(minutes=10))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    encryption = serialization.BestAvailableEncryption(identity.password.encode())
    identity.certificate.write_bytes(certificate.public_bytes(pem))
    identity.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    return identity
