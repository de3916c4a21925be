#!/usr/bin/python
"""Write one encrypted archive of a store and its passwords."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_backup
short_description: Write one encrypted archive of a PKI's store and its passwords
version_added: "0.1.0"
description:
  - The archive holds the ledger, every file of the store, and the passwords handed in, so that it alone brings a
    PKI back.
  - It is encrypted with AES-256-GCM under a key that scrypt derives from the archive password.
options:
  store:
    description: Folder of the store.
    type: path
    required: true
  archive:
    description: File to write, mode 0600. It must not exist.
    type: path
    required: true
  archive_password:
    description: Password of the archive, at least 16 characters. Keep it apart from the archive.
    type: str
    required: true
  passwords:
    description: JSON object of key passwords by path.
    type: str
    default: "{}"
attributes:
  check_mode:
    description: Checks store, archive and password and writes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
requirements:
  - python >= 3.11
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure a backup of today
  mtls.kit.pki_backup:
    store: /var/lib/mtls-kit/example
    archive: /srv/backup/example-2026-11-24.mtlskit
    archive_password: "{{ backup_password }}"
    passwords: "{{ key_password_json }}"
"""

RETURN = r"""
archive:
  description: The file.
  returned: always
  type: str
size:
  description: Its size in bytes.
  returned: when it was written
  type: int
changes:
  description: What was written, and why.
  returned: always
  type: list
  elements: dict
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import backup, store
    from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
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
            "archive": {"type": "path", "required": True},
            "archive_password": {"type": "str", "required": True, "no_log": True},
            "passwords": {"type": "str", "default": "{}", "no_log": True},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    archive = Path(parameters["archive"])
    result: dict[str, Any] = {"archive": str(archive)}
    try:
        passwords = passwords_from(parameters["passwords"])
        backup.check_new_archive(archive, parameters["archive_password"])
        with store.opened(Path(parameters["store"]), None, datetime.now(UTC), dry=module.check_mode) as opened:
            if not module.check_mode:
                result["size"] = backup.write(opened, passwords, archive, parameters["archive_password"])
    except KitError as error:
        module.fail_json(msg=str(error))
    change = {"name": "archive", "action": "write", "reason": f"write: new backup {archive.name}"}
    module.exit_json(changed=True, changes=[change], **result)


if __name__ == "__main__":
    main()
