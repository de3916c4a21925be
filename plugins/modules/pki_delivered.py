#!/usr/bin/python
"""Record which trust unit each gateway serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_delivered
short_description: Record which trust unit each gateway serves
version_added: "0.1.0"
description:
  - Enters in the ledger what the poll after a reload found each site to serve, so that M(mtls.kit.pki_info) can tell
    which gateways a revocation has not reached.
  - The entry is bookkeeping, so the module reports no change; what is recorded already is not written again.
options:
  store:
    description: Folder of the store.
    type: path
    required: true
  served:
    description: What the filter C(served_trust) gives.
    type: list
    elements: dict
    default: []
    suboptions:
      gateway:
        description: Inventory name of the gateway.
        type: str
        required: true
      site:
        description: Name of the site.
        type: str
        required: true
      scope:
        description: Its trust scope.
        type: str
        required: true
      accept:
        description: Issuing CAs of the scope.
        type: list
        elements: str
        required: true
      number:
        description: Number of the trust unit that it serves.
        type: int
        required: true
attributes:
  check_mode:
    description: Records nothing.
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
- name: Ensure it is recorded which trust each gateway serves
  mtls.kit.pki_delivered:
    store: "{{ pki_result.store }}"
    served: "{{ groups['gateways'] | map('extract', hostvars) | mtls.kit.served_trust(pki_issuing) }}"
"""

RETURN = r"""
recorded:
  description: How many entries are new.
  returned: always
  type: int
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import delivery, store
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
            "served": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "gateway": {"type": "str", "required": True},
                    "site": {"type": "str", "required": True},
                    "scope": {"type": "str", "required": True},
                    "accept": {"type": "list", "elements": "str", "required": True},
                    "number": {"type": "int", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    new: dict[str, str] = {}
    # A check of a store that is yet to be made has nothing to record.
    if parameters["served"] and not module.check_mode:
        try:
            served = delivery.served_from(parameters["served"])
            now = datetime.now(UTC).replace(microsecond=0)
            with store.opened(Path(parameters["store"]), None, now) as opened:
                new = delivery.news(opened.ledger, served)
                delivery.record(opened.ledger, new)
        except KitError as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=False, recorded=len(new))


if __name__ == "__main__":
    main()
