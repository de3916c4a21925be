"""What a role's argument specs, defaults and README say of its variables is the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.filter.trust_scopes import DEFAULT_ISSUING
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.specs import KIT_ROLES
from tests.unit.roles.conftest import CHECKOUT, ROLES, entry_points, load, name_of, options

every_role = pytest.mark.parametrize("role", ROLES, ids=name_of)

SECRET = re.compile(r"(passw|secret|token|passphrase)(?!\w*_(delivery|file|path)$)", re.IGNORECASE)


def readme_rows(role: Path) -> dict[str, dict[str, str]]:
    """Rows of the tables with the heading name, type, default and meaning that are about the role's variables."""
    rows: dict[str, dict[str, str]] = {}
    heading: list[str] = []
    for line in (role / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            heading = []
        elif not heading:
            heading = cells
        elif heading == ["name", "type", "default", "meaning"] and cells[0].startswith(f"`{role.name}_"):
            assert cells[0] not in rows, f"{cells[0]} is there twice"
            rows[cells[0].strip("`")] = dict(zip(heading, cells, strict=True))
    return rows


def type_in_words(option: dict[str, Any]) -> str:
    """As README tables write it, but for the plural, choices and remarks."""
    kind = option.get("type", "str")
    return f"list of {option['elements']}" if kind == "list" and "elements" in option else kind


def test_there_are_roles() -> None:
    assert {role.name for role in ROLES} >= {"key_password"}


@every_role
def test_every_entry_point_has_its_tasks_and_says_what_it_does(role: Path) -> None:
    for name, spec in entry_points(role).items():
        assert (role / "tasks" / f"{name}.yml").exists()
        assert spec["short_description"]
        assert spec["description"]


@every_role
def test_every_variable_has_the_roles_prefix_a_type_and_a_description(role: Path) -> None:
    for name, option in options(role).items():
        assert name.startswith(f"{role.name}_"), name
        assert option.get("type"), name
        assert option.get("description"), name
        assert not (option.get("required") and "default" in option), f"{name} is required and has a default"


@every_role
def test_a_variable_is_the_same_in_every_entry_point(role: Path) -> None:
    known = options(role)
    for spec in entry_points(role).values():
        for name, option in (spec.get("options") or {}).items():
            for what in ("type", "elements", "choices", "default", "no_log"):
                assert option.get(what) == known[name].get(what), f"{what} of {name}"


@every_role
def test_secrets_are_texts_that_are_never_logged(role: Path) -> None:
    for name, option in options(role).items():
        if SECRET.search(name.removeprefix("key_password_")):
            assert (option["type"], option.get("no_log")) == ("str", True), name


@every_role
def test_defaults_are_those_of_the_specs(role: Path) -> None:
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert (load(role / "defaults" / "main.yml") or {}) == specified


def test_the_filters_know_the_default_issuing_ca() -> None:
    default = load(CHECKOUT / "roles" / "pki" / "defaults" / "main.yml")["pki_issuing"]
    assert [{"name": each["name"], "purposes": each["purposes"]} for each in default] == DEFAULT_ISSUING


@every_role
def test_the_readme_lists_the_variables_of_the_specs(role: Path) -> None:
    rows, known = readme_rows(role), options(role)
    assert set(rows) == set(known)
    for name, row in rows.items():
        option = known[name]
        kind = type_in_words(option)
        assert re.fullmatch(rf"{kind}s?(?:[ :,(].*)?", row["type"]), f"{name} is a {kind}"
        assert row["meaning"], name
        if option.get("required"):
            assert row["default"] == "required", name
        elif "default" in option:
            assert yaml.safe_load(_quoted(row["default"])) == option["default"], name
        else:
            assert row["default"] in ("", "none", "-"), name


def _quoted(cell: str) -> str:
    """The YAML in a cell; a text with templates is quoted there."""
    text = cell.strip("`")
    return f"'{text}'" if text.startswith("{{") else text


@every_role
def test_the_readme_names_what_the_role_gives_to_others(role: Path) -> None:
    readme = (role / "README.md").read_text()
    for result in KIT_ROLES[role.name].results - set(options(role)):
        assert f"`{result}`" in readme, result
