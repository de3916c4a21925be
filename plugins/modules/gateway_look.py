#!/usr/bin/python
"""Look once at all that the kit keeps on a gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_look
short_description: Look once at all that the kit keeps on a gateway
version_added: "0.1.0"
description:
  - Tells in one call whether a gateway is in order by itself, and digests of what it has.
    M(mtls.kit.gateways_due) compares them with what is wished, so that a gateway with nothing due is left alone.
  - Each release and each trust unit is planned against itself by the functions that install them. So content, modes,
    owners, unfinished and outdated parts count as they do in M(mtls.kit.certificate_release).
  - Nginx's configuration is tested, and every site is asked at its own address for what it serves.
  - What is amiss is told under RV(faults) and does not make the task fail. The roles then find it, tell it and mend it.
  - The variables of the host are read on the controller. A gateway whose sites this can't judge is not asked at all.
options:
  salt:
    description: A secret of this run, with which passwords are compared without being told.
    type: str
    required: true
author:
  - mTLS Kit (@mtls-kit)
requirements:
  - python3-cryptography 38.0.4 or newer on the gateway; without it that is a fault
extends_documentation_fragment:
  - mtls.kit.attributes.read_only
"""

EXAMPLES = r"""
- name: Look at the gateway
  mtls.kit.gateway_look:
    salt: "{{ hostvars[groups['ca'][0]].look_salt }}"
  register: gateway_look
"""

RETURN = r"""
faults:
  description: Why the roles have to look at this gateway; empty where it is in order by itself.
  returned: always
  type: list
  elements: str
notices:
  description: Warnings of C(nginx -t), which passed.
  returned: always
  type: list
  elements: str
served:
  description: By site, C(release), C(trust) and C(serial) as seen on a new connection.
  returned: always
  type: dict
sites:
  description:
    - By site, C(serial) and C(config) that are served, C(chain_sha256), C(trust_number), C(trust_sha256), and
      C(password_proof), which says with the salt alone whether a password is the one installed.
  returned: always
  type: dict
files:
  description: C(sha256) and C(mode) of each file of the configuration that is this kit's, by path.
  returned: always
  type: dict
nginx:
  description: What M(mtls.kit.nginx_info) tells.
  returned: when it could be told
  type: dict
"""

import traceback
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import release, settled
except ImportError:
    MISSING = traceback.format_exc()
else:
    MISSING = ""

SITE = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server_name": {"type": "str", "required": True},
}
SETTINGS = {name: {"type": "str", "required": True} for name in ("instance", "prefix", "service", "binary")}


def main() -> None:
    """Arguments in, result out."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "keep": {"type": "int", "required": True},
            "now": {"type": "str", "required": True},
            "salt": {"type": "str", "required": True, "no_log": True},
            "settings": {"type": "dict", "required": True, "options": SETTINGS},
            "sites": {"type": "list", "elements": "dict", "required": True, "options": SITE},
        },
        supports_check_mode=True,
    )
    if MISSING:
        module.exit_json(
            changed=False, faults=["the Python of the gateway has no usable cryptography"], notices=[], served={}
        )
    wanted = module.params
    wish = settled.Wish(
        root=wanted["root"],
        owner=wanted["owner"],
        group=wanted["group"],
        keep=wanted["keep"],
        settings=wanted["settings"],
        sites=wanted["sites"],
        salt=wanted["salt"].encode(),
    )
    result = settled.look(wish, datetime.now(UTC), release.moment_from(wanted["now"]))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
