"""The module pki_backup as Ansible calls it: one file that tells nothing, or none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import store
from ansible_collections.mtls.kit.plugins.modules import pki_backup
from tests.unit.module_utils._pki.authority_host import AuthorityHost
from tests.unit.modules.pki_call import Call

ARCHIVE_PASSWORD = "correct horse battery staple"


@pytest.fixture
def arguments(host: AuthorityHost) -> dict[str, Any]:
    return {
        "store": str(host.store),
        "archive": str(host.store.parent / "demo.mtlskit"),
        "archive_password": ARCHIVE_PASSWORD,
        "passwords": json.dumps(dict(host.passwords)),
    }


def test_it_writes_one_file_for_its_owner_only(host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]) -> None:
    result = pki_call(pki_backup, **arguments)
    archive = Path(arguments["archive"])
    assert (result["changed"], result["archive"]) == (True, str(archive))
    assert result["changes"] == [{"name": "archive", "action": "write", "reason": "write: new backup demo.mtlskit"}]
    assert (result["size"], archive.stat().st_mode & 0o777) == (archive.stat().st_size, 0o600)
    assert sorted(path.name for path in host.store.parent.iterdir()) == ["demo.mtlskit", "store"]


def test_neither_archive_nor_result_tells_anything(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    pki_call(pki_backup, **arguments)
    content = Path(arguments["archive"]).read_bytes()
    for secret in (ARCHIVE_PASSWORD, *dict(host.passwords).values()):
        assert secret.encode() not in content
        assert secret not in pki_call.printed
    for readable in (b"PRIVATE KEY", b"BEGIN", b"SQLite", b"alice", b"ca/root"):
        assert readable not in content


def test_check_mode_writes_nothing_and_says_the_same(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]
) -> None:
    foreseen = pki_call(pki_backup, check=True, **arguments)
    assert [path.name for path in host.store.parent.iterdir()] == ["store"]
    assert "size" not in foreseen
    done = pki_call(pki_backup, **arguments)
    assert (foreseen["changed"], foreseen["changes"]) == (done["changed"], done["changes"])


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"archive_password": "short"}, "archive_password: found an empty or weak one"),
        ({"archive_password": "a" * 40}, "archive_password: found an empty or weak one"),
        ({"passwords": '["hunter2"]'}, "passwords: found something else than a JSON object of texts"),
        ({"store": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_what_is_wrong_is_told_and_no_file_is_left(
    host: AuthorityHost, pki_call: Call, arguments: dict[str, Any], check: bool, wrong: dict[str, str], found: str
) -> None:
    result = pki_call(pki_backup, check=check, **{**arguments, **wrong})
    assert result["failed"]
    assert found in result["msg"]
    assert "Next: " in result["msg"]
    assert "hunter2" not in result["msg"]
    assert [path.name for path in host.store.parent.iterdir()] == ["store"]


def test_an_archive_is_never_written_over(pki_call: Call, arguments: dict[str, Any]) -> None:
    archive = Path(arguments["archive"])
    archive.write_text("the backup of yesterday")
    result = pki_call(pki_backup, **arguments)
    assert "a name that is not taken" in result["msg"]
    assert archive.read_text() == "the backup of yesterday"


def test_a_store_in_use_is_named_with_its_user(host: AuthorityHost, pki_call: Call, arguments: dict[str, Any]) -> None:
    with store.opened(host.store, "demo", host.now):
        assert "in use by" in pki_call(pki_backup, **arguments)["msg"]
    assert not Path(arguments["archive"]).exists()
