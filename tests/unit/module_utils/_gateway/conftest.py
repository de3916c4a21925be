"""Fixtures: a PKI made once, and a gateway of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.module_utils._gateway.delivery import Gateway, Pki, current_user


@pytest.fixture
def pki() -> Pki:
    return Pki()


@pytest.fixture
def gateway(tmp_path: Path, pki: Pki) -> Gateway:
    """Nothing is there yet."""
    return Gateway(tmp_path / "etc" / "mtls", pki, current_user())


@pytest.fixture
def deployed(gateway: Gateway) -> Gateway:
    """A gateway with its first release and trust in use."""
    gateway.deploy()
    return gateway
