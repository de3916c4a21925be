"""Brings long trust units to a gateway as files; documented in plugins/modules/certificate_release.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ansible.plugins.action.normal import ActionModule as NormalAction

LONGEST_ARGUMENT: Final = 1 << 20
"""Characters of trust files in the module's arguments, which Ansible sends as one line of Python (2 s a megabyte)."""


class ActionModule(NormalAction):
    """Runs the module as any module is run; only what is public goes into the file, never a password."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ship what is long, each unit once however many sites share it, and run the module."""
        given = self._task.args
        units = long_units(given.get("sites"))
        if units:
            folder = self._connection._shell.tmpdir or self._make_tmp_path()
            paths = {}
            for number, (sha256, files) in enumerate(units.items()):
                paths[sha256] = self._connection._shell.join_path(folder, f"trust-{number}.json")
                self._transfer_data(paths[sha256], json.dumps(files))
            self._fixup_perms2((folder, *paths.values()), execute=False)
            self._task.args = {**given, "sites": shipped(given["sites"], paths)}
        try:
            result: dict[str, Any] = super().run(tmp, task_vars)
        finally:
            # A task that is tried again ships again: the folder is gone.
            self._task.args = given
        return result


def _unit(site: Any) -> Mapping[str, Any]:
    trust = site.get("trust") if isinstance(site, Mapping) else None
    return trust if isinstance(trust, Mapping) else {}


def long_units(sites: Any) -> dict[str, Mapping[str, str]]:
    """The files of long trust units by the unit's digest; what has not the form of one is the module's to refuse."""
    found = {}
    for site in sites if isinstance(sites, list) else []:
        unit = _unit(site)
        files = unit.get("files")
        if not isinstance(files, Mapping) or not isinstance(unit.get("sha256"), str):
            continue
        if sum(len(text) for text in files.values() if isinstance(text, str)) > LONGEST_ARGUMENT:
            found[f"{unit.get('number')} {unit['sha256']}"] = files
    return found


def shipped(sites: list[Any], paths: Mapping[str, str]) -> list[Any]:
    """``sites`` with the path of each long unit in place of its files."""
    changed = []
    for site in sites:
        unit = _unit(site)
        path = (
            paths.get(f"{unit.get('number')} {unit.get('sha256')}") if isinstance(unit.get("files"), Mapping) else None
        )
        if path is not None:
            rest = {key: value for key, value in unit.items() if key != "files"}
            site = {**site, "trust": {**rest, "files_path": path}}
        changed.append(site)
    return changed
