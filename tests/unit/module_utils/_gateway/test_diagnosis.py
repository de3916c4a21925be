"""Texts and numbers turned into causes; the scenario doctor has the real ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mtls.kit.plugins.module_utils._gateway import diagnosis, tls
from tests.unit.module_utils._gateway.delivery import Authority

ROOT = Path(__file__).parents[4]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def answer(status: int, content: bytes) -> tls.Answer:
    return tls.Answer(status, content, b"", "TLSv1.3")


@pytest.mark.parametrize(
    ("status", "content", "cause"),
    [
        (400, b'{"error":"no client certificate sent: this site asks every client for one"}', "400-no-certificate"),
        (400, b'{"error":"client certificate expired"}', "error-10"),
        (400, b'{"error":"client certificate not yet valid"}', "error-9"),
        (403, b'{"error":"client certificate revoked"}', "error-23"),
        (400, b'{"error":"client certificate not made for client authentication"}', "error-26"),
        (400, b'{"error":"chain of the client certificate too long"}', "error-22"),
        (400, b'{"error":"issuer of the client certificate unknown here"}', "error-20"),
        (403, b'{"error":"issuer of the client certificate not accepted here"}', "error-20"),
        (400, b'{"error":"client certificate not accepted"}', "400-certificate"),
        (400, b"<center>No required SSL certificate was sent</center>", "400-no-certificate"),
        (400, b"<center>The SSL certificate error</center>", "400-certificate"),
        (400, b"<center>The plain HTTP request was sent to HTTPS port</center>", "400-plain-http"),
        (400, b"a backend's own", ""),
        (200, b'{"error":"client certificate expired"}', ""),
    ],
)
def test_an_answer_tells_its_cause(status: int, content: bytes, cause: str) -> None:
    found = diagnosis.of_answer(answer(status, content), True, "orders")
    assert (found.cause if found else "") == cause


def test_an_error_that_is_not_known_is_told_as_it_is() -> None:
    found = diagnosis.of_verify_error(34, "unhandled critical extension", "the client's certificate")
    assert (found.cause, "unhandled critical extension" in found.proof) == ("error-34", True)
    assert diagnosis.of_verify_error(64, "IP address mismatch", "x").cause == "error-62"


def test_the_log_tells_each_error_once_and_only_those() -> None:
    line = "2026/11/24 12:00:0{} [info] 1#1: *1 client SSL certificate verify error: ({}) while reading"
    lines = [
        line.format(1, "18:self-signed certificate"),
        "2026/11/24 12:00:02 [error] 1#1: *2 connect() failed",
        line.format(3, "10:certificate has expired"),
        line.format(4, "18:self-signed certificate"),
    ]
    assert [(one.cause, one.proof[11:30]) for one in diagnosis.of_error_log(lines)] == [
        ("error-18", "2026/11/24 12:00:04"),
        ("error-10", "2026/11/24 12:00:03"),
    ]


def test_what_nginx_t_refuses_is_known_or_told_as_it_is() -> None:
    lines = [
        'nginx: [warn] conflicting server name "x"',
        "nginx: [emerg] SSL_CTX_use_PrivateKey failed (key values mismatch)",
        'nginx: [emerg] unknown directive "lissten" in /etc/nginx/nginx.conf:3',
    ]
    assert [one.cause for one in diagnosis.of_nginx_test(lines)] == ["key-mismatch", "nginx-test"]


@pytest.mark.parametrize(("minutes", "found"), [(0, False), (2, False), (-3, True), (3, True)])
def test_clocks_may_be_two_minutes_apart(minutes: int, found: bool) -> None:
    assert (diagnosis.of_clock(NOW + timedelta(minutes=minutes), NOW, "x") is not None) is found


@pytest.mark.parametrize(
    ("text", "cause"),
    [("tlsv1 alert protocol version", "tls-version"), ("wrong version number", "tls-version"), ("reset", "no-answer")],
)
def test_a_handshake_that_failed(text: str, cause: str) -> None:
    assert diagnosis.of_no_session(text, "x").cause == cause


def test_every_cause_has_a_text_and_a_next_step() -> None:
    assert all(cause.text and cause.fix and "|" not in cause.text + cause.fix for cause in diagnosis.CAUSES.values())


@pytest.mark.parametrize(
    ("life", "left", "causes"),
    [
        (90, 15, []),
        (90, 13, ["ends-soon"]),
        (90, 0.1, ["ends-soon"]),
        (90, -0.1, []),
        (365, 20, []),
        (6, 1.1, []),
        (6, 0.9, ["ends-soon"]),
    ],
)
def test_a_certificate_that_no_renewal_replaced_is_told(life: float, left: float, causes: list[str]) -> None:
    end = NOW + timedelta(days=left)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    leaf = Authority.create("R", begin=NOW - timedelta(days=900), end=NOW + timedelta(days=900)).sign(
        key, begin=end - timedelta(days=life), end=end
    )
    assert [one.cause for one in diagnosis.of_renewal(leaf, NOW, "orders")] == causes


def test_every_cause_has_its_row() -> None:
    page = (ROOT / "docs" / "when-it-does-not-work.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+?) \| ([^|]+?) \|$", page, re.MULTILINE)
    assert rows == [(name, cause.text, cause.fix) for name, cause in diagnosis.CAUSES.items()]


def test_every_row_is_made_in_the_scenario() -> None:
    faults = yaml.safe_load((ROOT / "molecule" / "doctor" / "vars" / "faults.yml").read_text())
    of_clients = {fault["causes"][0] for fault in faults["faults_of_clients"] if fault["causes"]}
    assert of_clients | {fault["cause"] for fault in faults["faults_of_gateways"]} == set(diagnosis.CAUSES)
