"""The kernel's setting that lets a roll lose no connection which the old container has not taken up yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files

NAME = "net.ipv4.tcp_migrate_req"
CONTENT = f"""\
# Written by mtls.kit: connections that wait at a listener which closes go to another one on the same port.
{NAME} = 1
"""


@dataclass(frozen=True)
class Migration:
    """Where the setting is: in the running kernel (since 5.14), and in a file for the next boot."""

    running: Path = Path("/proc/sys/net/ipv4/tcp_migrate_req")
    kept: Path = Path("/etc/sysctl.d/60-mtls-kit-containers.conf")

    def wanting(self) -> list[str]:
        """Why something has to be written; empty where nothing has."""
        found = []
        if self._value() == "0":
            found.append(f"{NAME} is 0: connections that wait for the old container would be reset")
        if files.read(self.kept) != CONTENT.encode():
            found.append(f"{NAME} would not outlast a reboot")
        return found

    def set(self) -> list[str]:
        """Switch it on, now and for good; returns warnings where this kernel can't. OSError for the file."""
        files.make_folder(self.kept.parent, 0o755, files.Ownership.current())
        files.replace(self.kept, CONTENT.encode(), 0o644, files.Ownership.current())
        problem = "this kernel doesn't know it (it came with 5.14)"
        if self._value() is not None:
            try:
                self.running.write_text("1\n", encoding="ascii")
            except OSError as error:
                problem = f"it can't be set here ({error.strerror})"
        if self._value() == "1":
            return []
        return [f"{NAME}: {problem}; a roll may reset a connection that the old container has not taken up yet"]

    def unset(self) -> None:
        """Take the file away, and the setting with it."""
        if files.read(self.kept) is None:
            return
        self.kept.unlink()
        if self._value() == "1":
            self.running.write_text("0\n", encoding="ascii")

    def _value(self) -> str | None:
        try:
            return self.running.read_text(encoding="ascii").strip()
        except OSError:
            return None
