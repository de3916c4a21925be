"""The encrypted archive: read back by the format's own description, and closed to a wrong password."""

from __future__ import annotations

import hashlib
import hmac
import io
import zipfile
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ansible_collections.mtls.kit.plugins.module_utils._pki import sealed_zip

FILES = {
    "client.key": (b"a secret " * 100, 0o400),
    "README.md": (b"", 0o644),
    "one.block": (b"0123456789abcdef", 0o644),
}


def opened(archive: bytes, entry: zipfile.ZipInfo, password: str) -> bytes:
    """One file, by WinZip's description of AE-2: salt, verifier, ciphertext, and ten bytes of its HMAC."""
    begin = entry.header_offset
    name, extra = (int.from_bytes(archive[begin + at : begin + at + 2], "little") for at in (26, 28))
    start = begin + 30 + name + extra
    data = archive[start : start + entry.compress_size]
    salt, verifier, sealed, mac = data[:16], data[16:18], data[18:-10], data[-10:]
    derived = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, 1_000, 66)
    if derived[64:] != verifier or hmac.digest(derived[32:64], sealed, "sha1")[:10] != mac:
        raise PermissionError("wrong password")
    plain = bytearray()
    for number, at in enumerate(range(0, len(sealed), 16), start=1):
        encryptor = Cipher(algorithms.AES(derived[:32]), modes.ECB()).encryptor()  # noqa: S305  one block
        pad = encryptor.update(number.to_bytes(16, "little"))
        plain += bytes(one ^ other for one, other in zip(sealed[at : at + 16], pad, strict=False))
    return zlib.decompress(bytes(plain), wbits=-zlib.MAX_WBITS)


def test_every_file_is_there_with_its_mode_and_opens() -> None:
    archive = sealed_zip.sealed("alice", FILES, "the password")
    listed = zipfile.ZipFile(io.BytesIO(archive)).infolist()
    assert {entry.filename: entry.external_attr >> 16 & 0o777 for entry in listed} == {
        f"alice/{name}": mode for name, (_, mode) in FILES.items()
    }
    for entry in listed:
        content, _ = FILES[entry.filename.removeprefix("alice/")]
        assert (entry.compress_type, entry.flag_bits & 1, entry.CRC) == (99, 1, 0)
        assert opened(archive, entry, "the password") == content
        with pytest.raises(PermissionError):
            opened(archive, entry, "another password")


def test_nothing_of_it_can_be_read_and_no_two_are_alike() -> None:
    archive = sealed_zip.sealed("alice", FILES, "the password")
    assert b"a secret" not in archive
    assert archive != sealed_zip.sealed("alice", FILES, "the password")
