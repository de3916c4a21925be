"""The module pki_delivered as Ansible calls it."""

from __future__ import annotations

from typing import Any

from ansible_collections.mtls.kit.plugins.modules import pki_delivered
from tests.unit.module_utils._pki.authority_host import AuthorityHost
from tests.unit.modules.pki_call import Call

SERVED = [{"gateway": "gw1", "site": "orders", "scope": "issuing", "accept": ["issuing"], "number": 1}]


def call(pki_call: Call, host: AuthorityHost, **more: Any) -> dict[str, Any]:
    return pki_call(pki_delivered, **{"store": str(host.store), "served": SERVED, **more})


def test_what_is_new_is_recorded_once_and_is_no_change(host: AuthorityHost, pki_call: Call) -> None:
    assert call(pki_call, host, check=True)["recorded"] == 0
    first, second = call(pki_call, host), call(pki_call, host)
    assert (first["recorded"], first["changed"], second["recorded"]) == (1, False, 0)


def test_nothing_to_record_needs_no_store(host: AuthorityHost, pki_call: Call) -> None:
    assert call(pki_call, host, store=f"{host.store}/absent", served=[])["recorded"] == 0


def test_a_store_that_is_not_there_is_told(host: AuthorityHost, pki_call: Call) -> None:
    result = call(pki_call, host, store=f"{host.store}/absent")
    assert result["failed"]
    assert "Next: " in result["msg"]
