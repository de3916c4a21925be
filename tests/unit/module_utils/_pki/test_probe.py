"""Probe identities: one good, the others refused by OpenSSL for the reason they stand for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.mtls.kit.plugins.module_utils._pki import probe, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost

PASSWORD = "only for this run"


def mint(host: AuthorityHost) -> tuple[dict[str, probe.Identity], list[str]]:
    with store.opened(host.store, None, host.now) as opened:
        identities, warnings = probe.mint(opened, ["issuing"], host.passwords, PASSWORD, host.now)
    return {identity.name: identity for identity in identities}, warnings


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


def test_refusals(host: AuthorityHost) -> None:
    host.run()
    with store.opened(host.store, None, host.now) as opened:
        with pytest.raises(KitError, match="accept: found nobody"):
            probe.mint(opened, ["nobody"], host.passwords, PASSWORD, host.now)
        with pytest.raises(KitError, match="probe_password"):
            probe.mint(opened, ["issuing"], host.passwords, "short", host.now)
