"""Everybody of identities.py, presented to a real site in both presets: answered as docs/who-gets-in.md says."""

from __future__ import annotations

import re
import socket
import ssl
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from tests.integration.identities import (
    ACCEPTED,
    CLIENTS,
    GROUPS,
    LEDGER,
    LONG_SUBJECT,
    NO_SESSION,
    NOT_HERE,
    REVOKED,
    SERIAL,
    Issuers,
    Knocking,
    Shown,
)
from tests.integration.wire import ROOT, Answer, Wire, free_port, started

VERSIONS = {"modern": ssl.TLSVersion.TLSv1_3, "intermediate": ssl.TLSVersion.TLSv1_2}
"""Preset intermediate is tried with TLS 1.2, for what it does with 1.3 is what modern does."""


FORBIDDEN = (REVOKED, NOT_HERE, LONG_SUBJECT, SERIAL)
"""Answered with 403: the certificate is one of a CA of ours."""


class Site:
    """One Nginx, a port for each preset, and the CAs of its clients."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.ports = {"intermediate": wire.port, "modern": free_port()}
        common = {"key_type": "ec-p256", "days": 1095}
        limits = {"permitted": {"dns": ["example.test"]}, "excluded": {"dns": ["secret.example.test"]}}
        issuing = [
            {"name": "issuing", "purposes": ["server", "client"], **common},
            {"name": "partners", "purposes": ["client"], **common},
            {"name": "limited", "purposes": ["client"], "name_constraints": limits, **common},
        ]
        accepted = {"scope": "accepted", "accept": ["issuing", "limited"]}
        wire.host.arguments |= {"issuing": issuing, "trust": [accepted], "certificates": list(LEDGER)}
        wire.clients = LEDGER
        wire.host.run()
        wire.host.run(revoke=[{"name": "client/carol", "reason": "keyCompromise"}])
        wire.clients = tuple(one for one in LEDGER if one["name"] != "client/carol")
        ruled = [{"path": "/buyers", "allow": {"groups": ["buyers"]}}]
        wire.serve(
            wire.site(locations=ruled),
            wire.site(name="modern", tls="modern", port=self.ports["modern"], locations=ruled),
            scope="accepted",
        )
        self.issuers = Issuers(wire.host, datetime.now(UTC))
        self.made: dict[str, Shown | None] = {}

    def present(self, client: Knocking, preset: str, path: str = "/", version: ssl.TLSVersion | None = None) -> Answer:
        """One request of the client."""
        if client.who not in self.made:
            self.made[client.who] = client.make(self.issuers)
        shown = self.made[client.who]
        version = version or VERSIONS[preset]
        context = ssl.create_default_context(cafile=str(self.wire.host.store / "trust-anchor.crt"))
        context.minimum_version = context.maximum_version = version
        if shown is not None:
            # The client takes itself for anything; what counts is what the gateway says.
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            with tempfile.NamedTemporaryFile(dir=self.wire.folder) as chain, tempfile.NamedTemporaryFile() as key:
                Path(chain.name).write_bytes(shown.chain)
                Path(key.name).write_bytes(shown.key)
                context.load_cert_chain(chain.name, key.name)
        with socket.create_connection(("127.0.0.1", self.ports[preset]), timeout=5) as plain:
            try:
                return _ask(plain, context, path, shown)
            except (ssl.SSLError, tls.NoSession, ConnectionError):
                return Answer(0, "")


def _ask(plain: socket.socket, context: ssl.SSLContext, path: str, shown: Shown | None) -> Answer:
    if shown is not None and shown.spoil is not None:
        return _ask_spoiled(plain, context, shown)
    with context.wrap_socket(plain, server_hostname="orders.test") as session:
        session.sendall(f"GET {path} HTTP/1.1\r\nHost: orders.test\r\nConnection: close\r\n\r\n".encode())
        status, _, content = tls._read_answer(session, tls.Deadline(5))
    return Answer(status, content.decode())


def _ask_spoiled(plain: socket.socket, context: ssl.SSLContext, shown: Shown) -> Answer:
    """A handshake whose bytes are altered on their way; it must not come to an end."""
    assert shown.spoil
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(received, sent, server_hostname="orders.test")
    spoilt = False
    while True:
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            content = sent.read()
            spoilt = spoilt or content != shown.spoil(content)
            plain.sendall(shown.spoil(content))
            if not (answer := plain.recv(65536)):
                break
            received.write(answer)
        except ssl.SSLError:
            break
        else:
            raise AssertionError("a session came about")
    assert spoilt
    raise ConnectionError("no session")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with started(tmp_path_factory.mktemp("identities")) as wire:
        yield Site(wire)


def found(answer: Answer) -> str:
    """What the table says."""
    if answer.status == 0:
        return NO_SESSION
    if answer.status == 200:
        assert answer.headers["verified"] == "SUCCESS"
        assert " TWICE " not in "".join(answer.headers.values())
        return ACCEPTED
    assert answer.status == (403 if answer.error in FORBIDDEN else 400)
    assert set(answer.document) == {"error", "site", "release", "trust", "config"}
    return answer.error


@pytest.mark.parametrize(
    ("client", "preset"),
    [pytest.param(one, preset, id=f"{one.who}, {preset}") for one in CLIENTS for preset in one.presets],
)
def test_everybody_is_answered_as_documented(site: Site, client: Knocking, preset: str) -> None:
    assert found(site.present(client, preset)) == client.answer_of(preset)


@pytest.mark.parametrize("client", [one for one in CLIENTS if one.answer == ACCEPTED], ids=lambda one: one.who)
def test_a_rule_lets_in_nobody_whom_the_ledger_does_not_know(site: Site, client: Knocking) -> None:
    answer = site.present(client, "modern", "/buyers")
    assert answer.status == (200 if client.known else 403)
    assert client.known or answer.error == "client certificate not known to this gateway"


def test_a_client_without_tls_1_3_gets_no_session_from_preset_modern(site: Site) -> None:
    good = next(one for one in CLIENTS if one.known)
    assert found(site.present(good, "modern", version=ssl.TLSVersion.TLSv1_2)) == NO_SESSION
    assert found(site.present(good, "intermediate", version=ssl.TLSVersion.TLSv1_3)) == ACCEPTED


def test_the_page_says_what_the_site_does() -> None:
    page = (ROOT / "docs" / "who-gets-in.md").read_text()
    told = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, flags=re.MULTILINE)
    assert [row for row in told if row[0] not in ("client", "---")] == [(one.who, told_answer(one)) for one in CLIENTS]
    assert re.findall(r"^## (.+)$", page, flags=re.MULTILINE)[: len(GROUPS)] == list(GROUPS)


def told_answer(client: Knocking) -> str:
    """The answer as the page shows it."""
    answer, modern = (
        {ACCEPTED: "**accepted**", NO_SESSION: "no TLS session"}.get(one, f"`{one}`")
        for one in (client.answer, client.modern)
    )
    return f"{answer}; with TLS 1.3 {modern}" if client.modern else answer
