"""What OpenBao's backend makes of odd options and of servers that misbehave; the real one is in tests/integration."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import vault_client
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import openbao_client
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao import OpenBao
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_client import Client

ALICE = "a-password-of-alice-0Zx9"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BOB = "another-password-of-bob-7Qy3"
PATH = "client/alice"
TOKEN = "s.hunter2hunter2"
MOUNT = (200, {"data": {"type": "kv", "options": {"version": "2"}}})


def secret(password: object, version: int = 1, **more: object) -> tuple[int, dict[str, Any]]:
    fields = {"password": password, **more}
    return 200, {"data": {"data": fields, "metadata": {"version": version, "deletion_time": ""}}}


class Server(ThreadingHTTPServer):
    """Answers with what it was told to, one after another, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, Any] | Callable[[Handler], None]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.ended = Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        step = self.server.script.pop(0)
        if callable(step):
            step(self)
            self.close_connection = True
            return
        status, content = step
        answer = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = answer


def silence(handler: Handler) -> None:
    handler.server.ended.wait(20)


def trickle(handler: Handler) -> None:
    while not handler.server.ended.wait(0.05):
        try:
            handler.wfile.write(b"H")
        except OSError:
            return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(openbao_client, "PAUSE", 0.01)
    with Server() as started:
        thread = Thread(target=started.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield started
        started.ended.set()
        started.shutdown()
        thread.join()


@pytest.fixture
def bao(server: Server, controller: Controller) -> Callable[..., OpenBao]:
    def build(**options: Any) -> OpenBao:
        return OpenBao({"url": server.url, "token": TOKEN, "timeout": 1, **options}, controller)

    return build


Bao = Callable[..., OpenBao]


def test_passwords_are_read_below_mount_and_prefix(server: Server, bao: Bao) -> None:
    server.script = [MOUNT, secret(ALICE), (404, {"errors": []})]
    with bao(mount="/team/kv/", prefix="mtls/prod") as backend:
        assert backend.get_many([PATH, "client/bob"]) == {PATH: ALICE}
    assert [path for _, path, _ in server.asked] == [
        "/v1/sys/internal/ui/mounts/team/kv",
        "/v1/team/kv/data/mtls/prod/client/alice",
        "/v1/team/kv/data/mtls/prod/client/bob",
    ]


@pytest.mark.parametrize("step", [silence, trickle], ids=["silence", "trickle"])
def test_a_server_that_doesnt_come_to_an_end_is_left_in_time(
    server: Server, bao: Bao, step: Callable[[Handler], None]
) -> None:
    server.script = [MOUNT, *[step] * 5]
    started = time.monotonic()
    with bao(timeout=0.6) as backend, pytest.raises(KitError) as caught:
        backend.get_many([PATH])
    assert "password 'client/alice' in backend openbao" in str(caught.value)
    assert "found no answer in the time that is left" in str(caught.value)
    assert time.monotonic() - started < 3
    # How often it is asked again in that time depends on the machine.
    assert 1 < len(server.asked) <= 1 + vault_client.TRIES


@pytest.mark.parametrize("status", sorted(vault_client.TRY_AGAIN))
def test_what_can_pass_is_tried_again(server: Server, bao: Bao, status: int) -> None:
    server.script = [MOUNT, (status, {"errors": ["soon"]}), (status, ""), secret(ALICE)]
    with bao() as backend:
        assert backend.get_many([PATH]) == {PATH: ALICE}


def test_tries_are_counted(server: Server, bao: Bao) -> None:
    server.script = [(502, "<html>hunter2</html>"), (503, {"errors": ["hunter2"]}), (502, {}), MOUNT]
    with pytest.raises(KitError, match=r"mount secret: found status 502 after 3 tries") as caught, bao():
        pass
    assert "hunter2" not in str(caught.value)


def test_a_sealed_server_is_told_at_once(server: Server, bao: Bao) -> None:
    server.script = [(503, {"errors": ["Vault is sealed"]})]
    with pytest.raises(KitError, match=r"found a sealed server.*bao operator unseal"), bao():
        pass
    assert len(server.asked) == 1


def test_a_server_that_isnt_there_is_told(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_client, "PAUSE", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            KitError, match=rf"backend openbao, {url}, mount secret: found no connection \(Connection re"
        ):
            OpenBao({"url": url, "token": TOKEN}, controller).__enter__()


def test_a_write_whose_answer_was_lost_counts(server: Server, bao: Bao) -> None:
    server.script = [MOUNT, (502, {}), (400, {"errors": ["check-and-set"]}), secret(ALICE)]
    with bao() as backend:
        assert backend.put_many({PATH: ALICE}, now=NOW) == {PATH: ALICE}
    assert server.asked[1][2] == {
        "data": {"password": ALICE, "password_since": "2026-11-24T12:00:00Z"},
        "options": {"cas": 0},
    }


def test_of_two_that_generate_both_use_what_was_first(server: Server, bao: Bao) -> None:
    server.script = [MOUNT, (400, {"errors": ["check-and-set"]}), secret(BOB)]
    with bao() as backend:
        assert backend.put_many({PATH: ALICE}, now=NOW) == {PATH: BOB}


def test_a_replacement_keeps_other_fields_and_loses_no_other_replacement(server: Server, bao: Bao) -> None:
    server.script = [MOUNT, secret(BOB, 4, owner="shop"), (200, {}), secret(BOB, 5), (400, {}), secret("x" * 20, 6)]
    with bao() as backend:
        backend.replace_many({PATH: Replacement(BOB, ALICE, Record(NOW, previous=BOB))})
        with pytest.raises(KitError, match="found that somebody else replaced it"):
            backend.replace_many({PATH: Replacement(BOB, ALICE, Record(NOW, previous=BOB))})
    fields = {
        "password": ALICE,
        "owner": "shop",
        "password_since": "2026-11-24T12:00:00Z",
        "password_previous": BOB,
    }
    assert server.asked[2][2] == {"data": fields, "options": {"cas": 4}}


def test_what_lies_beside_a_password_is_read_with_it(server: Server, bao: Bao) -> None:
    fields = {"password": ALICE, "password_previous": BOB}
    metadata = {"version": 2, "created_time": "2026-11-24T12:00:00.123456789Z"}
    server.script = [MOUNT, (200, {"data": {"data": fields, "metadata": metadata}}), (200, {}), (404, {})]
    with bao() as backend:
        assert backend.get_many([PATH]) == {PATH: ALICE}
        ((path, record),) = backend.records([PATH, "client/bob"]).items()
    assert (path, record.previous, record.since.replace(microsecond=0)) == (PATH, BOB, NOW)


def test_a_write_that_ends_early_says_how_many_were_stored(server: Server, bao: Bao) -> None:
    server.script = [MOUNT, (200, {}), (403, {}), (200, {})]
    with bao() as backend, pytest.raises(KitError) as caught:
        backend.put_many({PATH: ALICE, "client/bob": BOB}, now=NOW)
    assert "password 'client/bob' in backend openbao" in str(caught.value)
    assert "its policies don't allow this, after 1 of 2 passwords were stored" in str(caught.value)
    assert "the capability create and update on secret/data/mtls-kit/client/bob" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((200, {"data": {"data": {"pw": ALICE}, "metadata": {}}}), "found a secret without the field 'password'"),
        (secret(1234567890123456), "found something else than a text in the field 'password'"),
        (
            (404, {"data": {"data": None, "metadata": {"version": 3, "deletion_time": "2026-01-01T00:00:00Z"}}}),
            "found version 3, which was deleted",
        ),
        (
            (404, {"data": {"data": None, "metadata": {"version": 3, "destroyed": True}}}),
            "found version 3, which was destroyed",
        ),
        ((400, {"errors": [ALICE]}), "found status 400"),
        ((200, f"<html>{ALICE}</html>"), "found something that isn't HTTP with JSON"),
        ((200, [ALICE]), "found something that isn't HTTP with JSON"),
    ],
)
def test_other_answers_are_refused_unquoted(server: Server, bao: Bao, answer: tuple[int, Any], found: str) -> None:
    server.script = [MOUNT, answer]
    with bao() as backend, pytest.raises(KitError) as caught:
        backend.get_many([PATH])
    message = str(caught.value)
    assert f"password 'client/alice' in backend openbao, {server.url}, secret/mtls-kit/client/alice: {found}" in message
    assert ALICE not in message
    assert "1234567890123456" not in message


