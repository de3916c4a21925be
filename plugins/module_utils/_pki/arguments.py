"""What the modules of the PKI read in the same way."""

from __future__ import annotations

import json

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


def passwords_from(text: str) -> dict[str, str]:
    """The passwords by path in a JSON object; KitError without a word of what is in it."""
    try:
        passwords = json.loads(text or "{}")
    except ValueError:
        passwords = None
    if not isinstance(passwords, dict) or not all(isinstance(password, str) for password in passwords.values()):
        raise KitError(
            "passwords",
            "something else than a JSON object of texts",
            '{"ca/root": "…", "client/alice": "…"}',
            "hand in the result of key_password as it is",
        )
    return passwords
