"""Shows a PKI's status to a person and writes it to files; documented in plugins/modules/pki_status.py."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase
from ansible.utils import color
from ansible.utils.display import Display
from ansible.utils.path import unfrackpath

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.inspection import LEVELS

try:
    from ansible_collections.mtls.kit.plugins.plugin_utils._status import page, tables
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

_PLAIN_WIDTH: Final = 100
_PAGE_ROWS: Final = 500
"""Certificates and gateways that the page shows, the most urgent first; a browser still draws it at once."""
_VARIABLES: Final = {"json": "status_json", "page": "report"}
"""What status.yml calls the files."""
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
                "public": {"type": "dict", "default": {}},
                "limit": {"type": "int", "default": 40},
                "json": {"type": "str", "default": ""},
                "page": {"type": "str", "default": ""},
            }
        )
        if MISSING is not None:
            return {**result, "failed": True, "msg": missing_required_lib("rich"), "exception": str(MISSING)}
        report = _with_public(arguments["report"], arguments["public"])
        _show(report, max(arguments["limit"], 0))
        result["changed"] = False
        # Rendered only where it is asked for: the page of ten thousand certificates takes its time.
        contents = {"json": _as_json, "page": partial(page.render, limit=_PAGE_ROWS)}
        for kind in (kind for kind in contents if arguments[kind]):
            try:
                path = _file(kind, arguments[kind])
                content = contents[kind](report)
                result["changed"] |= _write(kind, path, content, self._task.check_mode)
            except KitError as error:
                return {**result, "failed": True, "msg": str(error)}
            result[kind] = str(path)
        return result


def _with_public(report: Mapping[str, Any], public: Mapping[str, Any]) -> dict[str, Any]:
    """The report, and what M(mtls.kit.public_certificate) says; what needs somebody is one list, the worst first."""
    attention = [*report["attention"], *public.get("attention", [])]
    return {
        **report,
        "attention": sorted(attention, key=lambda entry: LEVELS.index(entry["level"])),
        "public": public.get("states", []),
    }


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


def _file(kind: str, given: str) -> Path:
    path = Path(unfrackpath(given, follow=False))
    if path.is_dir() or not path.parent.is_dir():
        found = "a folder" if path.is_dir() else f"no folder {path.parent}"
        raise KitError(f"{kind} file {path}", found, "a file in a folder that is there", f"correct {_VARIABLES[kind]}")
    return path


def _as_json(report: Mapping[str, Any]) -> str:
    told = {key: value for key, value in report.items() if key not in _OF_THE_TASK}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _write(kind: str, path: Path, text: str, dry: bool) -> bool:
    """Whether the file's content changes; it is written unless ``dry``."""
    content = text.encode()
    try:
        changed = not path.is_file() or path.read_bytes() != content
        if changed and not dry:
            files.replace(path, content, 0o600, files.Ownership(os.geteuid(), os.getegid()))
    except OSError as error:
        raise KitError(
            f"{kind} file {path}",
            f"'{error.strerror}'",
            "a folder this user can write, with free space",
            f"correct {_VARIABLES[kind]}, or the folder's permissions",
        ) from error
    return changed
