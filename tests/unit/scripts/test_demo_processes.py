"""The demo ends its own processes only, and its backend says what it saw."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo import processes
from scripts.lib.demo.settings import ADDRESS, Settings


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Settings]:
    made = Settings(tmp_path / "demo", echo_port=processes.free_port())
    made.save()
    yield made
    processes.stop(made.backend_pid_file)


def post(demo: Settings, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(ADDRESS, demo.echo_port, timeout=5)
    connection.request("POST", path, body, headers)
    return connection.getresponse()


def test_the_backend_starts_once_answers_and_stops(demo: Settings) -> None:
    assert processes.start_echo_backend(demo)
    assert not processes.start_echo_backend(demo)
    assert not processes.port_is_free(demo.echo_port)
    answer = post(demo, "/a?b=c", b"12345", {"X-Client-Name": "alice"})
    echoed = json.load(answer)
    assert (echoed["method"], echoed["path"], echoed["body_bytes"]) == ("POST", "/a?b=c", 5)
    assert echoed["headers"]["X-Client-Name"] == "alice"
    assert processes.stop(demo.backend_pid_file)
    assert not demo.backend_pid_file.exists()
    assert processes.port_is_free(demo.echo_port)
    assert not processes.stop(demo.backend_pid_file)


def test_the_backend_refuses_a_body_beyond_its_limit(demo: Settings) -> None:
    processes.start_echo_backend(demo)
    assert post(demo, "/", b"", {"Content-Length": "1048577"}).status == 413


def test_a_port_that_is_taken_is_an_error_that_names_the_log(demo: Settings) -> None:
    processes.start_echo_backend(demo)
    other = Settings(demo.folder.parent / "other", echo_port=demo.echo_port)
    other.save()
    with pytest.raises(KitError, match=r"echo-backend\.log"):
        processes.start_echo_backend(other)


def test_a_process_of_someone_else_is_left_alone(demo: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as foreign:
        demo.gateway_pid_file.parent.mkdir()
        demo.gateway_pid_file.write_text(f"{foreign.pid}\n")
        assert not processes.stop(demo.gateway_pid_file)
        assert foreign.poll() is None
        foreign.kill()


@pytest.mark.parametrize("text", ["", "abc", "99999999", "-1"])
def test_a_damaged_pid_file_ends_nobody(demo: Settings, text: str) -> None:
    demo.backend_pid_file.write_text(text)
    assert not processes.stop(demo.backend_pid_file)


def test_a_folder_whose_name_begins_alike_is_not_ours(demo: Settings) -> None:
    processes.start_echo_backend(demo)
    alike = Path(str(demo.folder)[:-1]) / demo.backend_pid_file.name
    alike.parent.mkdir()
    alike.write_text(demo.backend_pid_file.read_text())
    assert processes.running(alike) is None
    assert processes.running(demo.backend_pid_file) not in (None, os.getpid())
