"""Which sites a revocation has not reached, from what runs recorded."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import delivery, inspection, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost

PARTNERS = {"name": "partners", "purposes": ["client"], "key_type": "ec-p256", "days": 1095}


def serve(host: AuthorityHost, gateway: str, number: int, scope: str = "issuing", *accept: str) -> int:
    """Record that a gateway serves a trust unit; how many entries were new."""
    served = delivery.Served(gateway, "orders", scope, accept or (scope,), number)
    with store.opened(host.store, None, host.now) as opened:
        new = delivery.news(opened.ledger, [served])
        delivery.record(opened.ledger, new)
        assert not new or asdict(served) | {"accept": list(served.accept)} in delivery.delivered(opened.ledger)
    return len(new)


def behind(host: AuthorityHost, *sites: str) -> list[tuple[str, tuple[str, ...]]]:
    with store.inspected(host.store, "demo") as ledger:
        found = delivery.undelivered(ledger, host.now, set(sites) if sites else None)
    return [(one.gateway, one.revoked) for one in found]


def test_a_gateway_that_missed_a_revocation_is_known_until_it_serves_it(host: AuthorityHost) -> None:
    host.run()
    assert [serve(host, "gw1", 1), serve(host, "gw2", 1), serve(host, "gw2", 1)] == [1, 1, 0]
    assert behind(host) == []

    since = host.after(hours=1).now
    host.run(revoke=[{"name": "client/alice"}])
    serve(host, "gw1", 2)
    assert behind(host) == [("gw2", ("client/alice",))]
    assert behind(host, "gw1/orders") == []

    report = inspection.report(
        host_ledger := store_copy(host), host.after(hours=1).now, inspection.Windows(), inspection.Filter()
    )
    host_ledger.close()
    assert report["undelivered"] == [
        {
            "gateway": "gw2",
            "site": "orders",
            "trust": 1,
            "revoked": ["client/alice"],
            "since": since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    ]
    assert report["attention"][0]["level"] == "wrong"
    assert report["attention"][0]["text"].startswith("revocation of client/alice: gw2/orders not reached since 20")

    serve(host, "gw2", 2)
    assert behind(host) == []


def store_copy(host: AuthorityHost) -> delivery.Ledger:
    return delivery.Ledger.in_memory(host.store / "ledger.sqlite")


def test_a_unit_that_changed_otherwise_or_an_expired_certificate_is_no_matter(host: AuthorityHost) -> None:
    host.run()
    serve(host, "gw1", 1)
    host.after(days=2).run()
    assert behind(host) == []
    host.run(revoke=[{"name": "client/alice"}])
    assert behind(host) == [("gw1", ("client/alice",))]
    host.after(days=200)
    assert behind(host) == []


def test_a_revocation_of_an_issuer_the_site_does_not_accept_is_no_matter(host: AuthorityHost) -> None:
    trust = [{"scope": "issuing", "accept": ["issuing"]}, {"scope": "partners", "accept": ["partners"]}]
    host.run(issuing=[*host.arguments["issuing"], PARTNERS], trust=trust)
    serve(host, "gw1", 1)
    serve(host, "gw2", 2, "partners")
    host.after(hours=1).run(revoke=[{"name": "client/alice"}])
    assert behind(host) == [("gw1", ("client/alice",))]


def test_a_number_that_is_not_in_force_is_not_recorded(host: AuthorityHost) -> None:
    host.run()
    assert serve(host, "gw1", 7) == 0


@pytest.mark.parametrize("wrong", [{"gateway": "../x"}, {"number": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    entry = {"gateway": "gw1", "site": "orders", "scope": "issuing", "accept": ["issuing"], "number": 1, **wrong}
    with pytest.raises(KitError):
        delivery.served_from([entry])
