"""The checkout's virtual environment, .venv, shared with scripts/test."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo.settings import ROOT

FOLDER: Final = ROOT / ".venv"
PYTHON: Final = FOLDER / "bin" / "python"
REQUIREMENTS: Final = "requirements.txt"
DISK_MIB: Final = 600
"""What the packages of requirements.txt take, with room for the installation."""

_STAMPS: Final = FOLDER / ".kit"
_CACHE: Final = ROOT / ".cache"


def exists() -> bool:
    """Whether an environment with Ansible is there; ``ensure`` still brings it to the pinned versions."""
    return FOLDER.joinpath("bin", "ansible-playbook").exists()


def ensure() -> None:
    """Make .venv hold what requirements.txt pins; quick when it does already."""
    script = 'source "$1" && ensure_venv "$2"'
    command = ["bash", "-euo", "pipefail", "-c", script, "bash", str(ROOT / "scripts/lib/venv.sh"), REQUIREMENTS]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise KitError(
            f"Python packages of {REQUIREMENTS}",
            "an installation that failed, see above",
            "a package index that pip or uv reaches",
            "check the network and PIP_INDEX_URL, then run scripts/demo again",
        )


def remove() -> bool:
    """Take away the environment unless there is none or more than the demo lives in it; tell whether it was taken."""
    stamps = {path.name for path in _STAMPS.glob("*")} - {"root"}
    if stamps != {REQUIREMENTS}:
        return False
    shutil.rmtree(FOLDER)
    (_CACHE / "venv.lock").unlink(missing_ok=True)
    if _CACHE.is_dir() and not any(_CACHE.iterdir()):
        _CACHE.rmdir()
    return True
