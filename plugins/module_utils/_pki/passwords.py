"""The passwords that a run was handed: the present ones, and during a rotation those before."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


class Passwords:
    """Passwords by path, and under ``previous/<path>`` what a key may still be encrypted with; asked before changes."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords
        self.previous: Mapping[str, bytes] = {
            path.removeprefix(names.PREVIOUS): keys.check_password(password, path)
            for path, password in passwords.items()
            if path.startswith(names.PREVIOUS)
        }

    def __contains__(self, path: str) -> bool:
        return path in self._passwords

    def of(self, path: str) -> bytes:
        """The present password of ``path``; KitError when it is missing or can't be one."""
        if path not in self._passwords:
            raise KitError(
                f"password of {path}", "none in passwords", "one for every key", "let key_password make or fetch it"
            )
        return keys.check_password(self._passwords[path], path)

    def open(self, pem: bytes, path: str, what: str) -> keys.PrivateKey:
        """The key ``pem`` of ``path``, by its present password or the one before; KitError when neither opens it."""
        try:
            return keys.load_encrypted(pem, self.of(path), what)
        except KitError:
            if path not in self.previous:
                raise
        return keys.load_encrypted(pem, self.previous[path], what)
