"""DER, beside what ``cryptography`` and the standard library make of the same."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import der

# Around 2040 bits a length outgrows one octet, and around 524,000 two.
NUMBERS = st.integers(0, 1 << 64) | st.integers(0, 1 << 2100) | st.sampled_from([0, 127, 128, 255, 256, 1 << 530_000])


@given(NUMBERS, NUMBERS)
def test_integers_and_sequences(first: int, second: int) -> None:
    assert der.sequence(der.integer(first), der.integer(second)) == encode_dss_signature(first, second)


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 1 << 32), min_size=1, max_size=8))
def test_object_identifiers(first: int, second: int, rest: list[int]) -> None:
    dotted = ".".join(map(str, (first, second, *rest)))
    expected = x509.ExtendedKeyUsage([x509.ObjectIdentifier(dotted)]).public_bytes()
    assert der.sequence(der.object_identifier(dotted)) == expected


@given(st.binary(max_size=300) | st.integers(0, 3).map(lambda more: b"x" * (der._PEM_PIECE + more)))
def test_pem(content: bytes) -> None:
    text = der.pem("CERTIFICATE", content).decode()
    assert ssl.PEM_cert_to_DER_cert(text) == content
    assert all(len(line) == 64 for line in text.splitlines()[1:-2])
    assert text.endswith("-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    ("moment", "encoded"),
    [
        (datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC), b"\x17\x0d261124120001Z"),
        (datetime(2049, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(2050, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), b"\x17\x0d491231230000Z"),
    ],
)
def test_times(moment: datetime, encoded: bytes) -> None:
    assert der.time(moment) == encoded
