"""A CA host and a gateway under rotation, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import delivery, keys, rotation, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.converge import Result
from tests.unit.module_utils._pki.authority_host import AuthorityHost, csr, server

SITE = "server/gw1/orders"


class Fleet:
    """A CA host and one gateway that takes what it is handed, unless it is told to be away."""

    def __init__(self, host: AuthorityHost) -> None:
        self.host = host
        host.arguments["certificates"].append(server())
        self.key = keys.generate("ec-p256")
        self.served: dict[str, Any] = {}
        self.deliver(host.run(csrs=self.request()))
        self.write_bundles()

    def request(self) -> dict[str, str]:
        """The gateway's request, with a new key."""
        self.key = keys.generate("ec-p256")
        return {SITE: csr(self.key)}

    def deliver(self, result: Result) -> None:
        """The gateway serves what the CA host handed it."""
        self.served = {
            "gateway": "gw1",
            "site": "orders",
            "scope": "issuing",
            "trust": result.trust["issuing"]["number"],
            "serial": result.servers[SITE]["serial"],
        }

    def write_bundles(self) -> None:
        """The bundles of alice and bob are written."""
        now = self.host.now
        with store.opened(self.host.store, None, now) as opened, opened.ledger.transaction():
            roots = rotation.anchors(opened.ledger.authorities())
            for key, value in delivery.bundle_news(opened.ledger, ["alice", "bob"], roots, now).items():
                opened.ledger.set_meta(key, value)

    def rotate(self, *, deliver: bool = True, seen: bool = True, bundles: bool = True, **wish: Any) -> Result:
        """One run of rotate.yml: what the gateway serves is seen first, and what is new is delivered last."""
        self.host.arguments["rotation"] = {**wish, "observed": [self.served] if seen else []}
        foreseen = self.host.run(dry=True)
        result = self.host.run()
        assert foreseen.changes == result.changes
        steps = [change for change in result.changes if change.action == "rotate"]
        if result.csr_wanted:
            self.host.arguments["rotation"]["step"] = "hold"
            result = self.host.run(csrs=self.request())
        assert self.host.run(**{"rotation": {**self.host.arguments["rotation"], "step": "hold"}}).changes == []
        if deliver:
            self.deliver(result)
        if bundles:
            self.write_bundles()
        result.changes[:] = steps
        return result

    def step(self, **wish: Any) -> str:
        """The reason of the step that a run took, or what it waits for."""
        result = self.rotate(**wish)
        return result.changes[0].reason if result.changes else "; ".join(result.rotation["waits"])

    def states(self) -> dict[str, str]:
        """The state of each generation, by label."""
        return {ca["label"]: ca["state"] for ca in self.host.run(dry=True).authorities}

    def accepts(self, certificate: Path) -> bool:
        """Whether a gateway's trust unit lets a client in with this certificate (leaf and issuing chain)."""
        unit = self.host.store / f"trust/issuing/{self.served['trust']}"
        issuer = x509.load_pem_x509_certificates(certificate.read_bytes())[0].issuer
        name = str(issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        # Nginx asks both: the chain, and whether this very issuing CA is accepted here.
        pinned = f"CN={name}," in (unit / "issuers.map").read_text().replace("\\\\", "")
        return pinned and verifies(unit / "client-ca.crt", certificate, "sslclient", self.host)


def verifies(anchors: Path, certificate: Path, purpose: str, host: AuthorityHost) -> bool:
    """Whether OpenSSL, strictly, verifies a leaf and the chain below it in one file."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(host.now.timestamp()))]
    command += ["-CAfile", str(anchors), "-untrusted", str(certificate), str(certificate)]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def kept(host: AuthorityHost, path: str) -> Path:
    """A copy of a file of the store as it is now, as a client keeps it."""
    copy = host.store.parent / f"kept-{len(list(host.store.parent.glob('kept-*')))}"
    copy.write_bytes((host.store / path).read_bytes())
    return copy
