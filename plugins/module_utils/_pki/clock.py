"""Moments: the kit counts in aware UTC datetimes and stores whole seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, cast

from cryptography import x509

BACKDATED: Final = timedelta(minutes=5)
"""How far before its signature a certificate or CRL begins, for clocks that are a little behind."""


def seconds(moment: datetime) -> int:
    """``moment`` in whole seconds since 1970, as the ledger stores it."""
    return int(moment.timestamp())


def moment(stored: int) -> datetime:
    """The aware datetime of what the ledger stores."""
    return datetime.fromtimestamp(stored, tz=UTC)


def iso(when: datetime) -> str:
    """``2026-11-24T12:00:00Z``."""
    # Several times faster than strftime, and there are thousands in a report.
    return f"{when.isoformat()[:19]}Z"


def _aware(dated: x509.Certificate | x509.CertificateRevocationList, attribute: str) -> datetime | None:
    # cryptography before 42 (bookworm: 38) knows the naive attributes only, later ones deprecate them.
    if hasattr(dated, f"{attribute}_utc"):
        return cast("datetime | None", getattr(dated, f"{attribute}_utc"))
    naive: datetime | None = getattr(dated, attribute)
    return None if naive is None else naive.replace(tzinfo=UTC)


def not_before(certificate: x509.Certificate) -> datetime:
    """Begin of validity, aware."""
    return cast(datetime, _aware(certificate, "not_valid_before"))


def not_after(certificate: x509.Certificate) -> datetime:
    """End of validity, aware."""
    return cast(datetime, _aware(certificate, "not_valid_after"))


def last_update(crl: x509.CertificateRevocationList) -> datetime:
    """Begin of a CRL's life, aware."""
    return cast(datetime, _aware(crl, "last_update"))


def next_update(crl: x509.CertificateRevocationList) -> datetime | None:
    """End of a CRL's life, aware; None when it names none."""
    return _aware(crl, "next_update")
