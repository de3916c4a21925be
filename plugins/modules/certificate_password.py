#!/usr/bin/python
"""Ansible module: the passwords of a gateway's keys, in memory before Nginx needs them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_password
short_description: Have the passwords of a gateway's keys in memory
version_added: "0.1.0"
description:
  - For sites whose password is delivered by V(systemd_credential) or V(memory), installs what fills C(/run/mtls) when
    the machine comes up, before Nginx and Docker start. That is a program, a unit of systemd, a drop-in for the unit of
    Nginx, and encrypted credentials or the access to OpenBao or HashiCorp Vault.
  - It fills the memory at once, too, by that program and unit, and compares it with O(passwords). When that fails, the
    files on the gateway are as they were.
  - What an earlier delivery left stays until O(state=finished) takes it away.
extends_documentation_fragment:
  - mtls.kit.gateway_folder
attributes:
  diff_mode:
    description: A unified diff of each file that holds no secret.
    support: full
options:
  state:
    description:
      - V(checked) changes nothing. It fails for what a delivery needs and the gateway doesn't have.
      - V(ready) has the passwords in memory, now and after a reboot.
      - V(finished) removes what no delivery of O(sites) needs any more. That is for after Nginx served the new release.
      - V(removed) removes what sites need that are not in O(sites), too.
    type: str
    choices: [checked, ready, finished, removed]
    default: ready
  passwords:
    description: JSON object with the password of each site's private key, by site. Needed for O(state=ready).
    type: str
    required: false
    default: "{}"
  sites:
    description: The sites of this gateway.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the site, 1 to 32 of C(a-z 0-9 -).
        type: str
        required: true
      password_delivery:
        description: How the password of its key reaches Nginx.
        type: str
        choices: [file, systemd_credential, memory, none]
        default: file
  gateway:
    description: The gateway's name in the inventory, a part of the passwords' paths in the vault.
    type: str
    required: true
  unit:
    description: The unit of systemd that runs Nginx. Empty when there is none.
    type: str
    default: nginx.service
  program:
    description: The text of the program.
    type: str
    required: true
  credential_key:
    description: The key that encrypts credentials, as C(systemd-creds --with-key) takes it.
    type: str
    choices: [auto, host, tpm2, host+tpm2]
    default: auto
  openbao:
    description: How the gateway reaches OpenBao or HashiCorp Vault, for V(memory).
    type: dict
    default: {}
    suboptions:
      url:
        description: Its address, C(https://host:port).
        type: str
        default: ""
      ca:
        description: PEM of the CA that signed its certificate. Empty when the gateway's system trusts that CA.
        type: str
        default: ""
      namespace:
        description: The namespace.
        type: str
        default: ""
      auth_mount:
        description: Where AppRole is mounted.
        type: str
        default: approle
      role_id:
        description: The RoleID.
        type: str
        default: ""
      mount:
        description: Where the key-value engine is mounted.
        type: str
        default: secret
      kv_version:
        description: Its version.
        type: int
        choices: [1, 2]
        default: 2
      prefix:
        description: What the paths of the passwords begin with.
        type: str
        default: mtls-kit
      field:
        description: The field that holds a password.
        type: str
        default: password
      approle_at_rest:
        description: Whether RoleID and SecretID lie in a file of root's or in an encrypted credential.
        type: str
        choices: [file, systemd_credential]
        default: file
  secret_id:
    description: The SecretID of this gateway's AppRole, for V(memory).
    type: str
    default: ""
author:
  - The mTLS Kit authors
"""

EXAMPLES = r"""
- name: Ensure that the password is in memory
  mtls.kit.certificate_password:
    sites:
      - name: orders
        password_delivery: systemd_credential
    gateway: "{{ inventory_hostname }}"
    program: "{{ lookup('ansible.builtin.file', 'key_passwords.py') }}"
    passwords: "{{ key_password_json | mtls.kit.gateway_passwords(inventory_hostname) }}"
  no_log: true
"""

RETURN = r"""
changes:
  description: Each change with C(name), C(action) and C(reason); the same in check mode.
  returned: success
  type: list
  elements: dict
  sample:
    - name: mtls-key-credentials.service
      action: write
      reason: "write: the password of site orders isn't in /run/mtls/orders/credential"
"""

import traceback
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy, password_setup
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import check_root, passwords_from
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError:
    MISSING = traceback.format_exc()
else:
    MISSING = ""

DELIVERIES = ["file", "systemd_credential", "memory", "none"]
SITE = {
    "name": {"type": "str", "required": True},
    "password_delivery": {"type": "str", "choices": DELIVERIES, "default": "file"},
}
OPENBAO = {
    "url": {"type": "str", "default": ""},
    "ca": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    "auth_mount": {"type": "str", "default": "approle"},
    "role_id": {"type": "str", "default": ""},
    "mount": {"type": "str", "default": "secret"},
    "kv_version": {"type": "int", "choices": [1, 2], "default": 2},
    "prefix": {"type": "str", "default": "mtls-kit"},
    "field": {"type": "str", "default": "password"},
    "approle_at_rest": {"type": "str", "choices": ["file", "systemd_credential"], "default": "file"},
}


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``state`` says; the module's result. Raises KitError."""
    root = check_root(params["root"])
    wish = password_setup.Wish
    if params["state"] == "ready":
        passwords = passwords_from(params["passwords"])
        wishes = [wish.of(root, site, passwords) for site in params["sites"]]
    else:
        wishes = [wish.without_password(root, site) for site in params["sites"]]
    gateway = password_setup.Gateway(
        wishes=wishes,
        inventory_name=params["gateway"],
        unit=params["unit"],
        owner=Ownership.of(params["owner"], params["group"] or None),
        program=params["program"],
        credential_key=params["credential_key"],
        vault=password_setup.VaultSettings(**params["openbao"], secret_id=params["secret_id"]),
    )
    if params["state"] == "checked":
        gateway.check()
        return {"changed": False, "changes": [], "diff": []}
    if params["state"] == "ready":
        outcome, changes = gateway.prepare(check_mode)
    else:
        outcome, changes = gateway.finish(check_mode, unlisted=params["state"] == "removed")
    return {"changed": bool(outcome.changes), "changes": outcome.changes, "diff": deploy.diffs(changes)}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "str", "default": "/etc/mtls"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["checked", "ready", "finished", "removed"], "default": "ready"},
            "passwords": {"type": "str", "default": "{}", "no_log": True},
            "sites": {"type": "list", "elements": "dict", "required": True, "options": SITE},
            "gateway": {"type": "str", "required": True},
            "unit": {"type": "str", "default": "nginx.service"},
            "program": {"type": "str", "required": True},
            "credential_key": {"type": "str", "choices": ["auto", "host", "tpm2", "host+tpm2"], "default": "auto"},
            "openbao": {"type": "dict", "default": {}, "options": OPENBAO, "apply_defaults": True},
            "secret_id": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    if MISSING:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=MISSING)
    try:
        result = run(module.params, module.check_mode)
    except KitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
