"""The interface of every role, read from the roles themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Role:
    """A role's name, its options over all entry points, and the variables it gives to others."""

    name: str
    options: Mapping[str, Mapping[str, Any]]
    results: frozenset[str]

    @property
    def prefix(self) -> str:
        """What each of its variables begins with."""
        return f"{self.name}_"


def load_roles(folder: Path) -> dict[str, Role]:
    """The roles in ``folder`` that have argument specs, by name."""
    return {
        file.parent.parent.name: _load_role(file.parent.parent)
        for file in sorted(folder.glob("*/meta/argument_specs.yml"))
    }


def _load_role(folder: Path) -> Role:
    specs = yaml.load((folder / "meta" / "argument_specs.yml").read_bytes(), Loader=_LOADER)  # noqa: S506 (a safe loader)
    options: dict[str, Mapping[str, Any]] = {}
    # The first entry point is main, which describes its variables most closely.
    for entry_point in specs["argument_specs"].values():
        options = {**(entry_point.get("options") or {}), **options}
    return Role(folder.name, options, frozenset(_results(folder)))


def _results(folder: Path) -> Iterable[str]:
    """Public variables that the tasks register or set, for a later play finds them on its hosts."""
    given = re.compile(rf"^\s+(?:register:\s*)?({folder.name}_\w+)(?::\s|\s*$)", re.MULTILINE)
    for file in (folder / "tasks").glob("*.yml"):
        yield from given.findall(file.read_text())


KIT_ROLES: Final = load_roles(Path(__file__).resolve().parents[3] / "roles")
"""The kit's own. Read on import, which is in the process that Ansible forks for every task of every host."""


def owner_of(variable: str, roles: Mapping[str, Role]) -> Role | None:
    """The role whose prefix ``variable`` has, the longest prefix if there are several; None for anyone else's."""
    owners = [role for role in roles.values() if variable.startswith(role.prefix)]
    return max(owners, key=lambda role: len(role.prefix), default=None)


def unknown_variable(variable: str, role: Role) -> KitError | None:
    """What is wrong with the name ``variable`` when ``role`` has no such variable."""
    if variable in role.options or variable in role.results:
        return None
    near = get_close_matches(variable, role.options, n=1, cutoff=0)
    nearest = f", nearest is {near[0]}" if near else ""
    return KitError(
        variable,
        "an unknown variable",
        f"one of the {role.name} role's variables{nearest}",
        "correct its name, or remove it",
    )


def misspelt_prefixes(variables: Iterable[str], roles: Mapping[str, Role]) -> list[str]:
    """Warnings on variables that belong to no role by their prefix, but are all but equal to one of a role."""
    options = {option for role in roles.values() for option in role.options}
    last_words = {option.rpartition("_")[2] for option in options}
    warnings = []
    for variable in sorted(variables):
        # Comparing texts is slow, and a host has hundreds of variables.
        if variable.rpartition("_")[2] not in last_words or variable.startswith(("_", "ansible_")):
            continue
        near = get_close_matches(variable, options, n=1, cutoff=0.9)
        if near and owner_of(variable, roles) is None:
            warnings.append(f"{variable}: no role has such a variable, is {near[0]} meant?")
    return warnings
