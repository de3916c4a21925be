"""The code of the bundles: whole for every platform, and its checks switched off in none."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.filter.client_code import NO_ADDRESS, FilterModule
from ansible_collections.mtls.kit.plugins.module_utils._pki.platforms import CLIENT, CODE_FILES
from tests.unit.roles.conftest import CHECKOUT

URL = "https://api.example.com:8443/orders/"
TEMPLATES = CHECKOUT / "roles/client_bundle/templates"
CODE: dict[str, str] = FilterModule().filters()["client_code"]([URL, "https://other.example.com/"], str(TEMPLATES))

SWITCHED_OFF = re.compile(
    r"(^|\s)(-k|--insecure|--no-check-certificate)\b|verify\s*=\s*False|CERT_NONE|rejectUnauthorized: false"
    r"|InsecureSkipVerify: true|proxy_ssl_verify off|badCertificateCallback\s*[=(]|X509TrustManager|ACCEPT_UNTRUSTED"
    r"|NODE_TLS_REJECT_UNAUTHORIZED|disable_warnings|HostnameVerifier",
    re.MULTILINE,
)

every_file = pytest.mark.parametrize("name", CODE_FILES)


def test_every_template_is_handed_out_and_every_file_has_one() -> None:
    assert {path.name.removesuffix(".j2") for path in TEMPLATES.iterdir()} == set(CODE_FILES) == set(CODE)


@every_file
def test_it_has_the_address_the_client_and_the_renewal_and_verifies(name: str) -> None:
    assert "api.example.com" in CODE[name]
    assert CLIENT in CODE[name]
    assert "Renewal" in CODE[name]
    assert "other.example.com" not in CODE[name]
    assert not SWITCHED_OFF.search(CODE[name])
    assert "{{" not in CODE[name]
    assert CODE[name].endswith("\n")


@pytest.mark.parametrize("name", [name for name in CODE_FILES if name.endswith(".py")])
def test_python_is_python(name: str) -> None:
    ast.parse(CODE[name])


def test_envoy_has_its_port_and_compares_the_name() -> None:
    cluster = yaml.safe_load(CODE["envoy.yaml"])["static_resources"]["clusters"][0]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "api.example.com", "port_value": 8443}
    validation = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
    assert validation["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "api.example.com"}}]


def test_dart_sets_all_three_and_asks_for_the_password() -> None:
    dart = CODE["mtls_client.dart"]
    assert re.search(r"SecurityContext\(withTrustedRoots: false\)", dart)
    for call in ("setTrustedCertificatesBytes", "useCertificateChainBytes", "usePrivateKeyBytes"):
        assert f"..{call}(await read(" in dart
    assert "password: await keyPassword()" in dart
    assert "IOHttpClientAdapter(" in dart


def test_without_an_address_it_calls_one_that_is_nobodys() -> None:
    assert NO_ADDRESS in FilterModule().filters()["client_code"]([], str(TEMPLATES))["curl.sh"]
