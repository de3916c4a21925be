"""What the doctor found on several hosts, as one list and as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: doctor_findings
short_description: What the doctor found on several hosts
version_added: "0.1.0"
description:
  - Collects the findings of M(mtls.kit.mtls_doctor) that playbooks/doctor.yml registered, and names the hosts on which
    it could not look.
positional: hosts
options:
  _input:
    description: The hostvars.
    type: dict
    required: true
  hosts:
    description: Names of the hosts it looked at.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Verify that nothing is wrong
  ansible.builtin.assert:
    that: hostvars | mtls.kit.doctor_findings(['gw1']) == []
"""

RETURN = r"""
_value:
  description: Findings, each with C(host), C(cause), C(text), C(proof) and C(fix).
  type: list
  elements: dict
"""


def doctor_findings(hostvars: Mapping[str, Mapping[str, Any]], hosts: Iterable[str]) -> list[dict[str, str]]:
    """Every finding with its host; a host that gave no result is one, too."""
    found: list[dict[str, str]] = []
    results = {host: hostvars[host].get("doctor_result") for host in hosts if host in hostvars}
    from_here = bool((results.get("localhost") or {}).get("findings") is not None)
    for host, result in results.items():
        if result is not None and "findings" in result:
            found += [{"host": host, **finding} for finding in result["findings"]]
        elif host != "localhost" and not from_here:
            proof = (result or {}).get("msg", "no answer over SSH")
            text, fix = "the gateway could not be looked at", "repair what is named, and run the doctor again"
            found.append({"host": host, "cause": "not-reachable", "text": text, "proof": str(proof), "fix": fix})
    return found


def doctor_lines(findings: Iterable[Mapping[str, str]]) -> list[str]:
    """A line for each finding: host, cause, proof, and the next step."""
    return [
        f"{one['host']}: {one['cause']}: {one['text']}. Proof: {one['proof']}. Next: {one['fix']}." for one in findings
    ]


class FilterModule:
    """The filters of doctor.yml."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"doctor_findings": doctor_findings, "doctor_lines": doctor_lines}
