"""What is asked of systemd on a gateway: units, and credentials that only this machine can read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import find_binary
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

SECONDS: Final = 90.0
"""For one command; a unit of ours ends within 60."""


class Systemd:
    """The system manager of this machine. Every method raises KitError for what it refuses."""

    def is_running(self) -> bool:
        """Whether it is the machine's init (sd_booted(3))."""
        return Path("/run/systemd/system").is_dir()

    def has_credentials(self) -> bool:
        """Whether systemd-creds is there, which systemd has since version 250."""
        return find_binary("systemd-creds") is not None

    def is_enabled(self, unit: str) -> bool:
        """Whether ``unit`` comes up with the machine."""
        return self._run(["systemctl", "is-enabled", "--quiet", unit]).returncode == 0

    def is_active(self, unit: str) -> bool:
        """Whether ``unit`` did its work since the machine came up."""
        return self._run(["systemctl", "is-active", "--quiet", unit]).returncode == 0

    def reload(self) -> None:
        """Read the unit files again."""
        self._succeed(["systemctl", "daemon-reload"])

    def enable(self, unit: str) -> None:
        """Let ``unit`` come up with the machine."""
        self._succeed(["systemctl", "enable", "--quiet", unit])

    def run_again(self, unit: str) -> None:
        """Let ``unit`` do its work now."""
        self._succeed(["systemctl", "restart", unit], unit)

    def forget(self, unit: str) -> None:
        """Stop ``unit`` and let it come up no more."""
        self._succeed(["systemctl", "disable", "--quiet", "--now", unit])
        self._run(["systemctl", "reset-failed", unit])

    def encrypt(self, name: str, content: bytes, key: str) -> bytes:
        """``content`` as a credential of that name, under the ``key`` that systemd-creds calls by this word."""
        return self._succeed(
            ["systemd-creds", "encrypt", f"--name={name}", f"--with-key={key}", "-", "-"], stdin=content
        ).stdout

    def decrypt(self, name: str, content: bytes) -> bytes | None:
        """What the credential holds; None when it is not of that name, or not one that this machine can read."""
        done = self._run(["systemd-creds", "decrypt", f"--name={name}", "-", "-"], content)
        return done.stdout if done.returncode == 0 else None

    def _succeed(
        self, command: Sequence[str], unit: str = "", stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        done = self._run(command, stdin)
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise KitError(
                f"command {' '.join(command)}",
                said or f"exit status {done.returncode}",
                "success",
                f"see journalctl -u {unit}" if unit else "run it by hand on the gateway and cure what it names",
            )
        return done

    def _run(self, command: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                timeout=SECONDS,
                check=False,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            found = "no end in time" if isinstance(error, subprocess.TimeoutExpired) else f"'{error.strerror}'"
            raise KitError(
                f"command {' '.join(command)}", found, "an answer", "run it by hand on the gateway and see why"
            ) from error
