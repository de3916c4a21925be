"""A CA as the tutorials make it: a few openssl commands, one key for all, clients signed by it directly."""

from __future__ import annotations

import subprocess
from pathlib import Path

PASSWORD = "changeit"
SUBJECT = "/C=DE/O=Blog/CN=My CA/emailAddress=ca@example.com"
DN = "emailAddress=ca@example.com,CN=My CA,O=Blog,C=DE"


class BlogCa:
    """Makes files in ``folder`` with the commands of such a tutorial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clients = folder / "clients"
        self.clients.mkdir(parents=True)

    def openssl(self, *arguments: str) -> None:
        """Run one command in the folder."""
        subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, check=True, timeout=60)

    def make(self, *request: str, key: tuple[str, ...] = ("-aes256", "2048"), days: int = 3650) -> BlogCa:
        """``ca.key`` under PASSWORD and a self-signed ``ca.crt``; ``request`` are further options of openssl req."""
        self.openssl("genrsa", *key[:-1], "-passout", f"pass:{PASSWORD}", "-out", "ca.key", key[-1])
        self.openssl(
            "req", "-x509", "-new", "-sha256", "-key", "ca.key", "-passin", f"pass:{PASSWORD}", "-days", str(days),
            "-subj", SUBJECT, "-out", "ca.crt", *request,
        )  # fmt: skip
        return self

    def make_v1(self) -> BlogCa:
        """The same with openssl x509 -req -signkey, which gives an X.509 version 1."""
        self.openssl("genrsa", "-aes256", "-passout", f"pass:{PASSWORD}", "-out", "ca.key", "2048")
        key = ("-passin", f"pass:{PASSWORD}")
        self.openssl("req", "-new", "-key", "ca.key", *key, "-subj", SUBJECT, "-out", "ca.csr")
        self.openssl(
            "x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", *key, "-days", "3650", "-sha256", "-out", "ca.crt"
        )
        return self

    def sign(self, name: str, *options: str, common_name: str | None = None, days: int = 365) -> Path:
        """A client, or what ``options`` of openssl x509 make of it; returns its certificate."""
        certificate = self.clients / f"{name}.crt"
        subject = f"/CN={common_name or name}"
        self.openssl(
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", subject, "-out", "c.csr"
        )
        serial = () if "-set_serial" in options else ("-CAcreateserial",)
        self.openssl(
            "x509", "-req", "-in", "c.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-passin", f"pass:{PASSWORD}",
            "-days", str(days), "-sha256", "-out", str(certificate), *serial, *options,
        )  # fmt: skip
        return certificate

    def wish(self, name: str = "issuing", *, clients: bool = True) -> dict[str, str | None]:
        """What module pki is told as ``adopt``."""
        return {
            "name": name,
            "certificate": str(self.folder / "ca.crt"),
            "key": str(self.folder / "ca.key"),
            "certificates_folder": str(self.clients) if clients else None,
        }
