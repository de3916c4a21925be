"""What a public CA issued: kept when clients would accept it, due for a reason, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mtls.kit.plugins.module_utils._acme import issued
from ansible_collections.mtls.kit.plugins.module_utils._acme.issued import Wish
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import NOW, Pki, pem

NAME = "orders.example.test"
BEGIN, END = NOW, NOW + timedelta(days=90) - timedelta(seconds=1)


class Public:
    """A public CA, a site's key, and what was issued for it."""

    def __init__(self, folder: Path) -> None:
        self.pki, self.folder = Pki(), folder / "public"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.roots = [Pki().root.certificate, self.pki.root.certificate]

    def wish(self, *names: str, key: Any = None) -> Wish:
        sha256 = keys.public_key_sha256((key or self.key).public_key())
        return Wish("server/gw1/orders", names or (NAME,), sha256)

    def chain(self, **altered: Any) -> str:
        leaf = self.pki.issuing.sign(self.key.public_key(), **{"begin": BEGIN, "end": END, **altered})
        return pem(leaf) + pem(self.pki.issuing.certificate)

    def store(self, chain: str, wish: Wish | None = None, *, now: datetime = NOW, check_mode: bool = False) -> bool:
        return issued.store(self.folder, wish or self.wish(), chain, self.roots, now, check_mode)

    def due(self, wish: Wish | None = None, now: datetime = NOW) -> str | None:
        wish = wish or self.wish()
        return issued.due(wish, issued.held(self.folder, wish, self.roots, now), now, 33)


@pytest.fixture
def public(tmp_path: Path) -> Public:
    return Public(tmp_path)


def test_what_was_issued_is_kept_and_told(public: Public) -> None:
    chain = public.chain()
    assert public.due() == "issue: no public certificate at hand"
    assert public.store(chain, check_mode=True)
    assert not public.folder.exists()
    assert public.store(chain)
    assert not public.store(chain)
    assert public.folder.stat().st_mode & 0o7777 == 0o700
    assert public.due() is None
    held = issued.held(public.folder, public.wish(), public.roots, NOW)
    assert held is not None
    result = held.as_result(public.wish(NAME, "new.example.test"))
    assert result["names"] == [NAME]
    assert result["trust_anchor"] == pem(public.pki.root.certificate)
    assert (result["chain"], result["not_after"]) == (chain, "2026-08-30T11:59:59Z")


@pytest.mark.parametrize(
    ("days", "reason"),
    [(60.2, None), (60.4, "renew: 29 of 90 days left"), (89.5, "renew: 0 of 90 days left")],
)
def test_it_is_renewed_when_a_third_of_its_life_is_left(public: Public, days: float, reason: str | None) -> None:
    public.store(public.chain())
    assert public.due(now=NOW + timedelta(days=days)) == reason


def test_other_names_and_another_key_are_reasons_and_what_is_at_hand_serves_on(public: Public) -> None:
    public.store(public.chain())
    assert public.due(public.wish("ORDERS.example.test")) is None
    more = public.wish(NAME, "new.example.test")
    assert public.due(more) == "re-issue: names changed"
    other = public.wish(key=ec.generate_private_key(ec.SECP256R1()))
    assert public.due(other) == "re-issue: the site has a new key"
    for wish in (more, other):
        assert issued.held(public.folder, wish, public.roots, NOW) is not None


def test_what_no_client_would_accept_is_as_if_it_were_not_there(public: Public) -> None:
    public.store(public.chain())
    for wish, roots, now in (
        (public.wish("new.example.test"), public.roots, NOW),
        (public.wish(), public.roots[:1], NOW),
        (public.wish(), public.roots, NOW + timedelta(days=91)),
    ):
        assert issued.held(public.folder, wish, roots, now) is None
    public.wish().file(public.folder).write_text("no PEM")
    assert public.due() == "issue: no public certificate at hand"


@pytest.mark.parametrize(
    ("altered", "message"),
    [
        ({"names_covered": ["other.example.test"]}, "that covers the server name"),
        ({"server": False}, "without the EKU serverAuth"),
        ({"end": NOW - timedelta(hours=1)}, "expired"),
    ],
)
def test_what_clients_would_refuse_is_not_kept(public: Public, altered: dict[str, Any], message: str) -> None:
    with pytest.raises(KitError, match=message):
        public.store(public.chain(begin=NOW - timedelta(days=1), **altered))
    assert not public.folder.exists()


def test_a_staging_ca_or_another_key_is_not_kept(public: Public) -> None:
    chain = public.chain()
    public.roots.pop()
    with pytest.raises(KitError, match="a chain that ends with the issuer CN=acme Root G1"):
        public.store(chain)
    other = Public(public.folder)
    with pytest.raises(KitError, match="found one for another key"):
        other.store(other.chain(), other.wish(key=public.key))


def test_roots_that_are_none_and_names_that_are_no_servers(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="install ca-certificates"):
        issued.load_roots(tmp_path / "roots.crt")
    for name in ("client/alice", "orders"):
        with pytest.raises(KitError, match="server/<gateway>/<site>"):
            Wish.of({"name": name, "dns": [NAME]})


def test_a_status_report_is_told_how_it_stands_usable_or_not(public: Public) -> None:
    def told(now: datetime = NOW, roots: Any = None) -> dict[str, Any]:
        wish = public.wish()
        found = issued.held(public.folder, wish, roots or public.roots, now)
        return issued.state_of(wish, public.folder, found, issued.due(wish, found, now, 33), now)

    assert told() == {
        "name": "server/gw1/orders", "dns": [NAME], "state": "missing", "days_left": None, "not_after": None,
        "issuer": "", "serial": "", "reason": "issue: no public certificate at hand",
    }  # fmt: skip
    public.store(public.chain())
    valid = told()
    assert (valid["state"], valid["days_left"], valid["not_after"]) == ("valid", 89, "2026-08-30T11:59:59Z")
    assert valid["issuer"] == public.pki.issuing.certificate.subject.rfc4514_string()
    due = told(NOW + timedelta(days=61))
    assert (due["state"], due["reason"]) == ("due", "renew: 28 of 90 days left")
    # Of a CA that no client trusts it is not at hand, and in date all the same.
    strange = told(roots=public.roots[:1])
    assert (strange["state"], strange["days_left"]) == ("due", 89)
    expired = told(NOW + timedelta(days=91))
    assert (expired["state"], expired["days_left"]) == ("expired", -1)
    assert sorted([valid, due, expired], key=issued.urgency) == [expired, due, valid]
    assert list(issued.attention([valid, due, expired])) == [
        {"level": "wrong", "text": "1 public certificate expired: server/gw1/orders"},
        {"level": "due", "text": "1 public certificate to be ordered: server/gw1/orders"},
    ]
    assert list(issued.attention([valid])) == []
