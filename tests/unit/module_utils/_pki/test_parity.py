"""Every artefact read by others: OpenSSL, strictly and with every CRL, and pkilint, by all of RFC 5280."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, pkix
from pkilint.pkix import certificate, crl, extension, name
from pkilint.validation import ValidationFindingSeverity

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client, csr, server
from tests.unit.module_utils._pki.blog import PASSWORD, BlogCa
from tests.unit.module_utils._pki.rotating_fleet import SITE, Fleet

EXPLAINED = {
    # RFC 5280 section 4.2.1.6 wants a URI of RFC 3986 that is not relative: a scheme and what belongs to it. A URN is
    # one (RFC 8141). pkilint looks for a host in it, which only a URI with an authority has.
    "pkix.invalid_uri_syntax",
}
"""Findings that are not ours, by code."""

PROFILES = [
    {"name": "mail", "extended_key_usage": ["clientAuth", "emailProtection"], "san": {"required": ["email"]}},
    {
        "name": "workload",
        "extended_key_usage": ["serverAuth", "clientAuth"],
        "san": {"spiffe_trust_domain": "example.org"},
    },
    {
        "name": "odd",
        "extended_key_usage": ["clientAuth", "1.3.6.1.4.1.99999.1"],
        "key_usage": ["digitalSignature", "keyAgreement"],
    },
]
LEAVES: list[dict[str, Any]] = [
    *(client(key_type, key_type=key_type) for key_type in keys.KEY_TYPES),
    client("peer", profile="both", san={"dns": ["peer.example.com"], "ip": ["192.0.2.1", "2001:db8::1"]}),
    client("ada", profile="mail", san={"email": ["ada@example.org"]}, subject={"common_name": "Ada, Zürich"}),
    client("orders", profile="workload", san={"uri": ["spiffe://example.org/orders"]}, key_type="rsa-2048"),
    client("odd", profile="odd"),
    server(),
]


def certificate_linter() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def crl_linter() -> Any:
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


def findings(linter: Any, document: Any) -> set[str]:
    """Codes of what is found, notices included."""
    return {
        description.finding.code
        for result in linter.validate(document.root)
        for description in result.finding_descriptions
        if description.finding.severity <= ValidationFindingSeverity.NOTICE
    }


def made(host: AuthorityHost, ca: str, leaves: list[dict[str, Any]]) -> AuthorityHost:
    """A store with CAs of this key type and one revocation in its CRL."""
    host.arguments["root"]["key_type"] = host.arguments["issuing"][0]["key_type"] = ca
    site = keys.generate("ec-p256")
    host.run({"server/gw1/orders": csr(site)}, profiles=PROFILES, certificates=[*leaves, client("gone")])
    host.after(minutes=1).run(revoke=[{"name": "client/gone", "reason": "keyCompromise"}])
    return host


def test_the_linter_sees_what_is_wrong() -> None:
    key = keys.generate("ec-p256")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1)
    builder = builder.not_valid_before(NOON).not_valid_after(NOON + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=False)
    bad = builder.sign(key, hashes.SHA256())
    document = loader.load_pem_certificate(bad.public_bytes(Encoding.PEM).decode(), "bad")
    assert findings(certificate_linter(), document) - EXPLAINED


def all_findings(host: AuthorityHost, adopted: str = "") -> dict[str, set[str]]:
    """Where in a store what is found, certificates and CRLs, by code; ``adopted`` is a certificate of others."""
    found: dict[str, set[str]] = {}
    linter, lists = certificate_linter(), crl_linter()
    for path in sorted(host.store.rglob("*.crt")):
        for number, part in enumerate(path.read_text().split("-----END CERTIFICATE-----")[:-1]):
            pem = f"{part.strip()}\n-----END CERTIFICATE-----\n"
            if pem == adopted:
                continue
            document = loader.load_pem_certificate(pem, str(path))
            for code in findings(linter, document) - EXPLAINED:
                found.setdefault(code, set()).add(f"{path.relative_to(host.store)} #{number}")
    for path in sorted(host.store.glob("authorities/*/crl.pem")):
        document = loader.load_pem_crl(path.read_text(), str(path))
        for code in findings(lists, document) - EXPLAINED:
            found.setdefault(code, set()).add(str(path.relative_to(host.store)))
    return found


@pytest.mark.parametrize(
    ("ca", "leaves"),
    [("ec-p256", LEAVES), *((ca, [LEAVES[0], server()]) for ca in ("ec-p384", "rsa-2048", "ed25519"))],
    ids=["ec-p256", "ec-p384", "rsa-2048", "ed25519"],
)
def test_openssl_and_pkilint_find_nothing(host: AuthorityHost, ca: str, leaves: list[dict[str, Any]]) -> None:
    made(host, ca, leaves)
    for leaf in leaves:
        purpose = "sslserver" if leaf["name"].startswith("server/") else "sslclient"
        assert host.verify(leaf["name"], purpose) == "OK", leaf["name"]
    assert "certificate revoked" in host.verify("client/gone", "sslclient")
    assert all_findings(host) == {}


def test_a_root_that_is_rotated_offline_and_cross_signed_is_sound(host: AuthorityHost, tmp_path: Path) -> None:
    medium = tmp_path / "stick"
    medium.mkdir()
    host.arguments["root"]["offline"] = True
    host.arguments["root_keys"] = str(medium)
    fleet = Fleet(host)
    for _ in range(2):
        fleet.rotate(kind="root", cross_sign=True, confirmed=True, clients="now")
    assert (host.store / f"certificates/{SITE}/server.crt").read_text().count("BEGIN") == 3
    assert len(list(host.store.glob("authorities/root-g*/crl.pem"))) == 2
    assert all_findings(host) == {}


def test_all_that_an_adopted_ca_signs_is_sound_as_far_as_the_ca_is(host: AuthorityHost, tmp_path: Path) -> None:
    """With a CA that keeps to RFC 5280, nothing at all; a tutorial's own certificate is nobody's to change."""
    blog = BlogCa(tmp_path / "blog").make("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    host.now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    host.adopt_password = PASSWORD
    site = {"server/gw1/orders": csr(keys.generate("ec-p256"))}
    host.run(site, adopt=blog.wish(clients=False), certificates=[LEAVES[0], client("gone"), server()])
    host.after(minutes=1).run(revoke=[{"name": "client/gone"}])
    assert host.verify(LEAVES[0]["name"], "sslclient") == "OK"
    assert host.verify("server/gw1/orders", "sslserver") == "OK"
    assert "certificate revoked" in host.verify("client/gone", "sslclient")
    assert all_findings(host, (blog.folder / "ca.crt").read_text()) == {}
