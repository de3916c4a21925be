"""The one look at a gateway where there is nothing to look at; tests/integration/test_unchanged.py has an Nginx."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from ansible_collections.mtls.kit.plugins.module_utils._gateway import settled
from tests.unit.module_utils._gateway.delivery import NOW, Gateway, current_user


def wish(root: Path, binary: str = "no-such-nginx") -> settled.Wish:
    settings = {"instance": "packaged", "prefix": "", "service": "signals", "binary": binary}
    site = {"name": "orders", "address": "127.0.0.1", "port": 9, "server_name": "orders.example.test"}
    return settled.Wish(str(root), current_user(), "", 3, settings, [site], b"salt")


def test_what_is_missing_is_a_fault_and_no_failure(deployed: Gateway) -> None:
    found = settled.look(wish(deployed.root), NOW, NOW)
    assert "no such program" in found["faults"][0]
    assert (found["sites"], found["served"]) == ({}, {})


def test_a_clock_that_is_wrong_is_a_fault(deployed: Gateway) -> None:
    assert "clock of the gateway" in settled.look(wish(deployed.root), NOW, NOW + timedelta(minutes=3))["faults"][0]


def test_a_proof_says_nothing_without_its_salt() -> None:
    assert settled.proof(b"salt", b"x") == settled.proof(b"salt", b"x")
    assert len({settled.proof(b"salt", b"x"), settled.proof(b"pepper", b"x"), settled.proof(b"salt", b"y")}) == 3


def test_a_system_is_named_as_the_roles_do() -> None:
    assert settled.system().split()[0] in {"Debian", "Ubuntu"}
