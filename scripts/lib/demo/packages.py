"""Debian packages: which are missing, and their installation without any service starting or staying enabled."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo.settings import ROOT

POLICY: Final = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program before it starts a service (invoke-rc.d(8)); 101 means: do not."""

_POLICY_TEXT: Final = "#!/bin/sh\n# Put here by scripts/demo for the time of an installation.\nexit 101\n"
_SYSTEM_PATH: Final = ":".join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def program(name: str) -> str | None:
    """Full path of a program, looked for in the system's folders too: an ordinary user's PATH lacks them."""
    return shutil.which(name, path=_SYSTEM_PATH)


def missing(environment_exists: bool, containers: bool = False) -> list[str]:
    """The Debian packages the demo needs and the machine lacks."""
    packages = []
    if containers:
        needed = {"docker.io": ("docker", "dockerd"), "iptables": ("iptables",), "mmdebstrap": ("mmdebstrap",)}
        if os.environ.get("MTLS_KIT_BASE_IMAGE"):
            del needed["mmdebstrap"]
        packages += [package for package, programs in needed.items() if None in map(program, programs)]
    elif program("nginx") is None:
        packages.append("nginx")
    if program("git") is None and (ROOT / ".git").exists():
        # The role pki asks git whether CA keys in a checkout could end up in a commit.
        packages.append("git")
    if not environment_exists and program("uv") is None and importlib.util.find_spec("ensurepip") is None:
        packages.append("python3-venv")
    return packages


def install_command(packages: Sequence[str]) -> list[str]:
    """The one command that installs them."""
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def check_installable(packages: Sequence[str]) -> None:
    """Raise KitError where this user or this machine cannot install them. Changes nothing."""
    if not packages:
        return
    what = f"missing packages: {' '.join(packages)}"
    if program("apt-get") is None:
        raise KitError(
            what, "no apt-get", "a Debian machine, or these installed", "install them with your package manager"
        )
    if os.geteuid() != 0:
        hint = " and keep its service from starting" if "nginx" in packages else ""
        raise KitError(
            what,
            "an ordinary user",
            "root, who may install packages",
            f"run this once{hint}, then scripts/demo again:\n\n    {sudo_command(packages)}\n\nor choose your own way",
        )


def sudo_command(packages: Sequence[str]) -> str:
    """One line for an ordinary user. A masked unit neither starts nor is enabled, and unmasking leaves it so."""
    install = f"sudo {' '.join(install_command(packages))}"
    if "nginx" not in packages or program("systemctl") is None:
        return install
    return f"sudo systemctl mask nginx && {install}; sudo systemctl unmask nginx; sudo systemctl disable nginx"


def install(packages: Sequence[str], log: Path) -> None:
    """Download, then install with services held back, then switch off what the package enabled for itself.

    Raises KitError when the download fails (nothing was changed then) or the installation does.
    """
    command = install_command(packages)
    if _run([*command, "--download-only"], log) != 0:
        # Package lists may be missing or old: that is the one thing worth a second try.
        _run(["apt-get", "update"], log)
        if _run([*command, "--download-only"], log) != 0:
            raise KitError(
                f"Debian packages {' '.join(packages)}",
                f"a download that failed: {_last_error(log)}",
                "a mirror that apt-get reaches",
                f"check the network and apt's sources; {log} has it all",
            )
    with services_held_back():
        if _run(command, log) != 0:
            raise KitError(
                f"Debian packages {' '.join(packages)}",
                f"an installation that failed: {_last_error(log)}",
                "apt-get to succeed",
                f"repair it with dpkg --configure -a; {log} has it all",
            )
        if "nginx" in packages:
            # Takes back what postinst enabled, with and without systemd (update-rc.d(8)).
            _run(["update-rc.d", "nginx", "disable"], log)
        if "docker.io" in packages:
            _run(["update-rc.d", "docker", "disable"], log)
            if program("systemctl") is not None:
                _run(["systemctl", "disable", "docker.socket", "containerd.service"], log)


@contextlib.contextmanager
def services_held_back() -> Iterator[None]:
    """A policy-rc.d that refuses every start. One that is there already is set aside untouched and put back."""
    aside = POLICY.with_name("policy-rc.d.before-mtls-demo")
    if _is_ours(POLICY):
        POLICY.unlink()
    if POLICY.exists() and not aside.exists():
        POLICY.rename(aside)
    try:
        POLICY.write_text(_POLICY_TEXT)
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        if aside.exists():
            aside.rename(POLICY)


def _is_ours(path: Path) -> bool:
    """A leftover of a run that was killed."""
    try:
        return path.read_text() == _POLICY_TEXT
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _run(command: Sequence[str], log: Path) -> int:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "PATH": _SYSTEM_PATH}
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("E:", "dpkg: error"))]
    return (errors or lines or ["nothing said"])[-1]
