from __future__ import annotations

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords

NEW, OLD = "the-new-password-0Zx9", "the-old-password-7Qy3"


def test_a_key_opens_by_its_present_password_and_by_the_one_before() -> None:
    given = Passwords({"ca/root": NEW, "previous/ca/root": OLD, "client/alice": NEW})
    key = keys.generate("ec-p256")
    for password in (NEW, OLD):
        opened = given.open(keys.encrypted_pem(key, password.encode()), "ca/root", "key")
        assert keys.public_key_sha256(opened.public_key()) == keys.public_key_sha256(key.public_key())
    with pytest.raises(KitError, match="the password does not open the key"):
        given.open(keys.encrypted_pem(key, OLD.encode()), "client/alice", "key")
    assert given.of("ca/root") == NEW.encode()
    assert dict(given.previous) == {"ca/root": OLD.encode()}


def test_a_missing_one_is_named() -> None:
    with pytest.raises(KitError, match="password of client/bob: found none"):
        Passwords({"client/alice": NEW}).of("client/bob")
