"""Any lookup plugin: asked by name, bounded in time, and its own words never passed on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.lookup import Lookup

ALICE = "a-password-of-alice-0Zx9"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PATH = "client/alice"


def backend(answer: Callable[[str, list[str], Mapping[str, Any]], Any], **options: Any) -> Lookup:
    controller = Controller(vault=None, inventory_dir=None, lookup=answer)
    return Lookup({"plugin": "test.vault.secret", **options}, controller)


def test_the_plugin_is_asked_by_path_with_its_options() -> None:
    asked = []

    def answer(name: str, terms: list[str], options: Mapping[str, Any]) -> Any:
        asked.append((name, terms, options))
        return [ALICE]

    given = {"region": "eu", "nested": {"key": "{name}"}, "number": 7}
    with backend(answer, term="mtls/{path}", options=given) as opened:
        assert opened.get_many([PATH]) == {PATH: ALICE}
    assert asked == [
        (
            "test.vault.secret",
            ["mtls/client/alice"],
            {"region": "eu", "nested": {"key": "client-alice"}, "number": 7},
        )
    ]


@pytest.mark.parametrize("nothing", [[], None, [None], [[]]])
def test_an_answer_with_nothing_is_no_entry(nothing: Any) -> None:
    assert backend(lambda *_: nothing).get_many([PATH]) == {}


@pytest.mark.parametrize("answer", [[{"user": "x", "pw": ALICE}], [[{"pw": ALICE}]], [f'{{"pw": "{ALICE}"}}']])
def test_a_field_of_a_mapping_or_of_json(answer: Any) -> None:
    assert backend(lambda *_: answer, field="pw").get_many([PATH]) == {PATH: ALICE}


@pytest.mark.parametrize(
    ("answer", "options", "found"),
    [
        ([ALICE, ALICE], {}, "found 2 values; expected one"),
        ([{"pw": ALICE}], {}, "found something else than a text (dict)"),
        ([1234567890123456], {}, "found something else than a text (int)"),
        ([{"pw": ALICE}], {"field": "password"}, "found no field 'password' in the answer"),
        ([ALICE], {"field": "password"}, "found something else than JSON"),
        ([f'["{ALICE}"]'], {"field": "password"}, "found no field 'password'"),
    ],
)
def test_other_answers_are_refused_unquoted(answer: Any, options: dict[str, Any], found: str) -> None:
    with pytest.raises(KitError) as caught:
        backend(lambda *_: answer, **options).get_many([PATH])
    assert f"password 'client/alice' in backend lookup, test.vault.secret 'client/alice': {found}" in str(caught.value)
    assert ALICE not in str(caught.value)
    assert "1234567890123456" not in str(caught.value)


def test_what_a_plugin_says_as_it_fails_isnt_passed_on() -> None:
    def answer(*_: object) -> Any:
        raise OSError(f"token hunter2 got {ALICE}")

    with pytest.raises(KitError, match="found that the plugin failed with OSError") as caught:
        backend(answer, options={"token": "hunter2"}).get_many([PATH])
    assert "hunter2" not in str(caught.value)
    assert ALICE not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_plugin_that_isnt_there_is_told_as_it_is() -> None:
    def answer(*_: object) -> Any:
        raise KitError("plugin", "no lookup plugin", "one", "install it")

    with pytest.raises(KitError, match="plugin: found no lookup plugin"):
        backend(answer).get_many([PATH])


def test_a_plugin_without_an_end_is_left() -> None:
    never = Event()
    started = time.monotonic()
    with pytest.raises(KitError, match=r"found no answer within 0\.1 s"):
        backend(lambda *_: never.wait(), timeout=0.1).get_many([PATH])
    assert time.monotonic() - started < 2
    never.set()


def test_two_paths_of_one_entry_are_told() -> None:
    with pytest.raises(KitError, match="found the same entry for both"):
        backend(lambda *_: [ALICE], term="{name}").get_many(["client/a.b", "client/a-b"])
    assert len(backend(lambda *_: [ALICE]).get_many(["client/a.b", "client/a-b"])) == 2


def test_nothing_is_ever_written() -> None:
    opened = backend(lambda *_: [])
    assert not opened.writable
    with pytest.raises(KitError, match="a backend that can only be read"):
        opened.put_many({PATH: ALICE}, now=NOW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plugin": None}, "key_password_options.plugin of backend lookup: found nothing"),
        ({"term": "mtls"}, "key_password_options.term of backend lookup: found neither {path} nor {name} in it"),
        ({"options": "hunter2"}, "key_password_options.options of backend lookup: found something else"),
        ({"trem": "{path}"}, "write 'term'"),
    ],
)
def test_bad_options_are_refused_unquoted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KitError) as caught:
        backend(lambda *_: [], **options)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
