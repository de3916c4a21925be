"""The whole desired list, brought about on real files."""

from __future__ import annotations

import shutil
import ssl
import stat
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, csr, server


def test_first_run_makes_everything_with_a_reason_and_the_second_nothing(host: AuthorityHost) -> None:
    assert host.reasons() == {
        "store init": "init: new store of PKI demo",
        "ca/root issue": "issue: new",
        "ca/issuing issue": "issue: new",
        "client/alice issue": "issue: new",
        "client/bob issue": "issue: new",
        "ca/root sign-crl": "sign-crl: first",
        "ca/issuing sign-crl": "sign-crl: first",
        "trust/issuing write": "write: first",
    }
    assert host.reasons() == {}
    assert host.after(hours=23).reasons() == {}


def test_check_mode_leaves_no_trace(host: AuthorityHost) -> None:
    host.run(dry=True)
    assert not host.store.exists()


def test_check_mode_without_passwords_checks_all_that_needs_none(host: AuthorityHost) -> None:
    host.passwords = {}
    foreseen = [f"{change.name} {change.action}" for change in host.run(dry=True).changes]
    assert "client/alice issue" in foreseen
    with pytest.raises(KitError, match="alice"):
        host.run(dry=True, certificates=[client("alice"), client("alice")])
    with pytest.raises(KitError, match="store"):
        host.run(dry=True, init=False, certificates=[client("alice")])
    assert not host.store.exists()
    with pytest.raises(KitError, match="password of ca/root"):
        host.run()
    assert not (host.store / "authorities").exists()


def test_files_have_their_modes_and_keys_open_with_their_passwords(host: AuthorityHost) -> None:
    host.run()
    assert stat.S_IMODE(host.store.stat().st_mode) == 0o700
    assert stat.S_IMODE((host.store / "ledger.sqlite").stat().st_mode) == 0o600
    for path in host.store.rglob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    pem = (host.store / "certificates/client/alice/client.key").read_bytes()
    key = load_pem_private_key(pem, b"password of client/alice")
    assert key.public_key() == host.leaf("client/alice").public_key()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


@pytest.mark.parametrize(
    "key_type", [pytest.param("rsa-4096", marks=pytest.mark.slow), "rsa-3072", "ec-p384", "ed25519"]
)
def test_one_key_type_at_every_place_passes_openssl_strictly(host: AuthorityHost, key_type: str) -> None:
    wish = {"key_type": key_type, "days": 1095}
    certificates = [client("alice", key_type=key_type), server(source="key", key_type=key_type)]
    host.run(
        root=wish, issuing=[{"name": "issuing", "purposes": ["server", "client"], **wish}], certificates=certificates
    )
    assert host.verify("client/alice", "sslclient") == "OK"
    assert host.verify("server/gw1/orders", "sslserver") == "OK"


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_every_key_type_passes_openssl_strictly(host: AuthorityHost, key_type: str) -> None:
    issuing = [{"name": "issuing", "purposes": ["server", "client"], "key_type": key_type, "days": 1095}]
    # One slow key of a kind is enough.
    quick = "rsa-2048" if key_type.startswith("rsa") else key_type
    certificates = [client("alice", key_type=quick), server(source="key", key_type=quick)]
    host.run(root={"key_type": quick, "days": 3650}, issuing=issuing, certificates=certificates)
    assert host.verify("client/alice", "sslclient") == "OK"
    assert host.verify("server/gw1/orders", "sslserver") == "OK"
    assert "error 26" in host.verify("client/alice", "sslserver")
    algorithm = host.leaf("client/alice").signature_hash_algorithm
    # The issuing CA's key decides.
    expected = {"ec-p384": hashes.SHA384, "ed25519": type(None)}.get(key_type, hashes.SHA256)
    assert isinstance(algorithm, expected)


