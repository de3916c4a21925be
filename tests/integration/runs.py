"""Running the kit's playbooks as an operator does, without a terminal."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """What a run of a playbook ended with; ``text`` is all it printed, its folded lines joined.

    YAML doubles the apostrophes of what it quotes; ``text`` has them as they were.
    """

    code: int
    output: bytes

    @property
    def text(self) -> str:
        return " ".join(self.output.decode().split()).replace("''", "'")

    @property
    def changed(self) -> int:
        """The changed tasks of all hosts."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.output.decode())))


def command(name: str, inventory: Path, folder: Path, *arguments: str) -> list[str]:
    """The argument list that runs ``playbooks/<name>.yml`` from the checkout, as :func:`playbook` does."""
    return [
        f"{ROOT}/.venv/bin/ansible-playbook", "-i", str(inventory),
        "--vault-password-file", str(folder / "vault-password"),
        "--become-password-file", str(folder / "become-password"),
        f"playbooks/{name}.yml", *arguments,
    ]  # fmt: skip


def playbook(
    name: str, inventory: Path, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Run:
    """Run ``playbooks/<name>.yml`` with the password files that ``Gateway.write_inventory`` left in ``folder``."""
    run = subprocess.run(
        command(name, inventory, folder, *arguments),
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=1800, check=False,
        env=environment or {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip
    return Run(run.returncode, run.stdout + run.stderr)
