"""The container engine and what the demo keeps in it: its gateway's containers, their images, the Debian beneath."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._container.kernel import Migration
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo.settings import ROOT, Settings

DEBIAN: Final = "bookworm"
GATEWAY_LABEL: Final = "mtls-kit.gateway"
IMAGE_LABEL: Final = "mtls-kit.image"
SYSTEMD: Final = Path("/run/systemd/system")

_TESTS_BASE: Final = f"mtls-kit-base:{DEBIAN}"
"""What scripts/test bootstraps: the same Debian, so that it is not made twice."""
_DRAIN_SECONDS: Final = 10
_SILENCE: Final = subprocess.DEVNULL


def check_user() -> None:
    """Raise KitError for an ordinary user."""
    if os.geteuid() != 0:
        raise KitError(
            "scripts/demo --containers",
            "an ordinary user",
            "root, to whom the keys of a container's Nginx belong, and who may start an engine",
            "run sudo scripts/demo --containers, or scripts/demo, which needs no root once Nginx is installed",
        )


def docker(*arguments: str) -> str:
    """What the engine's command prints. Raises KitError with its own words."""
    try:
        done = subprocess.run(["docker", *arguments], stdin=_SILENCE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise KitError("docker", "no such command", "a container engine", "install docker.io") from None
    if done.returncode != 0:
        raise KitError(
            f"docker {arguments[0]}", done.stderr.strip(), "the engine to do it", "cure it and run scripts/demo again"
        )
    return done.stdout.strip()


def answers() -> bool:
    """Whether an engine is there and talks to this user."""
    try:
        docker("info")
    except KitError:
        return False
    return True


def ensure_engine(demo: Settings) -> None:
    """Start Debian's engine if none answers; see scripts/lib/docker.sh."""
    _helper(demo, "ensure_docker", "a container engine that answers")


def ensure_base(demo: Settings) -> str:
    """Have a Debian to build on; tells where it came from, or nothing when it was there."""
    if docker("images", "--quiet", demo.base_image):
        return ""
    named = os.environ.get("MTLS_KIT_BASE_IMAGE", "").replace("%s", DEBIAN)
    if named:
        there = docker("images", "--quiet", named)
        if not there:
            docker("pull", named)
        docker("tag", named, demo.base_image)
        if not there:
            docker("rmi", named)
        return f"{named}, which MTLS_KIT_BASE_IMAGE names"
    if docker("images", "--quiet", _TESTS_BASE):
        docker("tag", _TESTS_BASE, demo.base_image)
        return f"{_TESTS_BASE}, which the tests made"
    _helper(demo, f'bootstrap_image {DEBIAN} "$3"', f"a Debian {DEBIAN}, bootstrapped", demo.base_image)
    return f"Debian {DEBIAN}, bootstrapped from its packages without a registry"


def gateway(demo: Settings) -> list[str]:
    """Names of the gateway's containers that run, the newest first."""
    return docker("ps", "--filter", f"label={GATEWAY_LABEL}={demo.gateway_name}", "--format", "{{.Names}}").split()


def serves(demo: Settings) -> bool:
    """Whether a container of the demo holds the gateway's port."""
    try:
        return bool(gateway(demo))
    except KitError:
        return False


def remove(demo: Settings) -> list[str]:
    """Take every container, image and setting of the demo away; tells what was removed."""
    ours = docker("ps", "--all", "--filter", f"label={GATEWAY_LABEL}={demo.gateway_name}", "--format", "{{.Names}}")
    told = []
    for name in ours.split():
        docker("stop", "--time", str(_DRAIN_SECONDS), name)
        docker("rm", name)
        told.append(f"removed container {name}")
    made = docker(
        *("images", "--filter", f"label={IMAGE_LABEL}={demo.gateway_name}", "--format", "{{.Repository}}:{{.Tag}}")
    )
    for image in [*made.split(), *([demo.base_image] if docker("images", "--quiet", demo.base_image) else [])]:
        docker("rmi", image)
        told.append(f"removed image {image}")
    migration = Migration()
    if migration.kept.exists():
        if docker("ps", "--all", "--quiet", "--filter", f"label={GATEWAY_LABEL}"):
            told.append(f"left {migration.kept}: another gateway of this machine needs it")
        else:
            migration.unset()
            told.append(f"removed {migration.kept}, and switched its setting off")
    return told


def stop_engine(demo: Settings) -> str:
    """Stop the engine that the demo started, unless somebody else has come to use it; tells what was done."""
    if running := docker("ps", "--quiet").split():
        return f"the container engine runs on: {len(running)} other container{'s' * (len(running) > 1)} in it"
    if SYSTEMD.is_dir():
        subprocess.run(["systemctl", "stop", "docker.socket", "docker.service"], stdin=_SILENCE, check=True)
    else:
        _helper(demo, "DOCKERD_STARTED=true; stop_docker", "the engine to end")
    return "container engine stopped"


def overlap_seconds(old: str, new: str) -> float:
    """From the start of a new container to the end of the one before: the whole roll, as the engine's clock has it."""
    begin, end = (
        docker("inspect", "--format", f"{{{{.State.{field}}}}}", name)
        for field, name in (("StartedAt", new), ("FinishedAt", old))
    )
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _helper(demo: Settings, command: str, expected: str, *arguments: str) -> None:
    """A function of scripts/lib, with its logs among the demo's."""
    script = f'source "$1/docker.sh"; source "$1/images.sh"; KIT_CACHE=$2 DOCKERD_LOG=$2/dockerd.log; {command}'
    demo.logs.mkdir(mode=0o700, exist_ok=True)
    whole = ["bash", "-euo", "pipefail", "-c", script, "bash", str(ROOT / "scripts/lib"), str(demo.logs), *arguments]
    log = demo.logs / "engine.log"
    with log.open("a") as output:
        done = subprocess.run(whole, cwd=ROOT, stdin=_SILENCE, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        last = [*log.read_text(errors="replace").splitlines(), "nothing said"][-2 if log.stat().st_size else -1]
        raise KitError("container engine", last, expected, f"read {log}, then run scripts/demo again")
