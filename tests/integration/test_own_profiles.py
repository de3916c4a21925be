"""Profiles of one's own and a request that somebody brought, on the wire: site.yml, then a real Nginx decides."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from tests.integration.gateway import Gateway, with_packages
from tests.integration.runs import playbook

SITE = "orders.example.test"
PROFILES = [
    {"name": "mail", "extended_key_usage": ["clientAuth", "emailProtection"], "san": {"required": ["email"]}},
    {
        "name": "workload",
        "extended_key_usage": ["serverAuth", "clientAuth"],
        "san": {"allowed": ["uri"], "spiffe_trust_domain": "example.test"},
    },
    {"name": "code", "extended_key_usage": ["codeSigning"]},
    {
        "name": "edge",
        "extended_key_usage": ["serverAuth", "1.3.6.1.4.1.99999.1"],
        "subject": {"defaults": {"organizational_unit": "Edge"}},
        "days": 20,
        "renew_days": 5,
    },
    {
        "name": "partners",
        "extended_key_usage": ["clientAuth"],
        "csr": {"honour": ["san"], "permitted": {"dns": ["partner.example.com"]}},
    },
]
CLIENTS = [
    {"name": "alice"},
    {"name": "ada", "profile": "mail", "san": {"email": ["ada@example.test"]}},
    {"name": "batch", "profile": "workload", "san": {"uri": ["spiffe://example.test/batch"]}, "key_type": "rsa-2048"},
    {"name": "builder", "profile": "code", "key_type": "ed25519"},
    {"name": "partner", "source": "csr", "profile": "partners"},
    {"name": "late", "source": "csr"},
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway.started(tmp_path_factory.mktemp("gateway"), with_packages()) as started:
        yield started


def partners_request(folder: Path) -> None:
    """The partner's key and request, and a copy of it in another's name."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    encryption = serialization.BestAvailableEncryption(b"the partner's own")
    (folder.parent / "partner.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anybody")])
    sans = x509.SubjectAlternativeName([x509.DNSName("batch.partner.example.com")])
    wish = x509.CertificateSigningRequestBuilder(subject).add_extension(sans, critical=False)
    request = wish.sign(key, hashes.SHA256()).public_bytes(pem)
    folder.mkdir(mode=0o750)
    (folder / "partner.csr").write_bytes(request)
    (folder / "alice.csr").write_bytes(request)


def answer(gateway: Gateway, anchor: Path, certificate: Path, key: Path, password: str) -> dict[str, str]:
    """What the probe location of the site answers to a client."""
    context = ssl.create_default_context(cafile=str(anchor))
    context.load_cert_chain(certificate, key, password)
    with (
        socket.create_connection((gateway.address, 8443), 10) as plain,
        context.wrap_socket(plain, server_hostname=SITE) as secure,
    ):
        secure.sendall(f"GET /.well-known/mtls-kit/probe HTTP/1.0\r\nHost: {SITE}\r\n\r\n".encode())
        content = b""
        while part := secure.recv(4096):
            content += part
    found: dict[str, str] = json.loads(content.partition(b"\r\n\r\n")[2])
    return found


def served_certificate(gateway: Gateway, anchor: Path) -> x509.Certificate:
    """What the site shows to whoever calls."""
    context = ssl.create_default_context(cafile=str(anchor))
    with (
        socket.create_connection((gateway.address, 8443), 10) as plain,
        context.wrap_socket(plain, server_hostname=SITE) as secure,
    ):
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")


def test_who_gets_in(gateway: Gateway, tmp_path: Path) -> None:
    vault_password = base64.b64encode(os.urandom(24)).decode()
    inventory = gateway.write_inventory(tmp_path, vault_password)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    requests = tmp_path / "requests"
    hosts["all"]["vars"] |= {"pki_profiles": PROFILES, "pki_clients": CLIENTS, "pki_csr_folder": str(requests)}
    site = hosts["all"]["children"]["gateways"]["hosts"]["gw1"]["nginx_mtls_sites"][0]
    site |= {"key_type": "ed25519", "profile": "edge"}
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    partners_request(requests)

    for name in ("site", "clients"):
        run = playbook(name, inventory, tmp_path)
        assert run.code == 0, run.output.decode()[-4000:]
        if name == "site":
            # What nobody signs, and what browsers refuse, is on the screen.
            assert "request alice.csr: found a client whose key the CA makes" in run.text
            assert "client/late: no request to sign" in run.text
            assert "server/gw1/orders: browsers refuse Ed25519 server keys" in run.text
    assert playbook("clients", inventory, tmp_path).changed == 0

    bundles = tmp_path / "bundles"
    handed = {path.name for path in (bundles / "partner").iterdir()}
    assert handed >= {"client.crt", "trust-anchor.crt", "README.md", "bundle.json"}
    assert not handed & {"client.key", "client.p12"}
    assert not (bundles / "late").exists()
    passwords = gateway.key_passwords(inventory, vault_password)
    assert not {"client/partner", "client/late"} & set(passwords)

    anchor = bundles / "alice/trust-anchor.crt"
    for name in ("alice", "ada", "batch"):
        folder = bundles / name
        found = answer(gateway, anchor, folder / "client.crt", folder / "client.key", passwords[f"client/{name}"])
        assert (found["verify"], found["name"]) == ("SUCCESS", name)
    found = answer(gateway, anchor, bundles / "partner/client.crt", tmp_path / "partner.key", "the partner's own")
    assert (found["verify"], found["name"]) == ("SUCCESS", "partner")
    partner = x509.load_pem_x509_certificates((bundles / "partner/client.crt").read_bytes())[0]
    named = partner.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert named.get_values_for_type(x509.DNSName) == ["batch.partner.example.com"]
    builder = bundles / "builder"
    found = answer(gateway, anchor, builder / "client.crt", builder / "client.key", passwords["client/builder"])
    assert "verify" not in found
    assert "error" in found

    # The handshakes above were with the site's own profile.
    served = served_certificate(gateway, anchor)
    usages = served.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage.dotted_string for usage in usages] == ["1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.99999.1"]
    (unit,) = served.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    assert unit.value == "Edge"
    assert 19 <= (clock.not_after(served) - datetime.now(UTC)).days <= 20
