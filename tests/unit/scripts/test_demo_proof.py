"""The three requests, and what the summary says of them."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from scripts.lib.demo import present, processes, proof
from scripts.lib.demo.proof import Answer
from scripts.lib.demo.settings import Settings


def test_a_refusal_is_told_by_the_gateways_own_reason() -> None:
    assert Answer(400, '{"error":"no client certificate sent","site":"demo"}').reason == "no client certificate sent"
    assert Answer(400, "<html>\n").reason == "<html>"
    assert Answer(0, "connection refused").reason == "connection refused"


def test_the_stranger_bears_the_clients_name_and_can_be_loaded(tmp_path: Path) -> None:
    identity = proof.stranger(tmp_path / "stranger")
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=alice"
    assert certificate.issuer.rfc4514_string() == "CN=Stranger CA"
    serialization.load_pem_private_key(identity.key.read_bytes(), identity.password.encode())
    ssl.create_default_context().load_cert_chain(identity.certificate, identity.key, identity.password)


def test_a_gateway_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    anchor = proof.stranger(tmp_path).certificate
    demo = Settings(tmp_path, port=processes.free_port())
    assert proof.request(demo, anchor, None).status == 0


def test_what_the_backend_saw_is_short(tmp_path: Path) -> None:
    demo = Settings(tmp_path)
    headers = {"VERIFIED": "SUCCESS", "X-Client-Name": "alice", "X-Client-Cert": "long"}
    text = present.seen(demo, Answer(200, json.dumps({"method": "GET", "path": "/hello", "headers": headers})))
    assert text.splitlines()[0] == "the backend saw GET /hello and"
    assert [line.strip() for line in text.splitlines()[1:]] == ["VERIFIED: SUCCESS", "X-Client-Name: alice"]
    assert present.seen(demo, Answer(200, "hello\nworld")) == "the backend answered: hello"


@pytest.mark.parametrize("status", [502, 504])
def test_a_backend_that_does_not_answer_is_named(tmp_path: Path, status: int) -> None:
    demo = Settings(tmp_path, backend="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 did not answer" in present.seen(demo, Answer(status, "<html>"))


def test_the_command_works_from_where_the_user_is(tmp_path: Path) -> None:
    demo = Settings(tmp_path / "it is here" / ".demo")
    command = present.curl_command(demo, tmp_path / "it is here")
    assert "--cert .demo/clients/alice/client.crt" in command
    assert "'" in present.curl_command(demo, Path("/elsewhere"))


def test_the_password_file_is_the_users_alone(tmp_path: Path) -> None:
    demo = Settings(tmp_path)
    present.write_curl_password(demo, "one")
    present.write_curl_password(demo, "two")
    path = present.curl_password_file(demo)
    assert path.read_text() == 'pass = "two"\n'
    assert path.stat().st_mode & 0o777 == 0o600
