"""Where one look can't tell whether anything is due, and what it is given where it can."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.wishes import (
    Variables,
    look_wish,
    not_judged,
    systems,
)

SITE = {"name": "orders", "server_names": ["*.orders.test"], "backend": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"nginx_mtls_sites": []}, "it has no sites"),
        ({"nginx_mtls_instance": "container"}, "its Nginx is a container"),
        ({"nginx_mtls_root": "/srv/mtls"}, "nginx_mtls_root is not certificate_install_root"),
        ({"certificate_install_password_delivery": "none"}, "site orders: its password is delivered by none"),
        ({"nginx_mtls_sites": [{**SITE, "certificate": "acme"}]}, "site orders: a public CA certifies it"),
        ({}, ""),
    ],
)
def test_what_a_look_cannot_judge(changed: dict[str, Any], reason: str) -> None:
    assert not_judged(Variables({"nginx_mtls_sites": [SITE], **changed})) == reason


def test_the_defaults_are_those_of_the_roles() -> None:
    wish = look_wish(Variables({"nginx_mtls_sites": [SITE]}))
    assert (wish["root"], wish["owner"], wish["keep"]) == ("/etc/mtls", "root", 3)
    assert wish["sites"] == [
        {"name": "orders", "address": "127.0.0.1", "port": 443, "server_name": "any.orders.test"},
    ]
    assert "Debian 12" in systems()
