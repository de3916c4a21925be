"""Keys of authorities in the store, behind the protocol that every backend speaks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, backend, desired, keys, profiles, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.names import San
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import PlannedAuthority
from tests.unit.module_utils._pki.authority_host import NOON, AuthorityHost


def test_what_it_makes_signs_at_once(host: AuthorityHost) -> None:
    wanted = desired.read(host.arguments)
    planned = PlannedAuthority(wanted.root, 7)
    with store.opened(host.store, wanted.name, NOON, init=True) as opened:
        local = backend.LocalBackend(opened, wanted, Passwords({"ca/root": "secret of the root"}), "", [])
        local.prepare(planned)
        certificate, signer = local.make(planned, (("CN", "demo Root G7"),), None, NOON)
        issuing = signer.issuing(
            (("CN", "demo Issuing G7"),),
            backend.Request.of(keys.generate("ec-p256")),
            NOON,
            NOON + timedelta(days=9999),
        )
    assert not signer.remote
    assert keys.signed_by(issuing, certificate)
    assert (host.store / "authorities/root-g7/ca.key").stat().st_mode & 0o777 == 0o400


def test_a_leaf_is_cut_to_the_life_of_its_issuer(host: AuthorityHost) -> None:
    host.run()
    with store.opened(host.store, "demo", host.now) as opened:
        wanted = desired.read(host.arguments)
        local = backend.LocalBackend(opened, wanted, Passwords({"ca/issuing": "password of ca/issuing"}), "", [])
        (issuing,) = (ca for ca in opened.ledger.authorities() if ca.name == "issuing")
        signer = local.signer(issuing)
        key = keys.generate("ec-p256")
        leaf = authority.Leaf(
            "client/zoe",
            profiles.PROFILES["client"],
            (("CN", "zoe"),),
            (San("URI", "urn:mtls:demo:zoe"),),
            NOON,
            NOON + timedelta(days=9999),
        )
        certificate = signer.leaf(leaf, backend.Request.of(key))
    assert keys.signed_by(certificate, x509.load_der_x509_certificate(issuing.der))
    assert certificate.not_valid_after_utc == issuing.not_after


def test_an_authority_without_a_password_is_refused_before_it_is_made(host: AuthorityHost) -> None:
    wanted = desired.read(host.arguments)
    with store.opened(host.store, wanted.name, NOON, init=True) as opened:
        local = backend.LocalBackend(opened, wanted, Passwords({}), "", [])
        with pytest.raises(KitError, match="password of ca/root"):
            local.prepare(PlannedAuthority(wanted.root, 1))
    assert not (host.store / "authorities").exists()
