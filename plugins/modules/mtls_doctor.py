#!/usr/bin/python
"""Say why mutual TLS does not work, and what to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mtls_doctor
short_description: Say why mutual TLS does not work, and what to do
version_added: "0.1.0"
description:
  - Looks at what is given, a client's bundle, a site as that client meets it, the files of a gateway, or the Nginx of
    the host it runs on, and names each known cause with its proof and the fix.
  - Works with gateways that this kit did not make.
options:
  bundle:
    description: "The client's folder (C(client.crt), C(client.key), C(trust-anchor.crt)), PEM file or PKCS#12 file."
    type: path
  password:
    description: Password of its key.
    type: str
    default: ""
  url:
    description: Address as the client calls it, C(https://name[:port]/).
    type: str
  address:
    description: Address to connect to instead of the name in O(url).
    type: str
    default: ""
  trust_anchor:
    description: File with the root the client trusts; default that of the bundle.
    type: path
  client_ca:
    description: The gateway's file of client CAs, to let OpenSSL judge the bundle as the gateway does.
    type: path
  crl:
    description: The gateway's CRLs, where it enforces them.
    type: path
  verify_depth:
    description: The gateway's C(ssl_verify_depth).
    type: int
    default: 1
  nginx:
    description: Whether the Nginx of this host is looked at.
    type: bool
    default: false
  binary:
    description: Its program.
    type: str
    default: nginx
  prefix:
    description: Prefix of an instance of its own.
    type: str
    default: ""
  config:
    description: Its configuration file.
    type: str
    default: ""
  container:
    description: Name of a gateway of the role nginx_container, whose Nginx is looked at in place of the host's.
    type: str
    default: ""
  folder:
    description: Folder of that gateway's configurations.
    type: str
    default: ""
  error_log:
    description: Its error log; at level C(info) Nginx tells there why it refused a client.
    type: str
    default: /var/log/nginx/error.log
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
  - docker (Debian's python3-docker), for O(container)
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure it is known why Alice is refused
  mtls.kit.mtls_doctor:
    bundle: ./clients/alice
    password: "{{ alice_password }}"
    url: https://orders.example.com/
  register: doctor_result

- name: Ensure it is known what is wrong with this gateway
  mtls.kit.mtls_doctor:
    nginx: true
  register: doctor_result
"""

RETURN = r"""
findings:
  description:
    - "Each with C(cause) (a key of the table in docs/when-it-does-not-work.md), C(text), C(proof) and C(fix)."
  returned: always
  type: list
  elements: dict
now:
  description: The clock of the host, ISO 8601.
  returned: always
  type: str
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._container import look
    from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import diagnosis, doctor, nginx
    from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def _text(path: str | None) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"file {path}", str(error), "a readable file in PEM", "correct the path") from error


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path"},
            "password": {"type": "str", "default": "", "no_log": True},
            "url": {"type": "str"},
            "address": {"type": "str", "default": ""},
            "trust_anchor": {"type": "path"},
            "client_ca": {"type": "path"},
            "crl": {"type": "path"},
            "verify_depth": {"type": "int", "default": 1},
            "nginx": {"type": "bool", "default": False},
            "binary": {"type": "str", "default": "nginx"},
            "prefix": {"type": "str", "default": ""},
            "container": {"type": "str", "default": ""},
            "folder": {"type": "str", "default": ""},
            "config": {"type": "str", "default": ""},
            "error_log": {"type": "str", "default": "/var/log/nginx/error.log"},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    wanted = module.params
    now = datetime.now(UTC)
    found: list[diagnosis.Finding] = []
    try:
        if not (wanted["bundle"] or wanted["url"] or wanted["nginx"] or wanted["container"]):
            expected = "one of bundle, url, nginx and container at least"
            raise KitError("mtls_doctor", "nothing to look at", expected, "give one")
        bundle = doctor.Bundle()
        if wanted["bundle"]:
            bundle = doctor.read_bundle(Path(wanted["bundle"]), wanted["password"], now)
            found += bundle.findings
        if wanted["client_ca"]:
            authorities = _text(wanted["client_ca"])
            found += doctor.of_client_at(bundle, authorities, _text(wanted["crl"]), wanted["verify_depth"])
        if wanted["url"]:
            site = doctor.Site.of(wanted["url"], wanted["address"])
            found += doctor.of_site(site, bundle, _text(wanted["trust_anchor"]), now)
        if wanted["nginx"]:
            log = wanted["error_log"]
            instance = nginx.Instance(wanted["binary"], wanted["prefix"], wanted["config"], error_log=log)
            found += doctor.of_nginx(instance, now, log)
        if wanted["container"]:
            found += look.of_gateway(Engine(), wanted["container"], Path(wanted["folder"]), now)
    except KitError as error:
        module.fail_json(msg=str(error))
    # One cause, found in two ways, is told once.
    once = {one.cause: one for one in reversed(found)}
    module.exit_json(changed=False, now=clock.iso(now), findings=[one.as_dict() for one in reversed(once.values())])


if __name__ == "__main__":
    main()
