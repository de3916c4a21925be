"""A program with no shell, no terminal and no time to waste: its output is the password, its words are its own."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.command import Command

ALICE = "a-password-of-alice-0Zx9"
BOB = "another-password-of-bob-7Qy3"
PATH = "client/alice"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def python(code: str) -> list[str]:
    """The argv of a program that finds the path in sys.argv[1]."""
    return [sys.executable, "-S", "-c", f"import os, sys, time\n{code}", "{path}"]


def backend(controller: Controller, get: str, put: str | None = None, **options: Any) -> Command:
    return Command({"get_argv": python(get), "put_argv": put and python(put), **options}, controller)


def folder_backend(controller: Controller, folder: Path, put: str = "file.write_text(sys.stdin.read())") -> Command:
    """A password manager with a file per entry, which says by exit code 3 that there is none."""
    where = f"from pathlib import Path\nfile = Path({str(folder)!r}, sys.argv[1].replace('/', '-'))\n"
    get = f"{where}print(file.read_text()) if file.exists() else sys.exit(3)"
    return backend(controller, get, where + put, missing_codes=[3])


@pytest.mark.parametrize(
    ("end", "password"), [("", ALICE), ("\\n", ALICE), ("\\r\\n", ALICE), ("\\n\\n", f"{ALICE}\n")]
)
def test_the_output_is_the_password(controller: Controller, end: str, password: str) -> None:
    assert backend(controller, f"print({ALICE!r}, end='{end}')").get_many([PATH]) == {PATH: password}


def test_each_path_is_one_argument_and_no_shell_sees_it(controller: Controller) -> None:
    found = backend(controller, "print('<', *sys.argv[1:], '>')").get_many(["client/a", "ca/root"])
    assert found == {"client/a": "< client/a >", "ca/root": "< ca/root >"}


def test_it_has_neither_input_nor_terminal(controller: Controller) -> None:
    code = (
        "try: os.open('/dev/tty', os.O_RDWR)\n"
        "except OSError: print('none', os.readlink('/proc/self/fd/0'), os.readlink('/proc/self/fd/2'))"
    )
    assert backend(controller, code).get_many([PATH]) == {PATH: "none /dev/null /dev/null"}


def test_missing_is_what_the_code_says(controller: Controller) -> None:
    assert backend(controller, "sys.exit(44)", missing_codes=[3, 44]).get_many([PATH]) == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (
            f"print({ALICE!r}); print({ALICE!r}, file=sys.stderr); sys.exit(2)",
            "found exit code 2; expected 0, or a code",
        ),
        ("os.kill(os.getpid(), 9)", "found exit code -9"),
        ("sys.stdout.buffer.write(b'\\xff' * 20)", "found an output that isn't UTF-8"),
        ("[print('x' * 1000) for _ in range(1000)]", "found more than 65536 bytes of output"),
    ],
)
def test_failures_name_the_program_and_quote_nothing(controller: Controller, code: str, found: str) -> None:
    with pytest.raises(KitError) as caught:
        backend(controller, code).get_many([PATH])
    assert f"password 'client/alice' in backend command, {sys.executable}: {found}" in str(caught.value)
    assert ALICE not in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        "while True: print('x', end='', flush=True); time.sleep(0.2)",
        "os.close(1); time.sleep(60)",
        # A child of it keeps the output open.
        "os.fork() and os._exit(0); time.sleep(60)",
    ],
)
def test_one_that_doesnt_end_is_ended_with_all_it_started(controller: Controller, tmp_path: Path, code: str) -> None:
    group = tmp_path / "group"
    started = time.monotonic()
    with pytest.raises(KitError, match=r"found no end within 0\.7 s"):
        backend(controller, f"open({str(group)!r}, 'w').write(str(os.getpid()))\n{code}", timeout=0.7).get_many([PATH])
    assert time.monotonic() - started < 5
    for _ in range(50):
        try:
            os.killpg(int(group.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("something of it is still there")


def test_a_program_that_isnt_there_is_named(controller: Controller) -> None:
    with pytest.raises(KitError, match="found No such file or directory while starting /nowhere/op"):
        Command({"get_argv": ["/nowhere/op", "{path}"]}, controller).get_many([PATH])


def test_without_put_argv_it_can_only_be_read(controller: Controller) -> None:
    opened = backend(controller, "sys.exit(3)")
    assert not opened.writable
    with pytest.raises(
        KitError, match=r"found a backend that can only be read; expected key_password_options\.put_argv"
    ):
        opened.put_many({PATH: ALICE}, now=NOW)


def test_what_was_put_is_found_again_and_what_was_there_wins(controller: Controller, tmp_path: Path) -> None:
    opened = folder_backend(controller, tmp_path)
    assert opened.writable
    assert opened.get_many([PATH]) == {}
    assert opened.put_many({PATH: ALICE}, now=NOW) == {PATH: ALICE}
    assert opened.put_many({PATH: BOB, "client/bob": BOB}, now=NOW) == {PATH: ALICE, "client/bob": BOB}
    assert opened.records([PATH, "client/bob"]) == {PATH: Record(NOW), "client/bob": Record(NOW)}


def test_a_replacement_keeps_the_old_password_until_it_is_settled(controller: Controller, tmp_path: Path) -> None:
    opened = folder_backend(controller, tmp_path)
    opened.put_many({PATH: ALICE}, now=NOW)
    later = NOW + timedelta(days=400)
    opened.replace_many({PATH: Replacement(ALICE, BOB, Record(later, previous=ALICE))})
    assert (opened.get_many([PATH]), opened.records([PATH])) == ({PATH: BOB}, {PATH: Record(later, ALICE)})
    with pytest.raises(KitError, match="somebody else replaced it"):
        opened.replace_many({PATH: Replacement(ALICE, "x" * 20, Record(later, previous=ALICE))})
    opened.replace_many({PATH: Replacement(BOB, BOB, Record(later))})
    assert (opened.get_many([PATH]), opened.records([PATH])) == ({PATH: BOB}, {PATH: Record(later)})
    assert not any(ALICE in file.read_text() for file in tmp_path.iterdir())


def test_a_replacement_that_was_cut_off_before_the_password_leaves_none_pending(
    controller: Controller, tmp_path: Path
) -> None:
    opened = folder_backend(
        controller, tmp_path, "'record' in sys.argv[1] or sys.exit(9); file.write_text(sys.stdin.read())"
    )
    (tmp_path / "client-alice").write_text(ALICE)
    with pytest.raises(KitError, match="exit code 9 of put_argv"):
        opened.replace_many({PATH: Replacement(ALICE, BOB, Record(NOW, previous=ALICE))})
    assert (opened.get_many([PATH]), opened.records([PATH])) == ({PATH: ALICE}, {PATH: Record()})


def test_without_missing_codes_nothing_can_be_replaced(controller: Controller, tmp_path: Path) -> None:
    opened = backend(controller, f"print({ALICE!r})", "sys.exit(9)")
    assert opened.records([PATH]) == {}
    with pytest.raises(KitError, match=r"missing_codes of backend command: found nothing.*record/<path>"):
        opened.replace_many({PATH: Replacement(ALICE, BOB, Record(NOW, previous=ALICE))})


@pytest.mark.parametrize(
    ("put", "found"),
    [
        ("'bob' in sys.argv[1] and sys.exit(5); file.write_text(sys.stdin.read())", "found exit code 5 of put_argv"),
        ("'bob' in sys.argv[1] or file.write_text(sys.stdin.read())", "found no entry after put_argv ended well"),
    ],
)
def test_a_write_that_fails_says_how_many_were_stored(
    controller: Controller, tmp_path: Path, put: str, found: str
) -> None:
    with pytest.raises(KitError) as caught:
        folder_backend(controller, tmp_path, put).put_many({"client/bob": BOB, PATH: ALICE}, now=NOW)
    assert f"password 'client/bob' in backend command, {sys.executable}: {found}, after 1 others" in str(caught.value)
    assert BOB not in str(caught.value)


def test_a_writer_that_doesnt_read_doesnt_hang(controller: Controller, tmp_path: Path) -> None:
    with pytest.raises(KitError, match="found exit code 9 of put_argv"):
        folder_backend(controller, tmp_path, "os.close(0); sys.exit(9)").put_many({PATH: ALICE}, now=NOW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "key_password_options.get_argv of backend command: found nothing"),
        (
            {"get_argv": "op read {path}"},
            "get_argv of backend command: found something else; expected a program and its",
        ),
        ({"get_argv": []}, "found something else"),
        ({"get_argv": ["op", 7, "{path}"]}, "found something else"),
        ({"get_argv": ["op", "--token=hunter2"]}, "found neither {path} nor {name} in its arguments"),
        ({"get_argv": ["op", "{path}"], "put_argv": ["op", "x"]}, "put_argv of backend command: found neither"),
        ({"get_argv": ["op", "{path}"], "missing_codes": 3}, "missing_codes of backend command: found something else"),
        ({"get_argv": ["op", "{path}"], "missing_codes": [0]}, "expected a list of numbers from 1 to 255"),
        ({"get_argv": ["op", "{path}"], "missing_codes": [True]}, "expected a list of numbers from 1 to 255"),
        ({"argv": ["op", "{path}"]}, "found an unknown option 'argv'"),
    ],
)
def test_bad_options_are_refused_unquoted(controller: Controller, options: dict[str, Any], message: str) -> None:
    with pytest.raises(KitError) as caught:
        Command(options, controller)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
