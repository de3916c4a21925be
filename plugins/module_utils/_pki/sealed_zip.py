"""A ZIP archive that one password opens, in the form of WinZip's AES (AE-2): 7-Zip, bsdtar, Keka and WinZip read it.

Python's ``zipfile`` knows ZIP's old encryption only, which is none. AE-2 is AES-256 in counter mode with a
little-endian counter, an HMAC-SHA-1 over the ciphertext (80 bits of it), and PBKDF2-HMAC-SHA-1 with 1,000 rounds, which
is right for generated passwords alone: those of client keys have 128 random bits or more. File names are in the clear.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_LOCAL: Final = b"PK\x03\x04"
_CENTRAL: Final = b"PK\x01\x02"
_END: Final = b"PK\x05\x06"
_VERSION: Final = 51
_UNIX: Final = 3 << 8
_ENCRYPTED: Final = 1
_AES: Final = 99
_DEFLATED: Final = 8
_MIDNIGHT_1980: Final = (0, 0x21)
"""Time and date that MS-DOS begins with: when a file was made says nothing that its certificate doesn't."""
_EXTRA: Final = struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", 3, _DEFLATED)
_SALT: Final = 16
_KEY: Final = 32
_MAC: Final = 10
_ROUNDS: Final = 1_000


def sealed(folder: str, files: Mapping[str, tuple[bytes, int]], password: str) -> bytes:
    """``files`` ({name: (content, mode)}) below ``folder``, encrypted under ``password``."""
    body, directory = bytearray(), bytearray()
    for name, (content, mode) in files.items():
        path = f"{folder}/{name}".encode()
        data = _encrypted(_deflated(content), password.encode())
        # Checksum 0: AE-2 has none, for it would tell of the plain content.
        sizes = (0, len(data), len(content), len(path), len(_EXTRA))
        common = struct.pack("<HHHHHIIIHH", _VERSION, _ENCRYPTED, _AES, *_MIDNIGHT_1980, *sizes)
        directory += _CENTRAL + struct.pack("<H", _VERSION | _UNIX) + common
        directory += struct.pack("<HHHII", 0, 0, 0, (0o100000 | mode) << 16, len(body)) + path + _EXTRA
        body += _LOCAL + common + path + _EXTRA + data
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    return bytes(body + directory) + _END + end


def _deflated(content: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(content) + squeezer.flush()


def _encrypted(plain: bytes, password: bytes) -> bytes:
    salt = secrets.token_bytes(_SALT)
    derived = hashlib.pbkdf2_hmac("sha1", password, salt, _ROUNDS, 2 * _KEY + 2)
    key, mac_key, verifier = derived[:_KEY], derived[_KEY : 2 * _KEY], derived[2 * _KEY :]
    blocks = -(-len(plain) // 16)
    counters = b"".join(number.to_bytes(16, "little") for number in range(1, blocks + 1))
    # ECB over distinct counters is counter mode; the library's own counts the other way round.
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    stream = encryptor.update(counters) + encryptor.finalize()
    data = bytes(one ^ other for one, other in zip(plain, stream, strict=False))
    return salt + verifier + data + hmac.new(mac_key, data, hashlib.sha1).digest()[:_MAC]
