"""Fixtures of the PKI's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.module_utils._pki.authority_host import AuthorityHost


@pytest.fixture
def host(tmp_path: Path) -> AuthorityHost:
    """A CA host whose store is not there yet."""
    return AuthorityHost(tmp_path)
