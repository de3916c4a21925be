"""A list of words however the command line gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DOCUMENTATION = r"""
name: words
short_description: A list of words however the command line gave it
version_added: "0.1.0"
description:
  - "Makes a list of what C(-e) gives: C(-e rotate=leaf,password) is a text, C(-e '{\"rotate\": [\"leaf\"]}') a list."
options:
  _input:
    description: Words separated by commas or blanks, or a list of words.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Ensure the asked-for passwords are rotated
  ansible.builtin.import_role:
    name: mtls.kit.key_password
  vars:
    key_password_rotate: "{{ rotate_names | default('*') | mtls.kit.words }}"
"""

RETURN = r"""
_value:
  description: The words.
  type: list
  elements: str
"""


def words(given: str | Sequence[str]) -> list[str]:
    """``"leaf, password"`` and ``["leaf", "password"]`` as ``["leaf", "password"]``."""
    texts = [given] if isinstance(given, str) else given
    return [word for text in texts for word in str(text).replace(",", " ").split()]


class FilterModule:
    """The filter that reads lists from the command line."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"words": words}
