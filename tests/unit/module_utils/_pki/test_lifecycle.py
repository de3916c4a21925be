"""Decisions about what is due, with nothing but a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import lifecycle
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import CrlSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Crl, Issued
from tests.unit.module_utils._pki.authority_host import NOON

FAR = NOON + timedelta(days=1000)
ISSUED = Issued(
    id=1, issuer=2, serial="01", name="client/a", profile="client", subject="CN=a", sans="[]", groups="[]",
    key_type="ec-p256", public_key_sha256="00", not_before=NOON - timedelta(minutes=5),
    not_after=NOON + timedelta(days=90), has_key=True, revoked=None,
)  # fmt: skip
CRL = Crl(2, 1, NOON, NOON + timedelta(days=7), 7, "digest", b"")


@pytest.mark.parametrize(
    ("passed", "reason"),
    [
        (timedelta(0), None),
        (timedelta(days=59, hours=23), None),
        (timedelta(days=60), "renew: 30 of 90 days left"),
        (timedelta(days=60, seconds=1), "renew: 29 of 90 days left"),
        (timedelta(days=90), "renew: 0 of 90 days left"),
        (timedelta(days=90, seconds=1), "renew: expired 0 days ago"),
        (timedelta(days=97), "renew: expired 7 days ago"),
    ],
)
def test_the_renewal_window(passed: timedelta, reason: str | None) -> None:
    assert lifecycle.renewal_due(ISSUED, FAR, 30, NOON + passed) == reason


@given(st.integers(0, 120), st.integers(1, 89), st.integers(1, 400))
def test_a_renewed_certificate_is_never_due_again_at_once(passed: int, renew_days: int, issuer_days: int) -> None:
    now, issuer_end = NOON + timedelta(days=passed), NOON + timedelta(days=issuer_days)
    if now >= issuer_end:
        return
    renewed = replace(ISSUED, not_before=now, not_after=min(now + timedelta(days=90), issuer_end))
    assert lifecycle.renewal_due(renewed, issuer_end, renew_days, now) is None


@pytest.mark.parametrize(
    ("crl", "entries", "days", "restored", "passed", "reason"),
    [
        (None, "digest", 7, None, 0, "sign-crl: first"),
        (CRL, "digest", 7, None, 23, None),
        (CRL, "digest", 7, None, 24, "sign-crl: 24 hours old"),
        (CRL, "other", 7, None, 1, "sign-crl: revocations changed"),
        (CRL, "digest", 14, None, 1, "sign-crl: valid for 14 instead of 7 days"),
        (CRL, "digest", 7, NOON + timedelta(hours=1), 1, "sign-crl: restored from a backup"),
        (CRL, "digest", 7, NOON - timedelta(hours=1), 1, None),
    ],
)
def test_when_a_crl_is_signed_again(
    crl: Crl | None, entries: str, days: int, restored: datetime | None, passed: int, reason: str | None
) -> None:
    spec = CrlSpec(days, 24)
    assert lifecycle.crl_due(crl, spec, entries, restored, NOON + timedelta(hours=passed)) == reason


def test_the_clock_may_be_a_little_behind() -> None:
    assert lifecycle.clock_set_back(None, NOON) is None
    assert lifecycle.clock_set_back(NOON, NOON - timedelta(hours=1)) is None
    assert lifecycle.clock_set_back(NOON, NOON - timedelta(hours=2)) == timedelta(hours=2)
