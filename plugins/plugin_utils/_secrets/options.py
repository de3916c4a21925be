"""Options of a vault, checked without ever quoting a value: any of them may be a token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
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
    """Seconds; each backend says of what. Raises ``KitError`` unless it is a number above 0 and up to 30."""
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


def refuse(backend: str, option: str, found: str, expected: str, next_step: str = "correct it") -> KitError:
    """The error about one option; ``found`` describes, it doesn't quote."""
    return KitError(f"key_password_options.{option} of backend {backend}", found, expected, next_step)


def required(backend: str, options: Mapping[str, Any], option: str) -> str:
    """The text of an option that has to be there. Raises ``KitError``."""
    value = text(backend, options, option)
    if value is None:
        raise refuse(backend, option, "nothing", "a text", f"set key_password_options.{option}")
    return value


def place(backend: str, options: Mapping[str, Any], option: str, default: str) -> str:
    """A path inside a vault, without a slash at its ends. Raises ``KitError`` for what would need quoting in a URL."""
    value = (text(backend, options, option) or default).strip("/")
    if not re.fullmatch(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]*(/[A-Za-z0-9_@-][A-Za-z0-9._@-]*)*", value):
        raise refuse(backend, option, "other characters", "parts of A-Z a-z 0-9 . _ @ -, separated by single slashes")
    return value


def file(backend: str, options: Mapping[str, Any], option: str) -> Path | None:
    """A file that can be read, None where it isn't given. Raises ``KitError``."""
    value = text(backend, options, option)
    if value is None:
        return None
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise refuse(backend, option, f"the relative path {value!r}", "an absolute path")
    content(backend, option, path)
    return path


def secret(backend: str, options: Mapping[str, Any], option: str) -> str:
    """A secret given by ``option`` or in the file that ``<option>_file`` names, read anew each time.

    White space around it doesn't count. Raises ``KitError`` when it is missing, given twice, or can't be sent.
    """
    given, source = text(backend, options, option), file(backend, options, f"{option}_file")
    if (given is None) == (source is None):
        found = "neither" if given is None else "both"
        raise refuse(backend, option, found, f"it or key_password_options.{option}_file", "set one of the two")
    where = option if source is None else f"{option}_file"
    value = (content(backend, where, source) if source else given or "").strip()
    if not value or not value.isascii() or not value.isprintable():
        raise refuse(backend, where, "an empty one, or one with a line break or control character", "one line of ASCII")
    return value


def content(backend: str, option: str, path: Path) -> str:
    """What is in the file that an option names. Raises ``KitError``."""
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        found = f"{error.strerror or type(error).__name__} while reading {path}"
        raise refuse(backend, option, found, "a file that this user can read") from None
