"""A small CA that can also do wrong, and a gateway's folder that it delivers to."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.trust import digest, number_map
from ansible_collections.mtls.kit.plugins.modules import certificate_release, certificate_request

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
PASSWORD = "ein-langes-Passwort-0123456789"


def current_user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


@dataclass
class Authority:
    """A CA; what it signs is right unless told otherwise."""

    certificate: x509.Certificate
    key: Any

    @classmethod
    def create(
        cls,
        name: str,
        issuer: Authority | None = None,
        *,
        ca: bool = True,
        path_length: int | None = 0,
        begin: datetime = NOW - timedelta(days=100),
        end: datetime = NOW + timedelta(days=1000),
    ) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin.replace(tzinfo=None))
            .not_valid_after(end.replace(tzinfo=None))
            .add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
            .sign(issuer.key if issuer else key, keys.signature_hash(key))
        )
        return cls(certificate, key)

    def sign(
        self,
        public_key: Any,
        *,
        names_covered: Iterable[str] = ("orders.example.test",),
        server: bool = True,
        ca: bool = False,
        begin: datetime = NOW - timedelta(days=1),
        end: datetime = NOW + timedelta(days=89),
    ) -> x509.Certificate:
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a leaf")]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin.replace(tzinfo=None))
            .not_valid_after(end.replace(tzinfo=None))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names_covered]), critical=False)
            .sign(self.key, keys.signature_hash(self.key))
        )

    def crl(
        self, begin: datetime = NOW - timedelta(hours=1), end: datetime = NOW + timedelta(days=7), revoked: int = 0
    ) -> str:
        """A CRL in PEM that lists the serial ``revoked``, or nothing."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(begin.replace(tzinfo=None))
            .next_update(end.replace(tzinfo=None))
        )
        if revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(revoked).revocation_date(begin.replace(tzinfo=None))
            builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self.key, keys.signature_hash(self.key))
        return crl.public_bytes(Encoding.PEM).decode()

    def issuers_line(self, number: int) -> str:
        dn = names.dn(names.subject_of(self.certificate.subject))
        return f'{names.nginx_quoted(f"~^{names.regex_escaped(dn)}$")} "{number}";\n'


@dataclass
class Pki:
    """A root, an issuing CA under it, and the trust units they hand out."""

    root: Authority = field(default_factory=lambda: Authority.create("acme Root G1", path_length=1))
    number: int = 1
    revoked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.issuing = Authority.create("acme Issuing G1", self.root)
        self.crls = self.issuing.crl() + self.root.crl()

    def files(self, **altered: str) -> dict[str, str]:
        content = {
            "client-ca.crt": pem(self.issuing.certificate) + pem(self.root.certificate),
            "issuers.map": self.issuing.issuers_line(2),
            "revoked.map": "".join(f'"2:{serial}" 1;\n' for serial in self.revoked),
            "identities.map": f'"2:0A1B" "alice|buyers,admins|URI:urn:mtls:acme:alice|{"ab" * 32}";\n',
            "crl.pem": self.crls,
            "number.map": number_map(self.number),
        }
        return {**content, **{name.replace("__", "-").replace("_", "."): text for name, text in altered.items()}}

    def trust(self, files: Mapping[str, str] | None = None) -> dict[str, Any]:
        files = self.files() if files is None else files
        return {"number": self.number, "sha256": digest(files), "files": dict(files)}

    def next_trust(self, *revoked: str) -> dict[str, Any]:
        self.number += 1
        self.revoked += revoked
        return self.trust()


@dataclass
class Gateway:
    """Sites under one folder, worked on by the two modules as Ansible would call them."""

    root: Path
    pki: Pki
    owner: str
    sites: tuple[str, ...] = ("orders",)
    password: str = PASSWORD
    password_delivery: str = "file"
    keep: int = 3
    chains: dict[str, str] = field(default_factory=dict)
    trusts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def common(self) -> dict[str, Any]:
        passwords = json.dumps(dict.fromkeys(self.sites, self.password))
        return {"root": str(self.root), "owner": self.owner, "group": "", "passwords": passwords}

    def request(self, check_mode: bool = False, **wish: Any) -> dict[str, Any]:
        sites = []
        for name in self.sites:
            issued = None
            if name in self.chains:
                leaf = x509.load_pem_x509_certificate(self.chains[name].encode())
                issued = {
                    "serial": names.serial_text(leaf.serial_number),
                    "public_key_sha256": keys.public_key_sha256(leaf.public_key()),  # type: ignore[arg-type]
                }
            site = {"name": name, "key_type": "ec-p256", "subject": {}, "san": {"dns": [f"{name}.example.test"]}}
            site["password_delivery"] = self.password_delivery
            sites.append({**site, "wanted": "", "issued": issued, **wish})
        return certificate_request.run({**self.common(), "sites": sites}, check_mode)

    def certify(self, csrs: Mapping[str, str], **wish: Any) -> None:
        """Sign what the gateway asks for, as the CA does: nothing for a key it has signed already."""
        for site, csr in csrs.items():
            key = x509.load_pem_x509_csr(csr.encode()).public_key()
            if site in self.chains and not wish:
                leaf = x509.load_pem_x509_certificate(self.chains[site].encode())
                if keys.public_key_sha256(leaf.public_key()) == keys.public_key_sha256(key):  # type: ignore[arg-type]
                    continue
            leaf = self.pki.issuing.sign(key, **{"names_covered": [f"{site}.example.test"], **wish})
            self.chains[site] = pem(leaf) + pem(self.pki.issuing.certificate)

    def arguments(self, **altered: Any) -> dict[str, Any]:
        sites = [
            {
                "name": name,
                "chain": self.chains[name],
                "trust_anchor": pem(self.pki.root.certificate),
                "server_names": [f"{name}.example.test"],
                "password_delivery": self.password_delivery,
                "trust": self.trusts.get(name) or self.pki.trust(),
                **altered,
            }
            for name in self.sites
        ]
        return {**self.common(), "now": "2026-06-01T12:00:30Z", "keep": self.keep, "sites": sites}

    def release(self, check_mode: bool = False, now: datetime = NOW, **altered: Any) -> dict[str, Any]:
        return certificate_release.run(self.arguments(**altered), now, check_mode)

    def deploy(self, **wish: Any) -> dict[str, Any]:
        """The whole way: request, certify, release."""
        self.certify(self.request(**wish)["csrs"])
        return self.release()

    def current(self, site: str = "orders") -> Path:
        return (self.root / site / "releases" / "current").resolve()

    def tree(self) -> dict[str, Any]:
        """Everything under the folder: link targets, modes, contents and inodes."""
        found: dict[str, Any] = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            if path.is_symlink():
                found[str(path)] = str(path.readlink())
            elif path.is_file():
                found[str(path)] = (oct(status.st_mode), status.st_ino, status.st_mtime_ns, path.read_bytes())
            else:
                found[str(path)] = oct(status.st_mode)
        return found
