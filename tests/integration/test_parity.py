"""Every artefact of the PKI on the wire: a real Nginx and a real client use each of them as it is handed out."""

from __future__ import annotations

import secrets
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12

from ansible_collections.mtls.kit.plugins.module_utils._gateway import request
from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle, keys
from tests.integration.gateway import IMAGE
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, server

CA_KEY_TYPES = ("ec-p256", "ec-p384", "rsa-3072", "ed25519")
SITE_PASSWORD = secrets.token_urlsafe(24)
PROFILES = [
    {
        "name": "workload",
        "extended_key_usage": ["serverAuth", "clientAuth"],
        "san": {"required": ["dns"], "allowed": ["dns"]},
    },
]


def docker(*args: str) -> str:
    done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Pki:
    """A store whose CAs have one type of key, with its bundles."""

    host: AuthorityHost
    servers: dict[str, str]
    """Key of the site and file of its certificate, by name."""

    @classmethod
    def made(cls, folder: Path, ca: str) -> Pki:
        whole = ca == CA_KEY_TYPES[0]
        folder.mkdir()
        host = AuthorityHost(folder)
        host.now = datetime.now(UTC)
        host.arguments["root"]["key_type"] = host.arguments["issuing"][0]["key_type"] = ca
        key_types = tuple(keys.KEY_TYPES) if whole else ("ec-p256",)
        clients = [client(key_type, key_type=key_type) for key_type in key_types]
        sites = {f"gw1/{key_type}": {"key_type": key_type} for key_type in key_types}
        if whole:
            clients += [client("gone"), client("peer", profile="both", san={"dns": ["peer.example.com"]})]
            sites["gw1/workload"] = {"profile": "workload"}
        certificates = [*clients, *(server(name, **more) for name, more in sites.items())]
        requests = {name: request_of(folder, name, more.get("key_type", "ec-p256")) for name, more in sites.items()}
        host.run(
            {f"server/{name}": csr for name, csr in requests.items()}, certificates=certificates, profiles=PROFILES
        )
        names = [entry["name"].removeprefix("client/") for entry in clients]
        settings = bundle.Settings(host.store, folder / "bundles", ("https://orders.example.com/",), "the vault")
        for due in bundle.plan(settings, names, host.passwords).due:
            bundle.write(settings, due)
        host.run(revoke=[{"name": "client/gone", "reason": "superseded"}] if whole else [])
        return cls(host, {name: f"certificates/server/{name}/server.crt" for name in sites})

    @property
    def trust(self) -> Path:
        """The trust unit in force."""
        (folder,) = (self.host.store / "trust/issuing").iterdir()
        return folder


def request_of(folder: Path, name: str, key_type: str) -> str:
    """A request as a gateway makes it; its key stays in the folder."""
    site = name.rpartition("/")[2]
    wish = {"name": site, "key_type": key_type, "san": {"dns": ["orders.example.com"]}, "password_delivery": "file"}
    made, _ = request.converge(
        folder / "gateway", [request.RequestSite.of(folder / "gateway", wish, {site: SITE_PASSWORD})], check_mode=False
    )
    return made[site]


@dataclass(frozen=True)
class Served:
    """What Nginx serves, a port for each server certificate."""

    address: str
    pkis: dict[str, Pki]
    ports: dict[tuple[str, str], int]

    def answer(self, ca: str, site: str, certificate: Path | None, key: Path | None, password: str = "") -> str:
        """What Nginx thinks of the client; raises OSError where it is not let in."""
        context = ssl.create_default_context(cafile=str(self.pkis[ca].host.store / "trust-anchor.crt"))
        if certificate is not None:
            context.load_cert_chain(certificate, key, password)
        with (
            socket.create_connection((self.address, self.ports[ca, site]), 10) as plain,
            context.wrap_socket(plain, server_hostname="orders.example.com") as secure,
        ):
            secure.sendall(b"GET / HTTP/1.0\r\nHost: orders.example.com\r\n\r\n")
            content = b""
            while part := secure.recv(4096):
                content += part
        return content.partition(b"\r\n\r\n")[2].decode().strip()

    def bundle(self, ca: str, name: str) -> tuple[Path, Path, str]:
        """Certificate, key and password of a client's bundle."""
        folder = self.pkis[ca].host.store.parent / "bundles" / name
        return folder / "client.crt", folder / "client.key", self.pkis[ca].host.passwords[f"client/{name}"]


