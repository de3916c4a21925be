"""Every task file of every role obeys the rules that no linter knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.conftest import ROLES, TASK_FILES, load, name_of, tasks

every_file = pytest.mark.parametrize("file", TASK_FILES, ids=name_of)
every_role = pytest.mark.parametrize("role", ROLES, ids=name_of)

LONGEST = 80
SECRET = re.compile(r"passw|secret|token|passphrase|private_key", re.IGNORECASE)
SET_FACT = ("set_fact", "ansible.builtin.set_fact")
READ = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")


def unlogged_secrets(task: dict[str, Any]) -> list[str]:
    """Secret-looking variables that a task sets for all to see, or for a cache to keep."""
    facts = next((task[module] for module in SET_FACT if module in task), {})
    looks_secret = [name for name, value in facts.items() if SECRET.search(f"{name} {json.dumps(value)}")]
    return [name for name in looks_secret if task.get("no_log") is not True or facts.get("cacheable", False)]


@every_role
def test_main_is_a_table_of_contents_that_validates_first(role: Path) -> None:
    contents = load(role / "tasks" / "main.yml")
    files = [next((task[module] for module in READ if module in task), None) for task in contents]
    assert None not in files, "a task of its own"
    assert files[0] == "validate.yml"


@every_file
def test_no_file_is_too_long(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST


@every_file
def test_names_say_what_is_to_be(file: Path) -> None:
    names = [task.get("name", "") for task in tasks(load(file))]
    assert [name for name in names if not re.match(r"(Ensure|Verify) \S", name)] == []


@every_file
def test_no_secret_is_set_for_all_to_see(file: Path) -> None:
    assert [name for task in tasks(load(file)) for name in unlogged_secrets(task)] == []


@every_file
def test_no_failure_is_hidden(file: Path) -> None:
    for task in tasks(load(file)):
        assert "ignore_errors" not in task, task["name"]
        assert task.get("failed_when") is not False, task["name"]


@every_file
def test_no_shell_and_no_openssl(file: Path) -> None:
    for task in tasks(load(file)):
        assert not {"shell", "ansible.builtin.shell", "raw", "ansible.builtin.raw"} & set(task), task["name"]
        assert "openssl" not in json.dumps(task.get("ansible.builtin.command", "")), task["name"]


@every_file
def test_registered_variables_are_the_roles_own(file: Path) -> None:
    role = file.parent.parent.name
    for task in tasks(load(file)):
        if "register" in task:
            assert re.match(rf"(__)?{role}_", task["register"]), task["name"]


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ({"set_fact": {"x_password": "{{ y }}"}}, ["x_password"]),
        ({"ansible.builtin.set_fact": {"x": "{{ y.passwords_json }}"}}, ["x"]),
        ({"ansible.builtin.set_fact": {"x_token": "{{ y }}"}, "no_log": "{{ quiet }}"}, ["x_token"]),
        ({"ansible.builtin.set_fact": {"x_token": "{{ y }}", "cacheable": True}, "no_log": True}, ["x_token"]),
        ({"ansible.builtin.set_fact": {"x_token": "{{ y }}", "cacheable": False}, "no_log": True}, []),
        ({"ansible.builtin.set_fact": {"x": "{{ y }}"}}, []),
        ({"ansible.builtin.debug": {"var": "x"}}, []),
    ],
)
def test_the_rule_on_secrets_finds_them(task: dict[str, Any], found: list[str]) -> None:
    assert unlogged_secrets(task) == found
