"""Platforms of clients: which files of a bundle each needs beside those that every bundle has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

CLIENT: Final = "@CLIENT@"
"""Stands in the rendered code for the client's name, which has no character that any of its languages minds."""

COMPATIBLE_ARCHIVE: Final = "client-compatible.p12"
TRUSTSTORE: Final = "truststore.p12"
IMPORT: Final = "import.md"


@dataclass(frozen=True)
class Platform:
    """``code`` are files made from templates with how each is run; ``files`` the others, made by us."""

    code: tuple[tuple[str, str], ...]
    files: tuple[str, ...] = ()


PLATFORMS: Final = {
    "curl": Platform((("curl.sh", "sh curl.sh"),)),
    "python": Platform(
        (
            ("client_requests.py", "python3 client_requests.py"),
            ("client_httpx.py", "python3 client_httpx.py"),
        )
    ),
    "node": Platform((("client.mjs", "node client.mjs"),)),
    "go": Platform((("client.go", "go run client.go"),)),
    "java": Platform((("Client.java", "java Client.java"),), (TRUSTSTORE,)),
    "flutter": Platform((("mtls_client.dart", "Dio dio = await mtlsClient(read, keyPassword)"),)),
    "browser": Platform(((IMPORT, "read it"),)),
    "apple": Platform(((IMPORT, "read it"),), (COMPATIBLE_ARCHIVE,)),
    "android": Platform(((IMPORT, "read it"),), (COMPATIBLE_ARCHIVE,)),
    "nginx": Platform((("nginx-client.conf", "include it in http {}"),)),
    "envoy": Platform((("envoy.yaml", "envoy --config-path envoy.yaml"),)),
    "wget": Platform((("wget.sh", "sh wget.sh"),)),
    "gnutls": Platform((("gnutls-cli.sh", "sh gnutls-cli.sh"),)),
}

CODE_FILES: Final = tuple(dict.fromkeys(name for platform in PLATFORMS.values() for name, _ in platform.code))
RUN: Final = {name: run for platform in PLATFORMS.values() for name, run in platform.code}


def files_of(platforms: Iterable[str], owner: str) -> frozenset[str]:
    """Every file that these platforms need; KitError for one that is not known."""
    found: set[str] = set()
    for name in platforms:
        if name not in PLATFORMS:
            expected = "one of " + ", ".join(PLATFORMS)
            raise KitError(owner, f"the platform {name!r}", expected, "correct platforms")
        found.update(file for file, _ in PLATFORMS[name].code)
        found.update(PLATFORMS[name].files)
    return frozenset(found)
