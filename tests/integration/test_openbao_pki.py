"""The PKI with its CAs' keys in a real OpenBao: the same verbs and results as with keys of its own, and what heals."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    backup,
    converge,
    inspection,
    keys,
    openbao,
    probe,
    store,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import TrustSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Revocation
from ansible_collections.mtls.kit.plugins.module_utils._pki.names import serial_text
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Client, Session
from tests.integration.openbao import Bao
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, server
from tests.unit.module_utils._pki.test_parity import LEAVES, PROFILES, all_findings

SITE = "server/gw1/orders"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with Bao.dev(tmp_path_factory.mktemp("bao")) as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, bao: Bao) -> AuthorityHost:
    """A CA host whose CAs are in mounts of its own, and whose clock is the moment's, as OpenBao's is."""
    mounts = {name: f"{name}-{secrets.token_hex(4)}" for name in ("root", "issuing", "partners")}
    return at_the_moment(with_keys_in(AuthorityHost(tmp_path), Session(bao.url, bao.token, mounts=mounts)))


def with_keys_in(host: AuthorityHost, session: Session) -> AuthorityHost:
    host.session = session
    host.arguments["backend"] = "openbao"
    return host


def at_the_moment(host: AuthorityHost) -> AuthorityHost:
    host.now = datetime.now(UTC)
    return host


def verified(host: AuthorityHost, name: str, purpose: str) -> str:
    """What OpenSSL says now: OpenBao dates a CRL with its own second, which may be after that of the last run."""
    return host.verify(name, purpose, at=max(host.now, datetime.now(UTC)))


def mount(host: AuthorityHost, name: str) -> str:
    assert host.session is not None
    return host.session.mounts[name]


def request(
    key: Any, *, subject: dict[str, str] | None = None, names: tuple[str, ...] = ("orders.example.com",)
) -> str:
    """A request as a gateway makes it of what the CA tells it."""
    oids = {"common_name": NameOID.COMMON_NAME, "organization": NameOID.ORGANIZATION_NAME}
    wanted = subject or {"organization": "Example Ltd", "common_name": "orders.example.com"}
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(oids[field], text) for field, text in wanted.items()])
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def serials(bao: Bao, path: str) -> set[str]:
    answer = bao.api("LIST", path)
    found = answer.json()["data"]["keys"] if answer.status_code == 200 else []
    return {openbao.serial_of(serial) for serial in found}


def crl(host: AuthorityHost, label: str) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((host.store / f"authorities/{label}/crl.pem").read_bytes())


def warm(host: AuthorityHost) -> AuthorityHost:
    """With a store that is made."""
    host.run()
    return at_the_moment(host)


# ---------------------------------------------------------------------- issuing


def test_clients_and_servers_are_issued_as_with_keys_of_the_stores_own(host: AuthorityHost, tmp_path: Path) -> None:
    host.arguments["certificates"] = [client("alice", groups=["buyers"]), client("bob"), server()]
    first = host.reasons()
    assert {"ca/root issue", "ca/issuing issue", "client/alice issue", "trust/issuing write"} <= first.keys()
    assert host.run().csr_wanted == {SITE: "issue: new"}
    key = keys.generate("ec-p256")
    told = host.run().csr_subjects[SITE]
    result = at_the_moment(host).run({SITE: request(key, subject=dict(sorted(told.items(), reverse=True)))})
    assert [change.name for change in result.changes] == [SITE]
    assert at_the_moment(host).run().changes == []
    assert not list(host.store.glob("authorities/*/ca.key"))

    for name, purpose in (("client/alice", "sslclient"), (SITE, "sslserver")):
        assert verified(host, name, purpose) == "OK"
    local = AuthorityHost(tmp_path / "local")
    local.run(certificates=host.arguments["certificates"])
    ours, theirs = host.leaf("client/alice"), local.leaf("client/alice")
    of_its_keys = (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier)
    assert ours.subject == theirs.subject
    # OpenBao writes its own second as notBefore, which may be one of those after ours.
    lives = [leaf.not_valid_after_utc - leaf.not_valid_before_utc for leaf in (ours, theirs)]
    assert abs(lives[0] - lives[1]) <= timedelta(seconds=5)
    assert {(e.oid, e.critical, e.value) for e in ours.extensions if not isinstance(e.value, of_its_keys)} == {
        (e.oid, e.critical, e.value) for e in theirs.extensions if not isinstance(e.value, of_its_keys)
    }
    assert ours.signature_hash_algorithm is not None
    assert ours.signature_hash_algorithm.name == "sha256"


@pytest.mark.parametrize("ca", ["ec-p256", "rsa-2048"])
def test_openssl_and_pkilint_find_nothing(host: AuthorityHost, ca: str) -> None:
    host.arguments["root"]["key_type"] = host.arguments["issuing"][0]["key_type"] = ca
    leaves = [*LEAVES, client("gone")]
    host.run({SITE: request(keys.generate("ec-p256"))}, profiles=PROFILES, certificates=leaves)
    at_the_moment(host).run(revoke=[{"name": "client/gone", "reason": "keyCompromise"}])
    at_the_moment(host)
    for leaf in LEAVES:
        purpose = "sslserver" if leaf["name"].startswith("server/") else "sslclient"
        assert verified(host, leaf["name"], purpose) == "OK", leaf["name"]
    assert all_findings(host) == {}


def life(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048", "ed25519"])
def test_every_kind_of_key_signs_and_is_signed(host: AuthorityHost, key_type: str) -> None:
    host.arguments["root"]["key_type"] = key_type
    host.arguments["issuing"][0]["key_type"] = key_type
    host.arguments["leaf"]["key_type"] = key_type
    host.arguments["subject"] = {"country": "DE", "state": "B", "locality": "Köln", "organization": "Ex, Ltd + Söhne"}
    warm(host)
    assert verified(host, "client/alice", "sslclient") == "OK"
    assert host.run().changes == []


def test_a_profile_of_ones_own_and_every_kind_of_san(host: AuthorityHost) -> None:
    san = {"dns": ["a.example.com"], "ip": ["192.0.2.1", "2001:db8::1"], "uri": ["urn:x:y"], "email": ["a@example.com"]}
    own = {
        "name": "mail",
        "extended_key_usage": ["clientAuth", "emailProtection", "1.3.6.1.4.1.99999.1"],
        "key_usage": ["digitalSignature", "contentCommitment", "keyAgreement"],
    }
    host.arguments["profiles"] = [own]
    host.arguments["certificates"] = [client("alice", profile="mail", san=san)]
    warm(host)
    leaf = host.leaf("client/alice")
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.EMAIL_PROTECTION in usages
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_agreement
    assert len(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == 5
    assert host.run().changes == []


def test_a_changed_san_and_a_certificate_in_its_window_are_renewed(host: AuthorityHost) -> None:
    warm(host)
    changed = [client("alice", san={"dns": ["alice.example.com"]}), client("bob")]
    assert host.reasons(certificates=changed) == {
        "client/alice re-issue": "re-issue: SAN changed",
        "trust/issuing write": "write: identities.map changed",
    }
    before = host.leaf("client/bob")
    short = [{**entry, "days": 2, "renew_days": 1} for entry in changed]
    at_the_moment(host).run(certificates=short, reissue={"names": ["bob"], "before": host.now.isoformat()})
    assert host.leaf("client/bob").serial_number != before.serial_number
    assert host.leaf("client/bob").public_key() != before.public_key()


def test_a_thousand_clients_over_a_few_connections(host: AuthorityHost) -> None:
    host.run(certificates=[client(f"c{number}") for number in range(1000)])
    assert at_the_moment(host).run().changes == []
    assert len(list(host.store.glob("certificates/client/*/client.crt"))) == 1000


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"subject": {"common_name": "orders.example.com"}}, "the subject 'CN=orders.example.com'"),
        ({"names": ("orders.example.com", "more.example.com")}, "another SAN"),
    ],
)
def test_a_request_that_names_something_else_is_refused_before_it_is_signed(
    host: AuthorityHost, bao: Bao, wrong: dict[str, Any], told: str
) -> None:
    host.arguments["certificates"] = [server()]
    warm(host)
    before = serials(bao, f"{mount(host, 'issuing')}/certs")
    with pytest.raises(KitError, match="make the request again") as refused:
        host.run({SITE: request(keys.generate("ec-p256"), **wrong)})
    assert told in str(refused.value)
    assert serials(bao, f"{mount(host, 'issuing')}/certs") == before


def test_a_request_in_the_folder_that_names_something_else_stops_nobody(host: AuthorityHost, tmp_path: Path) -> None:
    host.requests = tmp_path / "requests"
    host.requests.mkdir()
    host.arguments["certificates"] = [client("alice"), client("partner", source="csr")]
    wrong = request(keys.generate("ec-p256"), names=("evil.example.com",))
    (host.requests / "partner.csr").write_text(wrong)
    warm(host)
    assert "for OpenBao signs a request as it is" in host.refused["partner.csr"]
    assert verified(host, "client/alice", "sslclient") == "OK"


# ---------------------------------------------------------------------- revocation


def test_revoked_by_name_by_serial_and_by_certificate(host: AuthorityHost, bao: Bao) -> None:
    host.arguments["certificates"] = [client(name) for name in ("alice", "bob", "carol", "dave")]
    warm(host)
    leaves = {name: host.leaf(f"client/{name}") for name in ("bob", "carol", "dave")}
    revoke = [
        {"name": "client/bob", "reason": "keyCompromise"},
        {"serial": f"{leaves['carol'].serial_number:x}"},
        {"certificate": leaves["dave"].public_bytes(Encoding.PEM).decode(), "reason": "superseded"},
    ]
    before = crl(host, "issuing-g1").extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    first = host.reasons(revoke=revoke)
    assert first["ca/issuing sign-crl"] == "sign-crl: revocations changed"
    at_the_moment(host)
    found = crl(host, "issuing-g1")
    listed = {entry.serial_number: entry for entry in found}
    assert set(listed) == {leaf.serial_number for leaf in leaves.values()}
    reason = listed[leaves["bob"].serial_number].extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason == x509.ReasonFlags.key_compromise
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == before + 1
    assert found.next_update_utc is not None
    assert timedelta(days=6.9) < found.next_update_utc - found.last_update_utc <= timedelta(days=7)
    assert len(serials(bao, f"{mount(host, 'issuing')}/certs/revoked")) == 3
    bob = host.store.parent / "bob.pem"
    bob.write_bytes(leaves["bob"].public_bytes(Encoding.PEM))
    assert "certificate revoked" in checked(host, bob)
    assert verified(host, "client/alice", "sslclient") == "OK"
    assert host.run().changes == []


def with_revoked(host: AuthorityHost, count: int) -> set[int]:
    """So many serials in the ledger that the issuing CA has revoked."""
    revoked = [f"{1 << 157 | number:040X}" for number in range(count)]
    with store.opened(host.store, "demo", host.now) as opened, opened.ledger.transaction():
        ca = next(one for one in opened.ledger.authorities() if one.name == "issuing")
        end = host.now + timedelta(days=90)
        opened.ledger.revoke([Revocation(ca.number, serial, "keyCompromise", host.now, end) for serial in revoked])
    return {int(serial, 16) for serial in revoked}


@pytest.mark.parametrize(("count", "reasons"), [(98, True), (20_000, False)])
def test_a_crl_that_is_longer_than_openbao_takes_at_once(host: AuthorityHost, count: int, reasons: bool) -> None:
    """It takes a thousand strings in a request, so the longer one is signed in parts, which OpenBao joins."""
    warm(host)
    before = crl(host, "issuing-g1").extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    revoked = with_revoked(host, count)
    assert at_the_moment(host).reasons()["ca/issuing sign-crl"] == "sign-crl: revocations changed"
    found = crl(host, "issuing-g1")
    assert {entry.serial_number for entry in found} == revoked
    assert {bool(entry.extensions) for entry in found} == {reasons}
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == before + 1
    assert found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert found.next_update_utc is not None
    assert timedelta(days=6.9) < found.next_update_utc - found.last_update_utc <= timedelta(days=7)
    at_the_moment(host)
    assert verified(host, "client/alice", "sslclient") == "OK"
    assert host.run().changes == []


def checked(host: AuthorityHost, leaf: Path) -> str:
    """What OpenSSL says of a certificate, with the CRLs of its chain."""
    crls = host.store.parent / "crls.pem"
    crls.write_bytes(b"".join(path.read_bytes() for path in host.store.glob("authorities/*/crl.pem")))
    done = subprocess.run(
        [
            "openssl", "verify", "-x509_strict", "-CAfile", host.store / "trust-anchor.crt",
            "-untrusted", host.store / "authorities/issuing-g1/chain.crt", "-crl_check_all", "-CRLfile", crls, leaf,
        ],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_what_was_revoked_in_openbao_is_revoked_everywhere(host: AuthorityHost, bao: Bao) -> None:
    warm(host)
    leaf = host.leaf("client/bob")
    bao.set(f"{mount(host, 'issuing')}/revoke", {"serial_number": openbao.colons(serial_text(leaf.serial_number))})
    changes = host.reasons()
    assert changes["client/bob revoke"].startswith("revoke: revoked in OpenBao, serial ")
    assert leaf.serial_number in {entry.serial_number for entry in crl(host, "issuing-g1")}
    assert at_the_moment(host).run().changes == []


def test_openbao_is_told_what_it_lost(host: AuthorityHost, bao: Bao) -> None:
    warm(host)
    with store.opened(host.store, "demo", host.now) as opened, opened.ledger.transaction():
        (bob,) = opened.ledger.valid_of(["client/bob"], host.now)
        opened.ledger.revoke([Revocation(bob.issuer, bob.serial, "superseded", host.now, bob.not_after)])
    at_the_moment(host)
    assert host.reasons()["client/bob revoke"] == f"revoke: OpenBao did not know of it yet, serial {bob.serial}"
    assert serials(bao, f"{mount(host, 'issuing')}/certs/revoked") == {bob.serial}
    assert at_the_moment(host).run().changes == []


# ---------------------------------------------------------------------- what a run that was cut off leaves


class Killed(BaseException):
    """As sudden as a kill: nothing catches it."""


def known(host: AuthorityHost) -> set[str]:
    """Serials that the ledger knows, as signed or as revoked."""
    with store.inspected(host.store, "demo") as ledger:
        authorities = ledger.authorities()
        found = {ca.serial for ca in authorities}
        found |= {cross.serial for cross in ledger.cross_certificates().values()}
        for ca in authorities:
            found |= ledger.serials_of(ca.number)
            found |= {listed.serial for listed in ledger.revocations(ca.number, datetime.fromtimestamp(0, UTC))}
    return found


def signed(bao: Bao, host: AuthorityHost) -> set[str]:
    """Serials that OpenBao has signed, of both mounts."""
    return serials(bao, f"{mount(host, 'root')}/certs") | serials(bao, f"{mount(host, 'issuing')}/certs")


def test_what_was_signed_and_not_entered_is_revoked_by_the_next_run(
    host: AuthorityHost, bao: Bao, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm(host)
    host.arguments["certificates"] = [client(name) for name in ("alice", "bob", "carol", "dave")]
    with monkeypatch.context() as cut_off:
        cut_off.setattr(converge._Run, "_enter", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            host.run()
    strays = signed(bao, host) - known(host)
    assert len(strays) == 2
    changes = at_the_moment(host).reasons()
    for serial in strays:
        assert changes[f"serial {serial} revoke"] == f"revoke: signed for a run that was cut off, serial {serial}"
    assert {"client/carol issue", "client/dave issue"} <= changes.keys()
    assert signed(bao, host) <= known(host)
    assert serials(bao, f"{mount(host, 'issuing')}/certs/revoked") == strays
    assert {f"{entry.serial_number:X}" for entry in crl(host, "issuing-g1")} == {
        serial.lstrip("0") for serial in strays
    }
    assert at_the_moment(host).run().changes == []


@pytest.mark.parametrize("step", ["_root", "_issuing", "enter"])
def test_an_authority_that_was_begun_is_finished(
    host: AuthorityHost, bao: Bao, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made = getattr(openbao.OpenBaoBackend, step)

    def cut_off(*arguments: Any, **more: Any) -> Any:
        made(*arguments, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(openbao.OpenBaoBackend, step, cut_off)
        with pytest.raises(Killed):
            host.run()
    warm(host)
    assert verified(host, "client/alice", "sslclient") == "OK"
    at_the_moment(host).run()
    assert at_the_moment(host).run().changes == []
    assert signed(bao, host) <= known(host)


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_moment_nothing_stays_unknown(host: AuthorityHost, bao: Bao, moment: int) -> None:
    host.arguments["certificates"] = [client(f"c{number}") for number in range(40)]
    child = os.fork()
    if child == 0:
        host.run()
        os._exit(0)
    time.sleep(0.05 + 0.06 * moment)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    at_the_moment(host).run()
    at_the_moment(host).run()
    assert at_the_moment(host).run().changes == []
    assert signed(bao, host) <= known(host)
    assert verified(host, "client/c39", "sslclient") == "OK"


def test_what_somebody_else_had_signed_is_entered_and_can_be_revoked(host: AuthorityHost, bao: Bao) -> None:
    warm(host)
    path = f"{mount(host, 'issuing')}/sign-verbatim"
    bao.set(path, {"csr": request(keys.generate("ec-p256")), "ttl": "1h"})
    (serial,) = signed(bao, host) - known(host)
    found = host.run()
    assert [(change.name, change.action) for change in found.changes] == [(f"unknown/{serial}", "adopt")]
    assert "for somebody else from a mount of this PKI" in found.warnings[0]
    assert strangers(host) == [serial]
    assert at_the_moment(host).run().changes == []
    changes = host.reasons(revoke=[{"serial": serial}])
    assert f"unknown/{serial} revoke" in changes
    assert serial in serials(bao, f"{mount(host, 'issuing')}/certs/revoked")
    assert strangers(host) == []


def strangers(host: AuthorityHost) -> list[str]:
    """The serials that the report on the store calls somebody else's."""
    with store.inspected(host.store, "demo") as ledger:
        report = inspection.report(ledger, datetime.now(UTC), inspection.Windows(), inspection.Filter())
    assert {ca["backend"] for ca in report["authorities"]} == {"openbao"}
    told = [entry["text"] for entry in report["attention"] if "for somebody else" in entry["text"]]
    return [text.split()[1] for text in told]


