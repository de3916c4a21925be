"""A container engine of a test's own, on a network of its own: it can be killed without anybody else noticing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

NEW_NETWORK = 0x40000000
"""CLONE_NEWNET."""
SECONDS = 60
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def private_network() -> Iterator[None]:
    """This thread, and whatever it starts, has a network with nothing but its loopback."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _succeed(_LIBC.unshare(NEW_NETWORK))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _succeed(_LIBC.setns(before, NEW_NETWORK))
        os.close(before)


def _succeed(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass
class OwnEngine:
    """``dockerd`` beside a ``containerd`` that outlives it, as Debian's units have them."""

    folder: Path
    daemon: subprocess.Popen[bytes] | None = None
    containerd: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "log"

    @property
    def host(self) -> str:
        """What DOCKER_HOST has to be."""
        return f"unix://{self.folder}/docker.sock"

    def start(self, *, live_restore: bool) -> None:
        """Start the engine and wait until it answers."""
        if self.containerd is None:
            config = self.folder / "containerd.toml"
            config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
            folders = [
                "--root",
                f"{self.folder}/c",
                "--state",
                f"{self.folder}/s",
                "--address",
                f"{self.folder}/c.sock",
            ]
            self.containerd = self._run("containerd", "--config", str(config), *folders)
        # Debian's unit waits for containerd as well.
        self._wait_for(lambda: Path(self.folder, "c.sock").exists())
        self.daemon = self._run(
            "dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec",
            "--pidfile", f"{self.folder}/pid", "--host", self.host, "--containerd", f"{self.folder}/c.sock",
            "--bridge", "none", "--iptables=false", f"--live-restore={'true' if live_restore else 'false'}",
        )  # fmt: skip
        self._wait_for(self._answers)

    def kill(self) -> None:
        """As the kernel does it when memory is short, and as a crash does."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.daemon = None

    def take(self, image: str) -> None:
        """Have an image of this machine's engine."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        with saved:
            loading = ["docker", "--host", self.host, "load"]
            subprocess.run(loading, stdin=saved.stdout, check=True, capture_output=True, timeout=300)
        assert saved.returncode == 0

    def end(self) -> None:
        """End both; there is no container any more."""
        for process in (self.daemon, self.containerd):
            if process is not None:
                process.terminate()
                process.wait(SECONDS)
        # One that was killed left mounts behind.
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", mount], check=True)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers(self) -> bool:
        asked = ["docker", "--host", self.host, "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.1)