def test_a_leaf_is_what_its_profile_says(host: AuthorityHost) -> None:
    host.run(certificates=[client("alice"), server(source="key", key_type="rsa-2048")])
    leaf = host.leaf("client/alice")
    assert leaf.subject.rfc4514_string() == "CN=alice,O=Example Ltd"
    assert leaf.serial_number.bit_length() <= 159
    assert leaf.not_valid_before_utc == host.now - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == host.now + timedelta(days=90)
    extensions = {extension.oid: extension for extension in leaf.extensions}
    assert extensions[x509.BasicConstraints.oid].value == x509.BasicConstraints(ca=False, path_length=None)
    assert extensions[x509.KeyUsage.oid].critical
    assert list(extensions[x509.ExtendedKeyUsage.oid].value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternative) == [x509.UniformResourceIdentifier("urn:mtls:demo:alice")]
    usage = host.leaf("server/gw1/orders").extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment
    assert host.leaf("server/gw1/orders").subject.rfc4514_string() == "CN=orders.example.com,O=Example Ltd"


def test_authorities_have_names_lives_and_path_lengths_of_their_own(host: AuthorityHost) -> None:
    root, issuing = host.run().authorities
    assert (root["number"], root["label"], root["subject"]) == (1, "root-g1", "CN=demo Root G1,O=Example Ltd")
    assert (issuing["number"], issuing["issuer"], issuing["subject"]) == (2, 1, "CN=demo Issuing G1,O=Example Ltd")
    for label, length, days in (("root-g1", 2, 3650), ("issuing-g1", 0, 1095)):
        ca = x509.load_pem_x509_certificate((host.store / f"authorities/{label}/ca.crt").read_bytes())
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.path_length) == (True, length)
        assert ca.not_valid_after_utc == host.now + timedelta(days=days)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (client("alice", san={"uri": ["spiffe://example.com/alice"]}), "re-issue: SAN changed"),
        (client("alice", subject={"common_name": "Alice Müller"}), "re-issue: subject changed"),
        (client("alice", key_type="ec-p384"), "re-issue: key type changed"),
        (client("alice", profile="both", san={"uri": ["urn:mtls:demo:alice"]}), "re-issue: profile changed"),
        (client("alice", source="csr"), "re-issue: key source changed"),
        (client("alice", days=30), None),
    ],
)
def test_a_changed_wish_renews_that_one(host: AuthorityHost, entry: dict[str, Any], reason: str | None) -> None:
    host.run(certificates=[client("alice"), client("bob")])
    changes = {
        key: value for key, value in host.reasons(certificates=[entry, client("bob")]).items() if "client" in key
    }
    wanted = host.run(dry=True).csr_wanted
    if reason is None:
        assert changes == {}
    elif entry.get("source") == "csr":
        assert wanted == {"client/alice": reason}
    else:
        assert changes == {"client/alice re-issue": reason}


def test_order_and_spelling_of_a_san_is_no_change(host: AuthorityHost) -> None:
    host.run(certificates=[client("alice", san={"dns": ["a.example.com", "b.example.com"]})])
    same = [client("alice", san={"dns": ["B.example.com.", "A.EXAMPLE.com", "b.example.com"]})]
    assert host.reasons(certificates=same) == {}


def test_groups_touch_the_identity_map_only(host: AuthorityHost) -> None:
    host.run()
    before = host.leaf("client/alice").serial_number
    assert host.reasons(certificates=[client("alice", groups=["sellers", "buyers"]), client("bob")]) == {
        "client/alice write": "write: groups changed",
        "trust/issuing write": "write: identities.map changed",
    }
    assert host.leaf("client/alice").serial_number == before
    assert '"alice|buyers,sellers|' in host.run().trust["issuing"]["files"]["identities.map"]


def test_renewal_inside_the_window_with_a_new_key(host: AuthorityHost) -> None:
    host.run()
    first = host.leaf("client/alice")
    assert "client/alice renew" not in host.after(days=59).reasons()
    changes = host.after(days=1, hours=1).reasons()
    assert changes["client/alice renew"] == "renew: 29 of 90 days left"
    assert host.leaf("client/alice").public_key() != first.public_key()
    # Both may come until the old one ends: peers roll at their own pace.
    assert host.run().trust["issuing"]["files"]["identities.map"].count('"alice|') == 2
    assert host.after(days=200).reasons()["client/alice renew"] == "renew: expired 110 days ago"