def test_mounts_of_another_store_are_refused(host: AuthorityHost, tmp_path: Path) -> None:
    warm(host)
    assert host.session is not None
    other = at_the_moment(with_keys_in(AuthorityHost(tmp_path / "other"), host.session))
    with pytest.raises(KitError, match="which this store did not make"):
        other.run()


# ---------------------------------------------------------------------- what does not come back as asked


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"ext_key_usage_oids": ["1.3.6.1.5.5.7.3.1"]}, "another ExtendedKeyUsage"),
        ({"key_usage": ["DigitalSignature", "CertSign"]}, "another KeyUsage"),
        ({"basic_constraints_valid_for_non_ca": False}, "another BasicConstraints"),
        ({"not_after": "2027-01-01T00:00:00Z"}, "an end at 2027-01-01T00:00:00Z"),
    ],
)
def test_what_breaks_its_profile_is_not_entered_and_revoked(
    host: AuthorityHost, bao: Bao, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], told: str
) -> None:
    warm(host)
    write = Client.write

    def bent(self: Client, what: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return write(self, what, path, {**body, **more} if "sign-verbatim" in path else body)

    with monkeypatch.context() as patched:
        patched.setattr(Client, "write", bent)
        with pytest.raises(KitError, match=told):
            host.run(certificates=[client("alice"), client("bob"), client("mallory")])
    (stray,) = signed(bao, host) - known(host)
    assert serials(bao, f"{mount(host, 'issuing')}/certs/revoked") == {stray}
    assert not (host.store / "certificates/client/mallory").exists()
    at_the_moment(host).run()
    assert signed(bao, host) <= known(host)
    assert verified(host, "client/mallory", "sslclient") == "OK"


def test_mounts_that_an_administrator_made_are_used(host: AuthorityHost, bao: Bao) -> None:
    """Their longest lease of 32 days is that of secrets; it bounds no certificate."""
    for name in ("root", "issuing"):
        bao.set(f"sys/mounts/{mount(host, name)}", {"type": "pki"})
    policy = "".join(
        f'path "{mount(host, name)}/*" {{ capabilities = ["create", "read", "update", "delete", "list"] }}\n'
        for name in ("root", "issuing")
    )
    bao.set("sys/policies/acl/kit", {"policy": policy})
    token = bao.set("auth/token/create", {"policies": ["kit"], "no_default_policy": True})["auth"]["client_token"]
    assert host.session is not None
    host.session = replace(host.session, token=token)
    warm(host)
    assert verified(host, "client/alice", "sslclient") == "OK"
    assert life(host.leaf("client/alice")) > timedelta(days=90)


# ---------------------------------------------------------------------- rotation, probes, backup


def test_an_issuing_ca_is_rotated_by_its_phases(host: AuthorityHost) -> None:
    warm(host)
    rotate = {"kind": "issuing", "step": "auto", "overlap_days": 1, "confirmed": True}
    phases = [at_the_moment(host).run(rotation=rotate).rotation["phase"] for _ in range(2)]
    assert phases == ["introduce", "switch"]
    again = {"names": ["*"], "before": (host.now + timedelta(seconds=1)).isoformat()}
    at_the_moment(host).run(reissue=again, rotation={**rotate, "clients": "now"})
    assert at_the_moment(host).run(reissue=None).rotation["phase"] == "retired"
    states = {ca["label"]: ca["state"] for ca in host.run().authorities}
    assert states == {"root-g1": "signing", "issuing-g1": "retired", "issuing-g2": "signing"}
    assert host.leaf("client/alice").issuer.rfc4514_string().startswith("CN=demo Issuing G2")
    assert at_the_moment(host).run(rotation=None).changes == []


def test_a_root_is_rotated_and_cross_signed_and_can_go_back(host: AuthorityHost) -> None:
    warm(host)
    rotate = {"kind": "root", "step": "auto", "overlap_days": 1, "confirmed": True, "cross_sign": True}
    assert host.run(rotation=rotate).rotation["phase"] == "introduce"
    with store.inspected(host.store, "demo") as ledger:
        (cross,) = ledger.cross_certificates().values()
        old, new = (ca for ca in ledger.authorities() if ca.name == "root")
    by_old, itself = x509.load_der_x509_certificate(cross.der), x509.load_der_x509_certificate(new.der)
    assert by_old.public_key() == itself.public_key()
    assert by_old.subject == itself.subject
    assert by_old.issuer.rfc4514_string() == x509.load_der_x509_certificate(old.der).subject.rfc4514_string()
    assert at_the_moment(host).run().rotation["phase"] == "switch"
    assert at_the_moment(host).run(rotation={**rotate, "step": "back"}).rotation["phase"] == "introduce"


def test_keys_of_the_stores_own_are_left_for_openbao_by_a_rotation(host: AuthorityHost) -> None:
    session, host.session = host.session, None
    host.arguments["backend"] = "local"
    warm(host)
    host.session, host.arguments["backend"] = session, "openbao"
    rotate = {
        "kind": "root",
        "step": "auto",
        "overlap_days": 1,
        "confirmed": True,
        "cross_sign": True,
        "clients": "now",
    }
    assert at_the_moment(host).run().changes == []
    for phase in ("introduce", "switch"):
        assert at_the_moment(host).run(rotation=rotate).rotation["phase"] == phase
    assert not (host.store / "authorities/issuing-g2/ca.key").exists()
    assert host.leaf("client/alice").issuer.rfc4514_string().startswith("CN=demo Issuing G2")


def test_the_same_way_leads_back_and_what_is_retired_holds_nobody(host: AuthorityHost, bao: Bao) -> None:
    warm(host)
    rotate = {"kind": "root", "overlap_days": 1, "confirmed": True, "clients": "now", "cross_sign": True}
    host.arguments["backend"] = "local"
    phases = [at_the_moment(host).run(rotation=rotate).rotation["phase"] for _ in range(3)]
    assert phases == ["introduce", "switch", "retired"]
    assert (host.store / "authorities/issuing-g2/ca.key").exists()
    assert host.leaf("client/alice").issuer.rfc4514_string().startswith("CN=demo Issuing G2")
    at_the_moment(host).run(rotation=None)

    # Its last CRLs are OpenBao's to sign, for as long as something that it signed is in force.
    old = mount(host, "issuing")
    revoked, later = sorted(serials(bao, f"{old}/certs"))[:2]
    assert at_the_moment(host).reasons(revoke=[{"serial": revoked}])["ca/issuing sign-crl"]
    assert serials(bao, f"{old}/certs/revoked") == {revoked}

    host.session = None
    host.now += timedelta(hours=25)
    host.run()
    alone = host.run()
    told = [warning for warning in alone.warnings if "no pki_openbao: its CRL is not signed" in warning]
    assert [warning.partition(":")[0] for warning in told] == ["root-g1", "issuing-g1"]
    assert alone.changes == []
    # What it signed can be revoked still: the ledger says so, and what gateways get follows from that.
    assert "revoke" in [change.action for change in host.run(revoke=[{"serial": later}]).changes]
    assert host.run(revoke=[{"serial": later}]).changes == []


def test_probes_are_minted_and_entered(host: AuthorityHost, bao: Bao) -> None:
    warm(host)
    trust = [TrustSpec("issuing", ("issuing",))]
    with store.opened(host.store, "demo", host.now) as opened:
        minted, warnings = probe.mint(opened, trust, host.passwords, "p" * 20, datetime.now(UTC), host.session)
    assert [(shown.name, shown.expect) for shown in minted["issuing"]] == [
        ("good", "accepted"), ("none", "refused"), ("stranger", "refused"), ("expired", "refused"),
        ("sibling", "refused"), ("server-cert", "refused"),
    ]  # fmt: skip
    assert warnings == []
    expired = x509.load_pem_x509_certificate(minted["issuing"][3].chain.encode())
    assert expired.not_valid_after_utc < datetime.now(UTC) - timedelta(hours=1)
    assert at_the_moment(host).run().changes == []
    assert signed(bao, host) <= known(host)


def test_a_backup_brings_the_ledger_back_and_openbao_what_came_after(
    host: AuthorityHost, bao: Bao, tmp_path: Path
) -> None:
    warm(host)
    passwords = {path: password for path, password in host.passwords.items() if path.startswith("client/")}
    with store.opened(host.store, "demo", host.now) as opened:
        backup.write(opened, passwords, tmp_path / "archive", "an-archive-password-0123")
    later = at_the_moment(host)
    later.run(certificates=[client("alice"), client("bob"), client("carol")], revoke=[{"name": "client/bob"}])
    bob = serials(bao, f"{mount(host, 'issuing')}/certs/revoked")
    number = crl(host, "issuing-g1").extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    at_the_moment(host)
    backup.restore(
        host.store, "demo", tmp_path / "archive", "an-archive-password-0123", host.now, replace=True, revocations=[]
    )
    changes = host.run(revoke=[]).changes
    # What was revoked since is revoked again without any gateway's map, and Carol's first certificate is not lost.
    assert {change.name: change.action for change in changes}["client/bob"] in ("revoke", "re-issue")
    assert {int(serial, 16) for serial in bob} <= {entry.serial_number for entry in crl(host, "issuing-g1")}
    assert signed(bao, host) <= known(host)
    assert crl(host, "issuing-g1").extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > number
    assert at_the_moment(host).run().changes == []


# ---------------------------------------------------------------------- faults


def test_a_token_that_may_not_is_told_what_it_lacks(host: AuthorityHost, bao: Bao) -> None:
    warm(host)
    assert host.session is not None
    bao.set(
        "sys/policies/acl/reader",
        {"policy": 'path "+/certs" {capabilities=["list"]}\npath "+/certs/revoked" {capabilities=["list"]}'},
    )
    poor = bao.set("auth/token/create", {"policies": ["reader"], "no_default_policy": True})["auth"]["client_token"]
    host.session = replace(host.session, token=poor)
    place = f"{mount(host, 'issuing')}/issuer/"
    with pytest.raises(KitError, match="the capability update on") as refused:
        host.run(certificates=[client("alice"), client("bob"), client("carol")])
    assert place in str(refused.value)
    assert poor not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_a_server_that_is_not_there_is_told(host: AuthorityHost, url: str) -> None:
    warm(host)
    assert host.session is not None
    host.session = replace(host.session, url=url)
    with pytest.raises(KitError, match="no connection"):
        host.run()


def test_without_a_session_only_what_needs_none_goes_on(host: AuthorityHost) -> None:
    warm(host)
    host.session = None
    assert host.run().changes == []
    with pytest.raises(KitError, match="set pki_openbao"):
        host.run(certificates=[client("alice"), client("bob"), client("carol")])


CONSTRAINTS = {"permitted": {"dns": ["example.com"], "uri": [".example.com"]}}
ISSUING = {"name": "issuing", "purposes": ["server", "client"], "key_type": "ec-p256", "days": 1095}


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"root": {"key_type": "ec-p256", "days": 3650, "offline": True}}, "its key in OpenBao, which it never leaves"),
        ({"issuing": [{**ISSUING, "name_constraints": CONSTRAINTS}], "certificates": []}, "which can't write them"),
        ({"adopt": {"name": "issuing", "certificate": "/x", "key": "/y"}}, "a CA to adopt"),
    ],
)
def test_what_openbao_cannot_do_is_refused(host: AuthorityHost, wish: dict[str, Any], told: str) -> None:
    with pytest.raises(KitError, match=told):
        host.run(dry=True, **wish)


