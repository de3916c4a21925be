"""Versions of packages are ordered as Debian orders them."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import fixes

ORDERED = [
    "1.22.1-9~bpo11+1", "1.22.1-9", "1.22.1-9+deb12u1", "1.22.1-9+deb12u9", "1.22.1-9+deb12u10", "1.22.1-10",
    "1.22.10-1", "1.26.3-3+deb13u8", "1:0.1-1",
]  # fmt: skip


@pytest.mark.parametrize("one", ORDERED)
@pytest.mark.parametrize("other", ORDERED)
def test_the_order_is_dpkg_s(one: str, other: str) -> None:
    expected = (ORDERED.index(one) > ORDERED.index(other)) - (ORDERED.index(one) < ORDERED.index(other))
    assert fixes.compare(one, other) == expected
    relation = {-1: "lt", 0: "eq", 1: "gt"}[expected]
    assert subprocess.run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0


def test_what_a_package_lacks_is_named() -> None:
    assert len(fixes.missing("1.22.1-9")) == 2
    (line,) = fixes.missing("1.22.1-9+deb12u9")
    assert "CVE-2026-42533" in line
    assert "upgrade it to 1.22.1-9+deb12u10" in line
    assert fixes.missing("1.26.3-3+deb13u7")
    for fine in ("1.22.1-9+deb12u11", "1.26.3-3+deb13u8", "1.30.8-1~trixie", ""):
        assert fixes.missing(fine) == []