def test_nothing_outlives_its_issuer_and_what_is_cut_is_not_renewed_for_ever(host: AuthorityHost) -> None:
    host.run()
    host.after(days=1080)
    result = host.run()
    assert any("15 days left" in warning for warning in result.warnings)
    leaf = host.leaf("client/alice")
    issuing = x509.load_pem_x509_certificate((host.store / "authorities/issuing-g1/ca.crt").read_bytes())
    assert leaf.not_valid_after_utc == issuing.not_valid_after_utc
    assert host.reasons() == {}
    with pytest.raises(KitError, match="issuing-g1: found that it ended"):
        host.after(days=16).run()


def test_a_csr_gives_its_key_and_nothing_else(host: AuthorityHost) -> None:
    result = host.run(certificates=[server()])
    assert result.csr_wanted == {"server/gw1/orders": "issue: new"}
    assert result.servers == {}
    key = keys.generate("ec-p256")
    result = host.run({"server/gw1/orders": csr(key, subject="demo Issuing G1")})
    leaf = host.leaf("server/gw1/orders")
    assert leaf.public_key() == key.public_key()
    assert leaf.subject.rfc4514_string() == "CN=orders.example.com,O=Example Ltd"
    assert host.verify("server/gw1/orders", "sslserver") == "OK"
    issued = result.servers["server/gw1/orders"]
    assert issued["public_key_sha256"] == keys.public_key_sha256(key.public_key())
    assert len(x509.load_pem_x509_certificates(issued["chain"].encode())) == 2
    assert not (host.store / "certificates/server/gw1/orders/server.key").exists()
    assert host.run({"server/gw1/orders": csr(key)}).changes == []
    again = host.run({"server/gw1/orders": csr(keys.generate("ec-p256"))}).changes
    assert ("server/gw1/orders", "re-issue: new key on the gateway") in [(each.name, each.reason) for each in again]
    host.after(days=61)
    assert host.run().csr_wanted == {"server/gw1/orders": "renew: 29 of 90 days left"}


def test_csrs_that_are_refused(host: AuthorityHost) -> None:
    host.run(certificates=[server()])
    good = csr(keys.generate("ec-p256"))
    der = x509.load_pem_x509_csr(good.encode()).public_bytes(Encoding.DER)
    wanted = der.replace(b"whatever", b"mischief")
    forged = ssl.DER_cert_to_PEM_cert(wanted).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    for text, found in (
        ("nonsense", "no readable request"),
        (forged, "a wrong signature"),
        (csr(keys.generate("ed25519")), "key of type ed25519"),
        (csr(keys.generate("rsa-2048")), "key of type rsa-2048"),
    ):
        with pytest.raises(KitError, match=found):
            host.run({"server/gw1/orders": text})
    with pytest.raises(KitError, match="a request for 'server/gw1/other'"):
        host.run({"server/gw1/other": good})


def test_revoking_by_name_holds_as_long_as_it_is_listed(host: AuthorityHost) -> None:
    host.run()
    number = f"{host.leaf('client/alice').serial_number:X}".lower()
    serial = number.zfill(len(number) + len(number) % 2)
    changes = host.reasons(revoke=[{"name": "client/alice", "reason": "keyCompromise"}])
    assert changes["client/alice revoke"].startswith("revoke: keyCompromise, serial ")
    assert changes["ca/issuing sign-crl"] == "sign-crl: revocations changed"
    assert changes["trust/issuing write"] == "write: crl.pem, identities.map, revoked.map changed"
    assert "error 23" in host.verify("client/alice", "sslclient")
    assert host.verify("client/bob", "sslclient") == "OK"
    assert host.reasons() == {}
    files = host.run().trust["issuing"]["files"]
    assert "client/alice" not in files["identities.map"]
    assert files["revoked.map"].lower() == f'"2:{serial}" 1;\n'
    assert host.reasons(revoke=[])["client/alice re-issue"] == "re-issue: revoked"
    assert host.verify("client/alice", "sslclient") == "OK"


