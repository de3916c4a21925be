"""A controller with a vault password, as Ansible gives one to an action."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return controller_with(tmp_path, b"the vault password of the test")


def controller_with(inventory_dir: Path | None, *vault_passwords: bytes) -> Controller:
    secrets = [(f"id{number}", VaultSecret(password)) for number, password in enumerate(vault_passwords)]
    return Controller(vault=VaultLib(secrets), inventory_dir=inventory_dir, lookup=no_lookup)


def no_lookup(name: str, terms: list[str], options: Mapping[str, Any]) -> Any:
    raise AssertionError(f"lookup {name} was not to be asked")
