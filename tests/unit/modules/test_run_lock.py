"""The module run_lock as its action calls it."""

from __future__ import annotations

from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki import store
from ansible_collections.mtls.kit.plugins.modules import run_lock
from tests.unit.module_utils._pki.authority_host import AuthorityHost
from tests.unit.modules.pki_call import Call

MINE = {
    "run": "rotate.yml", "user": "operator", "host": "ctl1", "pid": 7, "boot": "b", "started": "1",
    "since": "2026-01-01T00:00:00Z",
}  # fmt: skip
OTHER = {**MINE, "pid": 8}


def call(pki_call: Call, host: AuthorityHost, mine: dict[str, Any], **more: Any) -> dict[str, Any]:
    arguments = {"store": str(host.store), "run": "rotate.yml", "state": "held", "mine": mine}
    return pki_call(run_lock, **{**arguments, **more})


def test_it_is_held_given_back_and_no_change(host: AuthorityHost, pki_call: Call) -> None:
    first = call(pki_call, host, MINE)
    assert (first["holder"], first["changed"]) == ({}, False)
    assert call(pki_call, host, OTHER)["holder"] == MINE
    assert call(pki_call, host, OTHER, instead_of=MINE)["holder"] == {}
    assert call(pki_call, host, OTHER, state="free")["holder"] == {}
    assert call(pki_call, host, MINE)["holder"] == {}


def test_a_check_looks_only(host: AuthorityHost, pki_call: Call) -> None:
    assert call(pki_call, host, MINE, check=True)["holder"] == {}
    assert not (host.store / store.RUN_LOCK).exists()
    call(pki_call, host, MINE)
    assert call(pki_call, host, OTHER, check=True)["holder"] == MINE


def test_what_stands_in_the_way_is_told(host: AuthorityHost, pki_call: Call) -> None:
    (host.store / store.RUN_LOCK).mkdir()
    result = call(pki_call, host, MINE)
    assert result["failed"]
    assert "Next: " in result["msg"]
