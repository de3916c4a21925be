"""Looks through every layer of an image for what must never be in one. The password comes by standard input.

Arguments: the image, and the folder of the release that its containers serve.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{32,}")
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s+[A-Za-z0-9+/=]{32,}")
PUBLIC_AUTHORITIES = ("usr/share/ca-certificates/", "usr/share/doc/ca-certificates/", "etc/ssl/certs/")
"""Debian's list of the CAs that browsers trust, which a backend over TLS is verified with."""


def members(archive: IO[bytes], place: str = "") -> Iterator[tuple[str, bytes]]:
    """Every file of a tar, and of the tars in it, which are the layers; its path in the innermost."""
    with tarfile.open(fileobj=archive, mode="r|*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            content = file.read()
            if not place and (member.name.endswith(".tar") or content[257:262] == b"ustar"):
                yield from members(io.BytesIO(content), member.name)
            else:
                yield member.name.removeprefix("./"), content


def secrets_in(archive: IO[bytes], forbidden: dict[str, bytes]) -> tuple[list[str], int]:
    """What was found, in words, and how many files were looked through."""
    found, count = [], 0
    for name, content in members(archive):
        count += 1
        # Libraries hold keys that everybody knows, for tests of their own.
        if PRIVATE_KEY.search(content) and not content.startswith(b"\x7fELF"):
            found.append(f"{name}: a private key")
        if CERTIFICATE.search(content) and not name.startswith(PUBLIC_AUTHORITIES):
            found.append(f"{name}: a certificate")
        found += [f"{name}: {what}" for what, text in forbidden.items() if text in content]
    return found, count


def planted(name: str, content: bytes) -> IO[bytes]:
    """An archive with one layer, in which one file is."""
    for path in (name, "layer.tar"):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        content = archive.getvalue()
    return io.BytesIO(content)


def main() -> None:
    """Print what was found; exit status 1 when anything was, or when the search itself finds nothing."""
    image, release = sys.argv[1], Path(sys.argv[2])
    forbidden = {
        "the key's password": sys.stdin.read().strip().encode(),
        "the release's name": release.resolve().name.encode(),
    }
    key, certificate = ((release / name).read_bytes() for name in ("server.key", "server.crt"))
    for what, content in (("key", key), ("certificate", certificate), *forbidden.items()):
        if not secrets_in(planted("etc/planted", content), forbidden)[0]:
            sys.exit(f"a planted {what} was not found")
    saved = subprocess.run(["docker", "save", image], stdout=subprocess.PIPE, check=True).stdout
    found, count = secrets_in(io.BytesIO(saved), forbidden)
    if count < 1000:
        sys.exit(f"no image of a Debian: {count} files")
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
