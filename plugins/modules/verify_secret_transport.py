"""Documentation of the action plugin of this name; it runs on the controller and never reaches a target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_secret_transport
short_description: Refuse a connection that would put secrets into a file
version_added: "0.1.0"
description:
  - Fails when the connection to the host does not use pipelining. Ansible then writes a module with its arguments, and
    passwords among them, to a file in the target's temporary folder, where they outlive a run that is cut off.
  - Asks the connection plugin itself, so that its own option, the become plugin and C(ANSIBLE_KEEP_REMOTE_FILES)
    are all taken into account. A local connection always passes.
author:
  - mTLS Kit (@mtls-kit)
options: {}
extends_documentation_fragment:
  - mtls.kit.attributes.read_only
  - mtls.kit.attributes.controller
"""

EXAMPLES = r"""
- name: Verify that secrets don't touch the target's disk on their way
  mtls.kit.verify_secret_transport:
"""

RETURN = r"""
msg:
  description: What was found, what was expected and the next step.
  returned: failure
  type: str
"""
