"""Fixtures of the modules' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.module_utils._pki.authority_host import AuthorityHost
from tests.unit.modules.pki_call import Call


@pytest.fixture
def host(tmp_path: Path) -> AuthorityHost:
    """A CA host with its first run behind it."""
    host = AuthorityHost(tmp_path)
    host.run()
    return host


@pytest.fixture
def pki_call(host: AuthorityHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a module of the PKI."""
    return Call(host, monkeypatch, capsys)
