"""The module pki_revoked as Ansible calls it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names
from ansible_collections.mtls.kit.plugins.modules import pki_revoked
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, csr
from tests.unit.modules.pki_call import Call

RUN_PASSWORD = "made for this run only"


def shown(pki_call: Call, host: AuthorityHost, *revoked: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    arguments = {
        "store": str(host.store),
        "revoked": list(revoked),
        "passwords": json.dumps({"client/alice": host.passwords["client/alice"]}),
        "probe_password": RUN_PASSWORD,
    }
    result = pki_call(pki_revoked, **{**arguments, **more})
    assert not result.get("failed"), result
    assert result["changed"] is False
    certificates: list[dict[str, Any]] = result["certificates"]
    return certificates


def test_the_very_certificate_comes_with_its_key_under_the_password_of_the_run(
    host: AuthorityHost, pki_call: Call
) -> None:
    leaf = host.leaf("client/alice")
    host.run(revoke=[{"name": "client/alice", "reason": "keyCompromise"}])
    (found,) = shown(pki_call, host, {"name": "client/alice"})
    assert found["serial"] == names.serial_text(leaf.serial_number)
    assert (found["name"], found["reason"], found["untried"]) == ("client/alice", "keyCompromise", "")
    chain = x509.load_pem_x509_certificates(found["chain"].encode())
    assert chain[0] == leaf
    assert len(chain) == 2
    key = load_pem_private_key(found["key"].encode(), RUN_PASSWORD.encode())
    assert keys.public_key_der(key.public_key()) == keys.public_key_der(leaf.public_key())  # type: ignore[arg-type]
    assert host.passwords["client/alice"] not in pki_call.printed
    for asked in ({"serial": found["serial"]}, {"certificate": leaf.public_bytes(Encoding.PEM).decode()}):
        assert [one["serial"] for one in shown(pki_call, host, {"name": "client/alice"}, asked)] == [found["serial"]]


def test_what_is_valid_or_has_ended_is_not_among_them(host: AuthorityHost, pki_call: Call) -> None:
    assert shown(pki_call, host, {"name": "client/alice"}) == []
    host.run(revoke=[{"name": "client/alice"}])
    host.run(revoke=[])
    assert len(shown(pki_call, host, {"name": "client/alice"})) == 1
    host.after(days=200)
    assert shown(pki_call, host, {"name": "client/alice"}) == []


@pytest.mark.parametrize(
    ("passwords", "why"),
    [("{}", "no vault has the password"), ('{"client/alice": "another"}', "doesn't open its key")],
)
def test_a_key_that_cannot_be_opened_is_no_failure(
    host: AuthorityHost, pki_call: Call, passwords: str, why: str
) -> None:
    host.run(revoke=[{"name": "client/alice"}])
    (found,) = shown(pki_call, host, {"name": "client/alice"}, passwords=passwords)
    assert why in found["untried"]
    assert (found["chain"], found["key"]) == ("", "")


def test_a_key_made_elsewhere_is_not_at_hand(host: AuthorityHost, pki_call: Call) -> None:
    host.run(
        {"client/carol": csr(keys.generate("ec-p256"))},
        certificates=[*host.arguments["certificates"], client("carol", source="csr")],
    )
    host.run(revoke=[{"name": "client/carol"}])
    (found,) = shown(pki_call, host, {"name": "client/carol"})
    assert found["untried"] == "its key was not made by this CA"


def test_a_weak_password_of_the_run_is_refused(host: AuthorityHost, pki_call: Call) -> None:
    result = pki_call(pki_revoked, store=str(host.store), revoked=[], passwords="{}", probe_password="short")
    assert "fewer than 16" in result["msg"]
