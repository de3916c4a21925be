#!/usr/bin/python
"""Ansible module: answers to ACME's challenge http-01 on a gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_challenge
short_description: Have a gateway answer ACME's challenge http-01
version_added: "0.1.0"
description:
  - Puts the answers into the folder that Nginx hands them out from, and takes away those that nobody asks for any more.
options:
  answers:
    description: The answers by token. Whatever else is there is removed.
    type: dict
    required: true
  folder:
    description: The folder.
    type: path
    default: /var/lib/mtls-kit/acme-challenge
attributes:
  check_mode:
    description: Changes nothing and tells the same.
    support: full
  diff_mode:
    description: The reasons say it all.
    support: none
requirements:
  - python >= 3.11
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure nothing is answered any more
  mtls.kit.acme_challenge:
    answers: {}
"""

RETURN = r"""
changes:
  description: Each change with C(name) (the token), C(action) and C(reason).
  returned: success
  type: list
  elements: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import challenge
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "answers": {"type": "dict", "required": True},
            "folder": {"type": "path", "default": "/var/lib/mtls-kit/acme-challenge"},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    answers = {str(token): str(answer) for token, answer in module.params["answers"].items()}
    try:
        changes = challenge.converge(Path(module.params["folder"]), answers, module.check_mode)
    except KitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes), changes=[change.as_result() for change in changes])


if __name__ == "__main__":
    main()
