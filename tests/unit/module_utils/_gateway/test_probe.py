"""What a probe takes for accepted, refused, and neither; against a real TLS server."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, tls
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.fake_nginx import TlsServer

PASSWORD = "of this run only"


@dataclass
class Issued:
    chain: str
    key: str


class SmallPki:
    """A root that signs leaves as RFC 5280 wants them; handshakes are judged by this machine's clock."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe test root")])
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)

    def _sign(self, subject: x509.Name, public_key: Any, *, ca: bool, dns: str = "") -> x509.Certificate:
        now = datetime.now(UTC).replace(tzinfo=None)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if dns:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def anchor(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, name: str, password: str = "") -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        leaf = self._sign(subject, key.public_key(), ca=False, dns=name)
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return Issued(
            leaf.public_bytes(Encoding.PEM).decode(),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode(),
        )


@pytest.fixture(scope="module")
def pki() -> SmallPki:
    return SmallPki()


def judge(session: ssl.SSLSocket, request: str) -> tuple[int, dict[str, Any]]:
    """As a site does: whoever shows a certificate named alice gets in."""
    shown = session.getpeercert(binary_form=True)
    if shown is None:
        return 400, {"error": "no client certificate sent", "site": "orders"}
    if "alice" not in x509.load_der_x509_certificate(shown).subject.rfc4514_string():
        return 403, {"error": "client certificate revoked", "site": "orders"}
    return 200, {"site": "orders", "release": "r1", "trust": "1", "verify": "SUCCESS", "name": "alice"}


Serve = Callable[..., probe.Target]


@pytest.fixture
def serve(pki: SmallPki, tmp_path: Path) -> Iterator[Serve]:
    servers = []

    def start(answer: Any = judge, name: str = "orders.test") -> probe.Target:
        issued = pki.issue(name)
        (tmp_path / "server.pem").write_text(issued.chain + issued.key)
        (tmp_path / "anchor.pem").write_text(pki.anchor)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        context.load_verify_locations(tmp_path / "anchor.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        server = TlsServer(context, answer)
        servers.append(server)
        return probe.Target("127.0.0.1", server.port, "orders.test", pki.anchor)

    yield start
    for server in servers:
        server.close()


def identity(pki: SmallPki, name: str, expect: str) -> probe.Identity:
    issued = pki.issue(name, PASSWORD)
    return probe.Identity(name, expect, issued.chain, issued.key)


def test_every_identity_is_judged_and_the_fixed_checks_are_made(pki: SmallPki, serve: Serve) -> None:
    wanted = [identity(pki, "alice", "accepted"), identity(pki, "bob", "refused")]
    results = probe.probe(serve(), wanted, PASSWORD, 10)
    assert [(one.name, one.found, one.passed) for one in results] == [
        ("alice", "accepted", True),
        ("bob", "refused", True),
        ("none", "refused", True),
        ("wrong host name", "refused", True),
        ("wrong trust anchor", "refused", True),
    ]
    assert results[1].reason == "403: client certificate revoked"


def test_what_goes_against_the_expectation_did_not_pass(pki: SmallPki, serve: Serve) -> None:
    wanted = [identity(pki, "alice", "refused"), identity(pki, "bob", "accepted"), probe.Identity("nobody", "accepted")]
    results = probe.probe(serve(), wanted, PASSWORD, 10)
    assert [one.name for one in results if not one.passed] == ["alice", "bob", "nobody"]
    assert [one.name for one in results].count("none") == 0


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (200, {"hello": "from a backend"}),
        (200, {"site": "orders", "verify": "NONE"}),
        (400, {"error": "of a backend"}),
        (404, {"error": "x", "site": "orders"}),
        (502, {}),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_the_kits_is_neither(pki: SmallPki, serve: Serve, status: int, document: Any) -> None:
    target = serve(lambda session, request: (status, document))
    for expect in ("accepted", "refused"):
        result = probe.try_identity(target, identity(pki, "alice", expect), PASSWORD, tls.Deadline(5))
        assert (result.found, result.passed) == ("unexpected", False)


def test_a_server_with_another_name_is_not_taken(pki: SmallPki, serve: Serve) -> None:
    target = serve(name="another.test")
    result = probe.try_identity(target, identity(pki, "alice", "accepted"), PASSWORD, tls.Deadline(5))
    assert result.found == "unexpected"
    assert "Hostname mismatch" in result.reason


def test_a_server_under_another_anchor_is_not_taken(pki: SmallPki, serve: Serve) -> None:
    target = serve()
    stranger = probe.Target(target.address, target.port, target.server_name, SmallPki().anchor)
    assert not probe.try_identity(stranger, probe.Identity("none", "refused"), "", tls.Deadline(5)).passed


def test_a_server_that_answers_to_any_name_is_found_out(pki: SmallPki, serve: Serve) -> None:
    target = serve(name="another-name.mtls-kit.invalid")
    result = probe.try_wrong_name(target, tls.Deadline(5))
    assert (result.found, result.passed) == ("accepted", False)


def test_silence_is_no_refusal(pki: SmallPki, serve: Serve) -> None:
    def think(session: ssl.SSLSocket, request: str) -> tuple[int, dict[str, Any]]:
        time.sleep(1)
        return 400, {}

    target = serve(think)
    begin = time.monotonic()
    result = probe.try_identity(target, probe.Identity("none", "refused"), "", tls.Deadline(0.3))
    assert (result.found, result.reason) == ("unexpected", "no answer in time")
    assert time.monotonic() - begin < 0.9


def test_a_closed_port_is_not_reachable_which_is_no_verdict(pki: SmallPki, serve: Serve) -> None:
    with pytest.raises(tls.NotReachable, match="Connection refused"):
        probe.probe(probe.Target("127.0.0.1", 1, "orders.test", pki.anchor), [], "", 1)


def test_a_wrong_password_is_told_without_the_key(pki: SmallPki, serve: Serve) -> None:
    with pytest.raises(KitError, match=r"identity 'alice'.*doesn't open") as caught:
        probe.probe(serve(), [identity(pki, "alice", "accepted")], "wrong", 5)
    assert "PRIVATE" not in str(caught.value)


def test_a_trust_anchor_that_is_none_is_told(serve: Serve) -> None:
    target = serve()
    broken = probe.Target(target.address, target.port, target.server_name, "not PEM")
    with pytest.raises(KitError, match="trust anchor"):
        probe.probe(broken, [], "", 5)


@pytest.mark.parametrize(
    "text", ["", "{}x", '"secret"', "[1]", '[{"name": "a"}]', '[{"name": "a", "expect": "secret"}]']
)
def test_other_data_than_identities_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(KitError) as caught:
        probe.parse_identities(text)
    assert "secret" not in str(caught.value)


def test_identities_are_read_and_shown_without_their_keys(pki: SmallPki) -> None:
    issued = pki.issue("alice")
    text = json.dumps([{"name": "alice", "expect": "accepted", "chain": issued.chain, "key": issued.key}])
    (found,) = probe.parse_identities(text)
    assert found.key == issued.key
    assert "PRIVATE" not in repr(found)


def test_a_key_is_never_a_file_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with tls.file_in_memory(b"key") as path:
        assert path.startswith("/proc/self/fd/")
        assert Path(path).read_bytes() == b"key"

    def no_memfd(*arguments: Any) -> int:
        raise OSError

    monkeypatch.setattr(os, "memfd_create", no_memfd)
    with tls.file_in_memory(b"key") as path:
        assert path.startswith("/dev/shm/")  # noqa: S108 - memory, not a disk
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert Path(path).read_bytes() == b"key"
    assert not Path(path).exists()
