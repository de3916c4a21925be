"""SPIFFE IDs: every rule of the standard, and that only such a URI gets into a certificate."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import names, spiffe
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOMAINS = st.from_regex(r"[a-z0-9._-]{1,40}", fullmatch=True).filter(str.isascii)
SEGMENTS = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True).filter(
    lambda segment: segment.isascii() and segment not in (".", "..")
)


@given(DOMAINS, st.lists(SEGMENTS, min_size=1, max_size=6))
def test_a_workload_id_is_taken_as_it_is(domain: str, segments: list[str]) -> None:
    uri = f"spiffe://{domain}/{'/'.join(segments)}"
    assert spiffe.fault(uri) is None
    assert spiffe.trust_domain(uri) == domain
    assert names.sans_from({"uri": [uri]}, "x") == (names.San("URI", uri),)


@given(st.text(st.sampled_from("aZ0.-_/:@?#%~ é"), max_size=24))
def test_an_id_passes_only_as_the_standard_says(rest: str) -> None:
    rule = re.compile(r"[a-z0-9._-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")
    assert (spiffe.fault(f"spiffe://{rest}") is None) == (rule.fullmatch(rest) is not None)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("spiffe:example.org/a", "no '//'"),
        ("spiffe://", "trust domain ''"),
        ("spiffe:///a", "trust domain ''"),
        ("spiffe://Example.org/a", "trust domain 'Example.org'"),
        ("spiffe://example.org:443/a", "trust domain 'example.org:443'"),
        ("spiffe://user@example.org/a", "trust domain 'user@example.org'"),
        (f"spiffe://{'a' * 256}/a", "1 to 255"),
        ("spiffe://example.org", "no path"),
        ("spiffe://example.org/", "no path"),
        ("spiffe://example.org/a/", "path segment ''"),
        ("spiffe://example.org/a//b", "path segment ''"),
        ("spiffe://example.org/a/../b", r"path segment '\.\.'"),
        ("spiffe://example.org/a?b", "path segment"),
        ("spiffe://example.org/a#b", "path segment"),
        ("spiffe://example.org/%41", "path segment"),
    ],
)
def test_what_is_no_workload_id(uri: str, found: str) -> None:
    with pytest.raises(KitError, match=found):
        names.sans_from({"uri": [uri]}, "client 'a'")


def test_an_id_that_is_too_long() -> None:
    assert "2,048" in str(spiffe.fault("spiffe://example.org/" + "a" * 2048))
