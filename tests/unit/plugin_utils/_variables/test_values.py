"""A value that doesn't fit its argument spec is found with its place, and never quoted when it may be a secret."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.plugin_utils._variables.values import faults

SITES = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str", "required": True},
        "port": {"type": "int", "default": 443},
        "tls": {"type": "str", "choices": ["intermediate", "modern"]},
        "server_names": {"type": "list", "elements": "str"},
        "password": {"type": "str"},
        "pin": {"type": "int", "no_log": True},
    },
}


def texts(value: Any, option: dict[str, Any], path: str = "nginx_mtls_sites") -> list[str]:
    return [str(fault) for fault in faults(path, value, option)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", "str"),
        (7, "str"),
        ("8443", "int"),
        ("true", "bool"),
        (False, "bool"),
        ("0.5", "float"),
        ([1, "a"], "list"),
        ({"a": 1}, "dict"),
        (object(), "raw"),
        (None, "str"),
    ],
)
def test_what_a_role_can_use_is_no_fault(value: Any, kind: str) -> None:
    assert texts(value, {"type": kind}) == []


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ("a,b", "list", "found the text 'a,b'; expected a list"),
        ('{"a": 1}', "dict", "found the text '{\"a\": 1}'; expected a dictionary"),
        ({"a": 1}, "str", "found a dictionary; expected a text"),
        (True, "str", "found the boolean true; expected a text"),
        (True, "int", "found the boolean true; expected a whole number"),
        ("https", "int", "found the text 'https'; expected a whole number"),
        ("perhaps", "bool", "found the text 'perhaps'; expected true or false"),
        ("x" * 500, "int", f"found the text '{'x' * 59}…; expected"),
    ],
)
def test_what_it_cant_use_is_one(value: Any, kind: str, found: str) -> None:
    [fault] = texts(value, {"type": kind})
    assert fault.startswith(f"nginx_mtls_sites: {found}")


def test_nothing_is_a_fault_where_the_default_is_something() -> None:
    assert texts(None, SITES) == ["nginx_mtls_sites: found nothing; expected a list. Next: correct nginx_mtls_sites."]


def test_every_fault_of_a_list_is_found_with_its_place() -> None:
    value = [
        {"name": "a", "prot": 443, "tls": "moderm"},
        {"port": "x", "server_names": ["ok", None]},
        "b",
        None,
    ]
    assert [fault.partition(". Next")[0] for fault in texts(value, SITES)] == [
        "nginx_mtls_sites[0].prot: found an unknown key; expected one of its keys, nearest is port",
        "nginx_mtls_sites[0].tls: found the text 'moderm'; expected one of intermediate, modern, nearest is modern",
        "nginx_mtls_sites[1]: found no 'name'; expected it to be there, for it is required",
        "nginx_mtls_sites[1].port: found the text 'x'; expected a whole number",
        "nginx_mtls_sites[1].server_names[1]: found nothing; expected a text",
        "nginx_mtls_sites[2]: found the text 'b'; expected a dictionary",
        "nginx_mtls_sites[3]: found nothing; expected a dictionary",
    ]


def test_choices_hold_for_each_element() -> None:
    option = {"type": "list", "elements": "str", "choices": ["server", "client"]}
    assert texts(["server", "clinet"], option, "purposes") == [
        "purposes[1]: found the text 'clinet'; expected one of server, client, nearest is client. "
        "Next: correct purposes[1]."
    ]


@pytest.mark.parametrize(
    ("path", "value", "option"),
    [
        ("pki_passwords", "hunter2hunter2", {"type": "dict"}),
        ("pki_backup_secret", "hunter2hunter2", {"type": "int"}),
        ("key_password_token", "hunter2hunter2", {"type": "int"}),
        ("nginx_mtls_x", "hunter2hunter2", {"type": "int", "no_log": True}),
        ("nginx_mtls_x", "hunter2hunter2", {"type": "str", "no_log": True, "choices": ["a"]}),
        ("nginx_mtls_x", ["hunter2hunter2"], {"type": "list", "elements": "int", "no_log": True}),
        ("nginx_mtls_sites", [{"name": "a", "password": ["hunter2hunter2"]}], SITES),
        ("nginx_mtls_sites", [{"name": "a", "pin": "hunter2hunter2"}], SITES),
    ],
)
def test_what_may_be_a_secret_is_never_quoted(path: str, value: Any, option: dict[str, Any]) -> None:
    [fault] = texts(value, option, path)
    assert "hunter2" not in fault


def test_settings_of_the_role_key_password_are_no_secrets() -> None:
    [fault] = texts("perhaps", {"type": "bool"}, "key_password_generate")
    assert "'perhaps'" in fault
