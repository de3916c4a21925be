#!/usr/bin/python
"""Prove that sites refuse revoked certificates."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mtls_revoked
short_description: Prove that sites refuse revoked certificates
version_added: "0.1.0"
description:
  - Runs on the gateway. Shows each revoked certificate to each site, in TLS 1.2 and 1.3, on a new connection and on one
    that resumes the session of the first.
  - A certificate whose key is not at hand is proven by the trust unit that the site serves; what refuses there
    has to list its serial.
  - Keys stay in memory. Fails when one is not refused.
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the site.
        type: str
        required: true
      root:
        description: Folder of its releases and trust units.
        type: path
        required: true
      address:
        description: Address to connect to.
        type: str
        required: true
      port:
        description: The port.
        type: int
        required: true
      server_name:
        description: Name or IP address that the server's certificate bears.
        type: str
        required: true
      number:
        description: Trust unit that it is to serve, or a later one.
        type: int
        required: true
      revocation:
        description: What of the trust unit refuses a revoked client, its map, its CRLs, or both.
        type: str
        choices: [map, crl, both]
        default: map
  trust_anchor:
    description: PEM certificates that the servers' chains must end in.
    type: str
    required: true
  certificates:
    description: JSON list of what M(mtls.kit.pki_revoked) gave.
    type: str
    required: true
  probe_password:
    description: Password of the keys in it.
    type: str
    required: true
  timeout:
    description: Seconds for each site.
    type: float
    default: 20
attributes:
  check_mode:
    description: Runs the same in check mode; it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Verify that what was revoked is refused
  mtls.kit.mtls_revoked:
    sites: "{{ nginx_mtls_sites | mtls.kit.revocation_targets(pki_result, pki_issuing, '/etc/mtls') }}"
    trust_anchor: "{{ pki_result.trust_anchor }}"
    certificates: "{{ revoke_shown.certificates | to_json }}"
    probe_password: "{{ revoke_password }}"
"""

RETURN = r"""
proofs:
  description:
    - "For each site and certificate C(site), C(name), C(serial), C(proof) (how it was proven), C(passed), C(found)."
  returned: always
  type: list
  elements: dict
"""

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, revocation, tls
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "sites": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "root": {"type": "path", "required": True},
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "server_name": {"type": "str", "required": True},
                    "number": {"type": "int", "required": True},
                    "revocation": {"type": "str", "choices": ["map", "crl", "both"], "default": "map"},
                },
            },
            "trust_anchor": {"type": "str", "required": True},
            "certificates": {"type": "str", "required": True, "no_log": True},
            "probe_password": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    wanted = module.params
    proofs: list[revocation.Proof] = []
    try:
        certificates = [
            revocation.Certificate(
                **{key: one[key] for key in ("name", "serial", "issuer", "untried", "chain", "key")},
            )
            for one in json.loads(wanted["certificates"])
        ]
        for one in wanted["sites"]:
            target = probe.Target(one["address"], one["port"], one["server_name"], wanted["trust_anchor"])
            site = revocation.Site(one["name"], Path(one["root"]), target, one["number"], one["revocation"])
            try:
                deadline = tls.Deadline(wanted["timeout"])
                proofs += revocation.prove(site, certificates, wanted["probe_password"], deadline)
            except (tls.NotReachable, tls.NoSession) as error:
                raise KitError(
                    f"site {site.name}",
                    f"no answer on the gateway itself ({error})",
                    "the site served",
                    "run the playbook again, and see the site's error log if that doesn't help",
                ) from error
    except (ValueError, TypeError, KeyError):
        module.fail_json(
            msg=str(
                KitError(
                    "certificates",
                    "something else than the result of pki_revoked",
                    "its certificates as JSON",
                    "hand them over as they are",
                )
            )
        )
    except KitError as error:
        module.fail_json(msg=str(error), proofs=[proof.as_dict() for proof in proofs])
    shown = [proof.as_dict() for proof in proofs]
    failed = [proof for proof in proofs if not proof.passed]
    if failed:
        told = "; ".join(f"{one.name} (serial {one.serial}) at site {one.site}: {one.found}" for one in failed)
        problem = KitError("revoked certificates", told, "each refused", "run the playbook again")
        module.fail_json(msg=str(problem), proofs=shown)
    module.exit_json(changed=False, proofs=shown)


if __name__ == "__main__":
    main()
