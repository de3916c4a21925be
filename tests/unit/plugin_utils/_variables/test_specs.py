"""Every variable with a role's prefix is that role's, or it is misspelt."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.plugin_utils._variables.specs import (
    Role,
    load_roles,
    misspelt_prefixes,
    owner_of,
    unknown_variable,
)

PKI = Role("pki", {"pki_clients": {}, "pki_name": {}}, frozenset({"pki_result"}))
PROBE = Role("pki_probe", {"pki_probe_timeout": {}}, frozenset())
ROLES = {"pki": PKI, "pki_probe": PROBE}


def test_roles_are_read_with_all_entry_points_and_results(tmp_path: Path) -> None:
    role = tmp_path / "store"
    (role / "meta").mkdir(parents=True)
    (role / "tasks").mkdir()
    (role / "meta" / "argument_specs.yml").write_text(
        "argument_specs:\n"
        "  main: {options: {store_root: {type: path}}}\n"
        "  remove: {options: {store_confirm: {type: bool}}}\n"
        "  nothing: {short_description: none}\n"
    )
    (role / "tasks" / "main.yml").write_text(
        "- name: Ensure a thing\n"
        "  some.module:\n"
        "    root: '{{ store_used }}'\n"
        "  register: store_result\n"
        "- name: Ensure another\n"
        "  ansible.builtin.set_fact:\n"
        "    store_fact: 1\n"
        "    __store_private: 1\n"
    )
    (tmp_path / "README.md").touch()
    roles = load_roles(tmp_path)
    assert list(roles) == ["store"]
    assert set(roles["store"].options) == {"store_root", "store_confirm"}
    assert roles["store"].results == {"store_result", "store_fact"}


@pytest.mark.parametrize(
    ("variable", "role"),
    [("pki_clinets", PKI), ("pki_probe_x", PROBE), ("pki_probes", PKI), ("pki", None), ("__pki_x", None), ("x", None)],
)
def test_the_longest_prefix_owns_a_variable(variable: str, role: Role | None) -> None:
    assert owner_of(variable, ROLES) is role


@pytest.mark.parametrize("variable", ["pki_clients", "pki_result"])
def test_options_and_results_are_known(variable: str) -> None:
    assert unknown_variable(variable, PKI) is None


def test_an_unknown_one_comes_with_the_nearest() -> None:
    assert str(unknown_variable("pki_clinets", PKI)) == (
        "pki_clinets: found an unknown variable; expected one of the pki role's variables, nearest is pki_clients. "
        "Next: correct its name, or remove it."
    )


def test_a_prefix_that_is_misspelt_is_warned_of() -> None:
    variables = ["pkl_clients", "pkiclients", "pki_clients", "pki_clinets", "my_clients", "__pk_clients", "name"]
    assert misspelt_prefixes(variables, ROLES) == [
        "pkl_clients: no role has such a variable, is pki_clients meant?",
    ]