def test_revoking_by_serial_or_certificate_gives_a_new_one_at_once(host: AuthorityHost) -> None:
    host.run()
    serial = f"0x{host.leaf('client/alice').serial_number:x}"
    changes = host.reasons(revoke=[{"serial": serial, "reason": "superseded"}])
    assert changes["client/alice re-issue"] == "re-issue: revoked"
    assert host.reasons() == {}
    pem = (host.store / "certificates/client/bob/client.crt").read_text()
    changes = host.reasons(revoke=[{"certificate": pem}])
    assert changes["client/bob re-issue"] == "re-issue: revoked"
    with pytest.raises(KitError, match="does not know"):
        host.run(revoke=[{"serial": "0BADCAFE"}])
    foreign = AuthorityHost(host.store.parent / "other")
    foreign.store.parent.mkdir()
    foreign.run()
    stranger = (foreign.store / "certificates/client/bob/client.crt").read_text()
    with pytest.raises(KitError, match="no CA of this store has signed"):
        host.run(revoke=[{"certificate": stranger}])


def test_a_certificate_that_was_signed_past_the_ledger_is_revoked_by_its_file(host: AuthorityHost) -> None:
    host.run()
    ca = x509.load_pem_x509_certificate((host.store / "authorities/issuing-g1/ca.crt").read_bytes())
    of_the_ca = (host.store / "authorities/issuing-g1/ca.key").read_bytes()
    key = keys.load_encrypted(of_the_ca, b"password of ca/issuing", "key of the issuing CA")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mallory")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(ca.subject).serial_number(0x0A1B)
    builder = builder.not_valid_before(host.now).not_valid_after(host.now + timedelta(days=30))
    stolen = builder.public_key(keys.generate("ec-p256").public_key()).sign(key, hashes.SHA256())
    with pytest.raises(KitError, match="or hand in the certificate itself"):
        host.run(revoke=[{"serial": "0A1B"}])
    changes = host.reasons(revoke=[{"certificate": stolen.public_bytes(Encoding.PEM).decode()}])
    assert changes["unknown revoke"] == "revoke: unspecified, serial 0A1B"
    assert changes["ca/issuing sign-crl"] == "sign-crl: revocations changed"
    crl = x509.load_pem_x509_crl((host.store / "authorities/issuing-g1/crl.pem").read_bytes())
    assert [entry.serial_number for entry in crl] == [0x0A1B]
    unit = host.run().trust["issuing"]
    assert unit["files"]["revoked.map"] == '"2:0A1B" 1;\n'
    assert host.reasons() == {}


def test_an_ed25519_key_of_a_server_is_signed_with_a_warning(host: AuthorityHost) -> None:
    key = keys.generate("ed25519")
    wanted = [server(key_type="ed25519"), client("alice", key_type="ed25519")]
    result = host.run({"server/gw1/orders": csr(key)}, certificates=wanted)
    assert result.warnings == ["server/gw1/orders: browsers refuse Ed25519 server keys"]
    assert host.verify("server/gw1/orders", "sslserver") == "OK"


def test_a_compromised_key_gets_no_second_certificate(host: AuthorityHost) -> None:
    host.run(certificates=[server()])
    request = {"server/gw1/orders": csr(keys.generate("ec-p256"))}
    host.run(request)
    host.run(revoke=[{"name": "server/gw1/orders", "reason": "keyCompromise"}])
    with pytest.raises(KitError, match="revoked as compromised"):
        host.run(request, revoke=[])


def test_removed_clients_are_reported_and_revoked_on_demand(host: AuthorityHost) -> None:
    host.run()
    result = host.run(certificates=[client("alice", groups=["buyers"])])
    assert [(each["name"], each["revoked"]) for each in result.removed] == [("client/bob", False)]
    assert result.changes == []
    changes = host.reasons(removed="revoke")
    assert changes["client/bob revoke"].startswith("revoke: cessationOfOperation")
    assert host.run().removed == []


def test_crls_are_numbered_signed_daily_and_cover_the_whole_chain(host: AuthorityHost) -> None:
    host.run()
    assert host.after(hours=24).reasons() == {
        "ca/root sign-crl": "sign-crl: 24 hours old",
        "ca/issuing sign-crl": "sign-crl: 24 hours old",
        "trust/issuing write": "write: crl.pem changed",
    }
    for label in ("root-g1", "issuing-g1"):
        crl = x509.load_pem_x509_crl((host.store / f"authorities/{label}/crl.pem").read_bytes())
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2
        assert crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        assert crl.next_update_utc == host.now + timedelta(days=7)


