"""The Nginx of another Debian release as a program of this machine: a container that shares its network and files."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

RECIPE = """\
FROM mtls-kit-target:{release}
RUN DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends nginx openssl
"""


def image(release: str) -> str:
    """An image with that release's Nginx and OpenSSL, built where it isn't there."""
    tag = f"mtls-kit-nginx:{release}"
    recipe = RECIPE.format(release=release).encode()
    subprocess.run(["docker", "build", "--tag", tag, "-"], input=recipe, capture_output=True, check=True, timeout=300)
    return tag


def program(release: str) -> str:
    """Path of a program that is called as Nginx is; signals reach it as they would reach Nginx."""
    folder = tempfile.gettempdir()
    path = Path(folder, f"mtls-kit-nginx-{release}")
    # The names of paths are the same inside; nothing else of this machine is there.
    path.write_text(
        f'#!/bin/sh\nexec docker run --rm --network host --volume {folder}:{folder} {image(release)} nginx "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def openssl(release: str, *arguments: str, stdin: bytes = b"") -> str:
    """What that release's OpenSSL prints."""
    folder = tempfile.gettempdir()
    command = ["docker", "run", "--rm", "--interactive", "--network", "host", "--volume", f"{folder}:{folder}:ro"]
    done = subprocess.run(
        [*command, image(release), "openssl", *arguments], input=stdin, capture_output=True, check=False, timeout=60
    )
    return (done.stdout + done.stderr).decode()
