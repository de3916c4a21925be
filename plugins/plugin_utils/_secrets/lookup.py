"""Passwords out of whatever an installed lookup plugin of Ansible can read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, ReadOnly
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.placeholders import (
    depends_on_path,
    filled,
    refuse_equal,
)
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.within import TooSlow, within

_NAME = "lookup"


class Lookup(ReadOnly):
    """Asks the plugin once for each path; nothing is written.

    Options: ``plugin`` (its full name), ``term`` (default ``{path}``), ``options`` (those of the plugin), ``field``
    (where the plugin gives a mapping or its JSON text, the key in it), ``timeout`` (seconds for one password).
    ``{path}`` and ``{name}`` in ``term`` and ``options`` stand for the path and its flat name.
    """

    def __init__(self, options: Mapping[str, Any], controller: Controller) -> None:
        """Check the options. Raises ``KitError``."""
        checked.refuse_unknown(_NAME, options, ("plugin", "term", "options", "field", "timeout"))
        self._plugin = checked.required(_NAME, options, "plugin")
        self._term = checked.text(_NAME, options, "term") or "{path}"
        self._field = checked.text(_NAME, options, "field")
        self._timeout = checked.timeout(_NAME, options)
        given = options.get("options")
        self._options = {} if given is None else given
        if not isinstance(self._options, Mapping):
            raise checked.refuse(_NAME, "options", "something else", "a dictionary of the plugin's options")
        if not depends_on_path((self._term, self._options)):
            raise checked.refuse(
                _NAME, "term", "neither {path} nor {name} in it", "one of them, for each key has its own password"
            )
        self._lookup = controller.lookup

    def __enter__(self) -> Lookup:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """The plugin keeps nothing open that is ours."""

    def location(self, path: str) -> str:
        """The plugin and what it is asked for; not its options, for they may hold a token."""
        return f"{path!r} in backend {_NAME}, {self._plugin} {filled(self._term, path)!r}"

    def remedy(self, path: str) -> str:
        """Only the vault's own tool can tell."""
        return f"the tool of the vault that {self._plugin} reads"

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        """Ask for one after another; a plugin that answers with nothing has no entry."""
        wanted = list(paths)
        refuse_equal(_NAME, wanted, lambda path: filled((self._term, self._options), path))
        found = {path: self._get(path) for path in wanted}
        return {path: password for path, password in found.items() if password is not None}

    def _get(self, path: str) -> str | None:
        ask = partial(self._lookup, self._plugin, [filled(self._term, path)], filled(self._options, path))
        try:
            answer = within(self._timeout, ask)
        except KitError:
            raise
        except TooSlow:
            raise self._fault(path, f"no answer within {self._timeout:g} s", "an answer in time") from None
        except Exception as error:  # noqa: BLE001  a plugin may raise anything, and quote what it read or was given
            raise self._fault(path, f"that the plugin failed with {type(error).__name__}", "a password") from None
        # Some give one value in a list, some a list of all that match.
        while isinstance(answer, (list, tuple)):
            if len(answer) > 1:
                raise self._fault(path, f"{len(answer)} values", "one")
            answer = answer[0] if answer else None
        return None if answer is None else self._text(path, answer)

    def _text(self, path: str, answer: Any) -> str:
        if self._field is not None:
            if isinstance(answer, str):
                try:
                    answer = json.loads(answer)
                except ValueError:
                    raise self._fault(path, "something else than JSON", "a mapping with the given field") from None
            if not isinstance(answer, Mapping) or self._field not in answer:
                raise self._fault(path, f"no field {self._field!r} in the answer", "it to be there")
            answer = answer[self._field]
        if not isinstance(answer, str):
            raise self._fault(path, f"something else than a text ({type(answer).__name__})", "a text")
        return str(answer)

    def _fault(self, path: str, found: str, expected: str) -> KitError:
        return KitError(
            f"password {self.location(path)}",
            found,
            expected,
            "correct key_password_options; to see the plugin's own message, call it alone in "
            "ansible localhost -m ansible.builtin.debug, with | length behind it so that the password isn't shown",
        )
