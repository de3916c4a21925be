#!/usr/bin/python
"""Ansible module: the publicly trusted certificates that the CA host keeps for the sites."""

from __future__ import annotations

DOCUMENTATION = r"""
module: public_certificate
short_description: Keep publicly trusted server certificates, and tell which are due
version_added: "0.1.0"
description:
  - Tells which of the wished certificates are at hand and which are to be ordered, and why.
  - Keeps what an ACME server issued, once it is known that clients who trust O(roots_file) accept it.
  - It orders nothing itself and asks nobody; the role M(mtls.kit.public_certificate#role) does.
options:
  folder:
    description: Folder on the CA host that keeps them, of mode 0700.
    type: path
    required: true
  roots_file:
    description: File of the roots in PEM that clients trust.
    type: path
    default: /etc/ssl/certs/ca-certificates.crt
  renew_percent:
    description: How much of its life a certificate has left, in percent, when it is to be renewed.
    type: int
    default: 33
  certificates:
    description: The wished certificates.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the certificate, C(server/<gateway>/<site>).
        type: str
        required: true
      dns:
        description: Its names.
        type: list
        elements: str
        required: true
      public_key_sha256:
        description: SHA-256 over the public key of the site's newest key in hexadecimal. Empty where none is known.
        type: str
        default: ""
  issued:
    description: Chains in PEM that were issued now, by name of the certificate; each must be for the site's newest key.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Keeps nothing and tells the same.
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
- name: Ensure it is known which certificates are due
  mtls.kit.public_certificate:
    folder: ~/.local/share/mtls-kit/example-public
    certificates:
      - name: server/gw1/api
        dns: [api.example.com]
        public_key_sha256: "{{ pki_result.servers['server/gw1/api'].public_key_sha256 }}"
"""

RETURN = r"""
certificates:
  description: What is at hand and in date, by name.
  returned: success
  type: dict
  contains:
    chain:
      description: The certificate and its issuing CAs without the root, in PEM.
      type: str
    serial:
      description: Its serial in hexadecimal.
      type: str
    not_after:
      description: Its end.
      type: str
    public_key_sha256:
      description: SHA-256 over its public key in hexadecimal.
      type: str
    trust_anchor:
      description: The public root that its chain leads up to, in PEM.
      type: str
    names:
      description: The wished names that it covers.
      type: list
      elements: str
due:
  description: Why each certificate that is to be ordered is, by name.
  returned: success
  type: dict
  sample:
    server/gw1/api: "renew: 29 of 90 days left"
states:
  description:
    - "How each wished certificate stands, usable or not, the most urgent first: C(name), C(dns), C(state) (expired,
      missing, due, valid), C(reason) (why it is to be ordered), C(days_left), C(not_after), C(issuer) and C(serial)."
  returned: success
  type: list
  elements: dict
attention:
  description: "What of it needs somebody, as M(mtls.kit.pki_info) tells it: C(level) and C(text)."
  returned: success
  type: list
  elements: dict
changes:
  description: What was kept, each with C(name), C(action) and C(reason).
  returned: success
  type: list
  elements: dict
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._acme import issued
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def run(params: dict[str, Any], now: datetime, check_mode: bool) -> dict[str, Any]:
    """The module's result at ``now``. Raises KitError."""
    folder = Path(params["folder"])
    wishes = [issued.Wish.of(argument) for argument in params["certificates"]]
    roots = issued.load_roots(Path(params["roots_file"])) if wishes else []
    changes = [
        {"name": wish.name, "action": "write", "reason": "write: issued by the public CA"}
        for wish in wishes
        if wish.name in params["issued"]
        and issued.store(folder, wish, params["issued"][wish.name], roots, now, check_mode)
    ]
    found = {wish: issued.held(folder, wish, roots, now) for wish in wishes}
    reasons = {wish.name: issued.due(wish, one, now, params["renew_percent"]) for wish, one in found.items()}
    states = sorted(
        (issued.state_of(wish, folder, one, reasons[wish.name], now) for wish, one in found.items()), key=issued.urgency
    )
    return {
        "changed": bool(changes),
        "states": states,
        "attention": list(issued.attention(states)),
        "changes": changes,
        "certificates": {wish.name: one.as_result(wish) for wish, one in found.items() if one is not None},
        "due": {name: reason for name, reason in reasons.items() if reason is not None},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "roots_file": {"type": "path", "default": "/etc/ssl/certs/ca-certificates.crt"},
            "renew_percent": {"type": "int", "default": 33},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "dns": {"type": "list", "elements": "str", "required": True},
                    "public_key_sha256": {"type": "str", "default": "", "no_log": False},
                },
            },
            "issued": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    try:
        result = run(module.params, datetime.now(UTC), module.check_mode)
    except KitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
