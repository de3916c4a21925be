"""The module mtls_probe as Ansible calls it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, tls
from ansible_collections.mtls.kit.plugins.modules import mtls_probe

ACCEPTED = probe.Result("alice", "accepted", "accepted", "TLSv1.3, release r1")
REFUSED = probe.Result("bob", "accepted", "refused", "403: client certificate revoked")
ARGUMENTS = {
    "server_name": "orders.test",
    "trust_anchor": "PEM",
    "identities": json.dumps([{"name": "alice", "expect": "accepted", "chain": "c", "key": "SECRET KEY"}]),
    "probe_password": "SECRET PASSWORD",
}


class Exit(Exception):
    """Carries what the module would print."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        super().__init__(str(result))


@pytest.fixture(autouse=True)
def _catch_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_module: basic.AnsibleModule, **result: Any) -> None:
        raise Exit(result)

    def failed(_module: basic.AnsibleModule, **result: Any) -> None:
        raise Exit({"failed": True, **result})

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", failed)


def run(monkeypatch: pytest.MonkeyPatch, outcome: list[probe.Result] | Exception, **more: Any) -> dict[str, Any]:
    def pretend(target: probe.Target, identities: Any, password: str, seconds: float) -> list[probe.Result]:
        assert (target.address, target.port) == ("orders.test", 443)
        assert (identities[0].key, password) == ("SECRET KEY", "SECRET PASSWORD")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(probe, "probe", pretend)
    with patch_module_args(ARGUMENTS | more), pytest.raises(Exit) as end:
        mtls_probe.main()
    return end.value.result


def test_when_all_is_as_expected_it_passes_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, [ACCEPTED])
    assert result == {"changed": False, "reachable": True, "results": [ACCEPTED.as_dict()]}


def test_one_that_is_not_as_expected_fails_and_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, [ACCEPTED, REFUSED])
    assert result["failed"]
    assert "bob was refused (403: client certificate revoked), expected accepted" in result["msg"]
    assert [one["passed"] for one in result["results"]] == [True, False]
    assert "SECRET" not in json.dumps(result)


def test_not_reachable_is_a_failure_on_the_gateway_only(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tls.NotReachable("orders.test port 443: Connection refused")
    assert run(monkeypatch, gone)["failed"]
    result = run(monkeypatch, gone, must_reach=False)
    assert "failed" not in result
    assert result["reachable"] is False
    assert result["reason"] == "not reachable from here: orders.test port 443: Connection refused"


def test_wrong_identities_fail_without_quoting_them(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, [], identities="SECRET")
    assert result["failed"]
    assert "SECRET" not in result["msg"]
