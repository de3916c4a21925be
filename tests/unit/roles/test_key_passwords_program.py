"""The program that fills a gateway's memory, against a vault of the test's own."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.roles.conftest import CHECKOUT, load_program

PROGRAM = CHECKOUT / "roles" / "certificate_install" / "files" / "key_passwords.py"
TODAY, YESTERDAY = "today's-password-0123456789", "yesterday's-password-0123456789"
SECRET_ID, TOKEN = "secret-id-0123456789", "hvs.token-0123456789"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_program(PROGRAM)
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01))
    return module


class Vault:
    """Answers by path; what is asked is kept."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {
            "POST /v1/auth/approle/login": [(200, {"auth": {"client_token": TOKEN}})],
            "POST /v1/auth/token/revoke-self": [(204, None)],
            "GET /v1/secret/data/mtls-kit/server/gw1/orders": [
                (200, {"data": {"data": {"password": TODAY}, "metadata": {"version": 2}}})
            ],
            "GET /v1/secret/data/mtls-kit/server/gw1/orders?version=1": [
                (200, {"data": {"data": {"password": YESTERDAY}}})
            ],
            "GET /v1/kv/mtls-kit/server/gw1/orders": [(200, {"data": {"password": TODAY}})],
        }
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                place = f"{self.command} {self.path}"
                vault.asked.append(place)
                vault.tokens.append(self.headers.get("X-Vault-Token"))
                answers = vault.answers.get(place, [(404, {"errors": []})])
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                content = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def vault() -> Iterator[Vault]:
    started = Vault()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def config(tmp_path: Path, vault: Vault) -> Path:
    (tmp_path / "approle").write_text(json.dumps({"role_id": "role", "secret_id": SECRET_ID}))
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    section = {
        "url": f"http://127.0.0.1:{vault.server.server_port}", "ca_file": "", "namespace": "", "auth_mount": "approle",
        "mount": "secret", "kv_version": 2, "field": "password", "approle_file": str(tmp_path / "approle"),
        "approle_credential": "", "sites": {"orders": {**owner, "path": "mtls-kit/server/gw1/orders"}},
    }  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"runtime": str(tmp_path / "run"), "memory": section}))
    return file


def alter(config: Path, **settings: Any) -> None:
    content = json.loads(config.read_text())
    content["memory"].update(settings)
    config.write_text(json.dumps(content))


def password_file(config: Path) -> Path:
    return config.parent / "run" / "orders" / "password"


def run(
    program: ModuleType, config: Path, capsys: pytest.CaptureFixture[str], source: str = "memory"
) -> tuple[int, str]:
    status = program.main(["--config", str(config), source])
    said = capsys.readouterr()
    for secret in (TODAY, YESTERDAY, SECRET_ID, TOKEN):
        assert secret not in said.out + said.err
    return status, said.err


