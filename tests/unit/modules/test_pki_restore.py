"""The module pki_restore as Ansible calls it: the store of the archive and what gateways know since, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.mtls.kit.plugins.modules import pki_backup, pki_restore
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client
from tests.unit.modules.pki_call import Call

ARCHIVE_PASSWORD = "correct horse battery staple"


@pytest.fixture
def arguments(host: AuthorityHost, pki_call: Call) -> dict[str, Any]:
    """A backup of now, and what a restore of it takes."""
    archive = str(host.store.parent / "demo.mtlskit")
    done = pki_call(
        pki_backup, store=str(host.store), archive=archive, archive_password=ARCHIVE_PASSWORD,
        passwords=json.dumps(dict(host.passwords)),
    )  # fmt: skip
    assert done["changed"]
    return {"store": str(host.store), "name": "demo", "archive": archive, "archive_password": ARCHIVE_PASSWORD}


def lose(host: AuthorityHost) -> None:
    """The CA host's disk is gone; its files are kept for comparison."""
    host.store.rename(host.store.with_name("lost"))


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of every file but the ledger and its lock."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "ledger.sqlite")
    }


def crl_number(host: AuthorityHost) -> int:
    crl = x509.load_pem_x509_crl((host.store / "authorities/issuing-g1/crl.pem").read_bytes())
    return int(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)


def test_the_round_trip_brings_every_file_back_and_the_pki_goes_on(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    host.after(hours=1)
    lose(host)
    result = pki_call(pki_restore, **arguments)
    assert result["changed"]
    assert result["changes"] == [{"name": "store", "action": "write", "reason": "write: restored from demo.mtlskit"}]
    assert "moved_aside" not in result
    assert files(host.store) == files(host.store.with_name("lost"))
    assert host.store.stat().st_mode & 0o777 == 0o700
    assert set(host.reasons().values()) == {"sign-crl: restored from a backup", "write: restored from a backup"}
    assert host.reasons() == {}
    assert host.verify("client/alice", "sslclient") == "OK"


def test_numbers_jump_over_all_that_was_handed_out_since(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    for day in range(3):
        host.after(days=1).run(certificates=[client("alice"), client(f"late-{day}")])
    seen = host.run().trust["issuing"]["number"], crl_number(host)
    host.after(minutes=1)
    lose(host)
    pki_call(pki_restore, **arguments)
    trust = host.run(certificates=[client("alice"), client("bob")]).trust["issuing"]
    assert trust["number"] > seen[0]
    assert crl_number(host) > seen[1]
    # Also over those of a CA host whose last days nobody remembers: no run hands out a number a second.
    assert min(trust["number"], crl_number(host)) > host.now.timestamp()


def test_what_a_gateway_knows_as_revoked_stays_revoked(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    host.after(hours=1).run(certificates=[client("alice"), client("bob"), client("late")])
    host.after(hours=1).run(revoke=[{"name": "client/bob"}, {"name": "client/late"}])
    known = host.run().trust["issuing"]["files"]["revoked.map"]
    assert len(known.splitlines()) == 2
    lose(host)
    result = pki_call(pki_restore, **arguments, revocations=[known, "", known])
    assert sorted((change["name"], change["action"]) for change in result["changes"]) == [
        ("client/bob", "revoke"),
        ("store", "write"),
        ("unknown", "revoke"),
    ]
    files = host.run(revoke=[], certificates=[client("alice")]).trust["issuing"]["files"]
    assert files["revoked.map"] == known
    crl = x509.load_pem_x509_crl(files["crl.pem"].encode())
    assert {f"{entry.serial_number:X}" for entry in crl} == {
        line.split(":")[1].split('"')[0].lstrip("0") for line in known.splitlines()
    }


def test_check_mode_opens_all_of_it_writes_nothing_and_says_the_same(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    lose(host)
    arguments |= {"revocations": ['"2:0BADCAFE" 1;\n'], "passwords_file": str(host.store.with_name("passwords"))}
    foreseen = pki_call(pki_restore, check=True, **arguments)
    assert sorted(path.name for path in host.store.parent.iterdir()) == ["demo.mtlskit", "lost"]
    done = pki_call(pki_restore, **arguments)
    assert [change["action"] for change in done["changes"]] == ["write", "revoke"]
    assert (foreseen["changed"], foreseen["changes"]) == (done["changed"], done["changes"])


def test_a_store_that_is_there_stays_or_is_moved_aside(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    host.run(certificates=[client("alice"), client("late")])
    before = files(host.store)
    assert "replace=true" in pki_call(pki_restore, **arguments)["msg"]
    assert "moved_aside" not in pki_call(pki_restore, check=True, **arguments, replace=True)
    assert files(host.store) == before
    aside = Path(pki_call(pki_restore, **arguments, replace=True)["moved_aside"])
    assert aside == host.store.with_name("store.replaced-20261124T120000Z")
    assert files(aside) == before
    assert not (host.store / "certificates/client/late").exists()


def test_passwords_come_back_for_their_owner_only_and_are_never_told(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    lose(host)
    passwords = host.store.with_name("passwords")
    pki_call(pki_restore, **arguments, passwords_file=str(passwords))
    assert json.loads(passwords.read_text()) == dict(host.passwords)
    assert passwords.stat().st_mode & 0o777 == 0o600
    for secret in (ARCHIVE_PASSWORD, *dict(host.passwords).values()):
        assert secret not in pki_call.printed
    host.store.rename(host.store.with_name("again"))
    refused = pki_call(pki_restore, **arguments, passwords_file=str(passwords))
    assert "a name that is not taken" in refused["msg"]
    assert not host.store.exists()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"archive_password": "another password 12"}, "the password does not open it"),
        ({"name": "other"}, "found the PKI 'demo'; expected the PKI 'other'"),
        ({"revocations": ["gibberish"]}, "the line 'gibberish'"),
        ({"archive": "/nowhere/at/all"}, "a readable file"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_there(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any], check: bool, wrong: dict[str, Any], found: str
) -> None:
    lose(host)
    result = pki_call(pki_restore, check=check, **{**arguments, **wrong})
    assert result["failed"]
    assert found in result["msg"]
    assert "Next: " in result["msg"]
    assert sorted(path.name for path in host.store.parent.iterdir()) == ["demo.mtlskit", "lost"]


@pytest.mark.parametrize("damage", ["cut in half", "last byte gone", "one bit", "something added"])
def test_a_damaged_archive_leaves_the_store_that_is_there(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any], damage: str
) -> None:
    archive = Path(arguments["archive"])
    whole = archive.read_bytes()
    middle = len(whole) // 2
    archive.write_bytes(
        {
            "cut in half": whole[:middle],
            "last byte gone": whole[:-1],
            "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "something added": whole + b"\0",
        }[damage]
    )
    before = files(host.store)
    result = pki_call(pki_restore, **arguments, replace=True)
    assert result["failed"]
    assert result["msg"].startswith(f"archive {archive}: found ")
    assert files(host.store) == before
    assert sorted(path.name for path in host.store.parent.iterdir()) == ["demo.mtlskit", "store"]
