"""The doctor's findings of several hosts, in one list."""

from __future__ import annotations

from ansible_collections.mtls.kit.plugins.filter.doctor_findings import doctor_findings, doctor_lines

FINDING = {"cause": "stale", "text": "t", "proof": "p", "fix": "f"}


def test_every_finding_bears_its_host_and_a_silent_gateway_is_one() -> None:
    hostvars = {
        "localhost": {},
        "gw1": {"doctor_result": {"findings": [FINDING]}},
        "gw2": {},
        "gw3": {"doctor_result": {"failed": True, "msg": "no Nginx"}},
        "gw4": {"doctor_result": {"findings": []}},
    }
    found = doctor_findings(hostvars, ["localhost", "gw1", "gw2", "gw3", "gw4"])
    assert [(one["host"], one["cause"], one["proof"]) for one in found] == [
        ("gw1", "stale", "p"),
        ("gw2", "not-reachable", "no answer over SSH"),
        ("gw3", "not-reachable", "no Nginx"),
    ]
    assert doctor_lines(found)[0] == "gw1: stale: t. Proof: p. Next: f."


def test_a_look_from_here_is_no_look_at_the_gateways() -> None:
    hostvars = {"localhost": {"doctor_result": {"findings": []}}, "gw1": {"doctor_result": {"skipped": True}}}
    assert doctor_findings(hostvars, ["localhost", "gw1"]) == []