def configuration(pkis: dict[str, Pki], ports: dict[tuple[str, str], int], folder: Path) -> str:
    blocks = []
    for (ca, site), port in ports.items():
        pki = pkis[ca]
        pending = pki.host.store.parent / "gateway" / site.rpartition("/")[2] / "pending"
        blocks.append(f"""
          server {{
            listen {port} ssl;
            ssl_certificate {pki.host.store / pki.servers[site]};
            ssl_certificate_key {pending / "server.key"};
            ssl_password_file {folder / "password"};
            ssl_client_certificate {pki.trust / "client-ca.crt"};
            ssl_crl {pki.trust / "crl.pem"};
            ssl_verify_client on;
            ssl_verify_depth 2;
            location / {{ default_type text/plain; return 200 "$ssl_client_verify $ssl_client_serial"; }}
          }}""")
    return f"""
        worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{}}
        http {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; {"".join(blocks)} }}
        """


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("parity")
    pkis = {ca: Pki.made(folder / ca, ca) for ca in CA_KEY_TYPES}
    sites = [(ca, site) for ca, pki in pkis.items() for site in pki.servers]
    ports = {site: 9000 + number for number, site in enumerate(sites)}
    (folder / "password").write_text(SITE_PASSWORD)
    (folder / "nginx.conf").write_text(configuration(pkis, ports, folder))
    container = docker("run", "--detach", "--volume", f"{folder}:{folder}", "--entrypoint", "sleep", IMAGE, "600")
    try:
        docker("exec", container, "apt-get", "-qq", "update")
        docker("exec", "--env", "DEBIAN_FRONTEND=noninteractive", container,
               "apt-get", "-qq", "install", "--no-install-recommends", "nginx-light")  # fmt: skip
        docker("exec", container, "nginx", "-c", str(folder / "nginx.conf"))
        yield Served(docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", container), pkis, ports)
    finally:
        docker("rm", "--force", "--volumes", container)


def test_every_server_certificate_is_served(served: Served) -> None:
    assert {site.rpartition("/")[2] for ca, site in served.ports if ca == "ec-p256"} == {*keys.KEY_TYPES, "workload"}
    for ca, site in served.ports:
        assert served.answer(ca, site, *served.bundle(ca, "ec-p256")).startswith("SUCCESS "), (ca, site)


@pytest.mark.parametrize("name", [*keys.KEY_TYPES, "peer"])
def test_every_client_certificate_gets_in(served: Served, name: str) -> None:
    serial = f"{served.pkis['ec-p256'].host.leaf(f'client/{name}').serial_number:X}"
    found = served.answer("ec-p256", "gw1/ec-p256", *served.bundle("ec-p256", name)).split()
    assert (found[0], found[1].lstrip("0")) == ("SUCCESS", serial)


@pytest.mark.parametrize("name", [*keys.KEY_TYPES, "peer"])
def test_every_archive_gets_in(served: Served, name: str, tmp_path: Path) -> None:
    certificate, _, password = served.bundle("ec-p256", name)
    key, leaf, chain = pkcs12.load_key_and_certificates(
        (certificate.parent / "client.p12").read_bytes(), password.encode()
    )
    assert key is not None
    assert leaf is not None
    pem = Encoding.PEM
    (tmp_path / "key").write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, BestAvailableEncryption(b"another")))
    (tmp_path / "crt").write_bytes(b"".join(one.public_bytes(pem) for one in (leaf, *chain)))
    assert served.answer("ec-p256", "gw1/ec-p256", tmp_path / "crt", tmp_path / "key", "another").startswith("SUCCESS ")


def test_who_is_revoked_unknown_or_nobody_stays_out(served: Served) -> None:
    for identity in (served.bundle("ec-p256", "gone"), served.bundle("ec-p384", "ec-p256"), (None, None, "")):
        assert "SUCCESS" not in served.answer("ec-p256", "gw1/ec-p256", *identity)


@pytest.mark.parametrize("ca", CA_KEY_TYPES[1:])
def test_a_server_of_another_pki_is_refused_by_the_client(served: Served, ca: str) -> None:
    context = ssl.create_default_context(cafile=str(served.pkis[ca].host.store / "trust-anchor.crt"))
    port = served.ports["ec-p256", "gw1/ec-p256"]
    with (
        socket.create_connection((served.address, port), 10) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
        context.wrap_socket(plain, server_hostname="orders.example.com"),
    ):
        pass