def test_issuing_cas_in_openbao_below_a_root_on_a_medium(host: AuthorityHost, tmp_path: Path) -> None:
    (tmp_path / "medium").mkdir()
    session, host.session = host.session, None
    root = {"key_type": "ec-p256", "days": 3650, "offline": True}
    wanted = [client("alice", san={"dns": ["alice.example.com"]})]
    host.run(backend="local", root=root, root_keys=str(tmp_path / "medium"), certificates=wanted)
    at_the_moment(host).session = session
    named = [{**ISSUING, "name_constraints": {"permitted": {"dns": ["example.com"]}}}]
    rotate = {"kind": "issuing", "overlap_days": 1, "confirmed": True, "clients": "now", "servers": "now"}
    with pytest.raises(KitError, match="it is kept offline"):
        host.run(backend="openbao", issuing=named, rotation=rotate, root_keys=None)
    phases = [at_the_moment(host).run(root_keys=str(tmp_path / "medium")).rotation["phase"]]
    phases += [at_the_moment(host).run(root_keys=None).rotation["phase"] for _ in range(2)]
    assert phases == ["introduce", "switch", "retired"]
    assert not (host.store / "authorities/issuing-g2/ca.key").exists()
    second = x509.load_pem_x509_certificate((host.store / "authorities/issuing-g2/ca.crt").read_bytes())
    assert second.extensions.get_extension_for_class(x509.NameConstraints).critical
    assert ExtendedKeyUsageOID.CLIENT_AUTH in second.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    with pytest.raises(KitError, match="name constraints"):
        at_the_moment(host).run(rotation=None, certificates=[client("alice", san={"dns": ["alice.example.org"]})])
    assert at_the_moment(host).run(certificates=wanted).changes == []
