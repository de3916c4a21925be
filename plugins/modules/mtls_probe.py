#!/usr/bin/python
"""Prove on the wire who a site lets in and whom it turns away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mtls_probe
short_description: Prove on the wire who a site lets in and whom it turns away
version_added: "0.1.0"
description:
  - Makes a TLS connection for each identity, checks chain and host name strictly, and asks the path that Nginx answers
    itself. Each identity must be accepted or refused as expected.
  - Always tries a client without a certificate, too, a wrong host name and a wrong trust anchor.
  - Client keys stay in memory. Fails when anything is other than expected.
options:
  address:
    description: Address to connect to; default is the server name, resolved.
    type: str
  port:
    description: The port.
    type: int
    default: 443
  server_name:
    description: Name or IP address that the server's certificate must bear.
    type: str
    required: true
  trust_anchor:
    description: PEM certificates that the server's chain must end in.
    type: str
    required: true
  identities:
    description:
      - JSON list of C(name), C(expect) (V(accepted) or V(refused)), C(chain) and C(key), from M(mtls.kit.pki_probe).
    type: str
    default: "[]"
  probe_password:
    description: Password of the identities' keys.
    type: str
    default: ""
  must_reach:
    description:
      - Whether it is a failure that no TCP connection comes about. With V(false) the result says C(reachable=false),
        which is neither passed nor failed.
    type: bool
    default: true
  timeout:
    description: Seconds for everything together.
    type: float
    default: 20
attributes:
  check_mode:
    description: Runs the same in check mode; it changes nothing.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
author:
  - mTLS Kit (@mtls-kit)
"""

EXAMPLES = r"""
- name: Verify who gets in
  mtls.kit.mtls_probe:
    address: 127.0.0.1
    server_name: orders.example.com
    trust_anchor: "{{ pki_result.trust_anchor }}"
    identities: "{{ probe.identities | to_json }}"
    probe_password: "{{ probe_password }}"
  no_log: true
"""

RETURN = r"""
reachable:
  description: Whether a TCP connection came about.
  type: bool
  returned: always
results:
  description:
    - Each check with C(name), C(expected), C(found) (V(accepted), V(refused) or V(unexpected)), C(reason), C(passed).
  type: list
  elements: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, tls
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


def main() -> None:
    """Arguments in, result out."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str"},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str", "required": True},
            "trust_anchor": {"type": "str", "required": True},
            "identities": {"type": "str", "default": "[]", "no_log": True},
            "probe_password": {"type": "str", "default": "", "no_log": True},
            "must_reach": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    address = wanted["address"] or wanted["server_name"]
    target = probe.Target(address, wanted["port"], wanted["server_name"], wanted["trust_anchor"])
    try:
        identities = probe.parse_identities(wanted["identities"])
        results = probe.probe(target, identities, wanted["probe_password"], wanted["timeout"])
    except KitError as error:
        module.fail_json(msg=str(error))
    except tls.NotReachable as error:
        if wanted["must_reach"]:
            unreachable = KitError(
                f"site {target.server_name}",
                f"no connection from here ({error})",
                "a listening Nginx",
                "look at the port, the firewall between and the name's address, or set must_reach: false",
            )
            module.fail_json(msg=str(unreachable), reachable=False, results=[])
        module.exit_json(changed=False, reachable=False, results=[], reason=f"not reachable from here: {error}")
    shown = [result.as_dict() for result in results]
    failed = [result for result in results if not result.passed]
    if failed:
        told = "; ".join(f"{one.name} was {one.found} ({one.reason}), expected {one.expected}" for one in failed)
        problem = KitError(
            f"site {target.server_name} at {address} port {target.port}",
            told,
            f"all {len(results)} checks as expected",
            "look at the site's access log, which has a reason for each refusal, then run verify again",
        )
        module.fail_json(msg=str(problem), reachable=True, results=shown)
    module.exit_json(changed=False, reachable=True, results=shown)


if __name__ == "__main__":
    main()
