#!/usr/bin/python
"""Tell what a store holds and how it stands."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_info
short_description: Tell what a PKI's store holds, what is due, and what ends next
version_added: "0.1.0"
description:
  - Reads the ledger and nothing else. It takes no lock and writes nothing, so it may run beside another run, on a full
    disk and on a store that is mounted read-only.
  - No key, no password and no certificate's content is returned.
  - "A certificate is C(revoked), C(expired), C(due) (the next run renews it) or C(valid). The newest one of each name
    is told; a name that is no longer listed is left out once its certificate has ended."
options:
  store:
    description: Folder of the store.
    type: path
    required: true
  name:
    description: Name of the PKI; a store of another one is an error. Whichever it is by default.
    type: str
  certificates:
    description:
      - The desired list, as M(mtls.kit.pki) takes it. C(name), C(days) and C(renew_days) are read.
      - Without it no certificate counts as no longer listed.
      - A long one is quickest as a JSON text, for Ansible walks through every value of a list several times.
    type: json
  leaf_days:
    description: Life of a certificate in days. An issuing CA with fewer left is due.
    type: int
    default: 90
  renew_days:
    description: Days before its end at which a certificate is due that says nothing else.
    type: int
    default: 30
  renew_jitter_days:
    description: Up to so many days earlier it is due, each certificate at its own moment, as M(mtls.kit.pki) renews it.
    type: int
    default: 10
  profiles:
    description: Profiles of one's own, as M(mtls.kit.pki) takes them.
    type: list
    elements: dict
    default: []
  refresh_hours:
    description: Age in hours at which a CRL is due.
    type: int
    default: 24
  root_offline:
    description: Whether the root's key is kept offline; its CRL is then due when the key is to be brought.
    type: bool
    default: false
  filter:
    description: Which certificates are returned. Counts and everything else are of all of them.
    type: dict
    default: {}
    suboptions:
      kind:
        description: Whom they are for.
        type: str
        choices: [all, server, client]
        default: all
      state:
        description: How they stand.
        type: str
        choices: [all, expired, due, valid, revoked]
        default: all
      name:
        description: "Glob on the whole name (C(client/alice)) or on what follows its kind (C(alice), C(gw1/*))."
        type: str
        default: "*"
      within_days:
        description: Those that have ended or end within so many days; whenever they end by default.
        type: int
      limit:
        description:
          - At most so many of them, the most urgent first; all by default. RV(matching) counts them all.
          - Ten thousand of them cost Ansible half a second and 5 MB on their way back.
        type: int
extends_documentation_fragment:
  - mtls.kit.attributes.read_only
requirements:
  - python >= 3.11
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure it is known which clients end within two weeks
  mtls.kit.pki_info:
    store: /var/lib/mtls-kit/example
    filter:
      kind: client
      within_days: 14
  register: pki_info_result

- name: Verify that nothing is wrong or due
  ansible.builtin.assert:
    that: pki_info_result.attention == []
    fail_msg: "{{ pki_info_result.attention }}"
"""

