"""Keys: how they are kept, and clear answers when they don't open."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

PBES2 = bytes.fromhex("06092a864886f70d01050d")
PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
AES_256_CBC = bytes.fromhex("060960864801650304012a")


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_a_key_comes_back_with_its_password_only(key_type: str) -> None:
    key = keys.generate(key_type)
    pem = keys.encrypted_pem(key, b"right")
    again = keys.load_encrypted(pem, b"right", "key of x")
    assert keys.public_key_sha256(again.public_key()) == keys.public_key_sha256(key.public_key())
    assert keys.key_type_of(again) == keys.key_type_of(again.public_key()) == key_type
    with pytest.raises(KitError, match="key of x: found that the password does not open the key"):
        keys.load_encrypted(pem, b"wrong", "key of x")


def test_encryption_is_what_every_consumer_reads() -> None:
    pem = keys.encrypted_pem(keys.generate("ec-p256"), b"password")
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    for oid in (PBES2, PBKDF2, HMAC_SHA256, AES_256_CBC):
        assert oid in der


def test_what_is_no_encrypted_key_is_named() -> None:
    plain = keys.generate("ec-p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KitError, match="not encrypted"):
        keys.load_encrypted(plain, b"x", "key")
    with pytest.raises(KitError, match="no private key in PEM"):
        keys.load_encrypted(b"hello", b"x", "key")
    foreign = keys.encrypted_pem(dsa.generate_private_key(2048), b"x")  # type: ignore[arg-type]
    with pytest.raises(KitError, match="one of ec-p256"):
        keys.load_encrypted(foreign, b"x", "key")


@pytest.mark.parametrize("password", ["", "a\nb", "a\rb", "a\0b"])
def test_passwords_that_a_file_of_one_line_cannot_hold(password: str) -> None:
    with pytest.raises(KitError, match="password of client/a"):
        keys.check_password(password, "client/a")


def test_key_types_the_kit_does_not_use() -> None:
    assert keys.key_type_of(ec.generate_private_key(ec.SECP521R1())) is None
    assert keys.describe(ec.generate_private_key(ec.SECP521R1())) == "secp521r1"
    with pytest.raises(KitError, match="RSA begins at 2048 bits"):
        keys.check_key_type("rsa-1024", "x")