@pytest.mark.parametrize(
    ("answer", "options", "found"),
    [
        ((200, {"data": {"type": "pki"}}), {}, "found an engine 'pki'; expected a key-value engine"),
        (MOUNT, {"kv_version": 1}, "found version 2 of the engine; expected 1"),
        ((404, {"errors": []}), {}, "found status 404; expected a key-value engine below which this token may read"),
    ],
)
def test_what_isnt_the_engine_is_told(
    server: Server, bao: Bao, answer: tuple[int, Any], options: dict[str, Any], found: str
) -> None:
    server.script = [answer]
    with pytest.raises(KitError) as caught, bao(**options):
        pass
    assert f"backend openbao, {server.url}, mount secret: {found}" in str(caught.value)


def test_a_login_is_ended_and_one_that_fails_isnt_quoted(server: Server, bao: Bao) -> None:
    approle = {"auth": "approle", "token": None, "role_id": "r-hunter2", "secret_id": "s-hunter2"}
    del approle["token"]
    options = {"url": server.url, "timeout": 1, **approle}
    server.script = [(200, {"auth": {"client_token": TOKEN}}), MOUNT, (204, "")]
    with OpenBao(options, Controller(None, None, lambda *_: None)):
        pass
    assert [path for _, path, _ in server.asked] == [
        "/v1/auth/approle/login",
        "/v1/sys/internal/ui/mounts/secret",
        "/v1/auth/token/revoke-self",
    ]
    server.script = [(400, {"errors": ["s-hunter2 is wrong"]})]
    with pytest.raises(
        KitError, match=r"login by approle at auth/approle: found status 400; expected a token"
    ) as caught:
        OpenBao(options, Controller(None, None, lambda *_: None)).__enter__()
    assert "hunter2" not in str(caught.value)


