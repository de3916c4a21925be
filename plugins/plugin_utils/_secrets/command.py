"""Passwords from a program, such as the command line client of a password manager."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import IO, Any, cast

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.placeholders import (
    depends_on_path,
    filled,
    refuse_equal,
)
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.records import as_text, from_text, replaced_meanwhile

LONGEST_OUTPUT = 65_536
"""Bytes. A program that prints more isn't printing a password."""

RECORD = "record/"
"""Before a path, the path of what is known of its password."""

_NAME = "command"


class Command:
    """Runs one program for each path, without a shell, a terminal or an input to wait for.

    Options: ``get_argv`` (prints the password, and one line break at most, on standard output), ``put_argv`` (gets
    the password on standard input; without it the backend can only be read), ``missing_codes`` (exit codes of
    ``get_argv`` that say there is no such entry), ``timeout`` (seconds for one run of a program). ``{path}`` and
    ``{name}`` in an argument stand for the path and its flat name.
    """

    def __init__(self, options: Mapping[str, Any], controller: Controller) -> None:
        """Check the options. Raises ``KitError``."""
        checked.refuse_unknown(_NAME, options, ("get_argv", "put_argv", "missing_codes", "timeout"))
        get_argv = _argv(options, "get_argv")
        if get_argv is None:
            raise checked.refuse(_NAME, "get_argv", "nothing", "a program and its arguments as a list", "set it")
        self._get_argv = get_argv
        self._put_argv = _argv(options, "put_argv")
        self._missing_codes = _codes(options.get("missing_codes"))
        self._timeout = checked.timeout(_NAME, options)
        self.writable = self._put_argv is not None

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Every program has ended by then."""

    def location(self, path: str) -> str:
        """The program; not all its arguments, for a user may have put a token there."""
        return f"{path!r} in backend {_NAME}, {self._get_argv[0]}"

    def remedy(self, path: str) -> str:
        """The program knows where it reads from."""
        return f"the tool that writes what {self._get_argv[0]} reads"

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        """Run the program for one path after another."""
        wanted = list(paths)
        refuse_equal(_NAME, wanted, lambda path: filled((self._get_argv, self._put_argv), path))
        found = {path: self._get(path) for path in wanted}
        return {path: password for path, password in found.items() if password is not None}

    def records(self, paths: Iterable[str]) -> dict[str, Record]:
        """Read ``record/<path>``, one program more for each path; nothing where no code says that there is none."""
        if not self._keeps_records:
            return {}
        found = {}
        for path in paths:
            text = self._get(RECORD + path)
            password = self._get(path) if text is not None and " " in text else None
            if text is not None:
                found[path] = from_text(text, password or "")
        return found

    def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        """Write one after another and read each again, for the program may keep what was there."""
        self._check_writable(passwords)
        stored: dict[str, str] = {}
        for path, password in sorted(passwords.items()):
            present = self._get(path)
            stored[path] = self._put(path, password, len(stored)) if present is None else present
            if present is None and self._keeps_records:
                self._put(RECORD + path, as_text(Record(since=now)), len(stored))
        return stored

    def replace_many(self, replacements: Mapping[str, Replacement]) -> None:
        """One after another, the record before its password: a password that a key may have is then never gone."""
        self._check_writable(replacements)
        if not self._keeps_records:
            raise checked.refuse(
                _NAME,
                "missing_codes",
                "nothing",
                "the codes by which get_argv says that there is no entry, for a rotation keeps the old password as "
                f"{RECORD}<path> until every key has the new one",
                "set it",
            )
        for done, (path, replacement) in enumerate(sorted(replacements.items())):
            if self._get(path) != replacement.found:
                raise replaced_meanwhile(self, path)
            self._put(RECORD + path, as_text(replacement.record), done)
            if replacement.password != replacement.found and (
                self._put(path, replacement.password, done) != replacement.password
            ):
                raise self._fault(
                    path, "the old password after put_argv ended well", "put_argv to replace what is there"
                )

    @property
    def _keeps_records(self) -> bool:
        return self.writable and bool(self._missing_codes)

    def _check_writable(self, paths: Iterable[str]) -> None:
        if self._put_argv is None:
            raise KitError(
                f"password {self.location(min(paths, default=''))}",
                "a backend that can only be read",
                "key_password_options.put_argv, for a password is to be stored",
                "set it, or choose another key_password_backend",
            )

    def _get(self, path: str) -> str | None:
        code, output = self._run(path, filled(self._get_argv, path), None)
        if code in self._missing_codes:
            return None
        if code:
            raise self._fault(
                path,
                f"exit code {code}",
                "0, or a code of key_password_options.missing_codes where there is no entry",
            )
        try:
            return output.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise self._fault(path, "an output that isn't UTF-8", "a password on standard output") from None

    def _put(self, path: str, password: str, stored: int) -> str:
        before = f", after {stored} others were stored" if stored else ""
        code, _ = self._run(path, filled(self._put_argv, path), password.encode())
        if code:
            raise self._fault(path, f"exit code {code} of put_argv{before}", "0")
        present = self._get(path)
        if present is None:
            raise self._fault(path, f"no entry after put_argv ended well{before}", "get_argv to find what it stored")
        return present

    def _run(self, path: str, argv: list[str], secret: bytes | None) -> tuple[int, bytes]:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if secret is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What a program complains about may quote the password.
                stderr=subprocess.DEVNULL,
                # Without a terminal it can't ask; as the leader of a group it ends with all it started.
                start_new_session=True,
            )
        except OSError as error:
            raise self._fault(path, f"{error.strerror} while starting {argv[0]}", "a program that can be run") from None
        deadline = time.monotonic() + self._timeout
        stdout = cast(IO[bytes], process.stdout)
        try:
            if process.stdin is not None:
                # A pipe holds far more than the longest password, so this never waits; one that doesn't read says
                # so by its exit code.
                with suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(secret or b"")
            output = self._output(path, stdout, deadline)
            code = process.wait(max(deadline - time.monotonic(), 0.01))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise self._fault(path, f"no end within {self._timeout:g} s", "an answer in time") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stdout.close()
            process.wait()
        return code, output

    def _output(self, path: str, stdout: IO[bytes], deadline: float) -> bytes:
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while selector.select(max(deadline - time.monotonic(), 0)):
                part = os.read(stdout.fileno(), LONGEST_OUTPUT)
                if not part:
                    return output
                output += part
                if len(output) > LONGEST_OUTPUT:
                    raise self._fault(path, f"more than {LONGEST_OUTPUT} bytes of output", "a password")
        raise TimeoutError

    def _fault(self, path: str, found: str, expected: str) -> KitError:
        return KitError(
            f"password {self.location(path)}",
            found,
            expected,
            "run the program by itself, with its input from /dev/null, to see what it says; then correct it or "
            "key_password_options",
        )


def _argv(options: Mapping[str, Any], option: str) -> list[str] | None:
    given = options.get(option)
    if given is None:
        return None
    if (
        not isinstance(given, (list, tuple))
        or not given
        or not all(isinstance(part, str) and "\0" not in part for part in given)
        or not given[0]
    ):
        raise checked.refuse(_NAME, option, "something else", "a program and its arguments as a list of texts")
    argv = [str(part) for part in given]
    if not depends_on_path(argv[1:]):
        raise checked.refuse(
            _NAME, option, "neither {path} nor {name} in its arguments", "one, for each key has its own password"
        )
    return argv


def _codes(given: Any) -> frozenset[int]:
    codes = [] if given is None else given
    if not isinstance(codes, (list, tuple)) or not all(_is_code(code) for code in codes):
        raise checked.refuse(_NAME, "missing_codes", "something else", "a list of numbers from 1 to 255")
    return frozenset(int(code) for code in codes)


def _is_code(code: Any) -> bool:
    return isinstance(code, int) and not isinstance(code, bool) and 0 < code < 256
