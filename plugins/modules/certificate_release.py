#!/usr/bin/python
"""Ansible module: release and trust of a gateway's sites, checked as a set and switched at one instant."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_release
short_description: Install key, chain, password and trust of a gateway's sites
version_added: "0.1.0"
description:
  - For each site, installs two units under C(<root>/<site>), a release (private key, certificate chain and password
    of the key) and a trust unit (the client CAs, revocations and identities). A link C(current) leads to the one in
    use of each.
  - Before anything is changed, the sets of all sites are checked against everything that C(nginx -t) accepts wrongly.
    Key and certificate are a pair; the chain is signed up to the trust anchor, by CAs, in date by the gateway's own
    clock; the leaf is a server's and covers every server name; the password opens the key; the client CAs include
    their root; a valid CRL is there for each of them; no line of a map is anything else than a line of that map.
  - The number of the trust only grows. A lower number is refused, and so is the same number with other content.
  - Nothing is reloaded. M(mtls.kit.nginx_site) does that.
extends_documentation_fragment:
  - mtls.kit.gateway_folder
attributes:
  diff_mode:
    description: Shows release, serial, end, names, trust number and counts, before and after. No secret is in it.
    support: full
options:
  now:
    description:
      - The clock of the CA host at this moment, ISO 8601 with a time zone.
      - When the gateway's clock is more than two minutes away from it, nothing is installed.
    type: str
    required: true
  keep:
    description:
      - How many releases and trust units of each site are kept. The release in use and the previous one always are.
    type: int
    default: 3
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
      chain:
        description: The server's certificate in PEM, followed by its issuing CAs without the root.
        type: str
        required: true
      trust_anchor:
        description: The roots of this PKI in PEM.
        type: str
        required: true
      chain_anchor:
        description:
          - The roots in PEM that O(sites[].chain) leads up to, where a publicly trusted CA signed it; those of this
            PKI where nothing is said.
        type: str
      server_names:
        description:
          - Names and addresses that clients call the site by, in Nginx's form; the certificate must cover each.
        type: list
        elements: str
        required: true
      password_delivery:
        description:
          - How the password of its key reaches Nginx. With V(none) the key has no password.
          - Of V(systemd_credential) and V(memory), M(mtls.kit.certificate_password) has the password in memory before.
        type: str
        choices: [file, systemd_credential, memory, none]
        default: file
      trust:
        description: Whom the site lets in, of RV(mtls.kit.pki#module:trust).
        type: dict
        required: true
        suboptions:
          number:
            description: The trust number.
            type: int
            required: true
          sha256:
            description: The digest of the files as M(mtls.kit.pki) made it.
            type: str
            required: true
          files:
            description:
              - Text of each file by its name; this or O(sites[].trust.files_path).
              - A long one is brought to the gateway as a file by itself, for in arguments it would take minutes.
            type: dict
          files_path:
            description: File on the gateway with a JSON object of the same.
            type: path
author:
  - The mTLS Kit authors
"""

EXAMPLES = r"""
- name: Ensure that release and trust of the site are installed
  mtls.kit.certificate_release:
    now: "{{ now(utc=true).isoformat() }}+00:00"
    sites:
      - name: orders
        chain: "{{ pki_result.servers['server/gw1/orders'].chain }}"
        trust_anchor: "{{ pki_result.trust_anchor }}"
        server_names: [orders.example.com]
        trust: "{{ pki_result.trust['issuing'] }}"
    passwords: "{{ key_password_json | mtls.kit.gateway_passwords('gw1') }}"
  no_log: true
"""

RETURN = r"""
sites:
  description: What each site has in use now, by site.
  returned: success
  type: dict
  contains:
    release:
      description: Id of the release; null in check mode when its key is still to be made.
      type: str
    previous:
      description: The release that a rollback would go to; null when there is none.
      type: str
    trust:
      description: The trust number.
      type: int
unfinished:
  description:
    - Whether something of an earlier delivery of a password is left, which M(mtls.kit.certificate_password) takes away
      when Nginx serves the new release.
  returned: success
  type: bool
changes:
  description: Each change with C(name) (the site), C(action) and C(reason).
  returned: success
  type: list
  elements: dict
  sample:
    - name: orders
      action: install
      reason: "install: trust 7 follows 6"
"""

import traceback
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import (
        install,
        password_delivery,
        password_setup,
        release,
    )
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.install import Delivery
    from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import check_root, passwords_from
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError:
    MISSING = traceback.format_exc()
else:
    MISSING = ""

DELIVERIES = ["file", "systemd_credential", "memory", "none"]


def run(params: dict[str, Any], now: datetime, check_mode: bool) -> dict[str, Any]:
    """Install what is due at ``now``, the gateway's clock; the module's result. Raises KitError."""
    root = check_root(params["root"])
    owner = Ownership.of(params["owner"], params["group"] or None)
    release.check_clock(now, release.moment_from(params["now"]))
    passwords = passwords_from(params["passwords"])
    deliveries = [Delivery.of(root, wish, passwords) for wish in params["sites"]]
    plans = install.converge(root, deliveries, owner, params["keep"], now, check_mode)
    changes = [change.as_result() for plan in plans for change in plan.changes]
    wishes = [password_setup.Wish(each.folders, each.password_delivery, each.password) for each in deliveries]
    plain = [each.folders.name for each in deliveries if each.password_delivery == password_delivery.NONE]
    return {
        "warnings": [
            f"site {name}: its private key lies on the gateway without a password (delivery none)" for name in plain
        ],
        "unfinished": any(password_setup.is_unfinished(wish) for wish in wishes),
        "changed": bool(changes),
        "sites": {plan.delivery.folders.name: plan.result for plan in plans},
        "changes": changes,
        "diff": install.as_diff(plans),
    }


def main() -> None:
    """Entry point."""
    trust = {
        "number": {"type": "int", "required": True},
        "sha256": {"type": "str", "required": True},
        "files": {"type": "dict"},
        "files_path": {"type": "path"},
    }
    one_of_them = [["files", "files_path"]]
    site = {
        "name": {"type": "str", "required": True},
        "chain": {"type": "str", "required": True},
        "trust_anchor": {"type": "str", "required": True},
        "chain_anchor": {"type": "str"},
        "server_names": {"type": "list", "elements": "str", "required": True},
        "trust": {
            "type": "dict",
            "required": True,
            "options": trust,
            "required_one_of": one_of_them,
            "mutually_exclusive": one_of_them,
        },
        "password_delivery": {"type": "str", "choices": DELIVERIES, "default": "file"},
    }
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "str", "default": "/etc/mtls"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": ""},
            "now": {"type": "str", "required": True},
            "keep": {"type": "int", "default": 3},
            "passwords": {"type": "str", "required": True, "no_log": True},
            "sites": {"type": "list", "elements": "dict", "required": True, "options": site},
        },
        supports_check_mode=True,
    )
    if MISSING:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=MISSING)
    try:
        result = run(module.params, datetime.now(UTC), module.check_mode)
    except KitError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
