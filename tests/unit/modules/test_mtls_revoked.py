"""The module mtls_revoked as Ansible calls it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.module_utils._gateway import revocation, tls
from ansible_collections.mtls.kit.plugins.modules import mtls_revoked

SITE = {
    "name": "orders", "root": "/etc/mtls/orders", "address": "127.0.0.1", "port": 443, "server_name": "orders.test",
    "number": 7,
}  # fmt: skip
ALICE = {
    "name": "client/alice",
    "serial": "4F",
    "issuer": 2,
    "untried": "",
    "chain": "C",
    "key": "SECRET",
    "reason": "",
}


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: Any, certificates: str | None = None
) -> dict[str, Any]:
    def pretend(site: revocation.Site, shown: list[revocation.Certificate], *rest: Any) -> Iterator[revocation.Proof]:
        assert (site.number, site.target.port, [one.key for one in shown]) == (7, 443, ["SECRET"])
        if isinstance(outcome, Exception):
            raise outcome
        yield revocation.Proof("orders", "client/alice", "4F", revocation.BY_HANDSHAKE, outcome, "what was found")

    monkeypatch.setattr(revocation, "prove", pretend)
    arguments = {
        "sites": [SITE],
        "trust_anchor": "PEM",
        "certificates": certificates or json.dumps([ALICE]),
        "probe_password": "of the run",
    }
    with patch_module_args(arguments), pytest.raises(SystemExit):
        mtls_revoked.main()
    said = capsys.readouterr().out
    assert "SECRET" not in said
    result: dict[str, Any] = json.loads(said)
    return result


def test_refused_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(monkeypatch, capsys, True)
    assert (result["changed"], result["proofs"][0]["passed"]) == (False, True)


def test_let_in_fails_and_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(monkeypatch, capsys, False)
    assert result["failed"]
    assert "client/alice (serial 4F) at site orders: what was found" in result["msg"]


def test_no_answer_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(monkeypatch, capsys, tls.NotReachable("127.0.0.1 port 443: Connection refused"))
    assert "site orders: found no answer on the gateway itself" in result["msg"]


@pytest.mark.parametrize("other", ["SECRET", "[1]", '[{"name": "SECRET"}]'])
def test_other_data_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    assert "something else than the result of pki_revoked" in run(monkeypatch, capsys, True, other)["msg"]