def test_memory_gets_todays_password_and_the_one_before(
    program: ModuleType, vault: Vault, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(program, config, capsys) == (0, "")
    file = password_file(config)
    assert file.read_text() == f"{TODAY}\n{YESTERDAY}\n"
    assert file.stat().st_mode & 0o7777 == 0o400
    assert vault.asked[-1] == "POST /v1/auth/token/revoke-self"
    assert vault.tokens == [None, TOKEN, TOKEN, TOKEN]
    # What a release on the disk may still need stays, the newest first, and no more than three.
    file.unlink()
    file.write_text("a\nb\nc\n")
    assert run(program, config, capsys)[0] == 0
    assert file.read_text() == f"{TODAY}\n{YESTERDAY}\na\n"
    assert [path.name for path in file.parent.iterdir()] == ["password"]


def test_the_first_version_has_none_before(
    program: ModuleType, vault: Vault, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "GET /v1/secret/data/mtls-kit/server/gw1/orders"
    vault.answers[place] = [(200, {"data": {"data": {"password": TODAY}, "metadata": {"version": 1}}})]
    run(program, config, capsys)
    assert password_file(config).read_text() == f"{TODAY}\n"
    vault.answers[place] = [(200, {"data": {"data": {"password": TODAY}, "metadata": {"version": 7}}})]
    assert run(program, config, capsys)[0] == 0
    assert f"{place}?version=6" in vault.asked


def test_version_1_of_the_engine(program: ModuleType, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(config, mount="kv", kv_version=1)
    assert run(program, config, capsys)[0] == 0
    assert password_file(config).read_text() == f"{TODAY}\n"


def test_it_tries_again_where_that_can_help(
    program: ModuleType, vault: Vault, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.answers["POST /v1/auth/approle/login"].insert(0, (503, {"errors": ["Vault is sealed"]}))
    status, said = run(program, config, capsys)
    assert status == 0
    assert "found status 503; expected a vault that is unsealed and active" in said
    vault.answers["POST /v1/auth/approle/login"] = [(503, {})]
    assert run(program, config, capsys)[0] == 1
    assert vault.asked.count("POST /v1/auth/approle/login") == 2 + 3


@pytest.mark.parametrize(
    ("place", "answer", "message"),
    [
        (
            "POST /v1/auth/approle/login",
            (400, {"errors": [f"invalid {SECRET_ID}"]}),
            "login at auth/approle: found status 400",
        ),
        ("POST /v1/auth/approle/login", (200, ["no object"]), "login at auth/approle: found status 200"),
        ("GET /v1/secret/data/mtls-kit/server/gw1/orders", (403, {}), "orders, field password: found status 403"),
        ("GET /v1/secret/data/mtls-kit/server/gw1/orders", (200, {"data": {"data": {"other": TODAY}}}), "no password"),
        ("GET /v1/secret/data/mtls-kit/server/gw1/orders", (200, {"data": {"data": None}}), "no password"),
    ],
)
def test_what_was_in_memory_stays_when_there_is_no_password(
    program: ModuleType,
    vault: Vault,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    place: str,
    answer: tuple[int, Any],
    message: str,
) -> None:
    password_file(config).parent.mkdir(parents=True)
    password_file(config).write_text(YESTERDAY)
    vault.answers[place] = [answer]
    status, said = run(program, config, capsys)
    assert status == 1
    assert message in said
    assert "Next: " in said
    assert password_file(config).read_text() == YESTERDAY


def test_a_vault_that_is_away_or_silent_ends_in_time(
    program: ModuleType, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        alter(config, url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(program, "CALL_SECONDS", 0.1)
        begun = time.monotonic()
        status, said = run(program, config, capsys)
        assert (status, time.monotonic() - begun < 5) == (1, True)
        assert "found no answer" in said
        # For a container that has it mounted, and waits for what is to be in it.
        assert list(password_file(config).parent.iterdir()) == []
        # Whatever it is that takes too long.
        monkeypatch.setattr(program, "CALL_SECONDS", 60)
        monkeypatch.setattr(program, "TOTAL_SECONDS", 0.3)
        status, said = run(program, config, capsys)
        assert status == 1
        assert "found no end after 0.3 seconds" in said
    assert run(program, config, capsys)[0] == 1


def test_credentials_are_decrypted(
    program: ModuleType,
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    creds = tmp_path / "systemd-creds"
    creds.write_text('#!/bin/sh\n[ "$2" = --name=mtls-orders ] && exec cat "$3"\necho "no key" >&2; exit 1\n')
    creds.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "orders.cred").write_text(f"{TODAY}\n{YESTERDAY}")
    site = {"uid": os.getuid(), "gid": os.getgid(), "file": str(tmp_path / "orders.cred"), "name": "mtls-orders"}
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "systemd_credential": {"sites": {"orders": site}}}))
    assert run(program, config, capsys, "systemd_credential") == (0, "")
    file = tmp_path / "run" / "orders" / "credential"
    assert file.read_text() == f"{TODAY}\n{YESTERDAY}\n"
    config.write_text(json.dumps({**content, "systemd_credential": {"sites": {"orders": {**site, "name": "other"}}}}))
    status, said = run(program, config, capsys, "systemd_credential")
    assert status == 1
    assert "can't decrypt (no key)" in said
    # RoleID and SecretID can be a credential, too.
    (tmp_path / "approle").rename(tmp_path / "approle.cred")
    config.write_text(json.dumps(content))
    alter(config, approle_file=str(tmp_path / "approle.cred"), approle_credential="mtls-orders")
    assert run(program, config, capsys)[0] == 0


@pytest.mark.parametrize("content", ["", "[]", '{"runtime": "/run"}', '{"memory": {"sites": 1}}'])
def test_a_configuration_that_is_none(
    program: ModuleType, config: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    config.write_text(content)
    status, said = run(program, config, capsys)
    assert status == 1
    assert "expected what mTLS Kit installed. Next: run mtls.kit.site" in said
    config.unlink()
    assert "'No such file or directory'" in run(program, config, capsys)[1]
