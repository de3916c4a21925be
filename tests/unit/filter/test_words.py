from __future__ import annotations

import pytest

from ansible_collections.mtls.kit.plugins.filter.words import words


@pytest.mark.parametrize(
    "given", ["leaf,password", "leaf, password", "leaf password", ["leaf", "password"], ["leaf,password"]]
)
def test_the_same_words_whatever_the_form(given: str | list[str]) -> None:
    assert words(given) == ["leaf", "password"]


def test_nothing_is_no_word() -> None:
    assert words("") == words([]) == []
