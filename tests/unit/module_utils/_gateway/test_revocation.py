"""A revoked certificate is refused, new and resumed, or by the map that is served; against a real TLS server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, revocation, tls
from tests.unit.module_utils._gateway.delivery import Authority
from tests.unit.module_utils._gateway.fake_nginx import TlsServer
from tests.unit.module_utils._gateway.test_probe import PASSWORD, SmallPki


class Door:
    """A site that serves trust 7 and lets in whoever ``lets_in`` says, given the name and whether it was resumed."""

    def __init__(self, pki: SmallPki, folder: Path) -> None:
        issued = pki.issue("orders.test")
        (folder / "server.pem").write_text(issued.chain + issued.key)
        (folder / "anchor.pem").write_text(pki.anchor)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.pem")
        self.context.load_verify_locations(folder / "anchor.pem")
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.refuse_new = self.refuse_resumed = True
        self.resumed: list[str | None] = []
        self.server = TlsServer(self.context, self.answer)
        target = probe.Target("127.0.0.1", self.server.port, "orders.test", pki.anchor)
        self.site = revocation.Site("orders", folder, target, 7)
        unit = folder / "trust" / "7"
        unit.mkdir(parents=True)
        (unit / "revoked.map").write_text('"2:4F" 1;\n')
        (unit / "issuers.map").write_text('"~^CN=x$" "2";\n')

    def answer(self, session: ssl.SSLSocket, request: str) -> tuple[int, dict[str, Any]]:
        shown = session.getpeercert(binary_form=True)
        if shown is None:
            return 400, {"error": "no client certificate sent", "site": "orders", "trust": "7"}
        if "alice" in x509.load_der_x509_certificate(shown).subject.rfc4514_string() and session.session_reused:
            self.resumed.append(session.version())
        refuse = self.refuse_resumed if session.session_reused else self.refuse_new
        if refuse:
            return 403, {"error": "client certificate revoked", "site": "orders"}
        return 200, {"site": "orders", "verify": "SUCCESS"}


@pytest.fixture(scope="module")
def pki() -> SmallPki:
    return SmallPki()


@pytest.fixture
def door(pki: SmallPki, tmp_path: Path) -> Iterator[Door]:
    door = Door(pki, tmp_path)
    yield door
    door.server.close()


def alice(pki: SmallPki) -> revocation.Certificate:
    issued = pki.issue("alice", PASSWORD)
    return revocation.Certificate("client/alice", "4F", 2, "", issued.chain, issued.key)


def untried(serial: str = "4F", issuer: int = 2) -> revocation.Certificate:
    return revocation.Certificate("client/carol", serial, issuer, "its key was not made by this CA", "", "")


def prove(door: Door, one: revocation.Certificate) -> revocation.Proof:
    (proof,) = revocation.prove(door.site, [one], PASSWORD, tls.Deadline(10))
    return proof


def test_it_is_shown_in_both_versions_new_and_resumed(pki: SmallPki, door: Door) -> None:
    proof = prove(door, alice(pki))
    assert (proof.passed, proof.proof) == (True, revocation.BY_HANDSHAKE)
    assert [part.split(" refused")[0] for part in proof.found.split("; ")] == [
        "TLS 1.2", "TLS 1.2 resumed", "TLS 1.3", "TLS 1.3 resumed",
    ]  # fmt: skip
    assert door.resumed == ["TLSv1.2", "TLSv1.3"]


@pytest.mark.parametrize("let_in", ["refuse_new", "refuse_resumed"])
def test_let_in_either_way_is_told(pki: SmallPki, door: Door, let_in: str) -> None:
    setattr(door, let_in, False)
    proof = prove(door, alice(pki))
    assert not proof.passed
    assert "accepted" in proof.found


def test_a_site_that_resumes_nothing_is_shown_it_anew(pki: SmallPki, door: Door) -> None:
    door.context.options |= ssl.OP_NO_TICKET
    door.context.num_tickets = 0
    proof = prove(door, alice(pki))
    assert proof.passed
    assert "TLS 1.3 resumed refused (the site resumes no session)" in proof.found


def test_a_site_of_one_version_is_tried_with_that_one(pki: SmallPki, door: Door) -> None:
    door.context.minimum_version = ssl.TLSVersion.TLSv1_3
    proof = prove(door, alice(pki))
    assert proof.passed
    assert "TLS 1.2" not in proof.found


@pytest.mark.parametrize(
    ("one", "passed", "found"),
    [
        (untried(), True, "refuses its serial"),
        (untried(issuer=3), True, "accepts no client of its issuer"),
        (untried(serial="50"), False, "doesn't list its serial"),
    ],
)
def test_without_the_key_the_unit_that_is_served_decides(
    door: Door, one: revocation.Certificate, passed: bool, found: str
) -> None:
    proof = prove(door, one)
    assert (proof.passed, proof.proof) == (passed, revocation.BY_MAP)
    assert found in proof.found
    assert "not shown, for its key was not made by this CA" in proof.found


@pytest.mark.parametrize(
    ("serial", "passed", "found"), [("4F", True, "refuses its serial"), ("50", False, "doesn't list its serial")]
)
def test_where_the_crl_refuses_the_map_proves_nothing(
    pki: SmallPki, door: Door, tmp_path: Path, serial: str, passed: bool, found: str
) -> None:
    unit = tmp_path / "trust" / "7"
    (unit / "revoked.map").write_text('"2:50" 1;\n')
    (unit / "crl.pem").write_text(Authority.create("x").crl(revoked=0x4F))
    site = replace(door.site, revocation="crl")
    (proof,) = revocation.prove(site, [untried(serial)], PASSWORD, tls.Deadline(5))
    assert (proof.passed, proof.proof) == (passed, revocation.BY_CRL)
    assert found in proof.found
    (unit / "crl.pem").write_text("-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n")
    (proof,) = revocation.prove(site, [untried()], PASSWORD, tls.Deadline(5))
    assert (proof.passed, "a CRL that can't be read" in proof.found) == (False, True)


def test_an_older_unit_is_no_proof_and_a_missing_one_neither(pki: SmallPki, door: Door, tmp_path: Path) -> None:
    later = revocation.Site("orders", tmp_path, door.site.target, 8)
    (proof,) = revocation.prove(later, [alice(pki)], PASSWORD, tls.Deadline(5))
    assert (proof.passed, proof.found) == (False, "the site serves trust 7; 8 is to refuse it")
    (tmp_path / "trust" / "7" / "revoked.map").unlink()
    assert "can't be read" in prove(door, untried()).found


def test_another_server_is_no_proof(pki: SmallPki, door: Door, tmp_path: Path) -> None:
    other = revocation.Site("stock", tmp_path, door.site.target, 7)
    with pytest.raises(tls.NoSession, match="another server"):
        list(revocation.prove(other, [untried()], PASSWORD, tls.Deadline(5)))


def test_a_certificate_is_shown_without_its_key(pki: SmallPki) -> None:
    assert "PRIVATE" not in repr(alice(pki))
