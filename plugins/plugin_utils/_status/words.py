"""Spans, moments and remarks of a report in words, the same on the screen and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_HOURS_IN_DAYS: Final = 48


def days(left: int) -> str:
    """``29 days``, ``1 day``, ``today``, ``3 days ago``."""
    return _ago(left, "day") if left else "today"


def hours(left: int) -> str:
    """``5 hours``, from two days on ``6 days``; what has passed is ``2 hours ago``."""
    if abs(left) < _HOURS_IN_DAYS:
        return _ago(left, "hour")
    return _ago(int(left / 24), "day")


def _ago(left: int, unit: str) -> str:
    text = f"{abs(left):,} {unit}{'' if abs(left) == 1 else 's'}"
    return text if left >= 0 else f"{text} ago"


def day(iso: str) -> str:
    """The day of a moment in ISO 8601."""
    return iso.partition("T")[0]


def moment(iso: str) -> str:
    """A moment in ISO 8601 to the minute; it is UTC."""
    return iso[:16].replace("T", " ")


def asked(narrowed: Mapping[str, Any]) -> str:
    """What a filter other than the default takes, empty for the default."""
    words = []
    if narrowed["kind"] != "all":
        words.append(narrowed["kind"])
    if narrowed["state"] != "all":
        words.append(narrowed["state"])
    if narrowed["name"] != "*":
        words.append(narrowed["name"])
    if narrowed["within_days"] is not None:
        words.append(f"within {days(narrowed['within_days'])}")
    return ", ".join(words)


def remark(entry: Mapping[str, Any]) -> str:
    """What else there is to say of a certificate."""
    # That it expired, and when, is told by its state and days.
    reason = "" if entry["state"] == "expired" else entry["reason"]
    remarks = [entry["revoked"] or "", reason, "" if entry["listed"] else "no longer listed"]
    return ", ".join(text for text in remarks if text)