RETURN = r"""
attention:
  description: "What needs somebody, the worst first: C(level) (wrong, due) and C(text). Empty when all is well."
  returned: always
  type: list
  elements: dict
name:
  description: Name of the PKI.
  returned: always
  type: str
store:
  description: Folder of the store.
  returned: always
  type: str
now:
  description: The CA host's clock, ISO 8601.
  returned: always
  type: str
authorities:
  description:
    - "Every authority: C(label), C(number), C(name), C(generation), C(issuer) (label of its root), C(subject),
      C(serial), C(key_type), C(not_after), C(days_left), C(state) (valid, due, expired), C(newest) (generation of its
      name), C(certificates), how many certificates in force it signed, and C(name_constraints), the names it is limited
      to in words, empty where it is not."
  returned: always
  type: list
  elements: dict
crls:
  description:
    - "The CRL of every authority that has not ended: C(issuer), C(state) (valid, due, expired, missing), C(number),
      C(this_update), C(next_update), C(age_hours), C(hours_left), and C(revoked), the serials it has to list."
  returned: always
  type: list
  elements: dict
root_keys_needed:
  description: "What the key of an offline root is needed for next: C(label), C(reason), C(by), C(days_left)."
  returned: always
  type: list
  elements: dict
trust:
  description: "The trust unit of each scope: C(scope), C(number), C(sha256), C(created), C(age_hours)."
  returned: always
  type: list
  elements: dict
undelivered:
  description:
    - "Listed sites that some revocation has not reached: C(gateway), C(site), C(trust) (the unit it serves), C(revoked)
      (names) and C(since) (when the first of them was revoked)."
  returned: always
  type: list
  elements: dict
bundles:
  description:
    - "The bundles of listed clients that nobody has taken, the longest waiting first: C(client), C(serial), C(written),
      and of the certificate the client had before C(until) (its end, null where it had none) and C(days_left)."
  returned: always
  type: list
  elements: dict
rotations:
  description:
    - "Every rotation of CA keys, the latest first: C(kind), C(names), C(phase), C(started), C(since), C(days) in this
      phase, C(waits) (what held the last run that asked for it), C(under_way) and C(cut_off) (clients that the
      gateways' access logs showed to that run with a certificate of the CA that goes: C(gateway), C(name), C(serial),
      C(issuer), C(last_seen) and C(replaced), when it got another one)."
  returned: always
  type: list
  elements: dict
counts:
  description: "C(total), C(expired), C(due), C(valid) and C(revoked) for C(all), C(server) and C(client)."
  returned: always
  type: dict
not_issued:
  description: Listed names that have no certificate yet.
  returned: always
  type: list
  elements: str
next_expiries:
  description: "The three certificates in force that end first: C(name), C(not_after), C(days_left)."
  returned: always
  type: list
  elements: dict
filter:
  description: What was asked for.
  returned: always
  type: dict
matching:
  description: How many certificates the filter takes, counted like RV(counts).
  returned: always
  type: dict
running:
  description:
    - "The run that uses the store right now: C(command), C(pid), C(host), C(since) and C(doing), how far it is. Null
      where none does; a run of another host on a shared folder is not seen."
  returned: always
  type: dict
  sample: {"command": "pki", "pid": 47, "host": "ca1", "since": "2026-11-24T12:00:00Z", "doing": "issued 256 of 512"}
certificates:
  description:
    - "Those the filter takes, the most urgent first: C(name), C(state), C(days_left) (negative after its end),
      C(reason) (why it is due), C(revoked) (reason of its revocation), C(listed), C(not_before), C(not_after),
      C(issuer) (label), C(serial), C(profile), C(subject), C(sans), C(groups), C(key_type)."
  returned: always
  type: list
  elements: dict
"""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import inspection, own_profiles, store
    from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

ARGUMENTS: dict[str, Any] = {
    "store": {"type": "path", "required": True},
    "name": {"type": "str"},
    "certificates": {"type": "json"},
    "leaf_days": {"type": "int", "default": 90},
    "renew_days": {"type": "int", "default": 30},
    "renew_jitter_days": {"type": "int", "default": 10},
    "profiles": {"type": "list", "elements": "dict", "default": []},
    "refresh_hours": {"type": "int", "default": 24},
    "root_offline": {"type": "bool", "default": False},
    "filter": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "kind": {"type": "str", "choices": ["all", "server", "client"], "default": "all"},
            "state": {"type": "str", "choices": ["all", "expired", "due", "valid", "revoked"], "default": "all"},
            "name": {"type": "str", "default": "*"},
            "within_days": {"type": "int"},
            "limit": {"type": "int"},
        },
    },
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    windows = inspection.Windows(**{window: parameters[window] for window in inspection.WINDOWS})
    asked = inspection.Filter(**parameters["filter"])
    try:
        wanted = inspection.wanted_from(parameters["certificates"])
        known = own_profiles.read(parameters["profiles"])
        with store.inspected(Path(parameters["store"]), parameters["name"]) as ledger:
            found = inspection.report(ledger, datetime.now(UTC), windows, asked, wanted, known)
    except KitError as error:
        module.fail_json(msg=str(error))
    owner = store.running(Path(parameters["store"]))
    running = None if owner is None else asdict(owner)
    module.exit_json(changed=False, store=parameters["store"], running=running, **found)


if __name__ == "__main__":
    main()