def test_without_hvac_the_package_is_named(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, openbao_client.__name__, None)
    with pytest.raises(KitError, match="found no Python package hvac"), bao():
        pass


def test_the_token_never_leaves_tls_once_it_is_in_it() -> None:
    client = Client("https://bao.example.org", 1, namespace=None, ca_cert=None, client_cert=None)
    assert list(client._adapter.session.adapters) == ["https://"]
    assert client._adapter.session.verify is True
    local = Client("http://127.0.0.1:8200", 1, namespace=None, ca_cert=None, client_cert=None)
    assert local._adapter.session.trust_env is False


@pytest.mark.parametrize("url", ["https://bao.example.org", "https://[2001:db8::1]:8200/", "http://localhost:8200"])
def test_urls_that_are_good(url: str, controller: Controller) -> None:
    assert url.rstrip("/") in OpenBao({"url": url, "token": TOKEN}, controller).location(PATH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": None}, "key_password_options.url of backend openbao: found nothing"),
        ({"url": "bao.example.org:8200"}, "expected https://HOST or https://HOST:PORT and nothing more"),
        ({"url": "https://user:hunter2@bao.example.org"}, "expected https://HOST or https://HOST:PORT"),
        ({"url": "https://bao.example.org/v1?token=hunter2"}, "expected https://HOST or https://HOST:PORT"),
        ({"url": "https://bao.example.org:port"}, "expected https://HOST or https://HOST:PORT"),
        ({"url": "http://bao.example.org"}, "found http to 'bao.example.org'; expected https"),
        ({"token": None}, "key_password_options.token of backend openbao: found neither; expected it or key_password"),
        ({"token_file": "FILE"}, "found both"),
        ({"token": "s.hunter2\nhunter2"}, "found an empty one, or one with a line break"),
        ({"token": "s.hunter2é"}, "found an empty one, or one with a line break"),
        ({"token": None, "token_file": "token"}, "key_password_options.token_file of backend openbao: found the rela"),
        (
            {"token": None, "token_file": "/nowhere/token"},
            "found No such file or directory while reading /nowhere/token",
        ),
        ({"auth": "ldap"}, "key_password_options.auth of backend openbao: found something else; expected one of token"),
        ({"role_id": "hunter2"}, "found an unknown option 'role_id'"),
        ({"auth": "approle", "token": None}, "found an unknown option 'token'"),
        ({"verify": False}, "found an unknown option 'verify'"),
        ({"ca_cert": "/nowhere/ca.pem"}, "found No such file or directory while reading /nowhere/ca.pem"),
        ({"client_key": "FILE"}, "client_cert of backend openbao: found nothing; expected client_cert and client_key"),
        ({"client_key": "FILE", "client_cert": "FILE"}, "client_cert of backend openbao: found a url without TLS"),
        ({"client_key": "LOCKED", "client_cert": "FILE"}, "client_key of backend openbao: found an encrypted key"),
        ({"mount": "secret/../sys"}, "mount of backend openbao: found other characters"),
        ({"prefix": "a//b"}, "prefix of backend openbao: found other characters"),
        ({"namespace": "a b"}, "namespace of backend openbao: found other characters"),
        ({"kv_version": 3}, "kv_version of backend openbao: found something else; expected 1 or 2"),
        ({"timeout": 60}, "seconds, more than 0 and at most 30"),
    ],
)
def test_bad_options_are_refused_unquoted(
    controller: Controller, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "FILE").write_text("hunter2")
    (tmp_path / "LOCKED").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    merged = {"url": "http://127.0.0.1:8200", "token": TOKEN, **options}
    given = {name: str(tmp_path / value) if value in ("FILE", "LOCKED") else value for name, value in merged.items()}
    with pytest.raises(KitError) as caught:
        OpenBao(given, controller)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"auth": "approle", "role_id": "x"}, "secret_id"),
        ({"auth": "approle", "secret_id": "x"}, "role_id"),
        ({"auth": "jwt", "role": "x"}, "jwt"),
        ({"auth": "cert"}, "client_cert"),
    ],
)
def test_every_login_needs_what_it_needs(controller: Controller, options: dict[str, Any], option: str) -> None:
    with pytest.raises(KitError, match=f"key_password_options.{option} of backend openbao: found n"):
        OpenBao({"url": "https://bao.example.org", **options}, controller)


def test_a_secret_in_a_file_is_read_without_white_space_around_it(server: Server, bao: Bao, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    server.script = [MOUNT]
    with bao(token=None, token_file=str(file)) as backend:
        assert backend._session.client.token == TOKEN
