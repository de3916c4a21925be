#!/usr/bin/python
"""Mint the identities that a verification shows to the gateways."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_probe
short_description: Mint identities of ten minutes for a verification on the wire
version_added: "0.1.0"
description:
  - "Gives for each trust scope one client certificate that its sites must let in (C(good)) and the identities they must
    turn away: C(none) (no certificate), C(stranger) (another CA under the real one's names), C(expired), C(sibling)
    (another issuing CA under the real root) and C(server-cert) (a certificate for servers only)."
  - What the PKI's own authorities sign is entered in the ledger and marked as a probe; it is in no map and in no
    list of removed certificates. The entry is bookkeeping, so the module reports no change.
options:
  store:
    description: Folder of the store.
    type: path
    required: true
  trust:
    description: The trust scopes of the sites, as the filter P(mtls.kit.trust_scopes#filter) gives them.
    type: list
    elements: dict
    required: true
    suboptions:
      scope:
        description: Name of the scope.
        type: str
        required: true
      accept:
        description: Names of the issuing CAs that its sites accept; the first one that is made already signs.
        type: list
        elements: str
        required: true
  passwords:
    description: "JSON object of passwords by path, with C(ca/root) and the C(ca/<issuing CA>) that sign."
    type: str
    required: true
  openbao:
    description:
      - How to reach OpenBao, where keys of CAs are there. A task gives it C(pki_openbao) (docs/pki-openbao.md), and the
        action logs in on the controller and hands the module a session instead, which ends with the task.
      - Of type C(str), so that Ansible never quotes what it can't convert.
    type: str
  probe_password:
    description: Password, made for this run, under which the keys are returned. At least 16 characters.
    type: str
    required: true
attributes:
  check_mode:
    description: Mints nothing and returns no identities.
    support: partial
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
- name: Ensure the identities of this run
  mtls.kit.pki_probe:
    store: /var/lib/mtls-kit/example
    trust: "{{ groups['gateways'] | map('extract', hostvars) | mtls.kit.trust_scopes(pki_issuing) }}"
    passwords: "{{ key_password_json }}"
    probe_password: "{{ verify_password }}"
  register: pki_probe_result
"""

RETURN = r"""
identities:
  description:
    - "The list of each scope, by its name: each identity with C(name), C(expect) (C(accepted) or C(refused)), C(chain)
      (PEM, leaf first) and C(key) (PKCS#8 in PEM, encrypted under the probe password). C(none) has neither chain nor
      key. Empty in check mode."
  returned: always
  type: dict
trust_anchor:
  description: The roots in use, in PEM, by which a probe verifies the server.
  returned: always
  type: str
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import (
        converge,
        desired,
        probe,
        store,
        vault_client,
    )
    from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
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
            "trust": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "scope": {"type": "str", "required": True},
                    "accept": {"type": "list", "elements": "str", "required": True},
                },
            },
            "passwords": {"type": "str", "required": True, "no_log": True},
            "probe_password": {"type": "str", "required": True, "no_log": True},
            "openbao": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    now = datetime.now(UTC)
    minted: dict[str, list[probe.Identity]] = {}
    warnings: list[str] = []
    try:
        passwords = passwords_from(parameters["passwords"])
        with store.opened(Path(parameters["store"]), None, now, dry=module.check_mode) as opened:
            if not module.check_mode:
                trust = [desired.TrustSpec(entry["scope"], tuple(entry["accept"])) for entry in parameters["trust"]]
                session = vault_client.Session.parsed(parameters["openbao"] or "")
                minted, warnings = probe.mint(opened, trust, passwords, parameters["probe_password"], now, session)
            anchor = converge.trust_anchor(opened.ledger.authorities(), now)
    except KitError as error:
        module.fail_json(msg=str(error))
    for warning in warnings:
        module.warn(warning)
    identities = {scope: [identity.as_dict() for identity in shown] for scope, shown in minted.items()}
    module.exit_json(changed=False, identities=identities, trust_anchor=anchor)


if __name__ == "__main__":
    main()
