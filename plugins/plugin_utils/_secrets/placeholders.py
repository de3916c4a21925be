"""How a path such as ``client/alice`` gets into the words that a foreign vault knows it by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


def flat_name(path: str) -> str:
    """``client/alice`` as ``client-alice``: for vaults that know letters, digits and ``-`` only."""
    return re.sub("[^A-Za-z0-9]", "-", path)


def filled(value: Any, path: str) -> Any:
    """``value`` with ``{path}`` and ``{name}`` (see ``flat_name``) replaced in every text in it, however deep."""
    if isinstance(value, str):
        return value.replace("{path}", path).replace("{name}", flat_name(path))
    if isinstance(value, Mapping):
        return {key: filled(entry, path) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(entry, path) for entry in value]
    return value


def depends_on_path(value: Any) -> bool:
    """Whether ``value`` is another one for another path."""
    return bool(filled(value, "a") != filled(value, "b"))


def refuse_equal(backend: str, paths: Iterable[str], rule: Callable[[str], Any]) -> None:
    """Raise ``KitError`` when ``rule`` makes the same of two paths: two keys would share a password."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(repr(rule(path)), path)
        if other != path:
            raise KitError(
                f"backend {backend}, paths {other!r} and {path!r}",
                "the same entry for both",
                "an entry of its own for each key",
                "rename one of the two, or use {path} where the vault's names allow a slash",
            )
