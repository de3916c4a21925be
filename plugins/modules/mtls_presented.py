#!/usr/bin/python
"""Tell which client certificates a gateway's access logs show."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mtls_presented
short_description: Tell which client certificates a gateway's access logs show
version_added: "0.1.0"
description:
  - Runs on the gateway. Reads the access log that the role nginx_mtls writes for a site, and what was rotated away of
    it, the newest first; packed files are read as a stream.
  - What it finds is evidence for a person, and for C(playbooks/rotate.yml) to name who would be cut off. Nothing is
    decided by it.
options:
  sites:
    description: Names of the sites.
    type: list
    elements: str
    required: true
  directory:
    description: Folder of their logs, C(mtls-<site>.access.log). A log that does not exist shows nobody.
    type: path
    default: /var/log/nginx
  days:
    description: How far back to look, in days.
    type: int
    default: 30
  mebibytes:
    description: How much to read for each site at most, unpacked. The oldest is left out first.
    type: int
    default: 64
requirements:
  - cryptography >= 38
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
- name: Ensure it is known who still presents which certificate
  mtls.kit.mtls_presented:
    sites: [orders]
"""

RETURN = r"""
sites:
  description:
    - "For each site, by its name: C(certificates), each with C(issuer) and C(serial) as Nginx prints them, the C(name)
      by which it knew the client and C(last_seen) (UTC), the latest first and 10,000 at most. C(since) is how far
      back the look went, C(complete) whether nothing was left out."
  returned: always
  type: dict
  sample:
    orders:
      certificates:
        - {issuer: "CN=example Issuing G1", serial: 5A3F, name: alice, last_seen: "2026-11-24T12:00:00Z"}
      since: "2026-10-25T12:00:00Z"
      complete: true
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._gateway import access_log
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "str", "required": True},
            "directory": {"type": "path", "default": "/var/log/nginx"},
            "days": {"type": "int", "default": 30},
            "mebibytes": {"type": "int", "default": 64},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    folder, budget = Path(parameters["directory"]), parameters["mebibytes"] << 20
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(days=parameters["days"])
    looks = {site: access_log.look(folder / f"mtls-{site}.access.log", since, budget) for site in parameters["sites"]}
    module.exit_json(changed=False, sites={site: look.as_dict() for site, look in looks.items()})


if __name__ == "__main__":
    main()
