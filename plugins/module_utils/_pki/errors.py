"""The one error a user meets: what it is about, what was found, what was expected, what to do next."""

from __future__ import annotations


class KitError(Exception):
    """A failure that a user can cause and cure; raised before anything was changed.

    Its text is one sentence for each of the four parts, so that a message read alone, in a log or a mail,
    is enough to act on. It never holds a secret: ``found`` describes a secret, it does not quote one.
    """

    def __init__(self, what: str, found: str, expected: str, next_step: str) -> None:
        """``what`` names the thing (``client 'alice'``); the other three are clauses without a final stop."""
        self.what = what
        self.found = found
        self.expected = expected
        self.next_step = next_step
        super().__init__(f"{what}: found {found}; expected {expected}. Next: {next_step}.")

    def __reduce__(self) -> tuple[type[KitError], tuple[str, str, str, str]]:
        """Let worker processes hand it to their parent."""
        return KitError, (self.what, self.found, self.expected, self.next_step)
