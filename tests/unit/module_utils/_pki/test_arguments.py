"""Passwords by path: taken whole or refused, and never quoted in what is said about them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

SECRET = "hunter2-hunter2-hunter2"


@given(st.dictionaries(st.text(), st.text()))
def test_every_object_of_texts_is_taken_as_it_is(passwords: dict[str, str]) -> None:
    assert passwords_from(json.dumps(passwords)) == passwords


def test_nothing_is_no_passwords() -> None:
    assert passwords_from("") == passwords_from("{}") == {}


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f'{{"ca/root": "{SECRET}"',
        f"{{'ca/root': '{SECRET}'}}",
        f'["{SECRET}"]',
        f'"{SECRET}"',
        f'{{"ca/root": ["{SECRET}"]}}',
        f'{{"ca/root": {{"password": "{SECRET}"}}}}',
        f'{{"ca/root": "{SECRET}", "ca/issuing": 12345}}',
        f'{{"ca/root": "{SECRET}", "ca/issuing": null}}',
        "null",
        "[" * 100,
    ],
)
def test_anything_else_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(KitError) as refused:
        passwords_from(text)
    assert refused.value.what == "passwords"
    assert "JSON object of texts" in str(refused.value)
    assert SECRET not in str(refused.value)
    # Ansible prints a failure with what was behind it.
    assert refused.value.__cause__ is None
    assert SECRET not in str(refused.value.__context__ or "")
