"""Moments: the kit counts in aware UTC datetimes and stores whole seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

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
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _aware(certificate: x509.Certificate, attribute: str) -> datetime:
    # cryptography before 42 (bookworm: 38) knows the naive attributes only, later ones deprecate them.
    aware: datetime | None = getattr(certificate, f"{attribute}_utc", None)
    if aware is None:
        naive: datetime = getattr(certificate, attribute)
        return naive.replace(tzinfo=UTC)
    return aware


def not_before(certificate: x509.Certificate) -> datetime:
    """Begin of validity, aware."""
    return _aware(certificate, "not_valid_before")


def not_after(certificate: x509.Certificate) -> datetime:
    """End of validity, aware."""
    return _aware(certificate, "not_valid_after")
