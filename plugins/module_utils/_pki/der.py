"""A writer of DER (ITU-T X.690), as much of it as a CRL needs: ``cryptography`` builds an object for each entry."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30

_PEM_PIECE: Final = 48 * 4096
"""Octets that are encoded at a time, so that a CRL of 50 MB is never in memory as a list of its lines."""


def explicit(number: int) -> int:
    """The tag ``[number]`` of a constructed, context-specific element (X.690 section 8.1.2)."""
    return 0xA0 | number


def header(tag: int, length: int) -> bytes:
    """Identifier and length octets of an element (X.690 sections 8.1.2, 8.1.3 and 10.1: the shortest form)."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def element(tag: int, *contents: bytes | bytearray) -> bytes:
    """A whole element; ``contents`` are joined."""
    content = b"".join(contents)
    return header(tag, len(content)) + content


def sequence(*elements: bytes | bytearray) -> bytes:
    """A SEQUENCE, or a SEQUENCE OF."""
    return element(SEQUENCE, *elements)


def integer(value: int) -> bytes:
    """An INTEGER that is not negative: as few octets as hold it and a leading 0 bit (X.690 section 8.3)."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def object_identifier(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER in base 128 (X.690 section 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    octets = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        octets.extend(reversed(groups))
    return element(OBJECT_IDENTIFIER, bytes(octets))


def time(moment: datetime) -> bytes:
    """A Time in whole seconds: UTCTime up to 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5)."""
    utc = moment.astimezone(UTC)
    if utc.year < 2050:
        return element(UTC_TIME, utc.strftime("%y%m%d%H%M%SZ").encode())
    return element(GENERALIZED_TIME, utc.strftime("%Y%m%d%H%M%SZ").encode())


def bit_string(content: bytes) -> bytes:
    """A BIT STRING of whole octets (X.690 section 8.6)."""
    return element(BIT_STRING, b"\0", content)


def pem(label: str, content: bytes) -> bytes:
    """The text of RFC 7468 section 2: base64 in lines of 64 characters, 48 octets each."""
    text = bytearray(f"-----BEGIN {label}-----\n".encode())
    view = memoryview(content)
    for start in range(0, len(view), _PEM_PIECE):
        encoded = base64.standard_b64encode(view[start : start + _PEM_PIECE])
        text += b"".join([encoded[line : line + 64] + b"\n" for line in range(0, len(encoded), 64)])
    text += f"-----END {label}-----\n".encode()
    return bytes(text)
