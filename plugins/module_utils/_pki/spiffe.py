"""SPIFFE IDs: which URIs are one (SPIFFE-ID section 2; X509-SVID sections 2 and 4)."""

from __future__ import annotations

import re
from typing import Final

SCHEME: Final = "spiffe://"

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST: Final = 2048


def is_trust_domain(text: str) -> bool:
    """Whether ``text`` names a trust domain: lower-case letters, digits, dots, dashes and underscores, no port."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def trust_domain(uri: str) -> str:
    """The trust domain of a SPIFFE ID."""
    return uri.removeprefix(SCHEME).partition("/")[0]


def fault(uri: str) -> str | None:
    """What keeps a URI with the scheme ``spiffe`` from being the SPIFFE ID of a workload; None for a good one.

    A workload's ID has a path, for the ID without one stands for the trust domain itself.
    """
    if not uri.startswith(SCHEME):
        return "no '//' after its scheme"
    domain, _, path = uri.removeprefix(SCHEME).partition("/")
    if len(uri) > _LONGEST:
        return f"more than {_LONGEST:,} characters"
    if not is_trust_domain(domain):
        return f"the trust domain {domain!r}, which is not 1 to 255 of a-z 0-9 . _ -"
    if not path:
        return "no path, so that it would stand for its whole trust domain"
    for segment in path.split("/"):
        if segment in ("", ".", "..") or not _SEGMENT.fullmatch(segment):
            return f"the path segment {segment!r}, which is not A-Z a-z 0-9 . _ - or stands for another one"
    return None
