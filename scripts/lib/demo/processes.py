"""The demo's two processes. A pid is only believed when the process behind it is the demo's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo.settings import ADDRESS, ROOT, Settings


def running(pid_file: Path) -> int | None:
    """The pid in ``pid_file`` if that process is this user's and names the file's folder in its command line."""
    try:
        pid = int(pid_file.read_text())
        process = Path("/proc") / str(pid)
        command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        owner = process.stat().st_uid
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if f"{pid_file.parent}/" in command and owner == os.geteuid() else None


def stop(pid_file: Path, seconds: float = 10) -> bool:
    """End the process gracefully, then at once; False when it was not running. Raises KitError if it stays."""
    pid = running(pid_file)
    if pid is None:
        return False
    for ending in (signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, ending)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if running(pid_file) is None and not _alive(pid):
                return True
            time.sleep(0.05)
    raise KitError(f"process {pid}", "that it does not end", "an end within seconds", f"look at it with ps -fp {pid}")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def port_is_free(port: int) -> bool:
    """Whether the gateway could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
    return port


def free_pair() -> int:
    """The first of two ports, side by side, that nobody uses now."""
    while True:
        first = free_port()
        if first < 65535 and port_is_free(first + 1):
            return first


def start_echo_backend(settings: Settings, seconds: float = 10) -> bool:
    """Start the echo backend and wait until it listens; False when it ran already."""
    if running(settings.backend_pid_file) is not None:
        return False
    settings.logs.mkdir(mode=0o700, exist_ok=True)
    log = settings.logs / "echo-backend.log"
    command = [
        *(sys.executable, str(ROOT / "scripts/lib/echo_backend.py")),
        *("--port", str(settings.echo_port), "--pid-file", str(settings.backend_pid_file)),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=settings.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if running(settings.backend_pid_file) is not None:
            return True
        time.sleep(0.02)
    raise KitError("echo backend", "that it does not start", f"a process on port {settings.echo_port}", f"read {log}")
