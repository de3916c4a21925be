"""Overrides of a site's TLS, and chains with more than one CA between a client and its root."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.wire import Wire, started
from tests.unit.module_utils._gateway.delivery import Authority, pem

DAY = timedelta(days=1)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with started(tmp_path) as one:
        yield one


def test_tls_protocols_let_in_who_speaks_them_and_nobody_else(wire: Wire) -> None:
    for protocols, answers in (
        (["TLSv1.2"], (200, 0)),
        (["TLSv1.3"], (0, 200)),
        (["TLSv1.2", "TLSv1.3"], (200, 200)),
    ):
        wire.serve(wire.site(tls_protocols=protocols))
        contexts = (wire.context(version=version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
        assert tuple(wire.ask(context=context).status for context in contexts) == answers


def test_tls_groups_let_in_who_has_one_of_them_and_nobody_else(wire: Wire) -> None:
    for groups, answers in ((["secp384r1"], (200, 0)), (["X25519", "prime256v1"], (0, 200))):
        wire.serve(wire.site(tls_groups=groups))
        assert tuple(wire.curl("--curves", curve).status for curve in ("P-384", "P-256")) == answers


def test_tls_ciphers_let_in_who_has_one_of_them_and_nobody_else(wire: Wire) -> None:
    wire.serve(wire.site(tls_ciphers=["ECDHE-ECDSA-AES256-GCM-SHA384"]))
    for cipher, status in (("ECDHE-ECDSA-AES256-GCM-SHA384", 200), ("ECDHE-ECDSA-AES128-GCM-SHA256", 0)):
        context = wire.context(version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(cipher)
        assert wire.ask(context=context).status == status


def test_a_chain_needs_as_much_depth_as_it_has_cas_below_the_root(wire: Wire) -> None:
    """Of a CA from elsewhere, whose clients send the two CAs that are above them."""
    now = datetime.now(UTC)
    life = {"begin": now - DAY, "end": now + DAY}
    root = Authority.create("elsewhere Root", path_length=2, **life)
    upper = Authority.create("elsewhere Upper", root, path_length=1, **life)
    lower = Authority.create("elsewhere Lower", upper, **life)
    leaf = Authority.create("carl", ca=False)
    carl = lower.sign(leaf.certificate.public_key(), server=False, **life)
    chain, key = wire.folder / "carl.crt", wire.folder / "carl.key"
    chain.write_text(pem(carl) + pem(lower.certificate) + pem(upper.certificate))
    key.write_bytes(leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    for depth, status in ((1, 400), (2, 200)):
        wire.place(wire.site(verify_depth=depth))
        trust = wire.mtls / "orders/trust"
        unit = trust / "elsewhere"
        unit.mkdir(exist_ok=True)
        for file in (trust / "current").iterdir():
            (unit / file.name).write_bytes(file.read_bytes())
        (unit / "client-ca.crt").write_bytes(root.certificate.public_bytes(Encoding.PEM))
        (unit / "issuers.map").write_text(lower.issuers_line(9))
        wire._link(trust / "current", unit)
        wire.restart()
        context = wire.context(None)
        context.load_cert_chain(chain, key)
        assert wire.ask(context=context).status == status
        # Who is not below that root stays out whatever the depth.
        assert wire.ask().status == 400
