"""Documentation of the action plugin of this name; it runs on the controller and never reaches a target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Check the variables of a host against all roles of the kit
version_added: "0.1.0"
description:
  - Finds every fault in the variables of a host before anything is changed, and fails with all of them, numbered.
  - A variable with a role's prefix that the role doesn't have is a fault, with the nearest name; private variables,
    which begin with two underscores, and the results that roles leave for others are not.
  - Values are compared with the roles' argument specs, down to the keys of nested dictionaries.
  - Names are compared with the rules for names of clients, sites and issuing CAs; two things of one name, sites that
    Nginx couldn't tell apart, and servers that no client could verify are faults.
  - A value that may be a secret is never quoted.
  - Runs on the controller, without a connection to the host.
author:
  - mTLS Kit (@mtls-kit)
options:
  roles:
    description: Roles whose variables are checked, by default all roles of the kit.
    type: list
    elements: str
extends_documentation_fragment:
  - mtls.kit.attributes.read_only
  - mtls.kit.attributes.controller
"""

EXAMPLES = r"""
- name: Verify the variables of every role
  mtls.kit.check_variables:

- name: Verify the variables of this role
  mtls.kit.check_variables:
    roles:
      - key_password
"""

RETURN = r"""
msg:
  description: The faults, each with what was found, what was expected and the next step.
  returned: failure
  type: str
"""
