"""What modules say of themselves in the same words."""

from __future__ import annotations


class ModuleDocFragment:
    """``mtls.kit.attributes.read_only`` and ``mtls.kit.attributes.controller``."""

    READ_ONLY = r"""
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
"""

    CONTROLLER = r"""
attributes:
  platform:
    description: The controller.
    platforms: posix
    support: full
"""
