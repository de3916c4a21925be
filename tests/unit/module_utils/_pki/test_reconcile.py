"""OpenBao's lists beside the ledger, without OpenBao; a real one is in tests/integration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    authority,
    backend,
    keys,
    names,
    openbao,
    place,
    profiles,
    reconcile,
    store,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.names import San
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Client
from tests.unit.module_utils._pki.authority_host import AuthorityHost

MOUNT = "pki-demo-issuing"


class Lists:
    """What a client is told that asks for lists and certificates."""

    def __init__(self) -> None:
        self.certificates: dict[str, bytes] = {}
        self.revoked: list[str] = []

    def list(self, what: str, path: str) -> dict[str, Any]:
        return {"keys": self.revoked if path.endswith("/revoked") else list(self.certificates)}

    def find(self, what: str, path: str) -> dict[str, Any] | None:
        pem = self.certificates.get(path.rpartition("/")[2])
        return None if pem is None else {"certificate": pem.decode()}

    def in_parallel(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(work, items)


def leaf_of(opened: store.Store, host: AuthorityHost, key: keys.PrivateKey, *, days: int = 90) -> tuple[str, bytes]:
    """(serial as OpenBao lists it, PEM) of a leaf that nobody entered."""
    (issuing,) = (ca for ca in opened.ledger.authorities() if ca.name == "issuing")
    signer = backend.open_signer(opened, issuing, Passwords(host.passwords))
    leaf = authority.Leaf(
        "client/x",
        profiles.PROFILES["client"],
        (("CN", "x"),),
        (San("URI", "urn:mtls:demo:x"),),
        host.now - timedelta(days=100),
        host.now - timedelta(days=100) + timedelta(days=100 + days),
    )
    certificate = authority.sign_leaf(leaf, key.public_key(), signer)
    # Like OpenBao, without the zero bytes that a number may begin with.
    return openbao.colons(names.serial_text(certificate.serial_number)), certificate.public_bytes(Encoding.PEM)


def test_strays_strangers_and_what_either_side_has_not_heard(host: AuthorityHost) -> None:
    host.run()
    lists, ours = Lists(), keys.generate("ec-p256")
    with store.opened(host.store, "demo", host.now) as opened:
        ledger = opened.ledger
        with ledger.transaction():
            place.set_place(ledger, "issuing-g1", place.Place(MOUNT, "an-id"))
        openbao._announce(ledger, [ours.public_key()])
        alice, bob = (ledger.current_of(f"client/{name}") for name in ("alice", "bob"))
        assert alice is not None
        assert bob is not None
        for issued in (alice, bob):
            lists.certificates[openbao.colons(issued.serial)] = b"never asked for"
        lists.revoked = [openbao.colons(alice.serial)]
        stray, stranger, ended = (
            leaf_of(opened, host, ours),
            leaf_of(opened, host, keys.generate("ec-p256")),
            leaf_of(opened, host, keys.generate("ec-p256"), days=-1),
        )
        lists.certificates.update([stray, stranger, ended])
        lists.certificates["0a:0b"] = (host.store / "authorities/root-g1/ca.crt").read_bytes()
        found = reconcile.differences(cast(Client, lists), ledger, host.now)
        assert [(one.name, one.revocation.reason) for one in found.revoked] == [
            ("client/alice", "unspecified"),
            (f"serial {openbao.serial_of(stray[0])}", "superseded"),
        ]
        assert [(new.name, new.probe, new.subject) for new in found.unknown] == [
            (f"unknown/{openbao.serial_of(stranger[0])}", True, "CN=x")
        ]
        assert found.untold == []
        with ledger.transaction():
            ledger.revoke(one.revocation for one in found.revoked)
            ledger.add_certificates(found.unknown)
            openbao.forget_announced(ledger)
        again = reconcile.differences(cast(Client, lists), ledger, host.now)
        assert (again.revoked, again.unknown) == ([], [])
        assert again.untold == [
            (f"serial {openbao.serial_of(stray[0])}", MOUNT, openbao.serial_of(stray[0]))
        ]  # fmt: skip


def test_a_store_whose_keys_are_its_own_asks_nothing(host: AuthorityHost) -> None:
    host.run()
    with store.opened(host.store, "demo", host.now) as opened:
        assert place.places(opened.ledger) == {}
        assert reconcile.differences(cast(Client, None), opened.ledger, host.now) == place.Differences([], [], [])
        assert not place.signed_in_openbao(opened.ledger, opened.ledger.authorities(), "issuing", place.OPENBAO)
        assert place.signed_in_openbao(opened.ledger, [], "issuing", place.OPENBAO)
