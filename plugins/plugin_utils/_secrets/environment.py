"""Passwords in environment variables, each encrypted by Ansible Vault."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, ReadOnly
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.placeholders import refuse_equal

DEFAULT_PREFIX = "MTLS_KIT_PASSWORD_"

_NAME = "env"


class Environment(ReadOnly):
    """Reads the environment of the Ansible run; nothing can be written there.

    The variable of a path is the prefix and the path in capitals with ``_`` for all but letters and digits:
    ``client/alice@example.org`` is ``MTLS_KIT_PASSWORD_CLIENT_ALICE_EXAMPLE_ORG``. Its value is what
    ``ansible-vault encrypt`` prints. Where a value can't have line breaks, blanks or ``\\n`` stand for them.

    Options: ``prefix``, ``timeout`` (without effect: nothing is waited for).
    """

    def __init__(self, options: Mapping[str, Any], controller: Controller) -> None:
        """Check the options and that a vault password was given. Raises ``KitError``."""
        checked.refuse_unknown(_NAME, options, ("prefix", "timeout"))
        checked.timeout(_NAME, options)
        self._prefix = checked.text(_NAME, options, "prefix") or DEFAULT_PREFIX
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", self._prefix):
            raise checked.refuse(_NAME, "prefix", "other characters", "A-Z a-z 0-9 _, not beginning with a digit")
        self._vault = controller.vault
        if not self._vault.secrets:
            raise KitError(
                f"backend {_NAME}, variables {self._prefix}*",
                "no vault password",
                "the password that they are encrypted with",
                "run again with --vault-password-file or --vault-id",
            )

    def __enter__(self) -> Environment:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing is open."""

    def location(self, path: str) -> str:
        """The variable."""
        return f"{path!r} in backend {_NAME}, variable {self._variable(path)}"

    def remedy(self, path: str) -> str:
        """How a variable is set."""
        return f'export {self._variable(path)}="$(ansible-vault encrypt --output -)"'

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        """Decrypt the variables that are set."""
        wanted = list(paths)
        refuse_equal(_NAME, wanted, self._variable)
        return {
            path: self._decrypted(path, os.environ[self._variable(path)])
            for path in wanted
            if self._variable(path) in os.environ
        }

    def _variable(self, path: str) -> str:
        return self._prefix + re.sub("[^A-Z0-9]", "_", path.upper())

    def _decrypted(self, path: str, value: str) -> str:
        lines = value.replace("\\n", "\n").split()
        if not lines or not lines[0].startswith("$ANSIBLE_VAULT;"):
            raise KitError(
                f"password {self.location(path)}",
                "a text that isn't encrypted" if lines else "an empty value",
                "what ansible-vault encrypt prints",
                f"use a new password, for this one may be known to others, with {self.remedy(path)}"
                if lines
                else f"set it with {self.remedy(path)}",
            )
        try:
            plaintext = bytes(self._vault.decrypt("\n".join(lines).encode())).decode()
        except (AnsibleError, UnicodeDecodeError):
            # The cause isn't passed on: its text quotes what was read.
            raise KitError(
                f"password {self.location(path)}",
                "that none of the given vault passwords opens it",
                "the vault password it was encrypted with, and a value that wasn't cut short",
                "run again with the right --vault-password-file or --vault-id, or encrypt it again",
            ) from None
        # One line break at the end is what editors and echo add.
        return plaintext.removesuffix("\n")
