"""Changes with their reasons, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: reasons
short_description: Changes with their reasons, a line each
version_added: "0.1.0"
description:
  - Turns the C(changes) of a module of this collection into lines, and the rest of a long list into its number.
positional: limit
options:
  _input:
    description: The C(changes) of a module's result.
    type: list
    elements: dict
    required: true
  limit:
    description: How many lines at most; the last one then says how many more there are.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Ensure the reasons of the changes are shown
  ansible.builtin.debug:
    msg: "{{ pki_result.changes | mtls.kit.reasons }}"
"""

RETURN = r"""
_value:
  description: "Lines such as V(client/alice: renew: 29 of 90 days left)."
  type: list
  elements: str
"""


def reasons(changes: Sequence[Mapping[str, str]], limit: int = 30) -> list[str]:
    """``<name>: <reason>`` of each change, at most ``limit`` lines."""
    lines = [f"{change['name']}: {change['reason']}" for change in changes]
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 1], f"and {len(lines) - limit + 1} more, all of them in the module's result (-v)"]


class FilterModule:
    """The filter that shows changes."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"reasons": reasons}
