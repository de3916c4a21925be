"""The module certificate_request as Ansible calls it: arguments in, one JSON out, nothing secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import KEY_TYPES
from ansible_collections.mtls.kit.plugins.modules import certificate_request
from tests.unit.module_utils._gateway.delivery import PASSWORD, Gateway, Pki, current_user

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            certificate_request.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def arguments(root: Path, **site: Any) -> dict[str, Any]:
    common = Gateway(root, Pki(), current_user()).common()
    return {**common, "sites": [{"name": "orders", "san": {"dns": ["orders.example.test"]}, **site}]}


def test_it_makes_a_request_and_shows_no_secret(tmp_path: Path, call: Call) -> None:
    result = call(**arguments(tmp_path / "mtls"))
    assert result["changed"] is True
    assert result["csrs"]["orders"].startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
    assert result["changes"] == [{"name": "orders", "action": "write", "reason": "write: no release on the gateway"}]
    assert json.loads(result["diff"]["after"]) == {"orders": "a request waits"}
    assert PASSWORD not in json.dumps(result)
    assert call(**arguments(tmp_path / "mtls"))["changed"] is False


def test_check_mode(tmp_path: Path, call: Call) -> None:
    result = call(**arguments(tmp_path / "mtls"), _ansible_check_mode=True)
    assert (result["changed"], result["csrs"]) == (True, {})
    assert not (tmp_path / "mtls").exists()


def test_what_is_wrong_fails_with_the_four_parts(tmp_path: Path, call: Call) -> None:
    result = call(**arguments(tmp_path / "mtls", name="Orders"))
    assert result["failed"] is True
    assert result["msg"].startswith("site: found the name 'Orders'; expected 1 to 32 of a-z 0-9 -")
    assert "Next: " in result["msg"]


def test_a_gateway_without_the_library_is_told_so(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_request, "MISSING", "Traceback")
    result = call(**arguments(tmp_path / "mtls"))
    assert "cryptography" in result["msg"]


def test_key_types_are_those_that_the_kit_makes() -> None:
    assert tuple(certificate_request.KEY_TYPES) == KEY_TYPES


def test_the_request_of_the_key_in_use_is_shown_to_another_ca(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "mtls", Pki(), current_user())
    first = gateway.request(shown=True)
    assert first["requests"] == first["csrs"]
    gateway.certify(first["csrs"])
    gateway.release()
    before = gateway.tree()
    second = gateway.request(shown=True)
    assert (second["changed"], second["csrs"]) == (False, {})
    csr = x509.load_pem_x509_csr(second["requests"]["orders"].encode())
    leaf = x509.load_pem_x509_certificate(gateway.chains["orders"].encode())
    assert csr.is_signature_valid
    assert csr.public_key() == leaf.public_key()
    assert second["keys"] == {"orders": [keys.public_key_sha256(leaf.public_key())]}
    assert gateway.tree() == before
    # The next key is the one to be signed as soon as it is there.
    third = gateway.request(shown=True, wanted="renew: 29 of 90 days left")
    assert third["requests"] == third["csrs"]
    assert gateway.request()["requests"] == {}


def test_a_gateway_without_keys_has_nothing_to_show(tmp_path: Path, call: Call) -> None:
    result = call(**arguments(tmp_path / "mtls", shown=True), _ansible_check_mode=True)
    assert (result["requests"], result["keys"]) == ({}, {"orders": []})
