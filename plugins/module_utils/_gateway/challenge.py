"""Answers to ACME's challenge http-01 (RFC 8555 section 8.3), which Nginx hands out from a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import Change
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

FOLDER: Final = Path("/var/lib/mtls-kit/acme-challenge")
"""Where Nginx looks for answers; each file is named by its token."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")
_ANSWER: Final = re.compile(r"[A-Za-z0-9_-]{16,128}\.[A-Za-z0-9_-]{43}")
"""A token and the thumbprint of the account's key (RFC 8555 section 8.1): nothing secret."""


def check_answers(answers: Mapping[str, str]) -> Mapping[str, str]:
    """``answers`` by token; KitError for what no ACME server gives, for tokens become names of files."""
    for token, answer in answers.items():
        if not _TOKEN.fullmatch(token) or not _ANSWER.fullmatch(answer) or answer.partition(".")[0] != token:
            raise KitError(
                "answer to an ACME challenge",
                f"the token {token[:40]!r} with an answer that is none",
                "base64url text and, after a dot, the thumbprint of the account's key (RFC 8555 section 8.1)",
                "look at public_certificate_directory_url: is it an ACME server's directory?",
            )
    return answers


def converge(folder: Path, answers: Mapping[str, str], check_mode: bool) -> list[Change]:
    """Have exactly ``answers`` in ``folder``, unless in check mode; returns the changes.

    Raises KitError for answers that are none, and when the file system refuses.
    """
    check_answers(answers)
    with files.told_failures("answers to ACME challenges"):
        there = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
        missing = {
            token: answer.encode()
            for token, answer in answers.items()
            if token not in there or files.read(there[token]) != answer.encode()
        }
        over = [path for name, path in sorted(there.items()) if name not in answers]
        if not check_mode:
            if missing:
                files.make_folder(folder, 0o755, Ownership.current())
            for token, content in missing.items():
                files.replace(folder / token, content, 0o444, Ownership.current())
            for path in over:
                files.remove(path)
    return [
        *(Change(token, "write", "the answer to an ACME challenge") for token in sorted(missing)),
        *(Change(path.name, "remove", "no ACME challenge asks for it") for path in over),
    ]
