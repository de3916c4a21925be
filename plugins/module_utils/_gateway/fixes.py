"""Flaws of Nginx that concern what this kit configures, and the Debian packages that have the fix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final


@dataclass(frozen=True)
class Fix:
    """A flaw, and by upstream version of a Debian release the first package without it."""

    name: str
    means: str
    first_fixed: Mapping[str, str]


FIXES: Final = (
    # From Debian's changelogs of nginx. Trixie's first 1.26.3 had the second fix already.
    Fix(
        "CVE-2026-42533",
        "a map with a regular expression may overflow a buffer, and this kit's sites have such maps",
        {"1.22.1": "1.22.1-9+deb12u10", "1.26.3": "1.26.3-3+deb13u8"},
    ),
    Fix(
        "CVE-2025-23419",
        "a session of one site may be resumed at another that accepts other clients",
        {"1.22.1": "1.22.1-9+deb12u1"},
    ),
)


def _order(character: str) -> tuple[int, str]:
    """deb-version(7): a tilde before the end, the end before letters, letters before all else."""
    return (-1, "") if character == "~" else (0, "") if not character else (1 if character.isalpha() else 2, character)


def _compare_part(one: str, other: str) -> int:
    pieces = [re.findall(r"(\D*)(\d*)", part) for part in (one, other)]
    for (text, number), (other_text, other_number) in zip_longest(*pieces, fillvalue=("", "")):
        for left, right in zip_longest(text, other_text, fillvalue=""):
            if _order(left) != _order(right):
                return -1 if _order(left) < _order(right) else 1
        if int(number or 0) != int(other_number or 0):
            return -1 if int(number or 0) < int(other_number or 0) else 1
    return 0


def compare(one: str, other: str) -> int:
    """-1, 0 or 1, as ``dpkg --compare-versions`` orders two versions (deb-version(7))."""
    split = [re.fullmatch(r"(?:(\d+):)?(.*?)(?:-([^-]*))?", version, re.DOTALL) for version in (one, other)]
    left, right = ((match[1] or "0", match[2], match[3] or "0") if match else ("0", "", "0") for match in split)
    for part, other_part in zip(left, right, strict=True):
        found = _compare_part(part, other_part)
        if found:
            return found
    return 0


def missing(package: str) -> list[str]:
    """A line for each fix that the Debian package of version ``package`` lacks; none for packages of others."""
    upstream = package.rpartition("-")[0]
    return [
        f"nginx {package} lacks the fix of {fix.name}: {fix.means}. Next: upgrade it to {first} or newer"
        for fix in FIXES
        if (first := fix.first_fixed.get(upstream)) and compare(package, first) < 0
    ]
