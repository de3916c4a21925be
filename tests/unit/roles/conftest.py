"""The roles as they lie on disk; Ansible isn't run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parents[1] for path in CHECKOUT.glob("roles/*/tasks/main.yml"))
TASK_FILES = sorted(file for role in ROLES for folder in ("tasks", "handlers") for file in role.glob(f"{folder}/*.yml"))


def load(file: Path) -> Any:
    """The content of a YAML file, None where it isn't there."""
    return yaml.safe_load(file.read_bytes()) if file.exists() else None


def entry_points(role: Path) -> dict[str, Any]:
    """The argument specs by entry point."""
    return load(role / "meta" / "argument_specs.yml")["argument_specs"]


def options(role: Path) -> dict[str, Any]:
    """The options of a role over all its entry points; main, the first, describes them most closely."""
    known: dict[str, Any] = {}
    for spec in entry_points(role).values():
        known = {**(spec.get("options") or {}), **known}
    return known


def tasks(items: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """Every task, those in blocks too."""
    for task in items or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part))


def name_of(path: Path) -> str:
    """How a path is called in the output of pytest."""
    return str(path.relative_to(CHECKOUT / "roles"))


def load_program(file: Path) -> ModuleType:
    """A program that a role installs as one file, as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up.
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module
