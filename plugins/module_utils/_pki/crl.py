"""CRLs: version 2, numbered, with the issuer's key identifier (RFC 5280 section 5).

The list is encoded here and not by ``cryptography``, which makes objects of each entry: a million of them cost it
twenty seconds and half a gigabyte. Tests read it back with ``cryptography`` and with OpenSSL.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, der
from ansible_collections.mtls.kit.plugins.module_utils._pki.authority import Signer
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import PrivateKey, signature_hash
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Crl, Listed

_VERSION_2: Final = der.integer(1)

_REASONS: Final = {
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
"""CRLReason (RFC 5280 section 5.3.1). An entry without a reason says the same as ``unspecified``."""

REASON_CODE: Final = "2.5.29.21"
_REASON_CODE: Final = der.object_identifier(REASON_CODE)
_ECDSA_SHA256: Final = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
_ECDSA_SHA384: Final = der.sequence(der.object_identifier("1.2.840.10045.4.3.3"))
_RSA_SHA256: Final = der.sequence(der.object_identifier("1.2.840.113549.1.1.11"), der.element(der.NULL))
_ED25519: Final = der.sequence(der.object_identifier("1.3.101.112"))


def lists_from(previous: Crl | None) -> datetime:
    """The next CRL lists what had not expired at that moment.

    A revoked certificate stays until one CRL after its end (RFC 5280 sections 3.3 and 5).
    """
    return previous.this_update if previous else clock.moment(0)


def sign(
    issuer: Signer, issuer_number: int, listed: Iterable[Listed], number: int, now: datetime, days: int, extent: str
) -> Crl:
    """The CRL of ``issuer`` with this CRL number; never valid beyond the issuer itself.

    ``extent`` is ``Ledger.revoked_extent`` at ``now``: for as long as it stays so, the CRL is up to date.
    """
    next_update = min(now + timedelta(days=days), issuer.not_after)
    algorithm = _algorithm(issuer.key)
    entries = _entries(listed)
    to_be_signed = der.sequence(
        _VERSION_2,
        algorithm,
        issuer.certificate.subject.public_bytes(),
        der.time(now - clock.BACKDATED),
        der.time(next_update),
        # Absent, not empty, where nothing is revoked (RFC 5280 section 5.1.2.6).
        der.header(der.SEQUENCE, len(entries)) if entries else b"",
        entries,
        _extensions(issuer.key_identifier, number),
    )
    del entries
    content = der.sequence(to_be_signed, algorithm, der.bit_string(_signature(issuer.key, to_be_signed)))
    del to_be_signed
    return Crl(issuer_number, number, now, next_update, days, extent, der.pem("X509 CRL", content))


def _entries(listed: Iterable[Listed]) -> bytearray:
    """The content of revokedCertificates (RFC 5280 section 5.1.2.6)."""
    content = bytearray()
    # Few moments and reasons are shared by many serials.
    endings: dict[tuple[str, int], bytes] = {}
    for serial, reason, revoked in listed:
        ending = endings.get((reason, revoked))
        if ending is None:
            ending = endings[reason, revoked] = der.time(clock.moment(revoked)) + _reason_extension(reason)
        content += der.sequence(der.integer(int(serial, 16)), ending)
    return content


def reason_code(reason: str) -> bytes | None:
    """The value of the extension that names a reason, in DER; None for ``unspecified``, which is not named."""
    return None if reason == "unspecified" else der.element(der.ENUMERATED, bytes((_REASONS[reason],)))


def _reason_extension(reason: str) -> bytes:
    code = reason_code(reason)
    if code is None:
        return b""
    return der.sequence(der.sequence(_REASON_CODE, der.element(der.OCTET_STRING, code)))


def _extensions(key_identifier: x509.AuthorityKeyIdentifier, number: int) -> bytes:
    values: tuple[x509.ExtensionType, ...] = (key_identifier, x509.CRLNumber(number))
    each = (
        der.sequence(
            der.object_identifier(value.oid.dotted_string), der.element(der.OCTET_STRING, value.public_bytes())
        )
        for value in values
    )
    return der.element(der.explicit(0), der.sequence(*each))


def _algorithm(key: PrivateKey) -> bytes:
    """The AlgorithmIdentifier of what ``_signature`` makes (RFC 5758 section 3.2, RFC 4055 section 5, RFC 8410)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _ED25519
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _ECDSA_SHA384 if isinstance(signature_hash(key), hashes.SHA384) else _ECDSA_SHA256
    return _RSA_SHA256


def _signature(key: PrivateKey, content: bytes) -> bytes:
    algorithm = signature_hash(key)
    if isinstance(key, ed25519.Ed25519PrivateKey) or algorithm is None:
        assert isinstance(key, ed25519.Ed25519PrivateKey)  # noqa: S101  the only key without a hash of its own
        return key.sign(content)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(algorithm))
    return key.sign(content, padding.PKCS1v15(), algorithm)
