"""The module pki_probe as Ansible calls it: every identity meets what it expects, at a TLS server of each scope."""

from __future__ import annotations

import json
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, tls
from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.modules import pki_probe
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, server
from tests.unit.modules.pki_call import Call

PROBE_PASSWORD = "made for this run only"
SERVER = "server/gw1/orders"
TRUST = [
    {"scope": "issuing", "accept": ["issuing"]},
    {"scope": "partners", "accept": ["partners"]},
    {"scope": "issuing+partners", "accept": ["issuing", "partners"]},
]
EXPECTED = {
    "good": "accepted",
    "none": "refused",
    "stranger": "refused",
    "expired": "refused",
    "sibling": "refused",
    "server-cert": "refused",
}


@pytest.fixture
def host(tmp_path: Path) -> AuthorityHost:
    """A CA host of now, for OpenSSL's clock is the machine's: two issuing CAs, and a server's key made here."""
    host = AuthorityHost(tmp_path)
    host.now = datetime.now(UTC)
    partners = {"name": "partners", "purposes": ["client"], "key_type": "ec-p256", "days": 1095}
    host.run(
        issuing=[*host.arguments["issuing"], partners],
        certificates=[client("alice"), server(source="key")],
        trust=TRUST,
    )
    return host


@pytest.fixture
def arguments(host: AuthorityHost) -> dict[str, Any]:
    return {
        "store": str(host.store),
        "trust": TRUST,
        "passwords": json.dumps(dict(host.passwords)),
        "probe_password": PROBE_PASSWORD,
    }


class Gateway:
    """What a site of a scope does with a client: TLS by the trust unit's CAs, then the map of issuers."""

    def __init__(self, host: AuthorityHost, scope: str) -> None:
        unit = next(host.store.glob(f"trust/{scope}/*"))
        certificate = host.store / "certificates" / SERVER
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(unit / "client-ca.crt")
        self._context.load_cert_chain(
            certificate / "server.crt", certificate / "server.key", password=host.passwords[SERVER]
        )
        patterns = re.findall(r'^"~(.*)" "\d+";$', (unit / "issuers.map").read_text(), re.MULTILINE)
        self._issuers = [re.compile(pattern.replace(r"\\", "\\")) for pattern in patterns]
        self._anchor = (host.store / "trust-anchor.crt").read_text()

    def answer(self, identity: probe.Identity) -> str:
        """``accepted``, or what refused it."""
        target = probe.Target("", 443, "orders.example.com", self._anchor)
        shown = probe.context_for(target, identity, PROBE_PASSWORD)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        us = shown.wrap_bio(to_client, to_server, server_hostname=target.server_name)
        them = self._context.wrap_bio(to_server, to_client, server_side=True)
        for end in (us, them, us, them):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                assert end is them, f"our own refusal: {error}"
                return str(error)
        der = them.getpeercert(binary_form=True)
        assert der is not None
        issuer = names.dn(names.subject_of(x509.load_der_x509_certificate(der).issuer))
        return "accepted" if any(pattern.search(issuer) for pattern in self._issuers) else "issuer not in the map"


def identities_of(result: dict[str, Any], scope: str) -> list[probe.Identity]:
    """As mtls_probe takes them."""
    return probe.parse_identities(json.dumps(result["identities"][scope]))


@pytest.mark.parametrize("scope", [spec["scope"] for spec in TRUST])
def test_each_identity_meets_what_it_expects_and_for_its_own_reason(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any], scope: str
) -> None:
    result = pki_call(pki_probe, **arguments)
    identities = identities_of(result, scope)
    assert {identity.name: identity.expect for identity in identities} == EXPECTED
    gateway = Gateway(host, scope)
    answers = {identity.name: gateway.answer(identity) for identity in identities}
    assert answers.pop("good") == "accepted"
    assert answers.pop("sibling") == "issuer not in the map"
    for name, cause in {
        "none": "peer did not return a certificate",
        "stranger": "certificate verify failed",
        "expired": "certificate has expired",
        "server-cert": "unsuitable certificate purpose|unsupported certificate purpose",
    }.items():
        assert re.search(cause, answers.pop(name)), name
    assert answers == {}


def test_the_good_one_of_a_scope_is_good_for_that_scope_only(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    result = pki_call(pki_probe, **arguments)
    good = {scope: identities_of(result, scope)[0] for scope in ("issuing", "partners")}
    assert Gateway(host, "partners").answer(good["issuing"]) == "issuer not in the map"
    assert Gateway(host, "issuing").answer(good["partners"]) == "issuer not in the map"
    assert Gateway(host, "issuing+partners").answer(good["partners"]) == "accepted"


def test_keys_are_encrypted_under_the_password_of_the_run_and_lives_are_ten_minutes(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    result = pki_call(pki_probe, **arguments)
    assert result["trust_anchor"] == (host.store / "trust-anchor.crt").read_text()
    for scope in result["identities"]:
        for identity in identities_of(result, scope):
            if identity.name == "none":
                assert (identity.chain, identity.key) == ("", "")
                continue
            assert identity.key.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            with pytest.raises(ValueError, match=r"(?i)password|decrypt|deserialize"):
                load_pem_private_key(identity.key.encode(), b"another password")
            with pytest.raises(ssl.SSLError):
                tls.present_certificate(ssl.create_default_context(), identity.chain, identity.key, "another password")
            leaf = x509.load_pem_x509_certificates(identity.chain.encode())[0]
            assert (leaf.not_valid_after_utc - host.now).total_seconds() <= 600
    for secret in (PROBE_PASSWORD, *dict(host.passwords).values()):
        assert secret not in pki_call.printed
    assert "BEGIN PRIVATE KEY" not in pki_call.printed


def test_it_is_bookkeeping_no_change(host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]) -> None:
    assert pki_call(pki_probe, **arguments)["changed"] is False
    assert host.reasons() == {}


def test_check_mode_mints_nothing(host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]) -> None:
    ledger = (host.store / "ledger.sqlite").read_bytes()
    result = pki_call(pki_probe, check=True, **arguments)
    assert (result["changed"], result["identities"]) == (False, {})
    assert result["trust_anchor"] == (host.store / "trust-anchor.crt").read_text()
    assert (host.store / "ledger.sqlite").read_bytes() == ledger


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"trust": [{"scope": "nobody", "accept": ["nobody"]}]}, "trust scope 'nobody': found nobody"),
        ({"trust": []}, "trust: found no scope"),
        ({"probe_password": "short"}, "probe_password: found fewer than 16 characters"),
        ({"passwords": '{"ca/root": "root-secret"}'}, "password of ca/issuing: found none"),
        ({"passwords": "hunter2"}, "something else than a JSON object of texts"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_entered(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any], wrong: dict[str, Any], found: str
) -> None:
    ledger = (host.store / "ledger.sqlite").read_bytes()
    result = pki_call(pki_probe, **{**arguments, **wrong})
    assert result["failed"]
    assert found in result["msg"]
    assert "Next: " in result["msg"]
    assert "hunter2" not in result["msg"]
    assert (host.store / "ledger.sqlite").read_bytes() == ledger
