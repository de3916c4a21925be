"""Profiles of one's own: what is refused, what a certificate under one looks like, and what a change of it does."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    authority,
    clock,
    keys,
    ledger,
    names,
    own_profiles,
    profiles,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost, client, csr, server

MAIL = {"name": "mail", "extended_key_usage": ["clientAuth", "emailProtection"], "san": {"required": ["email"]}}
WORKLOAD = {
    "name": "workload",
    "extended_key_usage": ["serverAuth", "clientAuth"],
    "san": {"allowed": ["uri", "dns"], "spiffe_trust_domain": "example.org"},
    "key_types": ["ec-p256", "ec-p384"],
    "days": 7,
}
CODE = {"name": "code", "extended_key_usage": ["codeSigning"], "subject": {"required": ["organization"]}}


def own(**more: Any) -> dict[str, Any]:
    return {"name": "mine", "extended_key_usage": ["clientAuth"], **more}


def as_documented(entry: dict[str, Any]) -> None:
    with pytest.raises(KitError) as caught:
        own_profiles.read([entry])
    assert caught.value.what.startswith("profile ")
    assert all((caught.value.found, caught.value.expected, caught.value.next_step))


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (own(name="Mine"), "the name 'Mine'"),
        (own(name="client"), "built in"),
        (own(extended_key_usage=[]), "no extended_key_usage"),
        (own(extended_key_usage=["anyExtendedKeyUsage"]), "anyExtendedKeyUsage"),
        (own(extended_key_usage=["clientAuth", "2.5.29.37.0"]), "anyExtendedKeyUsage"),
        (own(extended_key_usage=["1.3.6.1.5.5.7.3.9"]), "OCSPSigning"),
        (own(extended_key_usage=["timeStamping"]), "timeStamping"),
        (own(extended_key_usage=["clientauth"]), "'clientauth'"),
        (own(extended_key_usage=["1.3.06.1"]), r"'1\.3\.06\.1'"),
        (own(extended_key_usage=["3.1.2"]), r"'3\.1\.2'"),
        (own(extended_key_usage=["1.40.1"]), r"'1\.40\.1'"),
        (own(extended_key_usage=["1"]), "'1'"),
        (own(extended_key_usage="clientAuth"), "extended_key_usage='clientAuth'"),
        (own(extended_key_usage=[1.3]), r"extended_key_usage=\[1\.3\]"),
        (own(key_usage=["digitalSignature", "keyCertSign"]), "keyCertSign"),
        (own(key_usage=["cRLSign"]), "cRLSign"),
        (own(key_usage=["signing"]), "'signing'"),
        (own(key_usage=[]), "an empty key_usage"),
        (own(key_usage=["keyAgreement"]), "without digitalSignature"),
        (own(extended_key_usage=["codeSigning"], key_usage=["dataEncipherment"], key_types=["ed25519"]), "do nothing"),
        (own(key_types=["rsa-1024"]), "rsa-1024"),
        (own(san={"allowed": ["dns"], "required": ["uri"]}), "leaves out"),
        (own(san={"allowed": ["other"]}), "'other'"),
        (own(san=["dns"]), "san="),
        (own(san={"spiffe_trust_domain": "spiffe://example.org"}), "spiffe_trust_domain"),
        (own(san={"allowed": ["dns"], "spiffe_trust_domain": "example.org"}), "without uri"),
        (own(subject={"required": ["email"]}), "'email'"),
        (own(subject={"defaults": {"country": "Germany"}}), "subject.country"),
        (own(days=0), "days=0"),
        (own(days="30"), "days='30'"),
        (own(days=30, renew_days=30), "renew_days=30"),
    ],
)  # fmt: skip
def test_a_bad_profile_is_refused(entry: dict[str, Any], found: str) -> None:
    with pytest.raises(KitError, match=found):
        own_profiles.read([entry])
    as_documented(entry)


def test_two_of_one_name() -> None:
    with pytest.raises(KitError, match="there twice"):
        own_profiles.read([own(), own()])


def test_a_refused_profile_changes_nothing(host: AuthorityHost) -> None:
    with pytest.raises(KitError, match="keyCertSign"):
        host.run(profiles=[own(key_usage=["keyCertSign"])])
    assert not host.store.exists()


@pytest.mark.parametrize(
    ("profile", "entry", "found"),
    [
        (MAIL, {}, "no SAN"),
        (MAIL, {"san": {"dns": ["a.example.org"]}}, "no SAN of kind email"),
        (WORKLOAD, {}, "no SAN"),
        (WORKLOAD, {"san": {"uri": ["https://example.org/a"]}}, "SPIFFE ID, spiffe://example.org/<path>"),
        (WORKLOAD, {"san": {"uri": ["spiffe://example.com/a"]}}, "SPIFFE ID, spiffe://example.org/<path>"),
        (WORKLOAD, {"san": {"email": ["a@example.org"], "uri": ["spiffe://example.org/a"]}}, "a SAN of kind email"),
        (WORKLOAD, {"san": {"uri": ["spiffe://example.org/a"]}, "key_type": "ed25519"}, "a key of type ed25519"),
        (own(days=2000), {}, "days=2000"),
        (own(subject={"required": ["country"]}), {}, "no country in its subject"),
        (own(), {"profile": "other"}, "the profile 'other'"),
    ],
)
def test_a_wish_that_breaks_its_profile_is_refused_before_anything_changes(
    host: AuthorityHost, profile: dict[str, Any], entry: dict[str, Any], found: str
) -> None:
    with pytest.raises(KitError, match=found):
        host.run(profiles=[profile], certificates=[client("a", **{"profile": profile["name"], **entry})])
    assert not host.store.exists()


def test_a_spiffe_id_stands_alone_in_every_profile(host: AuthorityHost) -> None:
    with pytest.raises(KitError, match="one SPIFFE ID and no other URI"):
        host.run(certificates=[client("a", san={"uri": ["spiffe://example.org/a", "urn:other"]})])


def test_a_server_of_a_site_is_for_servers(host: AuthorityHost) -> None:
    with pytest.raises(KitError, match="a profile with serverAuth"):
        host.run(profiles=[MAIL], certificates=[server(profile="mail", san={"email": ["a@example.org"]})])


def usage_of(certificate: x509.Certificate) -> tuple[set[str], list[x509.ObjectIdentifier]]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return {name for name, field in profiles.KEY_USAGES.items() if getattr(usage, field)}, list(extended)


def test_a_certificate_is_what_its_profile_says(host: AuthorityHost) -> None:
    host.run(
        profiles=[MAIL, WORKLOAD, CODE, own(extended_key_usage=["1.3.6.1.4.1.99999.1.2"])],
        certificates=[
            client("ada", profile="mail", san={"email": ["ada@example.org"]}),
            client("orders", profile="workload", san={"uri": ["spiffe://example.org/orders"]}),
            client("builder", profile="code"),
            client("odd", profile="mine"),
        ],
    )
    assert usage_of(host.leaf("client/ada")) == (
        {"digitalSignature"}, [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION],
    )  # fmt: skip
    assert usage_of(host.leaf("client/odd"))[1] == [x509.ObjectIdentifier("1.3.6.1.4.1.99999.1.2")]
    orders = host.leaf("client/orders")
    assert clock.not_after(orders) - clock.not_before(orders) == clock.BACKDATED + 7 * (NOON.replace(day=25) - NOON)
    for name, purposes in {
        "client/ada": ("sslclient", "smimesign"),
        "client/orders": ("sslclient", "sslserver"),
        "client/builder": ("any",),
    }.items():
        assert [host.verify(name, purpose) for purpose in purposes] == ["OK"] * len(purposes)
    for name, purpose in (("client/ada", "sslserver"), ("client/builder", "sslclient"), ("client/odd", "sslclient")):
        assert "unsuitable certificate purpose" in host.verify(name, purpose)


def test_only_who_may_be_a_client_is_in_the_identity_map(host: AuthorityHost) -> None:
    certificates = [
        client("ada", profile="mail", san={"email": ["ada@example.org"]}),
        client("builder", profile="code"),
    ]
    found = host.run(profiles=[MAIL, CODE], certificates=certificates)
    assert "|email:ada@example.org|" in found.trust["issuing"]["files"]["identities.map"]
    assert "builder" not in found.trust["issuing"]["files"]["identities.map"]
    # A profile that is no longer listed doesn't take the certificates with it that are still valid.
    later = host.after(hours=1).run(profiles=[], certificates=[client("alice")])
    assert "|email:ada@example.org|" in later.trust["issuing"]["files"]["identities.map"]


def test_a_changed_profile_issues_again_with_its_reason(host: AuthorityHost) -> None:
    host.run(profiles=[own()], certificates=[client("a", profile="mine"), client("b")])
    assert host.after(hours=1).reasons() == {}
    stronger = own(key_usage=["digitalSignature", "contentCommitment"])
    assert host.after(minutes=5).reasons(profiles=[stronger]) == {
        "client/a re-issue": "re-issue: profile changed",
        "trust/issuing write": "write: identities.map changed",
    }
    assert usage_of(host.leaf("client/a"))[0] == {"digitalSignature", "contentCommitment"}
    assert host.after(minutes=5).reasons(profiles=[{**stronger, "days": 30}]) == {}


def test_a_ca_that_was_made_before_a_usage_does_not_sign_it(host: AuthorityHost) -> None:
    host.run()
    builder = [client("builder", profile="code")]
    with pytest.raises(KitError, match="made without the usage codeSigning"):
        host.run(profiles=[CODE], certificates=builder)
    issuing = [*host.arguments["issuing"], {"name": "code", "purposes": ["client"], "key_type": "ec-p256", "days": 900}]
    host.run(issuing=issuing, certificates=[{**builder[0], "issuer": "code"}])
    assert profiles.usages_of(authority.x509.load_pem_x509_certificate(
        (host.store / "authorities/code-g1/ca.crt").read_bytes()
    )) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING}  # fmt: skip


def test_rsa_gets_what_rsa_can_do(host: AuthorityHost) -> None:
    wide = own(key_usage=["digitalSignature", "keyEncipherment", "keyAgreement"])
    host.run(
        profiles=[wide],
        certificates=[client(kind, profile="mine", key_type=kind) for kind in ("rsa-2048", "ec-p256", "ed25519")],
    )
    found = {kind: usage_of(host.leaf(f"client/{kind}"))[0] for kind in ("rsa-2048", "ec-p256", "ed25519")}
    assert found == {
        "rsa-2048": {"digitalSignature", "keyEncipherment"},
        "ec-p256": {"digitalSignature", "keyAgreement"},
        "ed25519": {"digitalSignature"},
    }


def test_a_request_for_a_profile(host: AuthorityHost) -> None:
    key = keys.generate("ec-p384")
    site = server(profile="workload", san={"dns": ["a.example.org"], "uri": ["spiffe://example.org/a"]})
    host.run({"server/gw1/orders": csr(key)}, profiles=[WORKLOAD], certificates=[{**site, "key_type": "ec-p384"}])
    assert host.verify("server/gw1/orders", "sslserver") == "OK"


def test_a_ledger_of_the_first_version_knows_its_clients(host: AuthorityHost) -> None:
    before = host.run(certificates=[client("alice"), client("bob", profile="both", san={"dns": ["b.example.org"]})])
    with sqlite3.connect(host.store / "ledger.sqlite") as old:
        old.executescript(
            "ALTER TABLE certificates DROP COLUMN profile_sha256; ALTER TABLE certificates DROP COLUMN for_clients;"
            "ALTER TABLE authorities DROP COLUMN state; DROP TABLE rotations; DROP TABLE cross_certificates;"
            "ALTER TABLE certificates DROP COLUMN handed_over; DROP TABLE bundles;"
        )
        old.execute("PRAGMA user_version = 1")
    old.close()
    after = host.after(minutes=5).run()
    assert after.changes == []
    assert after.trust == before.trust
    with sqlite3.connect(host.store / "ledger.sqlite") as new:
        assert new.execute("PRAGMA user_version").fetchone()[0] == len(ledger.MIGRATIONS)
    new.close()


USAGES = st.lists(st.sampled_from(sorted(profiles.KEY_USAGES)), unique=True)
EXTENDED = st.lists(
    st.sampled_from([*sorted(profiles.EXTENDED_KEY_USAGES), "1.3.6.1.4.1.99999.7"]), min_size=1, unique=True
)
KINDS = st.lists(st.sampled_from(["dns", "ip", "uri", "email"]), unique=True)
SANS = {
    "dns": ["a.example.org"], "ip": ["192.0.2.1"], "uri": ["spiffe://example.org/a"], "email": ["a@example.org"],
}  # fmt: skip
ISSUER_KEY = keys.generate("ec-p256")
ISSUER = authority.Signer.of(
    authority.create_root((("CN", "root"),), ISSUER_KEY, NOON, NOON.replace(year=2027)), ISSUER_KEY, "root"
)
LEAF_KEYS = {key_type: keys.generate(key_type).public_key() for key_type in ("ec-p256", "rsa-2048", "ed25519")}


@given(USAGES, EXTENDED, KINDS, KINDS, KINDS, st.sampled_from(sorted(LEAF_KEYS)))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_signed_keeps_its_profile_and_all_else_is_refused(
    usages: list[str], extended: list[str], allowed: list[str], required: list[str], given_kinds: list[str], kind: str
) -> None:
    entry = {
        "name": "mine",
        "extended_key_usage": extended,
        "key_usage": usages,
        "san": {"allowed": allowed, "required": required},
    }
    try:
        profile = own_profiles.read([entry])["mine"]
        sans = names.sans_from({kind: SANS[kind] for kind in given_kinds}, "x")
        leaf = authority.Leaf("client/a", profile, (("CN", "a"),), sans, NOON, NOON.replace(year=2027))
        signed = authority.sign_leaf(leaf, LEAF_KEYS[kind], ISSUER)
    except KitError as error:
        assert all((error.what, error.found, error.expected, error.next_step))
        return
    key_usage, extended_usage = usage_of(signed)
    assert key_usage
    assert key_usage <= set(usages)
    assert len(extended_usage) == len(extended)
    assert set(given_kinds) <= set(allowed or given_kinds)
    assert set(required) <= set(given_kinds)
    assert names.sans_of(signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == sans
    assert not signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
