"""How a gateway's variables say it, and what the modules get."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.filter.password_deliveries import (
    FilterModule,
    nginx_unit,
    password_deliveries,
    password_delivery_problems,
    password_wishes,
)

SITES = [{"name": "orders", "port": 1}, {"name": "stock", "password_delivery": "none"}]


def test_a_site_has_its_own_or_its_gateways() -> None:
    assert password_deliveries(SITES, "memory") == [
        {"name": "orders", "port": 1, "password_delivery": "memory"},
        {"name": "stock", "password_delivery": "none"},
    ]
    assert password_wishes(SITES, "file") == [
        {"name": "orders", "password_delivery": "file"},
        {"name": "stock", "password_delivery": "none"},
    ]


def test_a_key_without_a_password_has_to_be_accepted() -> None:
    [message] = password_delivery_problems(SITES, "none", False, "gw1")
    assert message.startswith("password delivery none of orders, stock on gw1: found no certificate_install_plain_keys")
    assert password_delivery_problems(SITES, "none", True, "gw1") == []
    assert password_delivery_problems(SITES[:1], "file", False, "gw1") == []


@pytest.mark.parametrize(
    ("variables", "unit"),
    [
        ({}, "nginx.service"),
        ({"nginx_mtls_instance": "packaged", "nginx_mtls_service": "auto"}, "nginx.service"),
        ({"nginx_mtls_instance": "own"}, ""),
        ({"nginx_mtls_instance": "container"}, "docker.service"),
        ({"nginx_mtls_service": "signals"}, ""),
        ({"nginx_mtls_instance": "own", "certificate_install_unit": "mine.service"}, "mine.service"),
    ],
)
def test_the_unit_that_runs_nginx(variables: dict[str, Any], unit: str) -> None:
    assert nginx_unit(variables) == unit


def test_names_as_roles_use_them() -> None:
    assert set(FilterModule().filters()) == {
        "password_deliveries",
        "password_wishes",
        "password_delivery_problems",
        "nginx_unit",
    }
