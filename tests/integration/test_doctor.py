"""Each row of docs/when-it-does-not-work.md: a really broken client or Nginx, and the doctor names its cause."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.mtls.kit.plugins.module_utils._gateway import diagnosis, doctor, nginx

NOW = datetime.now(UTC)
NAME = "orders.example.test"
PASSWORD = "the password of the key"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


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


@dataclass
class Case:
    """A client, what the gateway has, and what Nginx is expected to say."""

    cause: str
    client: Callable[[Pki], tuple[Party, list[Party]]]
    cas: Callable[[Pki], str] = lambda pki: pki.cas
    crls: Callable[[Pki, Party], str] = lambda pki, client: ""
    logged: str = ""
    """What Nginx itself says, where that is something else."""


def with_issuing(make: Callable[[Pki], Party]) -> Callable[[Pki], tuple[Party, list[Party]]]:
    return lambda pki: (make(pki), [pki.issuing])


GOOD = with_issuing(lambda pki: pki.good())
CLIENTS = {
    "bundle of CAs without a root": Case("error-2", GOOD, cas=lambda pki: pem(pki.issuing.certificate)),
    "a CA without its CRL": Case("error-3", GOOD, crls=lambda pki, client: pki.issuing.crl()),
    "not valid yet": Case("error-9", with_issuing(lambda pki: pki.good(days=(1, 30)))),
    "expired": Case("error-10", with_issuing(lambda pki: pki.good(days=(-30, -1)))),
    "an expired CRL": Case("error-12", GOOD, crls=lambda pki, client: pki.issuing.crl(days=-1) + pki.root.crl()),
    "self-signed, as a tutorial makes it": Case("error-18", lambda pki: (issue(None, "alice", usage=CLIENT), [])),
    "the CA's whole subject": Case(
        "error-18", with_issuing(lambda pki: pki.good(subject=pki.issuing.certificate.subject))
    ),
    "a chain up to a strange root": Case(
        "error-19", lambda pki: (pki.stranger.sign("alice", usage=CLIENT), [pki.stranger, pki.stranger_root])
    ),
    "a strange issuing CA": Case("error-20", lambda pki: (pki.stranger.sign("alice", usage=CLIENT), [pki.stranger])),
    "without its issuing CA": Case("error-21", lambda pki: (pki.second.sign("alice", usage=CLIENT), [])),
    "too long a chain": Case(
        "error-22", lambda pki: (pki.second.sign("alice", usage=CLIENT), [pki.second, pki.issuing]), logged="error-2"
    ),
    "revoked": Case("error-23", GOOD, crls=lambda pki, client: pki.issuing.crl(client.certificate) + pki.root.crl()),
    "a server's certificate": Case("error-26", with_issuing(lambda pki: pki.issuing.sign("alice", usage=SERVER))),
    "a name its CA may not sign": Case(
        "error-47", lambda pki: (pki.bounded.sign("alice", usage=CLIENT, dns="alice.other.test"), [pki.bounded])
    ),
    "a key of 1024 bits": Case("error-66", with_issuing(lambda pki: pki.good(key=small_key()))),
    "a CA's key of 1024 bits": Case("error-67", lambda pki: (pki.weak.sign("alice", usage=CLIENT), [pki.weak])),
    "signed with SHA-1": Case("error-68", with_issuing(lambda pki: signed_with_sha1(pki))),
}


class Server:
    """A real Nginx of its own with a hand-written configuration, as somebody may have it."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.folder, self.pki = folder, pki
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.site = doctor.Site(NAME, self.port, "127.0.0.1")
        config, log = str(folder / "nginx.conf"), str(folder / "error.log")
        pid = str(folder / "pid")
        self.instance = nginx.Instance("nginx", str(folder), config, pid, log)
        self.write()

    def write(
        self, cas: str = "", crls: str = "", server: Party | None = None, key: str = "", extra: str = "",
        protocols: str = "TLSv1.2 TLSv1.3",
    ) -> None:  # fmt: skip
        server = server or self.pki.server
        files = {
            "ca.crt": cas or self.pki.cas,
            "crl.pem": crls,
            "server.crt": pem(server.certificate, self.pki.issuing.certificate),
            "server.key": key or key_pem(server.key),
            "password": "another password\n",
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)
        crl = f"ssl_crl {self.folder}/crl.pem;" if crls else ""
        passwords = f"ssl_password_file {self.folder}/password;" if key else ""
        (self.folder / "nginx.conf").write_text(f"""
            pid {self.folder}/pid; error_log {self.folder}/error.log info; worker_processes 1;
            events {{}}
            http {{
              access_log off; client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b;
              fastcgi_temp_path {self.folder}/c; uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
              ssl_protocols {protocols};
              server {{
                listen 127.0.0.1:{self.port} ssl; server_name {NAME};
                ssl_certificate {self.folder}/server.crt; ssl_certificate_key {self.folder}/server.key;
                {passwords} {crl} {extra}
                ssl_verify_client on; ssl_verify_depth 1; ssl_client_certificate {self.folder}/ca.crt;
                location / {{ return 200 in; }}
              }}
            }}""")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        nginx.Nginx(self.instance).start()
        for _ in range(100):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("Nginx doesn't listen")

    def stop(self) -> None:
        """End this very process."""
        try:
            pid = int((self.folder / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)

    def looked_at(self) -> list[str]:
        """Causes that the doctor finds on the gateway, its log left out."""
        return [one.cause for one in doctor.of_nginx(self.instance, NOW, "")]

    def asked(self, bundle: doctor.Bundle, **more: Any) -> list[str]:
        """Causes that the doctor finds from outside."""
        site = more.get("site", self.site)
        # Not NOW: minutes may lie between a long run's collection and this test, and the server's clock goes on.
        now = more.get("now") or datetime.now(UTC)
        return [one.cause for one in doctor.of_site(site, bundle, pem(self.pki.root.certificate), now)]


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


@pytest.fixture
def server(pki: Pki, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, pki)
    yield server
    server.stop()


def bundle(folder: Path, client: Party, chain: list[Party], key: str = "") -> Path:
    """As the kit writes it, encrypted key and all."""
    place = folder / "alice"
    place.mkdir()
    (place / "client.crt").write_text(pem(client.certificate, *(ca.certificate for ca in chain)))
    (place / "client.key").write_text(key or key_pem(client.key, PASSWORD))
    return place


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_nginx_refuses(pki: Pki, server: Server, tmp_path: Path, name: str) -> None:
    case = CLIENTS[name]
    client, chain = case.client(pki)
    cas, crls = case.cas(pki), case.crls(pki, client)
    server.write(cas=cas, crls=crls)
    server.start()
    found = doctor.read_bundle(bundle(tmp_path, client, chain), PASSWORD, NOW)
    assert found.shown is not None
    # Without the gateway's files: it is refused, and Nginx says no more than that.
    assert "400-certificate" in server.asked(found)
    # With its client CAs, and with its error log: the very cause.
    (told,) = doctor.of_client_at(found, cas, crls, 1)
    (logged,) = diagnosis.of_error_log((tmp_path / "error.log").read_text().splitlines())
    assert (told.cause, logged.cause) == (case.cause, case.logged or case.cause), (told, logged)
    assert told.fix == diagnosis.CAUSES[case.cause].fix


def test_a_client_that_gets_in_has_nothing(pki: Pki, server: Server, tmp_path: Path) -> None:
    server.write(crls=pki.crls)
    server.start()
    found = doctor.read_bundle(bundle(tmp_path, pki.good(), [pki.issuing]), PASSWORD, NOW)
    assert list(found.findings) == server.asked(found) == server.looked_at() == []
    assert list(doctor.of_client_at(found, pki.cas, pki.crls, 1)) == []


@pytest.mark.parametrize(
    ("cause", "key", "password"),
    [
        ("wrong-password", "", "another"),
        ("no-password", "", ""),
        ("key-mismatch", key_pem(ec.generate_private_key(ec.SECP256R1()), PASSWORD), PASSWORD),
        ("unreadable", "no key at all", PASSWORD),
    ],
)
def test_a_key_that_cannot_be_used(pki: Pki, tmp_path: Path, cause: str, key: str, password: str) -> None:
    found = doctor.read_bundle(bundle(tmp_path, pki.good(), [pki.issuing], key), password, NOW)
    assert ([one.cause for one in found.findings], found.shown) == ([cause], None)


def test_no_certificate_and_plain_http(server: Server) -> None:
    server.start()
    assert server.asked(doctor.Bundle()) == ["400-no-certificate"]
    plain = doctor.Site.of(f"http://{NAME}:{server.port}/", "127.0.0.1")
    assert server.asked(doctor.Bundle(), site=plain) == ["400-plain-http"]


def test_what_the_client_finds_wrong_with_the_server(pki: Pki, server: Server) -> None:
    nobody = doctor.Bundle()
    assert server.asked(nobody) == ["not-reachable"]
    server.start()
    other = doctor.Site("other.example.test", server.port, "127.0.0.1")
    assert server.asked(nobody, site=other) == ["error-62"]
    strange = doctor.of_site(server.site, nobody, pem(pki.stranger_root.certificate), datetime.now(UTC))
    assert [one.cause for one in strange] == ["error-20"]
    assert "clock-skew" in server.asked(nobody, now=datetime.now(UTC) + timedelta(minutes=9))


def test_an_expired_server(pki: Pki, server: Server) -> None:
    server.write(server=pki.issuing.sign("server", usage=SERVER, dns=NAME, days=(-30, -1)))
    server.start()
    assert server.asked(doctor.Bundle()) == server.looked_at() == ["error-10"]


def test_a_server_of_old_tls_only(server: Server) -> None:
    server.write(protocols="TLSv1.1")
    server.start()
    assert server.asked(doctor.Bundle()) == ["tls-version"]


def test_what_is_wrong_in_the_files_of_a_gateway(pki: Pki, server: Server) -> None:
    server.write(
        cas=pem(pki.issuing.certificate),
        crls=pki.issuing.crl(days=-1),
        extra="error_page 495 496 =200 /;",
    )
    server.start()
    assert server.looked_at() == ["no-root", "crl-expired", "error-page"]
    server.write(crls=pki.issuing.crl())
    assert server.looked_at() == ["error-3"]


def test_a_new_certificate_that_nginx_was_never_told_of(pki: Pki, server: Server) -> None:
    server.start()
    server.write(server=pki.issuing.sign("server", usage=SERVER, dns=NAME))
    assert server.looked_at() == ["stale"]


def test_a_key_that_nginx_cannot_use(pki: Pki, server: Server) -> None:
    server.start()
    server.write(key=key_pem(ec.generate_private_key(ec.SECP256R1())))
    assert server.looked_at() == ["key-mismatch"]
    server.write(key=key_pem(pki.server.key, PASSWORD))
    assert server.looked_at() == ["wrong-password"]


def test_every_cause_has_its_row() -> None:
    page = (Path(__file__).parents[2] / "docs" / "when-it-does-not-work.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+?) \|", page, re.MULTILINE))
    assert rows == {name: cause.text for name, cause in diagnosis.CAUSES.items()}


def test_the_playbook_names_the_cause_and_fails(pki: Pki, server: Server, tmp_path: Path) -> None:
    server.start()
    place = bundle(tmp_path, pki.good(days=(-30, -1)), [pki.issuing])
    (tmp_path / "password.yml").write_text(f"doctor_password: {PASSWORD}\n")
    root = Path(__file__).parents[2]
    command = [
        f"{root}/.venv/bin/ansible-playbook", "-i", "localhost,", "playbooks/doctor.yml",
        "-e", f"doctor_bundle={place}", "-e", f"doctor_url=https://{NAME}:{server.port}/",
        "-e", "doctor_address=127.0.0.1", "-e", f"@{tmp_path}/password.yml", "-e", f"doctor_json={tmp_path}/found.json",
    ]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg")}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120)
    text = " ".join(run.stdout.split())
    assert run.returncode != 0
    assert "error-10: the certificate has expired" in text, run.stdout + run.stderr
    assert "Next: issue it again" in text
    assert '"cause": "error-10"' in (tmp_path / "found.json").read_text()
    assert PASSWORD not in run.stdout