def test_expired_revocations_leave_the_maps_at_once_and_the_crl_after_one_more(host: AuthorityHost) -> None:
    host.run(revoke=[{"name": "client/alice"}])
    host.run(certificates=[client("bob")], revoke=[])
    host.after(days=91)

    def listed() -> int:
        return len(list(x509.load_pem_x509_crl((host.store / "authorities/issuing-g1/crl.pem").read_bytes())))

    host.run(certificates=[client("alice")])
    serial = f"{host.leaf('client/alice').serial_number:X}"
    host.run(revoke=[{"serial": serial}])
    assert listed() == 1
    host.after(days=91)
    host.run(revoke=[])
    assert listed() == 1
    assert host.run().trust["issuing"]["files"]["revoked.map"] == ""
    assert host.reasons() == {}
    host.after(days=1).run()
    assert listed() == 0
    assert host.reasons() == {}


def test_missing_and_altered_files_are_written_again(host: AuthorityHost) -> None:
    host.run()
    crt = host.store / "certificates/client/alice/client.crt"
    before = crt.read_bytes()
    crt.write_bytes(b"")
    shutil.rmtree(host.store / "certificates/client/bob")
    (host.store / "trust-anchor.crt").chmod(0o600)
    assert host.reasons() == {
        "trust-anchor.crt write": "write: trust-anchor.crt altered",
        "client/alice write": "write: client.crt altered",
        "client/bob write": "write: client.crt missing",
    }
    assert crt.read_bytes() == before
    assert host.reasons() == {}


def test_a_missing_or_wrong_password_changes_nothing(host: AuthorityHost) -> None:
    host.passwords = {"ca/root": "r" * 16, "ca/issuing": "i" * 16}
    with pytest.raises(KitError, match="password of client/alice: found none"):
        host.run()
    assert not (host.store / "authorities").exists()
    host.passwords = {**host.passwords, "client/alice": "a", "client/bob": "b"}
    host.run()
    host.passwords = {**host.passwords, "ca/issuing": "x" * 16, "client/carol": "c"}
    before = {path: path.read_bytes() for path in host.store.rglob("*") if path.is_file()}
    with pytest.raises(KitError, match="key of issuing-g1: found that the password does not open the key"):
        host.run(certificates=[client("alice"), client("bob"), client("carol")])
    assert {path: path.read_bytes() for path in host.store.rglob("*") if path.is_file()} == before


def test_an_offline_root_is_only_missed_when_it_has_to_sign(host: AuthorityHost) -> None:
    host.run()
    key = host.store / "authorities/root-g1/ca.key"
    key.rename(host.store.parent / "ca.key")
    assert host.reasons() == {}
    result = host.after(days=1).run()
    assert [each.name for each in result.changes] == ["ca/issuing", "trust/issuing"]
    assert any("root-g1: its CRL is due" in warning for warning in result.warnings)
    second = [*host.arguments["issuing"], {"name": "other", "purposes": ["client"], "key_type": "ec-p256", "days": 9}]
    with pytest.raises(KitError, match="key of root-g1: found no authorities"):
        host.run(issuing=second)


def test_the_clock_set_back_is_an_error(host: AuthorityHost) -> None:
    host.run()
    host.after(minutes=-59).run()
    with pytest.raises(KitError, match="clock of the CA host"):
        host.after(minutes=-5).run()


def test_another_issuing_ca_takes_over_who_names_it(host: AuthorityHost) -> None:
    host.run()
    issuing = [
        *host.arguments["issuing"],
        {"name": "partners", "purposes": ["client"], "key_type": "ec-p384", "days": 365},
    ]
    trust = [
        {"scope": "issuing", "accept": ["issuing"]},
        {"scope": "issuing+partners", "accept": ["issuing", "partners"]},
    ]
    changes = host.reasons(
        issuing=issuing, trust=trust, certificates=[client("alice", issuer="partners"), client("bob")]
    )
    assert changes["client/alice re-issue"] == "re-issue: issuing CA changed"
    assert changes["trust/issuing+partners write"] == "write: first"
    units = host.run().trust
    assert units["issuing"]["number"] != units["issuing+partners"]["number"]
    assert units["issuing+partners"]["files"]["client-ca.crt"].count("BEGIN") == 3
    assert '"3";' in units["issuing+partners"]["files"]["issuers.map"]
    assert '"3";' not in units["issuing"]["files"]["issuers.map"]


