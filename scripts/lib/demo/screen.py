"""What the demo prints: aligned plain text, coloured on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

_COLOURS: Final = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}


def paint(text: str, colour: str, stream: TextIO = sys.stdout) -> str:
    """``text`` in a colour where ``stream`` shows colours and nobody minds (https://no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def say(text: str = "") -> None:
    """A line, at once: progress is worth nothing in a buffer."""
    print(text, flush=True)


def heading(text: str) -> None:
    """A title with room above."""
    say(f"\n{paint(text, 'bold')}")


def table(rows: Sequence[tuple[str, str]], indent: int = 2) -> None:
    """Two columns; the second is folded under itself where it has several lines."""
    width = max(len(left) for left, _ in rows)
    for left, right in rows:
        first, *rest = right.splitlines() or [""]
        say(f"{' ' * indent}{left:<{width}}  {first}".rstrip())
        for line in rest:
            say(f"{' ' * (indent + width + 2)}{line}")


def fail(message: str) -> None:
    """An error, on standard error."""
    print(paint(message, "red", sys.stderr), file=sys.stderr)
