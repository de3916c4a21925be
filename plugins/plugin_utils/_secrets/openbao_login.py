"""The ways to log in to OpenBao or HashiCorp Vault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked

NAME = "openbao"
"""The backend, in messages."""

Body = dict[str, str]


@dataclass(frozen=True)
class Method:
    """A way to log in: the options it has of its own, and what it sends to ``auth/<auth_mount>/login``."""

    options: tuple[str, ...]
    body: Callable[[Mapping[str, Any]], Body] | None


def _approle(options: Mapping[str, Any]) -> Body:
    return {
        "role_id": checked.secret(NAME, options, "role_id"),
        "secret_id": checked.secret(NAME, options, "secret_id"),
    }


def _jwt(options: Mapping[str, Any]) -> Body:
    role = checked.text(NAME, options, "role")
    return {"jwt": checked.secret(NAME, options, "jwt"), **({"role": role} if role else {})}


def _cert(options: Mapping[str, Any]) -> Body:
    checked.required(NAME, options, "client_cert")
    role = checked.text(NAME, options, "role")
    return {"name": role} if role else {}


METHODS: dict[str, Method] = {
    "token": Method(("token", "token_file"), None),
    "approle": Method(("auth_mount", "role_id", "role_id_file", "secret_id", "secret_id_file"), _approle),
    "jwt": Method(("auth_mount", "role", "jwt", "jwt_file"), _jwt),
    "cert": Method(("auth_mount", "role"), _cert),
}


class Login:
    """Knows what to send, and whether it may be sent again when a token ends before its time."""

    def __init__(self, options: Mapping[str, Any], common: tuple[str, ...]) -> None:
        """Check all options: ``common`` are those that don't belong to a method. Raises ``KitError``."""
        self.method = checked.text(NAME, options, "auth") or "token"
        if self.method not in METHODS:
            raise checked.refuse(NAME, "auth", "something else", f"one of {', '.join(METHODS)}")
        checked.refuse_unknown(NAME, options, (*common, *METHODS[self.method].options))
        self.mount = checked.place(NAME, options, "auth_mount", self.method)
        self._options = options
        # Once for its errors, before anything is sent.
        if self.body() is None:
            self.token()

    @property
    def repeatable(self) -> bool:
        """False where a token was given: there is no other when it ends."""
        return METHODS[self.method].body is not None

    def body(self) -> Body | None:
        """What the login sends; None where a token was given instead. Files are read anew, for they are renewed."""
        build = METHODS[self.method].body
        return None if build is None else build(self._options)

    def token(self) -> str:
        """The token that was given."""
        return checked.secret(NAME, self._options, "token")