def test_the_crl_of_a_ca_that_left_the_inventory_with_its_password_stops_nobody(host: AuthorityHost) -> None:
    partners = {"name": "partners", "purposes": ["client"], "key_type": "ec-p256", "days": 365}
    issuing = host.arguments["issuing"]
    host.run(issuing=[*issuing, partners])
    known = host.passwords
    assert "ca/partners" in known
    host.passwords = {path: known[path] for path in ("ca/root", "ca/issuing", "client/alice", "client/bob")}
    left = "partners-g1: no longer listed, no password for it: its CRL is not signed; the last one ends at 2026-12-01T"
    host.after(hours=25).run(issuing=issuing)
    again = host.run()
    assert any(warning.startswith(left) for warning in again.warnings)
    assert again.changes == []


def test_trust_numbers_only_grow_and_only_with_the_content(host: AuthorityHost) -> None:
    first = host.run().trust["issuing"]
    assert host.run().trust["issuing"] == first
    assert first["files"]["number.map"] == f'default "{first["number"]}";\n'
    second = host.run(certificates=[client("alice")], removed="revoke").trust["issuing"]
    assert second["number"] > first["number"]
    assert second["sha256"] != first["sha256"]
    assert [path.name for path in (host.store / "trust/issuing").iterdir()] == [str(second["number"])]
    for name, text in second["files"].items():
        assert (host.store / f"trust/issuing/{second['number']}/{name}").read_text() == text


def test_refusals_before_anything_is_made(host: AuthorityHost) -> None:
    for more, found in (
        ({"certificates": [client("alice"), client("alice")]}, "two of this name"),
        ({"certificates": [server(san={})]}, "no SAN"),
        ({"certificates": [client("alice", key_type="rsa-1024")]}, "rsa-1024"),
        ({"certificates": [client("alice", subject={"common_name": "DEMO  issuing g1"})]}, "that of a CA of this PKI"),
        ({"certificates": [client("alice", issuer="nobody")]}, "the issuer 'nobody'"),
        ({"certificates": [client("alice", renew_days=90)]}, "renew_days=90"),
        ({"certificates": [client("alice", groups=["a,b"])]}, "the group 'a,b'"),
        ({"certificates": [client("alice", subject={"shoe_size": "9"})]}, "shoe_size"),
        ({"trust": [{"scope": "x", "accept": ["nobody"]}]}, "the issuing CA 'nobody'"),
        ({"issuing": []}, "no issuing CA"),
        ({"name": "de mo"}, "'de mo'"),
        ({"crl": {"days": 1, "refresh_hours": 24}}, "refresh_hours"),
        ({"revoke": [{"name": "client/a", "serial": "01"}]}, "one of name, serial, certificate"),
        ({"revoke": [{"name": "client/nobody"}]}, "the name 'client/nobody'"),
    ):
        good = dict(host.arguments)
        with pytest.raises(KitError, match=found):
            host.run(**more)
        host.arguments = good
    assert not host.store.exists() or not (host.store / "authorities").exists()


def test_workers_never_draw_the_same_serial_or_key(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.mtls.kit.plugins.module_utils._pki.workers.cores", lambda: 3)
    people = [client(f"u{number}") for number in range(600)]
    host.run(certificates=people)
    serials = {host.leaf(person["name"]).serial_number for person in people}
    public_keys = {keys.public_key_sha256(host.leaf(person["name"]).public_key()) for person in people}
    assert len(serials) == len(public_keys) == 600
    assert host.reasons() == {}


@pytest.mark.parametrize("name", ["SHA1", "MD5"])
def test_a_request_signed_with_a_broken_hash_is_refused(host: AuthorityHost, tmp_path: Path, name: str) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(keys.encrypted_pem(keys.generate("rsa-2048"), b"secret"))
    made = subprocess.run(
        ["openssl", "req", "-new", "-key", str(key), "-passin", "pass:secret", f"-{name.lower()}", "-subj", "/CN=x"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    with pytest.raises(KitError, match=f"a signature with {name}"):
        host.run({"server/gw1/orders": made.stdout}, certificates=[server(key_type="rsa-2048")])
