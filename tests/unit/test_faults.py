"""docs/faults.md names every fault that is tested, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs/faults.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
NAMED = re.findall(r"`((?:unit|integration)/[\w/]+\.py)(?:::(\w+))?`(?: \[([^\]]+)\])?", PAGE)
RUNS = "integration/test_rotation_faults.py"


def constants(path: str) -> set[str]:
    """Every text in a file, as the names of cases are."""
    tree = ast.parse((TESTS / path).read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def cases() -> set[str]:
    """The keys of the faults that rotations meet."""
    tree = ast.parse((TESTS / RUNS).read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    dicts = [node for name in ("REFUSED", "MET") for node in ast.walk(found[name]) if isinstance(node, ast.Dict)]
    return {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}


def test_every_fault_has_a_test() -> None:
    assert len(ROWS) > 30
    assert [row[0] for row in ROWS if not re.search(r"`(unit|integration)/", row[-1])] == []


@pytest.mark.parametrize(("path", "function", "case"), NAMED)
def test_what_it_names_is_there(path: str, function: str, case: str) -> None:
    defined = {
        node.name for node in ast.walk(ast.parse((TESTS / path).read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert not function or function in defined
    assert not case or case in constants(path)


def test_every_case_is_on_the_page() -> None:
    named = {case for path, _, case in NAMED if path == RUNS and case}
    assert named == cases()
