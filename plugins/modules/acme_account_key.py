#!/usr/bin/python
"""Ansible module: the key of the account that orders publicly trusted certificates."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_account_key
short_description: Have the key of the ACME account
version_added: "0.1.0"
description:
  - Makes the account's key (EC P-256) where there is none, encrypted under the password of C(acme/account), mode 0600.
  - Encrypts it anew when that password was rotated.
options:
  path:
    description: File of the key.
    type: path
    required: true
  passwords:
    description:
      - JSON object of passwords by path, with C(acme/account) and, during a rotation, C(previous/acme/account).
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing and tells the same.
    support: full
  diff_mode:
    description: There is nothing to show but a secret.
    support: none
requirements:
  - python >= 3.11
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure the key of the account
  mtls.kit.acme_account_key:
    path: ~/.local/share/mtls-kit/example-public/account.key
    passwords: "{{ key_password_json }}"
"""

RETURN = r"""
changes:
  description: What was done, with C(name), C(action) and C(reason).
  returned: success
  type: list
  elements: dict
taken:
  description: C(acme/account) when the key has its present password, so that the vault may forget the one before.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._acme import account
    from ansible_collections.mtls.kit.plugins.module_utils._pki import names
    from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
    from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "passwords": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    try:
        passwords = Passwords(passwords_from(module.params["passwords"]))
        reason = account.converge(Path(module.params["path"]), passwords, module.check_mode)
    except KitError as error:
        module.fail_json(msg=str(error))
    changes = [{"name": names.ACME_ACCOUNT, "action": reason.partition(":")[0], "reason": reason}] if reason else []
    module.exit_json(changed=bool(changes), changes=changes, taken=[] if module.check_mode else [names.ACME_ACCOUNT])


if __name__ == "__main__":
    main()
