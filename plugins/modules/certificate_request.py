#!/usr/bin/python
"""Ansible module: private keys and certificate requests, made on the gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_request
short_description: Make private keys and certificate requests on a gateway
version_added: "0.1.0"
description:
  - For each site that needs a certificate, makes an encrypted private key and a certificate request (CSR) in
    C(<root>/<site>/pending). The key never leaves the gateway.
  - A site needs one when the CA says so (O(sites[].wanted)), when no usable release is in use on the gateway, or when
    the release is not the certificate that the CA issued and no key on the gateway belongs to that.
  - A run that was cut off is taken up again. A pending key that the CA signed already is kept and its request
    returned unchanged, so that M(mtls.kit.certificate_release) completes the work with the certificate there is.
extends_documentation_fragment:
  - mtls.kit.gateway_folder
attributes:
  diff_mode:
    description: Shows which keys and requests are waiting, before and after.
    support: full
options:
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
      key_type:
        description: Type of a new key.
        type: str
        default: ec-p256
        choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
      subject:
        description: Subject of the request, for people who read it; the CA takes it from the inventory.
        type: dict
        default: {}
      san:
        description:
          - Names of the request, lists under C(dns), C(ip), C(uri) and C(email); the CA takes them from the inventory.
        type: dict
        default: {}
      password_delivery:
        description:
          - How the password of its key reaches Nginx. With V(none) the key has no password.
          - Of V(systemd_credential) and V(memory), M(mtls.kit.certificate_password) has the password in memory before.
        type: str
        choices: [file, systemd_credential, memory, none]
        default: file
      wanted:
        description:
          - Why the CA wants a new request, as RV(mtls.kit.pki#module:csr_wanted) says. Empty when it wants none.
        type: str
        default: ""
      shown:
        description:
          - Whether RV(requests) has its request even when nothing waits, for a CA beside this PKI's that is to sign the
            same key.
        type: bool
        default: false
      issued:
        description:
          - The certificate in the CA's ledger, of RV(mtls.kit.pki#module:servers). Left out when there is none.
        type: dict
        suboptions:
          serial:
            description: Its serial in hexadecimal.
            type: str
            required: true
          public_key_sha256:
            description: SHA-256 over its public key (SubjectPublicKeyInfo) in hexadecimal.
            type: str
            required: true
author:
  - The mTLS Kit authors
"""

EXAMPLES = r"""
- name: Ensure the key and the request that the CA waits for
  mtls.kit.certificate_request:
    sites:
      - name: orders
        san:
          dns: [orders.example.com]
        wanted: "issue: no certificate yet"
    passwords: "{{ key_password_json | mtls.kit.gateway_passwords(inventory_hostname) }}"
  no_log: true
  register: certificate_install_requests
"""

RETURN = r"""
csrs:
  description: The request in PEM of each site that waits for a certificate, by site.
  returned: success
  type: dict
  sample:
    orders: "-----BEGIN CERTIFICATE REQUEST-----\n..."
requests:
  description: The request in PEM of the newest key of each site with O(sites[].shown), by site.
  returned: success
  type: dict
keys:
  description:
    - SHA-256 over the public key of each key on the gateway in hexadecimal, by site, of those with O(sites[].shown).
  returned: success
  type: dict
current:
  description: What each site has in use, by site; values are null where there is nothing.
  returned: success
  type: dict
  sample:
    orders:
      release: 20260102-0123456789ab
      serial: 4F00A1
      not_after: "2026-04-02T00:00:00Z"
      trust_number: 7
      trust_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
changes:
  description: Each change with C(name) (the site), C(action) and C(reason).
  returned: success
  type: list
  elements: dict
  sample:
    - name: orders
      action: write
      reason: "write: no release on the gateway"
"""

import json
import traceback
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import install, request
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership, told_failures
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.request import RequestSite
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import check_root, passwords_from
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError:
    MISSING = traceback.format_exc()
else:
    MISSING = ""

DELIVERIES = ["file", "systemd_credential", "memory", "none"]
KEY_TYPES = ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make what is due; the module's result. Raises KitError."""
    root: Path = check_root(params["root"])
    Ownership.of(params["owner"], params["group"] or None)
    passwords = passwords_from(params["passwords"])
    sites = [RequestSite.of(root, wish, passwords) for wish in params["sites"]]
    csrs, changes = request.converge(root, sites, check_mode)
    with told_failures(f"folder {root}"):
        current = {site.folders.name: install.current(site.folders, site.password) for site in sites}
    before = {name: "a request waits" for name in csrs if name not in {change.name for change in changes}}
    after = {**before, **{change.name: "a request waits" for change in changes if change.action == "write"}}
    return {
        "changed": bool(changes),
        "csrs": csrs,
        "requests": request.shown(sites, csrs),
        "keys": request.keys_here(sites),
        "current": current,
        "changes": [change.as_result() for change in changes],
        "diff": {"before": json.dumps(before, indent=2) + "\n", "after": json.dumps(after, indent=2) + "\n"},
    }


def main() -> None:
    """Entry point."""
    issued = {"serial": {"type": "str", "required": True}, "public_key_sha256": {"type": "str", "required": True}}
    site = {
        "name": {"type": "str", "required": True},
        "key_type": {"type": "str", "default": "ec-p256", "choices": KEY_TYPES},
        "subject": {"type": "dict", "default": {}},
        "san": {"type": "dict", "default": {}},
        "password_delivery": {"type": "str", "choices": DELIVERIES, "default": "file"},
        "wanted": {"type": "str", "default": ""},
        "shown": {"type": "bool", "default": False},
        "issued": {"type": "dict", "options": issued},
    }
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "str", "default": "/etc/mtls"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": ""},
            "passwords": {"type": "str", "required": True, "no_log": True},
            "sites": {"type": "list", "elements": "dict", "required": True, "options": site},
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
