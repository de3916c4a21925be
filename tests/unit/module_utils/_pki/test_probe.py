"""Probe identities: one good, the others refused by OpenSSL for the reason they stand for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.mtls.kit.plugins.module_utils._pki import probe, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import TrustSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost

PASSWORD = "only for this run"
ISSUING = TrustSpec("issuing", ("issuing",))
PARTNERS = TrustSpec("partners", ("partners",))
BOTH = TrustSpec("issuing+partners", ("issuing", "partners"))


def mint_all(host: AuthorityHost, *trust: TrustSpec) -> tuple[dict[str, list[probe.Identity]], list[str]]:
    with store.opened(host.store, None, host.now) as opened:
        return probe.mint(opened, trust, host.passwords, PASSWORD, host.now)


def mint(host: AuthorityHost) -> tuple[dict[str, probe.Identity], list[str]]:
    identities, warnings = mint_all(host, ISSUING)
    return {identity.name: identity for identity in identities["issuing"]}, warnings


def openssl(host: AuthorityHost, identity: probe.Identity, folder: Path) -> str:
    """What a gateway that pins nothing but the trust unit's CA bundle would say."""
    (folder / "chain.pem").write_text(identity.chain)
    bundle = next(host.store.glob("trust/issuing/*/client-ca.crt"))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", str(bundle)]
    command += ["-attime", str(int(host.now.timestamp())), "-untrusted", str(folder / "chain.pem")]
    done = subprocess.run(
        [*command, str(folder / "chain.pem")], capture_output=True, text=True, check=False, timeout=20
    )
    return "OK" if done.returncode == 0 else done.stderr


def test_each_identity_is_refused_for_its_own_reason(host: AuthorityHost, tmp_path: Path) -> None:
    host.run()
    identities, warnings = mint(host)
    assert warnings == []
    assert {name: identity.expect for name, identity in identities.items()} == {
        "good": "accepted", "none": "refused", "stranger": "refused", "expired": "refused", "sibling": "refused",
        "server-cert": "refused",
    }  # fmt: skip
    found = {name: openssl(host, each, tmp_path) for name, each in identities.items() if name != "none"}
    assert found["good"] == "OK"
    assert "error 10" in found["expired"]
    assert "error 26" in found["server-cert"]
    # OpenSSL alone accepts another issuing CA under the same root: that is why sites pin theirs by a map.
    assert found["sibling"] == "OK"
    assert "error 7" in found["stranger"] or "error 20" in found["stranger"]
    stranger = x509.load_pem_x509_certificates(identities["stranger"].chain.encode())[1]
    real = x509.load_pem_x509_certificate((host.store / "authorities/issuing-g1/ca.crt").read_bytes())
    assert stranger.subject == real.subject
    sibling = x509.load_pem_x509_certificates(identities["sibling"].chain.encode())[1]
    assert sibling.subject != real.subject


def test_keys_open_with_the_runs_password_and_lives_are_short(host: AuthorityHost) -> None:
    host.run()
    for identity in mint(host)[0].values():
        if identity.name == "none":
            assert (identity.chain, identity.key) == ("", "")
            continue
        leaf = x509.load_pem_x509_certificates(identity.chain.encode())[0]
        key = load_pem_private_key(identity.key.encode(), PASSWORD.encode())
        assert key.public_key() == leaf.public_key()
        assert leaf.not_valid_after_utc <= host.now + probe.LIFE


def test_probes_are_in_the_ledger_and_in_no_map(host: AuthorityHost) -> None:
    host.run()
    before = host.run().trust
    mint(host)
    with store.opened(host.store, None, host.now) as opened:
        rows = opened.ledger._db.execute("SELECT name FROM certificates WHERE probe = 1 ORDER BY name").fetchall()
    assert [row[0] for row in rows] == ["probe/expired", "probe/good", "probe/server-cert", "probe/sibling-ca"]
    result = host.run()
    assert (result.changes, result.removed, result.trust) == ([], [], before)


def test_without_the_roots_key_the_sibling_is_left_out(host: AuthorityHost) -> None:
    host.run()
    (host.store / "authorities/root-g1/ca.key").unlink()
    identities, warnings = mint(host)
    assert "sibling" not in identities
    assert "root-g1" in warnings[0]


def issuer_of(identity: probe.Identity) -> str:
    return x509.load_pem_x509_certificates(identity.chain.encode())[0].issuer.rfc4514_string()


def with_partners(host: AuthorityHost) -> AuthorityHost:
    """A PKI with a second issuing CA."""
    partners = {"name": "partners", "purposes": ["client"], "key_type": "ec-p256", "days": 1095}
    host.run(issuing=[*host.arguments["issuing"], partners])
    return host


def test_every_scope_gets_identities_of_an_issuing_ca_that_it_accepts(host: AuthorityHost) -> None:
    by_scope, _ = mint_all(with_partners(host), ISSUING, PARTNERS, BOTH)
    assert list(by_scope) == ["issuing", "partners", "issuing+partners"]
    for scope, issuer in (("issuing", "Issuing"), ("partners", "Partners"), ("issuing+partners", "Issuing")):
        issuers = {identity.name: issuer_of(identity) for identity in by_scope[scope] if identity.name != "none"}
        own = f"CN=demo {issuer} G1,O=Example Ltd"
        assert issuers.pop("sibling") == "CN=demo Probe Sibling"
        assert issuers == dict.fromkeys(["good", "stranger", "expired", "server-cert"], own)


def test_what_scopes_can_share_is_made_once(host: AuthorityHost) -> None:
    with_partners(host)
    (host.store / "authorities/root-g1/ca.key").rename(host.store / "authorities/root-g1/away")
    by_scope, warnings = mint_all(host, ISSUING, PARTNERS, BOTH)
    assert len(warnings) == 1
    (host.store / "authorities/root-g1/away").rename(host.store / "authorities/root-g1/ca.key")
    by_scope, _ = mint_all(host, ISSUING, PARTNERS, BOTH)
    assert by_scope["issuing"] == by_scope["issuing+partners"]
    shared = {identity.name for identity in by_scope["issuing"] if identity in by_scope["partners"]}
    assert shared == {"none", "sibling"}


def test_an_issuing_ca_that_is_not_made_yet_does_not_sign(host: AuthorityHost) -> None:
    host.run()
    by_scope, _ = mint_all(host, TrustSpec("issuing+new", ("new", "issuing")))
    assert issuer_of(by_scope["issuing+new"][0]) == "CN=demo Issuing G1,O=Example Ltd"


@pytest.mark.parametrize(
    ("trust", "password", "found"),
    [
        ([TrustSpec("nobody", ("nobody",))], PASSWORD, "trust scope 'nobody': found nobody"),
        ([ISSUING, TrustSpec("empty", ())], PASSWORD, "trust scope 'empty': found no issuing CA"),
        ([TrustSpec("root", ("root",))], PASSWORD, "trust scope 'root': found root"),
        ([], PASSWORD, "trust: found no scope"),
        ([ISSUING], "short", "probe_password"),
    ],
)
def test_refusals_enter_nothing(host: AuthorityHost, trust: list[TrustSpec], password: str, found: str) -> None:
    host.run()
    with store.opened(host.store, None, host.now) as opened:
        with pytest.raises(KitError, match=found):
            probe.mint(opened, trust, host.passwords, password, host.now)
        assert opened.ledger._db.execute("SELECT count(*) FROM certificates WHERE probe = 1").fetchone() == (0,)
