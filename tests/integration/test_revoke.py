"""revoke.yml on two gateways, one of which can't be reached at first: out everywhere in the end, told until then."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from tests.integration.gateway import Gateway, with_packages
from tests.integration.runs import Run, playbook

VAULT_PASSWORD = "a password of the operators"
NAME, PORT = "orders.example.test", 8443
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Client:
    """A client with its bundle, which keeps its TLS sessions as a program does."""

    def __init__(self, name: str, folder: Path, password: str) -> None:
        self._bundle, self._password = folder / "bundles" / name, password
        self._sessions: dict[tuple[str, ssl.TLSVersion], tuple[ssl.SSLContext, ssl.SSLSession | None]] = {}

    def context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """As this client connects."""
        context = tls.verified((self._bundle / "trust-anchor.crt").read_text())
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self._bundle / "client.crt", self._bundle / "client.key", self._password)
        return context

    def new(self, gateway: Gateway) -> set[int]:
        """The status on new connections; their sessions are kept."""
        answers = set()
        for version in VERSIONS:
            context = self.context(version)
            answer = tls.ask(gateway.address, PORT, NAME, context, tls.Deadline(10))
            self._sessions[gateway.address, version] = (context, answer.session)
            answers.add(answer.status)
        return answers

    def resumed(self, gateway: Gateway) -> set[int]:
        """The status on connections that offer the sessions kept."""
        return {
            tls.ask(gateway.address, PORT, NAME, context, tls.Deadline(10), resume=session).status
            for (address, _), (context, session) in self._sessions.items()
            if address == gateway.address
        }

    def open(self, gateway: Gateway) -> ssl.SSLSocket:
        """A connection that is kept open."""
        raw = socket.create_connection((gateway.address, PORT), timeout=10)
        return self.context(ssl.TLSVersion.TLSv1_3).wrap_socket(raw, server_hostname=NAME)


def asked(connection: ssl.SSLSocket) -> bytes:
    """The status line of a request on an open connection; empty when it was closed."""
    try:
        connection.sendall(f"GET {tls.PROBE_PATH} HTTP/1.1\r\nHost: {NAME}:{PORT}\r\n\r\n".encode())
        return connection.recv(16384).split(b"\r\n")[0]
    except OSError:
        return b""


@dataclass(frozen=True)
class Fleet:
    """Two gateways behind one CA, with Alice and Bob as clients."""

    one: Gateway
    two: Gateway
    folder: Path
    inventory: Path

    def run(self, name: str, *arguments: str) -> Run:
        return playbook(name, self.inventory, self.folder, *arguments)

    def client(self, name: str) -> Client:
        passwords = self.one.key_passwords(self.inventory, VAULT_PASSWORD)
        return Client(name, self.folder, passwords[f"client/{name}"])

    def forget_password(self, path: str) -> None:
        """As somebody who replaces it: the next run generates another."""
        passwords = self.one.key_passwords(self.inventory, VAULT_PASSWORD)
        del passwords[path]
        vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
        (self.inventory / "key_passwords.vault.txt").write_bytes(vault.encrypt(yaml.safe_dump(passwords)))

    def attention(self) -> list[str]:
        file = self.folder / "status.json"
        run = self.run("status", "-e", f"status_json={file}")
        assert run.code == 0, run.text[-3000:]
        return [entry["text"] for entry in json.loads(file.read_text())["attention"]]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("revoke")
    first, second = tmp_path_factory.mktemp("gw1"), tmp_path_factory.mktemp("gw2")
    image = with_packages()
    with Gateway.started(first, image) as one, Gateway.started(second, image) as two:
        inventory = one.write_inventory(folder, VAULT_PASSWORD)
        hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
        hosts["all"]["vars"]["pki_clients"] = [{"name": "alice"}, {"name": "bob"}]
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        two.join(inventory, "gw2")
        fleet = Fleet(one, two, folder, inventory)
        for name in ("site", "clients"):
            run = fleet.run(name)
            assert run.code == 0, run.text[-3000:]
        yield fleet


def test_revoked_is_out_everywhere_in_the_end_and_incomplete_is_told_until_then(fleet: Fleet) -> None:
    alice, bob = fleet.client("alice"), fleet.client("bob")
    for gateway in (fleet.one, fleet.two):
        assert alice.new(gateway) == bob.new(gateway) == {200}
    kept = alice.open(fleet.one)
    assert asked(kept) == b"HTTP/1.1 200 OK"

    foreseen = fleet.run("revoke", "--check", "-e", "revoke=client/alice")
    assert foreseen.code == 0, foreseen.text[-3000:]
    assert "client/alice: revoke: unspecified" in foreseen.text
    assert "gw1/orders would refuse it" in foreseen.text
    assert "gw2/orders would refuse it" in foreseen.text
    assert alice.new(fleet.one) == {200}

    # Only the operator's way to it is gone: the gateway itself serves on, and Alice gets in there.
    fleet.two.run(["systemctl", "stop", "ssh.socket", "ssh.service"], check=False)
    fleet.two.run(["systemctl", "kill", "--signal=KILL", "ssh.service"], check=False)
    first = fleet.run("revoke", "-e", "revoke=client/alice", "-e", "revoke_reason=keyCompromise")
    assert first.code != 0
    assert "revocation incomplete: found gw2 (not reached)" in first.text, first.text[-3000:]
    assert "gw1/orders: client/alice" in first.text
    assert "shown to the site: TLS 1.2 refused (403: client certificate revoked); TLS 1.2 resumed refused" in first.text
    assert asked(kept) in (b"", b"HTTP/1.1 403 Forbidden")
    assert alice.resumed(fleet.one) == {403}
    assert alice.new(fleet.one) == {403}
    assert bob.new(fleet.one) == {200}
    assert alice.new(fleet.two) == {200}
    told = [text for text in fleet.attention() if text.startswith("revocation of client/alice: gw2/orders not reached")]
    assert len(told) == 1

    fleet.two.run(["systemctl", "start", "ssh.service"])
    second = fleet.run("revoke", "-e", "revoke=client/alice", "-e", "revoke_reason=keyCompromise")
    assert second.code == 0, second.text[-3000:]
    assert "gw2/orders: client/alice" in second.text
    assert "client/alice is still listed in pki_clients" in second.text
    assert alice.resumed(fleet.two) == alice.new(fleet.two) == {403}
    assert bob.new(fleet.two) == {200}
    assert not [text for text in fleet.attention() if text.startswith("revocation of")]

    third = fleet.run("revoke", "-e", "revoke=client/alice", "-e", "revoke_reason=keyCompromise")
    assert third.code == 0, third.text[-3000:]
    assert third.changed == 0, third.text[-3000:]


def test_without_its_key_the_map_is_the_proof(fleet: Fleet) -> None:
    serial = json.loads((fleet.folder / "bundles" / "bob" / "bundle.json").read_text())["serial"]
    bob = fleet.client("bob")
    fleet.forget_password("client/bob")
    certificate = fleet.folder / "bundles" / "bob" / "client.crt"
    run = fleet.run("revoke", "-e", f"revoke={certificate}")
    assert run.code == 0, run.text[-3000:]
    assert f"client/bob (serial {serial}) refused, in the revocation map that the site serves" in run.text
    assert "not shown, for the vault's password doesn't open its key" in run.text
    assert bob.new(fleet.one) == bob.new(fleet.two) == {403}


def test_where_crls_refuse_they_are_the_proof_for_a_key_made_elsewhere(fleet: Fleet) -> None:
    requests = fleet.folder / "requests"
    requests.mkdir(mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "carl")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    (requests / "carl.csr").write_bytes(request.public_bytes(Encoding.PEM))
    path = fleet.inventory / "hosts.yml"
    hosts = yaml.safe_load(path.read_text())
    hosts["all"]["vars"] |= {
        "pki_clients": [{"name": "carl", "source": "csr"}],
        "pki_csr_folder": str(requests),
        "nginx_mtls_revocation": "crl",
        "nginx_mtls_crl_renewed": True,
    }
    path.write_text(yaml.safe_dump(hosts))
    for name in ("site", "clients"):
        run = fleet.run(name)
        assert run.code == 0, run.text[-3000:]
    bundle = fleet.folder / "bundles" / "carl"
    (bundle / "client.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    carl = Client("carl", fleet.folder, "")
    assert carl.new(fleet.one) == carl.new(fleet.two) == {200}
    revoked = fleet.run("revoke", "-e", "revoke=client/carl")
    assert revoked.code == 0, revoked.text[-3000:]
    for gateway in ("gw1", "gw2"):
        assert f"{gateway}/orders: client/carl" in revoked.text
    assert "refused, in the CRL that the site serves" in revoked.text
    assert carl.resumed(fleet.one) == carl.new(fleet.one) == carl.new(fleet.two) == {403}


@pytest.mark.parametrize(
    ("asked_for", "found"),
    [
        ("client/nobody", "found the name 'client/nobody'"),
        ("alice", "write client/alice"),
        ("server/gw1/orders", "by its serial"),
        ("ABCDEF", "the serial ABCDEF, which this ledger does not know"),
    ],
)
def test_what_cannot_be_revoked_is_told_and_nothing_changes(fleet: Fleet, asked_for: str, found: str) -> None:
    run = fleet.run("revoke", "-e", f"revoke={asked_for}")
    assert run.code != 0
    assert found in run.text, run.text[-3000:]
    assert run.changed == 0
