"""A CA host for tests: a store in a temporary folder, a clock that the test sets, and passwords for every key."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import converge, csr_folder, desired, keys, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.converge import Result
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import PrivateKey
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Session

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SCOPE = {"scope": "issuing", "accept": ["issuing"]}


class Passwords(defaultdict[str, str]):
    """A password for whatever is asked for."""

    def __missing__(self, path: str) -> str:
        self[path] = f"password of {path}"
        return self[path]

    def __contains__(self, path: object) -> bool:
        return True


def client(name: str, **more: Any) -> dict[str, Any]:
    """A client of the desired list."""
    return {"name": f"client/{name}", **more}


def server(name: str = "gw1/orders", **more: Any) -> dict[str, Any]:
    """A server of the desired list, CSR-first."""
    return {"name": f"server/{name}", "source": "csr", "san": {"dns": ["orders.example.com"]}, **more}


def csr(key: PrivateKey, *, subject: str = "whatever") -> str:
    """A request as a gateway makes it, with wishes that must not be heard."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return (
        builder.sign(key, None if keys.key_type_of(key) == "ed25519" else hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )


class AuthorityHost:
    """Runs the PKI as module ``pki`` does, with the test's own clock."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.requests: Path | None = None
        self.refused: dict[str, str] = {}
        self.now = NOON
        self.adopt_password = ""
        self.session: Session | None = None
        self.passwords: Mapping[str, str] = Passwords()
        self.arguments: dict[str, Any] = {
            "name": "demo",
            "subject": {"organization": "Example Ltd"},
            "root": {"key_type": "ec-p256", "days": 3650},
            "issuing": [
                {"name": "issuing", "purposes": ["server", "client"], "key_type": "ec-p256", "days": 1095},
            ],
            "leaf": {"key_type": "ec-p256", "days": 90, "renew_days": 30, "renew_jitter_days": 0},
            "certificates": [client("alice", groups=["buyers"]), client("bob")],
            "crl": {"days": 7, "refresh_hours": 24},
            "trust": [SCOPE],
            "revoke": [],
            "removed": "report",
        }

    def after(self, **span: float) -> AuthorityHost:
        """Let time pass."""
        self.now += timedelta(**span)
        return self

    def run(
        self, csrs: Mapping[str, str] | None = None, *, dry: bool = False, init: bool = True, **more: Any
    ) -> Result:
        """One run; keyword arguments replace the arguments of the module for good."""
        self.arguments.update(more)
        wanted = desired.read(self.arguments)
        with store.opened(self.store, wanted.name, self.now, init=init, dry=dry) as opened:
            brought = csr_folder.resolve(wanted, self.requests, opened.ledger, self.now)
            self.refused = {entry["file"]: entry["reason"] for entry in brought.refused}
            given = {**(csrs or {}), **brought.csrs}
            return converge.converge(
                opened,
                brought.desired,
                given,
                self.passwords,
                self.now,
                dry=dry,
                adopt_password=self.adopt_password,
                session=self.session,
            )

    def reasons(self, **more: Any) -> dict[str, str]:
        """What a run changes, by name; check mode must have said the same."""
        self.arguments.update(more)
        foreseen = self.run(dry=True).changes
        changes = self.run().changes
        assert foreseen == changes
        return {f"{change.name} {change.action}": change.reason for change in changes}

    def leaf(self, name: str) -> x509.Certificate:
        """The certificate that is handed out for a name."""
        kind = name.partition("/")[0]
        return x509.load_pem_x509_certificate((self.store / f"certificates/{name}/{kind}.crt").read_bytes())

    def verify(self, name: str, purpose: str, *, crl: bool = True, at: datetime | None = None) -> str:
        """What OpenSSL says of a certificate, strictly, with the CRLs of the whole chain."""
        kind = name.partition("/")[0]
        arguments = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
        arguments += [
            "-attime",
            str(int((at or self.now).timestamp())),
            "-CAfile",
            str(self.store / "trust-anchor.crt"),
        ]
        chain = self.store / "authorities/issuing-g1/chain.crt"
        # An adopted CA has none above it.
        arguments += ["-untrusted", str(chain)] if chain.exists() else []
        if crl:
            bundle = self.store.parent / "crls.pem"
            bundle.write_bytes(b"".join(path.read_bytes() for path in self.store.glob("authorities/*/crl.pem")))
            arguments += ["-crl_check_all", "-CRLfile", str(bundle)]
        arguments.append(str(self.store / f"certificates/{name}/{kind}.crt"))
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=20)
        return (done.stdout + done.stderr).strip().rpartition(": ")[2] if done.returncode == 0 else done.stderr
