"""Options of a vault, checked without ever quoting a value: any of them may be a token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DEFAULT_TIMEOUT = 10.0


def refuse_unknown(backend: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ``KitError`` for an option that ``backend`` doesn't have."""
    names = sorted(known)
    for option in sorted(str(key) for key in options):
        if option not in names:
            near = get_close_matches(option, names, n=1)
            hint = f"write {near[0]!r}" if near else "remove it"
            raise KitError(
                f"key_password_options of backend {backend}",
                f"an unknown option {option!r}",
                f"only {', '.join(names)}",
                hint,
            )


def text(backend: str, options: Mapping[str, Any], option: str) -> str | None:
    """The text of an option, None where it isn't given. Raises ``KitError`` for anything but text."""
    value = options.get(option)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise KitError(
            f"key_password_options.{option} of backend {backend}",
            "an empty text or one with a NUL" if isinstance(value, str) else "something else",
            "a text",
            "correct it",
        )
    return str(value)


def timeout(backend: str, options: Mapping[str, Any]) -> float:
    """Seconds that one operation may take. Raises ``KitError`` unless it is a number above 0 and up to 30."""
    value = options.get("timeout", DEFAULT_TIMEOUT)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= 30:
        raise KitError(
            f"key_password_options.timeout of backend {backend}",
            "something else than a number in that range",
            "seconds, more than 0 and at most 30",
            "correct it or leave it out",
        )
    return seconds
