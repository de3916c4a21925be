"""Decisions about certificates and CRLs: due or not, and why. Pure: the clock is an argument."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import CertificateSpec, CrlSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Crl, Issued

CLOCK_TOLERANCE: Final = timedelta(hours=1)
"""How far behind the ledger's newest entry the clock may stand."""

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)


def clock_set_back(newest_entry: datetime | None, now: datetime) -> timedelta | None:
    """By how much the clock was set back, where that is more than the tolerance."""
    if newest_entry is None or newest_entry - now <= CLOCK_TOLERANCE:
        return None
    return newest_entry - now


def whole_days(span: timedelta) -> int:
    """Whole days of a span, rounded to the nearest, for the backdated minutes must not count."""
    return round(span / _DAY)


def renewal_window(pki: str, issued: Issued, renew_days: int, jitter_days: int) -> timedelta:
    """How long before its end a certificate is renewed: ``renew_days``, and up to ``jitter_days`` more.

    A fleet that was issued in one hour is thereby renewed over ``jitter_days``. What is added is drawn by a digest of
    PKI, name and serial: the same in every run, evenly spread over a fleet, new with each certificate. It only ever
    adds, so none is renewed later than ``renew_days`` before its end; and it takes no more than a third of the life
    before the window, so that short lives stay what they are.
    """
    window = timedelta(days=renew_days)
    room = max(issued.not_after - issued.not_before - window, timedelta(0)) / 3
    spread = min(timedelta(days=jitter_days), room) // _SECOND if renew_days else 0
    digest = hashlib.sha256("\0".join((pki, issued.name, issued.serial)).encode()).digest()
    return window + timedelta(seconds=spread * int.from_bytes(digest[:8], "big") >> 64)


def renewal_due(issued: Issued, issuer_end: datetime, window: timedelta, now: datetime) -> str | None:
    """``renew: …`` inside the renewal window.

    A certificate that already ends with its issuer is not renewed: the next one could not live longer.
    """
    left = issued.not_after - now
    if left > window or (issued.not_after >= issuer_end and left > timedelta(0)):
        return None
    if left < timedelta(0):
        return f"renew: expired {-left // _DAY} days ago"
    return f"renew: {left // _DAY} of {whole_days(issued.not_after - issued.not_before)} days left"


def certificate_due(
    spec: CertificateSpec,
    issued: Issued | None,
    issuer: int | None,
    issuer_end: datetime,
    now: datetime,
    csr_key_sha256: str | None = None,
    *,
    pki: str,
    other_issuer: str = "issuing CA changed",
) -> str | None:
    """Why ``spec`` needs a new certificate, or None.

    ``issuer`` is the number of the authority that would sign it (None: not made yet) and ``issuer_end`` its end of
    validity; ``csr_key_sha256`` names the public key of a CSR that came for it; ``pki`` is the PKI's name;
    ``other_issuer`` says in words that its issuer was another one.
    """
    if issued is None:
        return "issue: new"
    if issued.revoked is not None:
        return "re-issue: revoked"
    # What was signed before its CA was adopted is not as wished, and stays until it is due all the same.
    wished = not issued.adopted
    changes = (
        (other_issuer, issued.issuer != issuer),
        (
            "profile changed",
            wished and (issued.profile, issued.profile_sha256) != (spec.profile.name, spec.profile.sha256),
        ),
        ("subject changed", wished and issued.subject != spec.dn),
        ("SAN changed", wished and issued.sans != spec.san_list),
        ("key type changed", wished and issued.key_type != spec.key_type),
        ("key source changed", wished and issued.made_here != (spec.source == "key")),
        (f"new key {spec.key_place}", csr_key_sha256 not in (None, issued.public_key_sha256)),
    )
    for reason, changed in changes:
        if changed:
            return f"re-issue: {reason}"
    window = renewal_window(pki, issued, spec.renew_days, spec.renew_jitter_days)
    return renewal_due(issued, issuer_end, window, now)


def crl_due(crl: Crl | None, spec: CrlSpec, entries: str, restored: datetime | None, now: datetime) -> str | None:
    """Why an authority's CRL is to be signed again, or None. ``entries`` is the extent of what it would list."""
    if crl is None:
        return "sign-crl: first"
    if restored is not None and crl.this_update < restored:
        return "sign-crl: restored from a backup"
    if crl.entries != entries:
        return "sign-crl: revocations changed"
    if crl.days != spec.days:
        return f"sign-crl: valid for {spec.days} instead of {crl.days} days"
    age = now - crl.this_update
    if age >= timedelta(hours=spec.refresh_hours):
        return f"sign-crl: {age // timedelta(hours=1)} hours old"
    return None
