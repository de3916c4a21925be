"""Decisions about what is due, with nothing but a clock."""

from __future__ import annotations

from collections import Counter
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
    assert lifecycle.renewal_due(ISSUED, FAR, timedelta(days=30), NOON + passed) == reason


@given(st.integers(0, 120), st.integers(1, 89), st.integers(1, 400))
def test_a_renewed_certificate_is_never_due_again_at_once(passed: int, renew_days: int, issuer_days: int) -> None:
    now, issuer_end = NOON + timedelta(days=passed), NOON + timedelta(days=issuer_days)
    if now >= issuer_end:
        return
    renewed = replace(ISSUED, not_before=now, not_after=min(now + timedelta(days=90), issuer_end))
    assert lifecycle.renewal_due(renewed, issuer_end, timedelta(days=renew_days), now) is None


def fleet(count: int, **more: object) -> list[Issued]:
    """So many certificates that were issued in one hour."""
    return [replace(ISSUED, name=f"client/{n}", serial=f"{n * 7919:040X}", **more) for n in range(count)]  # type: ignore[arg-type]


@given(
    st.text(max_size=32), st.text(max_size=64), st.integers(0, 2**159),
    st.integers(1, 400), st.integers(0, 400), st.integers(0, 400),
)  # fmt: skip
def test_the_spread_only_ever_renews_earlier_and_leaves_two_thirds(
    pki: str, name: str, serial: int, days: int, renew_days: int, jitter_days: int
) -> None:
    life = timedelta(days=days)
    issued = replace(ISSUED, name=name, serial=f"{serial:X}", not_before=NOON, not_after=NOON + life)
    window = lifecycle.renewal_window(pki, issued, renew_days, jitter_days)
    plain = timedelta(days=renew_days)
    assert plain <= window <= plain + timedelta(days=jitter_days)
    assert window <= plain + max(life - plain, timedelta(0)) / 3
    assert window == lifecycle.renewal_window(pki, replace(issued, id=7, groups='["x"]'), renew_days, jitter_days)
    if renew_days == 0 or jitter_days == 0:
        assert window == plain


@pytest.mark.parametrize(("jitter_days", "most"), [(10, 1100), (20, 570)])
def test_a_fleet_of_one_hour_is_renewed_evenly(jitter_days: int, most: int) -> None:
    renewed = Counter(
        lifecycle.renewal_window("demo", issued, 30, jitter_days) // timedelta(days=1) for issued in fleet(10_000)
    )
    assert sorted(renewed) == list(range(30, 30 + jitter_days))
    assert max(renewed.values()) < most
    assert min(renewed.values()) > 10_000 / jitter_days * 0.85


def test_each_certificate_of_a_name_draws_again() -> None:
    first, second = (lifecycle.renewal_window("demo", replace(ISSUED, serial=s), 30, 10) for s in ("01", "02"))
    assert first != second
    assert first != lifecycle.renewal_window("other", replace(ISSUED, serial="01"), 30, 10)


def test_the_reason_tells_the_days_that_are_left() -> None:
    issued = fleet(1)[0]
    window = lifecycle.renewal_window("demo", issued, 30, 10)
    opens = issued.not_after - window
    assert lifecycle.renewal_due(issued, FAR, window, opens - timedelta(seconds=1)) is None
    found = lifecycle.renewal_due(issued, FAR, window, opens)
    assert found == f"renew: {window // timedelta(days=1)} of 90 days left"


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
