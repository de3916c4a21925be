#!/usr/bin/python
"""Bring a store back from an archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_restore
short_description: Bring a PKI's store back from an encrypted archive
version_added: "0.1.0"
description:
  - Puts the store of an archive of M(mtls.kit.pki_backup) in place, whole or not at all.
  - The restored store goes forward. Its CRL and trust numbers jump over those handed out since the backup, and the next
    run of M(mtls.kit.pki) signs every CRL again.
  - Certificates issued since the backup are unknown to it; gateways that authorize by the ledger refuse them, and the
    next run issues them anew.
options:
  store:
    description: Folder of the store, absent or empty unless O(replace).
    type: path
    required: true
  name:
    description: Name of the PKI. The archive of another one is refused.
    type: str
    required: true
  archive:
    description: The archive.
    type: path
    required: true
  archive_password:
    description: Its password.
    type: str
    required: true
  replace:
    description: Whether a store that is there is moved aside, to C(<store>.replaced-<moment>).
    type: bool
    default: false
  revocations:
    description: Texts of the gateways' C(revoked.map) files. What they revoke and the backup doesn't, is revoked again.
    type: list
    elements: str
    default: []
  passwords_file:
    description:
      - File, mode 0600, that gets the passwords of the archive as JSON, to be moved into the vault and removed. It must
        not exist. Empty for none.
    type: path
attributes:
  check_mode:
    description: Opens the whole archive, names the same changes and writes nothing.
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
- name: Ensure the store of the last backup
  mtls.kit.pki_restore:
    store: /var/lib/mtls-kit/example
    name: example
    archive: /srv/backup/example-2026-11-24.mtlskit
    archive_password: "{{ backup_password }}"
    revocations: "{{ revoked_maps }}"
"""

RETURN = r"""
changes:
  description: What was restored and revoked again, and why.
  returned: always
  type: list
  elements: dict
moved_aside:
  description: Where the store that was there is now.
  returned: when there was one
  type: str
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import backup
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
            "name": {"type": "str", "required": True},
            "archive": {"type": "path", "required": True},
            "archive_password": {"type": "str", "required": True, "no_log": True},
            "replace": {"type": "bool", "default": False},
            "revocations": {"type": "list", "elements": "str", "default": []},
            "passwords_file": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    if MISSING is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=str(MISSING))
    parameters = module.params
    passwords_file = parameters["passwords_file"]
    try:
        restored = backup.restore(
            Path(parameters["store"]),
            parameters["name"],
            Path(parameters["archive"]),
            parameters["archive_password"],
            datetime.now(UTC),
            replace=parameters["replace"],
            revocations=parameters["revocations"],
            passwords_file=Path(passwords_file) if passwords_file else None,
            dry=module.check_mode,
        )
    except KitError as error:
        module.fail_json(msg=str(error))
    for warning in restored.warnings:
        module.warn(warning)
    result = {"moved_aside": restored.moved_aside} if restored.moved_aside else {}
    module.exit_json(changed=True, changes=[change.as_dict() for change in restored.changes], **result)


if __name__ == "__main__":
    main()
