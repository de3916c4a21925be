"""Platforms and the files they bring."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._pki import platforms
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.roles.conftest import CHECKOUT


def test_a_client_of_two_platforms_has_the_files_of_both() -> None:
    assert platforms.files_of(["java", "curl"], "client 'alice'") == {"Client.java", "truststore.p12", "curl.sh"}
    assert platforms.files_of([], "client 'alice'") == set()


def test_triple_des_is_for_those_alone_that_read_nothing_better() -> None:
    weak = {name for name in platforms.PLATFORMS if platforms.COMPATIBLE_ARCHIVE in platforms.files_of([name], "")}
    assert weak == {"apple", "android"}


def test_an_unknown_platform_is_named() -> None:
    with pytest.raises(KitError, match="client 'alice': found the platform 'cobol'"):
        platforms.files_of(["cobol"], "client 'alice'")


@pytest.mark.parametrize(
    ("role", "keys"),
    [
        ("client_bundle", ("client_bundle_platforms",)),
        ("pki", ("pki_clients", "options", "platforms")),
    ],
)
def test_the_roles_know_the_same_platforms(role: str, keys: tuple[str, ...]) -> None:
    specs = yaml.safe_load((CHECKOUT / "roles" / role / "meta/argument_specs.yml").read_text())
    option = specs["argument_specs"]["main"]["options"]
    for key in keys:
        option = option[key]
    assert option["choices"] == list(platforms.PLATFORMS)
