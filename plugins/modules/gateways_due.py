"""Documentation of the action plugin of this name; it runs on the controller and never reaches a target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateways_due
short_description: Say which gateways a run has anything to do on, and why
version_added: "0.1.0"
description:
  - Compares what M(mtls.kit.gateway_look) saw on every gateway with what its variables wish and, where O(pki) is given,
    with what the CA hands out. A gateway at which nothing differs is one that no role would change.
  - What can't be compared is a difference. So is a gateway that was not looked at.
  - Runs on the controller for all gateways at once, without a connection to any.
options:
  pki:
    description: The result of M(mtls.kit.pki). Without it, only what the variables wish is compared.
    type: dict
  passwords:
    description: JSON object with the passwords of all keys, by path. Needed with O(pki).
    type: str
  salt:
    description: The secret of this run that M(mtls.kit.gateway_look) was given.
    type: str
    required: true
author:
  - mTLS Kit (@mtls-kit)
extends_documentation_fragment:
  - mtls.kit.attributes.read_only
  - mtls.kit.attributes.controller
"""

EXAMPLES = r"""
- name: Ensure it is known which gateways there is anything to do on
  mtls.kit.gateways_due:
    pki: "{{ pki_result }}"
    passwords: "{{ key_password_json }}"
    salt: "{{ look_salt }}"
  register: gateways_compared
"""

RETURN = r"""
due:
  description: The differences of each gateway that has any, by gateway.
  returned: success
  type: dict
  sample:
    gw1:
      - "site orders: trust 7 is to be installed, 6 is there"
unchanged:
  description: The gateways without any.
  returned: success
  type: list
  elements: str
"""
