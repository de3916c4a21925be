#!/usr/bin/python
"""Let one run of the playbooks at a time work on a PKI."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: Let one run of the playbooks at a time work on a PKI
version_added: "0.1.0"
description:
  - Holds a record in the store from the first change of a run to its last, so that a second run says whose the first
    is and ends. The store's own lock covers a single module call only.
  - The action plugin of this name says which process on the controller runs the playbook, and judges whether the
    process that an older record names still lives. A record of a run that is over is taken over, with a warning.
  - A run of another controller can't be seen; its record is over after twelve hours, or with O(take_over).
  - The record is bookkeeping, so no change is reported. Without a store there is nothing to hold.
options:
  store:
    description: Folder of the store.
    type: path
    required: true
  state:
    description: Whether the run begins or ends.
    type: str
    choices:
      - held
      - free
    required: true
  run:
    description: What is run, such as V(rotate.yml).
    type: str
    required: true
  take_over:
    description: Take the lock whoever holds it; for a run that is known to be over.
    type: bool
    default: false
  mine:
    description: The record of this run; the action plugin gives it.
    type: dict
    default: {}
  instead_of:
    description: The record that was found to be of a run that is over; the action plugin gives it.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Holds nothing; a run that is at work is told as a warning.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
requirements:
  - python >= 3.11
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure no other run is at work on this PKI
  mtls.kit.run_lock:
    store: "{{ pki_store }}"
    run: rotate.yml
    state: held
"""

RETURN = r"""
holder:
  description: The record of the run that holds the lock instead, empty where none does.
  returned: success
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import run_lock
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
            "state": {"type": "str", "choices": ["held", "free"], "required": True},
            "run": {"type": "str", "required": True},
            "take_over": {"type": "bool", "default": False},
            "mine": {"type": "dict", "default": {}},
            "instead_of": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    folder = Path(parameters["store"])
    mine = run_lock.Runner(**parameters["mine"])
    found = None
    try:
        if module.check_mode:
            found = run_lock.holder(folder)
        elif parameters["state"] == "free":
            run_lock.free(folder, mine)
        else:
            over = run_lock.Runner(**parameters["instead_of"]) if parameters["instead_of"] else None
            found = run_lock.take(folder, mine, over)
    except KitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, holder=vars(found) if found else {})


if __name__ == "__main__":
    main()
