"""Values of variables, compared with the argument specs of the roles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ansible.module_utils.common.parameters import DEFAULT_TYPE_VALIDATORS

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

_IN_WORDS = {
    "bool": "true or false",
    "dict": "a dictionary",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "str": "a text",
}

_SECRET_NAME = re.compile(r"(?<!^key_)passw(?!\w*_delivery$)|secret|token|passphrase|private", re.IGNORECASE)
"""Names of secrets, but for the prefix of the role key_password itself, and how a password is delivered."""
_LONGEST_QUOTE = 60


def faults(path: str, value: Any, option: Mapping[str, Any]) -> Iterator[KitError]:
    """What is wrong with ``value`` at ``path`` (``nginx_mtls_sites[0].port``) by its ``option`` of an argument spec.

    Stricter than Ansible's own validation where a role uses the value unconverted: a text isn't split into a list,
    and a dictionary isn't made a text. A value that may be a secret is described and never quoted.
    """
    secret = bool(option.get("no_log")) or bool(_SECRET_NAME.search(path))
    kind = option.get("type", "str")
    if value is None and not option.get("required") and option.get("default") is None:
        return
    if value is True and "on" in (option.get("choices") or []):
        # What YAML makes of a bare on; the filters take it for that.
        return
    if not _is_a(kind, value):
        yield KitError(path, _found(value, secret), _IN_WORDS.get(kind, kind), f"correct {path}")
        return
    if kind == "list":
        element = {"type": option.get("elements", "raw"), **{key: option[key] for key in _OF_ELEMENTS if key in option}}
        for index, item in enumerate(value):
            # Required here, for an empty element of a list is never meant.
            yield from faults(f"{path}[{index}]", item, {**element, "required": True})
    else:
        yield from _choice_faults(path, value, option, secret)
    if kind == "dict" and "options" in option:
        yield from _key_faults(path, value, option["options"])


_OF_ELEMENTS = ("choices", "options", "no_log")


def _is_a(kind: str, value: Any) -> bool:
    if kind == "raw":
        return True
    if kind in ("str", "path"):
        # YAML reads yes, no, on and off as booleans.
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if kind == "list":
        return isinstance(value, list | tuple)
    if kind == "dict":
        return isinstance(value, Mapping)
    if kind in ("int", "float") and isinstance(value, bool):
        return False
    try:
        DEFAULT_TYPE_VALIDATORS[kind](value)
    except (TypeError, ValueError):
        return False
    return True


def _found(value: Any, secret: bool) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, list | tuple):
        return "a list"
    noun = "the boolean" if isinstance(value, bool) else "the text" if isinstance(value, str) else "the number"
    if secret:
        return "another value, which isn't shown here"
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{noun} {shown}" if len(shown) <= _LONGEST_QUOTE else f"{noun} {shown[:_LONGEST_QUOTE]}…"


def _choice_faults(path: str, value: Any, option: Mapping[str, Any], secret: bool) -> Iterator[KitError]:
    choices = [str(choice) for choice in option.get("choices") or []]
    if choices and str(value) not in choices:
        near = get_close_matches(str(value), choices, n=1)
        hint = f", nearest is {near[0]}" if near else ""
        yield KitError(path, _found(value, secret), f"one of {', '.join(choices)}{hint}", f"correct {path}")


def _key_faults(path: str, value: Mapping[Any, Any], options: Mapping[str, Mapping[str, Any]]) -> Iterator[KitError]:
    for key in value:
        if key not in options:
            near = get_close_matches(str(key), options, n=1)
            hint = f"nearest is {near[0]}" if near else f"which are {', '.join(sorted(options))}"
            yield KitError(f"{path}.{key}", "an unknown key", f"one of its keys, {hint}", "correct or remove it")
    for key, option in options.items():
        if key in value:
            yield from faults(f"{path}.{key}", value[key], option)
        elif option.get("required"):
            yield KitError(path, f"no {key!r}", "it to be there, for it is required", f"add {key} to {path}")
