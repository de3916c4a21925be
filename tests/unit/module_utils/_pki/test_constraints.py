"""What an issuing CA may sign for: refused before it is signed, by everything that verifiers refuse it for."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, constraints, keys, names, probe, profiles
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import TrustSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import opened
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client, csr, server

ROOT_KEY, ISSUING_KEY, KEY = keys.generate("ec-p256"), keys.generate("ec-p256"), keys.generate("ec-p256")
ROOT = authority.create_root((("CN", "Root"),), ROOT_KEY, NOON, NOON + timedelta(days=9))
EXAMPLE = {"permitted": {"dns": ["example.com"]}}


def issuing(**more: Any) -> dict[str, Any]:
    return {"name": "issuing", "purposes": ["server", "client"], "key_type": "ec-p256", "days": 1095, **more}


def openssl_accepts(folder: Path, given: dict[str, Any], subject: names.Subject, sans: tuple[names.San, ...]) -> bool:
    """Whether OpenSSL accepts such a client under a CA with these constraints, however it came to be signed."""
    allowed = constraints.read(given, "test")
    root = authority.Signer.of(ROOT, ROOT_KEY, "root")
    limits = profiles.authority_limits(["client"], allowed)
    end = NOON + timedelta(days=9)
    ca = authority.create_issuing((("CN", "Issuing"),), ISSUING_KEY.public_key(), root, NOON, end, limits)
    signer = authority.Signer.of(ca, ISSUING_KEY, "issuing")
    extensions = profiles.leaf_extensions(profiles.PROFILES["client"], KEY.public_key(), sans, signer.key_identifier)
    life = (NOON - timedelta(days=1), end)
    leaf = authority._signed(names.x509_name(subject), ca.subject, KEY.public_key(), life, extensions, ISSUING_KEY)
    for name, certificate in (("root", ROOT), ("ca", ca), ("leaf", leaf)):
        (folder / name).write_bytes(certificate.public_bytes(Encoding.PEM))
    moment = str(int((NOON + timedelta(hours=1)).timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", moment]
    command += ["-CAfile", str(folder / "root"), "-untrusted", str(folder / "ca"), str(folder / "leaf")]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def permitted(**kinds: Any) -> dict[str, Any]:
    return {"permitted": kinds}


def excluded(**kinds: Any) -> dict[str, Any]:
    return {"excluded": kinds}


URN = {"uri": ["urn:mtls:demo:alice"]}
WITHIN = [
    (permitted(dns=["example.com"]), URN, "alice"),
    (permitted(dns=["example.com"]), {"dns": ["example.com", "a.b.example.com", "*.example.com"]}, "other.test"),
    (permitted(dns=["example.com"]), URN, "Nightly batch, x.y"),
    (permitted(ip=["10.0.0.0/8", "2001:db8::/32"]), {"ip": ["10.1.2.3", "2001:db8::7"]}, "alice"),
    (permitted(uri=["example.com"]), {"uri": ["https://Example.com/alice", "https://example.com:8443/x"]}, "alice"),
    (permitted(uri=[".example.com"]), {"uri": ["spiffe://a.example.com/alice"]}, "alice"),
    (permitted(email=["example.com", "b@other.test"]), {"email": ["a@example.com", "b@other.test"]}, "alice"),
    (permitted(email=[".example.com"]), {"email": ["a@mail.example.com"]}, "alice"),
    (permitted(subject=[{"organization": "Example Ltd"}]), URN, "alice"),
    (permitted(subject=[{"organization": "EXAMPLE  ltd"}]), URN, "alice"),
    (excluded(dns=["other.test"], uri=["other.test"]), {"uri": ["spiffe://example.com/alice"]}, "alice"),
    (excluded(ip=["0.0.0.0/0"]), {"ip": ["::1"]}, "alice"),
]
OUTSIDE = [
    (permitted(dns=["example.com"]), {"dns": ["badexample.com"]}, "alice"),
    (permitted(dns=["example.com"]), {"dns": ["a.example.com", "example.org"]}, "alice"),
    (permitted(dns=["a.example.com"]), {"dns": ["*.example.com"]}, "alice"),
    (permitted(dns=["example.com"]), URN, "batch.7"),
    (permitted(dns=["example.com"]), {"email": ["a@example.com"]}, "other.test"),
    (excluded(dns=["other.test"]), URN, "a.OTHER.test"),
    (permitted(ip=["10.0.0.0/8"]), {"ip": ["11.0.0.1"]}, "alice"),
    (permitted(ip=["10.0.0.0/8"]), {"ip": ["::1"]}, "alice"),
    (permitted(uri=["example.com"]), URN, "alice"),
    (excluded(uri=["example.com"]), URN, "alice"),
    (permitted(uri=["example.com"]), {"uri": ["spiffe://a.example.com/x"]}, "alice"),
    (permitted(uri=[".example.com"]), {"uri": ["spiffe://example.com/x"]}, "alice"),
    (permitted(uri=["example.com"]), {"uri": ["https://u@example.com/x"]}, "alice"),
    (permitted(uri=["example.com"]), {"uri": ["https://example.com?x"]}, "alice"),
    (permitted(email=["example.com"]), {"email": ["a@mail.example.com"]}, "alice"),
    (permitted(email=["a@example.com"]), {"email": ["b@example.com"]}, "alice"),
    (permitted(subject=[{"organization": "Another Ltd"}]), URN, "alice"),
    (permitted(subject=[{"country": "DE", "organization": "Example Ltd"}]), URN, "alice"),
]
# OpenSSL 3.0 lets these in, others do not, or what they stand for is excluded.
REFUSED_HERE_ONLY = [
    (excluded(dns=["a.example.com"]), {"dns": ["*.example.com"]}, "alice"),
    (excluded(uri=["other.test"]), {"uri": ["https://10.0.0.1/x"]}, "alice"),
    (excluded(uri=["other.test"]), {"uri": ["https://[::1]/x"]}, "alice"),
]


def broken(given: dict[str, Any], san: dict[str, Any], common_name: str) -> str | None:
    allowed = constraints.read(given, "test")
    assert allowed is not None
    return allowed.broken_by((("O", "Example Ltd"), ("CN", common_name)), names.sans_from(san, "test"))


@pytest.mark.parametrize(("given", "san", "common_name"), WITHIN)
def test_what_is_within_is_accepted_by_openssl_too(
    tmp_path: Path, given: dict[str, Any], san: dict[str, Any], common_name: str
) -> None:
    assert broken(given, san, common_name) is None
    subject = (("O", "Example Ltd"), ("CN", common_name))
    assert openssl_accepts(tmp_path, given, subject, names.sans_from(san, "test"))


@pytest.mark.parametrize(("given", "san", "common_name"), OUTSIDE)
def test_what_openssl_refuses_is_refused_before(
    tmp_path: Path, given: dict[str, Any], san: dict[str, Any], common_name: str
) -> None:
    assert broken(given, san, common_name)
    subject = (("O", "Example Ltd"), ("CN", common_name))
    assert not openssl_accepts(tmp_path, given, subject, names.sans_from(san, "test"))


@pytest.mark.parametrize(("given", "san", "common_name"), REFUSED_HERE_ONLY)
def test_where_readers_differ_it_is_refused(given: dict[str, Any], san: dict[str, Any], common_name: str) -> None:
    assert broken(given, san, common_name)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (permitted(dns=[".example.com"]), "without a leading dot"),
        (permitted(dns=["*.example.com"]), "without '\\*'"),
        (permitted(dns=["-"]), "a DNS name"),
        (permitted(ip=["10.0.0.1/8"]), "host bits"),
        (permitted(ip=["example.com"]), "a network"),
        (permitted(email=["@"]), "an e-mail address"),
        (permitted(subject=[{"common_name": "x"}]), "without common_name"),
        (permitted(subject=[{}]), "no field"),
        (permitted(host=["x"]), "'host'"),
    ],
)
def test_bad_constraints_are_named(given: dict[str, Any], found: str) -> None:
    with pytest.raises(KitError, match=found):
        constraints.read(given, "issuing CA 'x'")


@pytest.mark.parametrize("given", [None, {}, {"permitted": None}, {"permitted": {"dns": []}, "excluded": {}}])
def test_no_name_is_no_constraint(given: dict[str, Any] | None) -> None:
    assert constraints.read(given, "test") is None


def test_they_are_critical_in_the_certificate_and_read_back_the_same(host: AuthorityHost) -> None:
    every = {
        "permitted": {
            "dns": ["example.com"], "ip": ["10.0.0.0/8", "::/0"], "uri": [".example.com"], "email": ["a@example.com"],
            "subject": [{"organization": "Example Ltd"}],
        },
        "excluded": {"dns": ["no.example.com"]},
    }  # fmt: skip
    host.run(issuing=[issuing(name_constraints=every)], certificates=[])
    ca = x509.load_pem_x509_certificate((host.store / "authorities/issuing-g1/ca.crt").read_bytes())
    assert ca.extensions.get_extension_for_class(x509.NameConstraints).critical
    assert constraints.of_certificate(ca) == constraints.read(every, "test")
    assert host.reasons() == {}
    assert host.run().warnings == []


def test_a_leaf_outside_is_refused_before_anything_is_changed(host: AuthorityHost) -> None:
    wrong = server(source="key", san={"dns": ["orders.example.org"]})
    with pytest.raises(KitError, match=r"'orders\.example\.org', which is not within example\.com"):
        host.run(issuing=[issuing(name_constraints=EXAMPLE)], certificates=[client("alice"), wrong])
    assert not (host.store / "authorities").exists()
    host.run(certificates=[client("alice"), server(source="key")])
    assert host.verify("client/alice", "sslclient") == host.verify("server/gw1/orders", "sslserver") == "OK"
    # A made CA's certificate decides, not a wish; and no CSR is asked for that could not be signed.
    with pytest.raises(KitError, match=r"example\.net"):
        host.run(certificates=[server(san={"dns": ["example.net"]})], issuing=[issuing()])
    with pytest.raises(KitError, match=r"example\.net"):
        host.run({"server/gw1/orders": csr(keys.generate("ec-p256"))})


def test_a_changed_wish_is_told_and_takes_effect_with_a_rotation(host: AuthorityHost) -> None:
    host.run(certificates=[])
    (warning,) = host.run(issuing=[issuing(name_constraints=EXAMPLE)]).warnings
    assert warning == (
        "issuing-g1: name_constraints (permitted dns:example.com) take effect when it is rotated; it has none now"
    )


def test_the_purposes_of_an_issuing_ca_bind_its_leaves(host: AuthorityHost) -> None:
    one = issuing(purposes=["client"])
    host.run(issuing=[one], certificates=[client("alice")])
    assert host.verify("client/alice", "sslclient") == "OK"
    wider = [issuing()]
    (warning,) = host.run(issuing=wider).warnings
    assert "purpose server takes effect when it is rotated" in warning
    with pytest.raises(KitError, match="made without the purpose server"):
        host.run(certificates=[client("alice"), server(source="key")])


@pytest.mark.parametrize("given", [EXAMPLE, permitted(uri=[".example.com"], subject=[{"organization": "Example Ltd"}])])
def test_identities_of_a_verification_are_within(host: AuthorityHost, given: dict[str, Any]) -> None:
    host.run(issuing=[issuing(name_constraints=given)], certificates=[])
    with opened(host.store, "demo", host.now) as store:
        minted, _ = probe.mint(store, [TrustSpec("issuing", ("issuing",))], host.passwords, "x" * 16, host.now)
    assert len(minted["issuing"]) == 6
