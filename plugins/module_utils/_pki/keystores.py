"""PKCS#12 files (RFC 7292): certificate and key in the two forms that platforms read, and Java's truststore."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.mtls.kit.plugins.module_utils._pki import der, names

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12PrivateKeyTypes

TRUSTSTORE_PASSWORD: Final = "changeit"  # noqa: S105  Java's own default; what it protects is public
_ITERATIONS: Final = 2_048

_DATA: Final = "1.2.840.113549.1.7.1"
_CERTIFICATE_BAG: Final = "1.2.840.113549.1.12.10.1.3"
_X509_CERTIFICATE: Final = "1.2.840.113549.1.9.22.1"
_FRIENDLY_NAME: Final = "1.2.840.113549.1.9.20"
_TRUSTED_KEY_USAGE: Final = "2.16.840.1.113894.746875.1.1"
"""Oracle's attribute: without it Java takes a certificate for part of somebody's chain and trusts nobody by it."""
_ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"
_SHA256: Final = "2.16.840.1.101.3.4.2.1"
_BMP_STRING: Final = 0x1E
_SET: Final = 0x31
_VERSION: Final = 3
_MAC_PURPOSE: Final = 3
_BLOCK: Final = 64
"""Octets of a block of SHA-256."""


def modern(
    name: str, key: PKCS12PrivateKeyTypes, leaf: x509.Certificate, chain: Sequence[x509.Certificate], password: str
) -> bytes:
    """PBES2, AES-256-CBC and an HMAC-SHA-256: what browsers, Java, NSS, GnuTLS and OpenSSL 3 read.

    As many iterations as client.key has: the passwords, which key_password checks, have 128 random bits or more.
    """
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_ITERATIONS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    return pkcs12.serialize_key_and_certificates(name.encode(), key, leaf, chain, encryption)


def compatible(
    name: str, key: PKCS12PrivateKeyTypes, leaf: x509.Certificate, chain: Sequence[x509.Certificate], password: str
) -> bytes:
    """Triple DES and an HMAC-SHA-1, for Apple's keychains and Android before 13. Never RC2, which 40 bits protect."""
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_ITERATIONS)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303  what those platforms read
        .build(password.encode())
    )
    return pkcs12.serialize_key_and_certificates(name.encode(), key, leaf, chain, encryption)


def truststore(anchors: Iterable[x509.Certificate]) -> bytes:
    """Trust anchors as Java's truststore: certificates that nothing hides, and an HMAC-SHA-256 under ``changeit``.

    Encoded here, for ``serialize_java_truststore`` is in cryptography 45 and newer only, and Debian 12 has 38.
    """
    bags = der.sequence(*(_certificate_bag(anchor) for anchor in anchors))
    safes = der.sequence(_content_info(bags))
    salt = secrets.token_bytes(20)
    digest = hmac.new(_mac_key(TRUSTSTORE_PASSWORD, salt, _ITERATIONS), safes, hashlib.sha256).digest()
    algorithm = der.sequence(der.object_identifier(_SHA256), der.element(der.NULL))
    mac = der.sequence(
        der.sequence(algorithm, der.element(der.OCTET_STRING, digest)),
        der.element(der.OCTET_STRING, salt),
        der.integer(_ITERATIONS),
    )
    return der.sequence(der.integer(_VERSION), _content_info(safes), mac)


def _content_info(content: bytes) -> bytes:
    return der.sequence(
        der.object_identifier(_DATA), der.element(der.explicit(0), der.element(der.OCTET_STRING, content))
    )


def _certificate_bag(anchor: x509.Certificate) -> bytes:
    encoded = der.element(der.OCTET_STRING, anchor.public_bytes(serialization.Encoding.DER))
    certificate = der.sequence(der.object_identifier(_X509_CERTIFICATE), der.element(der.explicit(0), encoded))
    # Java's aliases ignore case and must differ: roots of two generations have two serials.
    alias = names.serial_text(anchor.serial_number).lower()
    attributes = der.element(
        _SET,
        der.sequence(
            der.object_identifier(_FRIENDLY_NAME),
            der.element(_SET, der.element(_BMP_STRING, alias.encode("utf-16-be"))),
        ),
        der.sequence(
            der.object_identifier(_TRUSTED_KEY_USAGE),
            der.element(_SET, der.object_identifier(_ANY_EXTENDED_KEY_USAGE)),
        ),
    )
    return der.sequence(der.object_identifier(_CERTIFICATE_BAG), der.element(der.explicit(0), certificate), attributes)


def _mac_key(password: str, salt: bytes, iterations: int) -> bytes:
    """RFC 7292 appendix B.2 for an HMAC-SHA-256: its key is as long as one hash, so one round of the outer loop."""

    def filled(content: bytes) -> bytes:
        length = -(-len(content) // _BLOCK) * _BLOCK
        return (content * (length // len(content) + 1))[:length]

    secret = filled(password.encode("utf-16-be") + b"\0\0")
    key = bytes([_MAC_PURPOSE]) * _BLOCK + filled(salt) + secret
    for _ in range(iterations):
        key = hashlib.sha256(key).digest()
    return key
