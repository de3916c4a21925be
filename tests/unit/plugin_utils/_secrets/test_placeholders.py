"""Every key has an entry of its own, by whatever name the vault knows it."""

from __future__ import annotations

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.placeholders import (
    depends_on_path,
    filled,
    flat_name,
    refuse_equal,
)


def test_texts_are_filled_however_deep_and_all_else_stays() -> None:
    value = {"a": ["x/{path}", {"b": "{name}!"}], "c": 7, "d": None, "e": True, "{path}": "{other}"}
    assert filled(value, "client/al.ice") == {
        "a": ["x/client/al.ice", {"b": "client-al-ice!"}],
        "c": 7,
        "d": None,
        "e": True,
        "{path}": "{other}",
    }


@pytest.mark.parametrize(
    ("value", "depends"), [("{path}", True), ([{"a": "{name}"}], True), ("path", False), (7, False)]
)
def test_whether_a_value_depends_on_the_path(value: object, depends: bool) -> None:
    assert depends_on_path(value) is depends


def test_two_paths_of_one_name_are_told() -> None:
    refuse_equal("lookup", ["client/a-b", "client/a.c"], flat_name)
    with pytest.raises(KitError, match=r"backend lookup, paths 'client/a-b' and 'client/a\.b': found the same entry"):
        refuse_equal("lookup", ["client/a-b", "client/a.b"], flat_name)
