#!/usr/bin/python
"""Hand out what is revoked, to be tried on the gateways."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_revoked
short_description: Hand out revoked certificates, to be tried on the gateways
version_added: "0.1.0"
description:
  - Gives every revoked certificate that has not expired, of the names, serials and certificates asked for.
  - Where the CA made the key and its password is handed in, the key comes with it, encrypted under the password of the
    run, so that the very certificate can be shown to a gateway. Elsewhere C(untried) says why not.
  - Changes nothing.
options:
  store:
    description: Folder of the store.
    type: path
    required: true
  revoked:
    description: What was revoked, each by one of C(name), C(serial) and C(certificate), as M(mtls.kit.pki) takes it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of certificates.
        type: str
      serial:
        description: Serial in hexadecimal digits.
        type: str
      certificate:
        description: Certificate in PEM.
        type: str
      reason:
        description: Not looked at.
        type: str
  passwords:
    description: JSON object of passwords by path, with those of the clients' keys.
    type: str
    required: true
  probe_password:
    description: Password, made for this run, under which the keys are returned. At least 16 characters.
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
requirements:
  - python >= 3.11
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure what was revoked can be tried
  mtls.kit.pki_revoked:
    store: /var/lib/mtls-kit/example
    revoked:
      - name: client/alice
    passwords: "{{ key_password_json }}"
    probe_password: "{{ revoke_password }}"
  register: revoke_shown
"""

RETURN = r"""
certificates:
  description:
    - "Each with C(name), C(serial), C(issuer) (number of its authority), C(reason), C(untried) (why it can't be shown,
      else empty), C(chain) (PEM) and C(key) (PKCS#8 in PEM, encrypted under the probe password)."
  returned: always
  type: list
  elements: dict
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import desired, revoked, store
    from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
    from ansible_collections.mtls.kit.plugins.module_utils._pki.converge import Passwords
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "required": True},
            "revoked": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {key: {"type": "str"} for key in ("name", "serial", "certificate", "reason")},
            },
            "passwords": {"type": "str", "required": True, "no_log": True},
            "probe_password": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    now = datetime.now(UTC)
    try:
        specs = desired.revocations_from(parameters["revoked"])
        passwords = Passwords(passwords_from(parameters["passwords"]))
        # A copy of the ledger is enough to read.
        with store.opened(Path(parameters["store"]), None, now, dry=True) as opened:
            found = revoked.of(opened, specs, passwords, parameters["probe_password"], now)
    except KitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, certificates=[certificate.as_dict() for certificate in found])


if __name__ == "__main__":
    main()
