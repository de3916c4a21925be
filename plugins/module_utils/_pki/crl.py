"""CRLs: version 2, numbered, with the issuer's key identifier (RFC 5280 section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.authority import Signer
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import signature_hash
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Crl, Revocation

_FLAGS: Final = {flag.value: x509.CRLReason(flag) for flag in x509.ReasonFlags}


def listed(revocations: Iterable[Revocation], previous: Crl | None) -> list[Revocation]:
    """What belongs on the next CRL: a revoked certificate stays until one CRL after its end (RFC 5280 section 3.3)."""
    if previous is None:
        return list(revocations)
    return [entry for entry in revocations if entry.not_after >= previous.this_update]


def entries_digest(revocations: Iterable[Revocation], at: datetime) -> str:
    """SHA-256 over what a CRL signed ``at`` that moment must list, so that a change is seen without reading the CRL."""
    digest = hashlib.sha256()
    for entry in revocations:
        if entry.not_after >= at:
            digest.update(f"{entry.serial} {entry.reason} {clock.seconds(entry.revoked)}\n".encode())
    return digest.hexdigest()


def sign(
    issuer: Signer, issuer_number: int, entries: Sequence[Revocation], number: int, now: datetime, days: int
) -> Crl:
    """The CRL of ``issuer`` with this CRL number; never valid beyond the issuer itself."""
    next_update = min(now + timedelta(days=days), issuer.not_after)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=issuer.certificate.subject,
        last_update=(now - clock.BACKDATED).replace(tzinfo=None, microsecond=0),
        next_update=next_update.replace(tzinfo=None, microsecond=0),
        extensions=[
            x509.Extension(issuer.key_identifier.oid, False, issuer.key_identifier),
            x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(number)),
        ],
        revoked_certificates=[_entry(entry) for entry in entries],
    )
    pem = builder.sign(issuer.key, signature_hash(issuer.key)).public_bytes(Encoding.PEM)
    return Crl(issuer_number, number, now, next_update, days, entries_digest(entries, now), pem)


def _entry(entry: Revocation) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder(
        serial_number=int(entry.serial, 16), revocation_date=entry.revoked.replace(tzinfo=None, microsecond=0)
    )
    # An entry without a reason says the same as "unspecified" (RFC 5280 section 5.3.1).
    if entry.reason != "unspecified":
        builder = builder.add_extension(_FLAGS[entry.reason], critical=False)
    return builder.build()
