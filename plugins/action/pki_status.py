"""Shows a PKI's status to a person and writes it for a machine; documented in plugins/modules/pki_status.py."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase
from ansible.utils import color
from ansible.utils.display import Display
from ansible.utils.path import unfrackpath

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

try:
    from ansible_collections.mtls.kit.plugins.plugin_utils._status import tables
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

_PLAIN_WIDTH: Final = 100
_OF_THE_TASK: Final = frozenset({"changed", "failed", "invocation", "warnings", "deprecations", "ansible_facts"})
"""Keys that Ansible adds to a result; they are no part of the report."""


class ActionModule(ActionBase):
    """Tables on the screen, JSON in a file, on the controller alone."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the report and write its file."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "report": {"type": "dict", "required": True},
                "limit": {"type": "int", "default": 40},
                "json": {"type": "str", "default": ""},
            }
        )
        if MISSING is not None:
            return {**result, "failed": True, "msg": missing_required_lib("rich"), "exception": str(MISSING)}
        _show(arguments["report"], max(arguments["limit"], 0))
        result["changed"] = False
        if arguments["json"]:
            try:
                result["json"] = str(_json_file(arguments["json"]))
                result["changed"] = _write(arguments["report"], Path(result["json"]), self._task.check_mode)
            except KitError as error:
                return {**result, "failed": True, "msg": str(error)}
        return result


def _show(report: Mapping[str, Any], limit: int) -> None:
    display = Display()
    coloured = bool(color.ANSIBLE_COLOR)
    width = display.columns if coloured else _PLAIN_WIDTH
    # A line of room above, for Ansible prints a task's banner only with its result.
    plain = ["", *tables.render(report, width=width, colour=False, limit=limit)]
    if not coloured:
        display.display("\n".join(plain))
        return
    bright = ["", *tables.render(report, width=width, colour=True, limit=limit)]
    display.display("\n".join(bright), screen_only=True)
    display.display("\n".join(plain), log_only=True)


def _json_file(given: str) -> Path:
    path = Path(unfrackpath(given, follow=False))
    if path.is_dir() or not path.parent.is_dir():
        found = "a folder" if path.is_dir() else f"no folder {path.parent}"
        raise KitError(f"JSON file {path}", found, "a file in a folder that is there", "correct status_json")
    return path


def _write(report: Mapping[str, Any], path: Path, dry: bool) -> bool:
    """Whether the file's content changes; it is written unless ``dry``."""
    told = {key: value for key, value in report.items() if key not in _OF_THE_TASK}
    content = (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()
    try:
        changed = not path.is_file() or path.read_bytes() != content
        if changed and not dry:
            files.replace(path, content, 0o600, files.Ownership(os.geteuid(), os.getegid()))
    except OSError as error:
        raise KitError(
            f"JSON file {path}",
            f"'{error.strerror}'",
            "a folder this user can write, with free space",
            "correct status_json, or the folder's permissions",
        ) from error
    return changed
