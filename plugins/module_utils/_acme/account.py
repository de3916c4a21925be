"""The key of the account that orders public certificates: made once, encrypted, 0600."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import guarded

KEY_TYPE: Final = "ec-p256"
_MODE: Final = 0o600


def converge(path: Path, passwords: Passwords, check_mode: bool) -> str | None:
    """Have the account's key at ``path`` under its present password, unless in check mode; why it was written.

    None when nothing was to be done. Raises KitError when the key is there and no password that the vault has opens it.
    """
    password = passwords.of(names.ACME_ACCOUNT)
    with guarded(path.parent):
        pem = files.read(path)
        if pem is None:
            key, reason = keys.generate(KEY_TYPE), "issue: no account key yet"
        else:
            key, reason = passwords.open(pem, names.ACME_ACCOUNT, f"account key {path}"), "re-encrypt: password rotated"
            if _has(pem, password, path):
                return None
        if not check_mode:
            files.make_folder(path.parent, 0o700, files.Ownership.current())
            files.replace(path, keys.encrypted_pem(key, password), _MODE, files.Ownership.current())
    return reason


def _has(pem: bytes, password: bytes, path: Path) -> bool:
    try:
        keys.load_encrypted(pem, password, f"account key {path}")
    except KitError:
        return False
    return True
