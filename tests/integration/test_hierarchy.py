"""An adopted CA, a CA bound to its names and a root that is away, before a real Nginx: who gets in, and who doesn't."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.gateway import Gateway, with_packages
from tests.integration.runs import Run, playbook
from tests.unit.module_utils._pki.blog import PASSWORD, BlogCa

VAULT_PASSWORD = "a password of the operators"
PARTNERS = {
    "name": "partners",
    "purposes": ["client"],
    "name_constraints": {"permitted": {"dns": ["partners.example.test"]}},
}


class Fleet:
    """This machine as the CA host, a gateway, and the files of a CA that was there before."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self.inventory = gateway.write_inventory(folder, VAULT_PASSWORD)
        self.blog = BlogCa(folder / "blog").make()
        self.blog.sign("alice")
        self.stick = folder / "stick"
        self.stick.mkdir()
        secret = folder / "adopt.yml"
        secret.touch(mode=0o600)
        secret.write_text(f"pki_adopt_password: {PASSWORD}\n")
        self.wish(
            pki_root={"key_type": "ec-p256", "days": 3650, "offline": True},
            pki_issuing=[{"name": "issuing"}, PARTNERS],
            pki_adopt={key: value for key, value in self.blog.wish().items() if value},
            pki_clients=[{"name": "alice"}, {"name": "bob"}, {"name": "carol", "issuer": "partners"}],
        )

    def wish(self, **variables: Any) -> None:
        """Set variables of the inventory."""
        hosts = self.inventory / "hosts.yml"
        content = yaml.safe_load(hosts.read_text())
        content["all"]["vars"].update(variables)
        hosts.write_text(yaml.safe_dump(content))

    def run(self, name: str, *arguments: str) -> Run:
        done = playbook(name, self.inventory, self.folder, *arguments)
        assert done.code == 0, done.output.decode()[-4000:]
        return done

    def password(self, path: str) -> str:
        return self.gateway.key_passwords(self.inventory, VAULT_PASSWORD)[path]

    def by_hand(self, name: str, san: str) -> tuple[Path, Path]:
        """A client that whoever has the key of ``partners`` makes with openssl, past the kit."""
        ca = self.folder / "store/authorities/partners-g1"
        (self.blog.folder / "ext").write_text(f"subjectAltName={san}\nextendedKeyUsage=clientAuth\n")
        certificate, key = self.blog.folder / f"{name}.crt", self.blog.folder / f"{name}.key"
        self.blog.openssl(
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-subj", f"/CN={name}", "-out", "h.csr"
        )
        self.blog.openssl(
            "x509", "-req", "-in", "h.csr", "-CA", str(ca / "ca.crt"), "-CAkey", str(ca / "ca.key"), "-passin",
            f"pass:{self.password('ca/partners')}", "-CAcreateserial", "-days", "30", "-extfile", "ext",
            "-out", str(certificate),
        )  # fmt: skip
        certificate.write_text(certificate.read_text() + (ca / "ca.crt").read_text())
        return certificate, key

    def of_the_kit(self, name: str) -> tuple[Path, Path]:
        folder = self.folder / "store/certificates/client" / name
        return folder / "client.crt", folder / "client.key"

    def of_before(self, name: str) -> tuple[Path, Path]:
        return self.blog.clients / f"{name}.crt", self.blog.folder / f"{name}.key"

    def status(self, files: tuple[Path, Path] | None, password: str = "") -> int:
        """What Nginx answers to this client, which knows the server by the old CA alone."""
        context = ssl.create_default_context(cafile=str(self.blog.folder / "ca.crt"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if files is not None:
            context.load_cert_chain(*files, password)
        with (
            socket.create_connection((self.gateway.address, 8443), 10) as plain,
            context.wrap_socket(plain, server_hostname="orders.example.test") as secure,
        ):
            secure.sendall(
                b"GET /.well-known/mtls-kit/probe HTTP/1.1\r\nHost: orders.example.test\r\nConnection: close\r\n\r\n"
            )
            return int(secure.recv(4096).split()[1])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Gateway.started(tmp_path_factory.mktemp("gateway"), with_packages()) as gateway:
        found = Fleet(gateway, tmp_path_factory.mktemp("hierarchy"))
        done = found.run("site", "-e", f"pki_root_keys={found.stick}", "-e", f"@{found.folder}/adopt.yml")
        assert "it has no key usage" in done.text
        assert PASSWORD not in done.text
        yield found


def test_clients_of_before_and_of_the_kit_get_in_and_others_do_not(fleet: Fleet) -> None:
    assert fleet.status(fleet.of_before("alice")) == 200
    for name in ("bob", "carol"):
        assert fleet.status(fleet.of_the_kit(name), fleet.password(f"client/{name}")) == 200
    assert fleet.status(None) == 400
    stranger = BlogCa(fleet.folder / "stranger").make()
    assert fleet.status((stranger.sign("alice"), stranger.folder / "alice.key")) == 400


def test_what_breaks_the_name_constraints_is_refused_by_nginx_whoever_signed_it(fleet: Fleet) -> None:
    assert fleet.status(fleet.by_hand("within", "DNS:a.partners.example.test")) == 200
    assert fleet.status(fleet.by_hand("outside", "DNS:a.example.test")) == 400


def test_without_the_roots_key_runs_go_on_and_are_proven(fleet: Fleet) -> None:
    assert [path.name for path in fleet.stick.iterdir()] == ["test-root-g1.key"]
    assert not (fleet.folder / "store/authorities/root-g1/ca.key").exists()
    fleet.wish(pki_adopt={})
    done = fleet.run("site")
    assert done.changed == 0, done.text[-4000:]
    assert "bring its key by" in done.text
    fleet.run("verify")
    report = fleet.folder / "status.json"
    assert "bring its key by" in fleet.run("status", "-e", f"status_json={report}").text
    (need, _) = sorted(json.loads(report.read_text())["root_keys_needed"], key=lambda entry: entry["by"])
    assert 300 < need["days_left"] < 340


def test_a_client_of_before_is_revoked_by_name_and_one_past_the_ledger_by_its_file(fleet: Fleet) -> None:
    stolen, key = fleet.by_hand("stolen", "DNS:b.partners.example.test")
    assert fleet.status((stolen, key)) == 200
    leaf = x509.load_pem_x509_certificates(stolen.read_bytes())[0].public_bytes(Encoding.PEM).decode()
    fleet.wish(pki_revoke=[{"name": "client/alice", "reason": "keyCompromise"}, {"certificate": leaf}])
    fleet.run("site")
    assert fleet.status(fleet.of_before("alice")) == fleet.status((stolen, key)) == 403
    assert fleet.status(fleet.of_the_kit("bob"), fleet.password("client/bob")) == 200
