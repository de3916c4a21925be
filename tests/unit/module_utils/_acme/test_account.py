"""The account's key: made once, never plain, and taken along by a rotation of its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._acme import account
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords

OLD, NEW = "an-old-password-of-the-account", "a-new-password-of-the-account"


def test_it_is_made_once_and_follows_its_password(tmp_path: Path) -> None:
    path = tmp_path / "public" / "account.key"
    first = Passwords({"acme/account": OLD})
    assert account.converge(path, first, True) == "issue: no account key yet"
    assert not path.parent.exists()
    assert account.converge(path, first, False) == "issue: no account key yet"
    assert (path.stat().st_mode & 0o7777, path.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
    made = keys.load_encrypted(path.read_bytes(), OLD.encode(), "key")
    assert keys.key_type_of(made) == "ec-p256"
    assert account.converge(path, first, False) is None

    rotated = Passwords({"acme/account": NEW, "previous/acme/account": OLD})
    assert account.converge(path, rotated, False) == "re-encrypt: password rotated"
    again = keys.load_encrypted(path.read_bytes(), NEW.encode(), "key")
    assert keys.public_key_sha256(again.public_key()) == keys.public_key_sha256(made.public_key())
    assert account.converge(path, rotated, False) is None
    before = path.read_bytes()
    with pytest.raises(KitError, match="the password does not open the key"):
        account.converge(path, first, False)
    assert path.read_bytes() == before
