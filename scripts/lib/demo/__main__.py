"""scripts/demo: checks, tells what it will install, prepares, and hands over to ``present`` in the environment."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo import containers, environment, packages, processes, settings
from scripts.lib.demo.screen import fail, heading, say, table
from scripts.lib.demo.settings import ADDRESS, ROOT, Settings

_MIB: Final = 1024 * 1024
_DEMO_MIB: Final = 50
_IMAGES_MIB: Final = 700
_EPILOG: Final = """
It never touches an Nginx, a service or a file of the machine's own. A second run changes nothing; options given once
are remembered until --down.
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Mutual TLS in front of a service on this machine, from nothing, proven by requests.",
        epilog=_EPILOG,
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before installing")
    parser.add_argument("--down", action="store_true", help="stop the gateway and the backend and remove the folder")
    parser.add_argument(
        "--containers", action="store_true", help="the gateway as a container, replaced by another under load (as root)"
    )
    parser.add_argument("--port", type=int, help=f"port of the gateway on {ADDRESS} (default {Settings.port})")
    parser.add_argument("--server-name", metavar="NAME", help=f"name of the site (default {Settings.server_name})")
    parser.add_argument("--backend", metavar="URL", help="http://host:port of your service (default: an echo backend)")
    parser.add_argument(
        "--dir", metavar="FOLDER", type=Path, help="everything it writes (default .demo in the checkout)"
    )
    return parser.parse_args(arguments)


def up(wanted: Settings, ask: bool) -> NoReturn:
    """Check everything, prepare the machine, then present."""
    if wanted.containers:
        containers.check_user()
    lacking = packages.missing(environment.exists(), wanted.containers)
    check_machine(wanted, lacking)
    tell(wanted, lacking)
    if ask and (lacking or not environment.exists()) and not agreed():
        say("Nothing was changed.")
        sys.exit(1)
    if not wanted.backend and not wanted.echo_port:
        wanted = replace(wanted, echo_port=processes.free_port())
    if os.geteuid() == 0 and not wanted.gateway_folder and not wanted.containers:
        gateway_folder = Path(tempfile.mkdtemp(prefix="mtls-kit-demo-", dir="/var/tmp"))
        gateway_folder.chmod(0o711)
        wanted = replace(wanted, gateway_folder=str(gateway_folder))
    if wanted.containers and not wanted.probe_port:
        wanted = replace(wanted, probe_port=processes.free_pair())
    wanted = replace(wanted, made_environment=wanted.made_environment or not environment.exists())
    wanted.save()
    if lacking:
        heading("Debian packages")
        wanted.logs.mkdir(mode=0o700, exist_ok=True)
        packages.install(lacking, wanted.logs / "apt.log")
        wanted = replace(wanted, packages=[*wanted.packages, *lacking])
        wanted.save()
        say(f"  installed {' '.join(lacking)}; no service was started or left enabled")
    if wanted.containers:
        wanted = with_engine(wanted)
    heading("Python environment")
    environment.ensure()
    say(f"  {environment.FOLDER} has what {environment.REQUIREMENTS} pins")
    # Importing Ansible is enough for it to make its folder; that one is to go with the demo, too.
    os.environ["ANSIBLE_HOME"] = str(wanted.folder / "ansible")
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'collections'}"
    command = [str(environment.PYTHON), "-m", "scripts.lib.demo.present", str(wanted.folder)]
    os.execv(command[0], command)  # noqa: S606 (no shell is wanted)


def with_engine(wanted: Settings) -> Settings:
    """Have an engine with a Debian to build on; the settings, which know whose the engine is."""
    heading("Container engine")
    if containers.answers():
        say("  answers")
    else:
        # Remembered first: an interrupt must not leave an engine behind that nobody stops.
        wanted = replace(wanted, engine_started=True)
        wanted.save()
        containers.ensure_engine(wanted)
        say("  started Debian's, for as long as the demo is there")
    came_from = containers.ensure_base(wanted)
    say(f"  the image is built on {came_from or wanted.base_image}")
    return wanted


def check_machine(wanted: Settings, lacking: list[str]) -> None:
    """Raise KitError for whatever would stop the demo half-way. Changes nothing."""
    packages.check_installable(lacking)
    needs = {wanted.folder: _DEMO_MIB} | ({} if environment.exists() else {ROOT: environment.DISK_MIB})
    if wanted.containers:
        needs[Path("/var/lib/docker")] = _IMAGES_MIB
    for folder, mib in needs.items():
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not os.access(place, os.W_OK):
            raise KitError(f"folder {folder}", "no right to write there", "a place of yours", "choose one with --dir")
        free = shutil.disk_usage(place).free // _MIB
        if free < mib:
            raise KitError(
                f"disk of {place}", f"{free} MiB free", f"{mib} MiB or more", "make room, or choose another --dir"
            )
    saved = settings.load(wanted.folder)
    if saved and saved.containers != wanted.containers:
        raise KitError(
            f"demo in {wanted.folder}",
            "one whose gateway is no container",
            "none, or one of containers",
            "take it down first with scripts/demo --down, or choose another folder and port with --dir and --port",
        )
    serving = containers.serves(wanted) if wanted.containers else processes.running(wanted.gateway_pid_file) is not None
    if not (serving and saved and saved.port == wanted.port) and not processes.port_is_free(wanted.port):
        raise KitError(
            f"port {wanted.port} of {ADDRESS}",
            "another process listening there",
            "a free port for the gateway",
            f"choose another with --port, or look who has it: ss -ltnp 'sport = :{wanted.port}'",
        )


def tell(wanted: Settings, lacking: list[str]) -> None:
    """Say what is about to happen."""
    heading("mTLS Kit demo")
    rows = []
    if lacking:
        rows.append(("install", f"{' '.join(lacking)} (Debian, by apt-get); no service is started or left enabled"))
    if not environment.exists():
        rows.append(("install", f"the Python packages of {environment.REQUIREMENTS} in {environment.FOLDER}"))
    rows.append(("write", f"{wanted.folder}: a CA, an inventory, a vault, a gateway, a client's bundle"))
    kind = "the gateway, a container," if wanted.containers else "the gateway"
    rows.append(("run", f"{kind} for {wanted.server_name} on {ADDRESS}:{wanted.port}"))
    rows.append(("", f"in front of {wanted.backend or 'an echo backend of the demo'}"))
    if wanted.containers:
        rows.append(("", "by the machine's container engine, or Debian's where none answers"))
        rows.append(("set", "net.ipv4.tcp_migrate_req=1, for a roll that resets nothing; --down takes it back"))
    table(rows)


def agreed() -> bool:
    """Ask on a terminal; without one, starting the demo was the answer."""
    if not sys.stdin.isatty():
        return True
    return input("\nContinue? [Y/n] ").strip().lower() in ("", "y", "yes")


def down(known: Settings | None, folder: Path) -> None:
    """Stop what runs, remove what was written, say what is left."""
    if known is None:
        say(f"Nothing to stop: there is no demo in {folder}.")
        return
    heading("Stopping the demo")
    if known.containers:
        down_containers(known)
    processes_of = [("gateway", known.gateway_pid_file)] * (not known.containers)
    for name, pid_file in [*processes_of, ("echo backend", known.backend_pid_file)]:
        stopped = processes.stop(pid_file)
        say(f"  {name} {'stopped' if stopped else 'was not running'}")
    for written in (known.gateway_prefix, known.folder):
        if written.exists():
            shutil.rmtree(written)
            say(f"  removed {written}")
    if known.made_environment and environment.remove():
        say(f"  removed {environment.FOLDER}")
    left = f"the Debian packages it installed: {' '.join(known.packages)}" if known.packages else "nothing of the demo"
    say(f"\nLeft on this machine: {left}.")
    if known.packages:
        say(f"To remove them, too: sudo apt-get purge --autoremove {' '.join(known.packages)}")


def down_containers(known: Settings) -> None:
    """Everything that is in the engine, and the engine where the demo started it."""
    containers.check_user()
    # What lies in an engine can be removed by it alone.
    if not containers.answers():
        known = replace(known, engine_started=True)
        containers.ensure_engine(known)
    for done in containers.remove(known):
        say(f"  {done}")
    if known.engine_started:
        say(f"  {containers.stop_engine(known)}")


def main() -> None:
    """Errors are one message on standard error and exit status 1."""
    # The environment of what is started from here is its own.
    os.environ.pop("PYTHONPATH", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse(sys.argv[1:])
    folder = (arguments.dir or ROOT / ".demo").absolute()
    try:
        known = settings.load(folder)
        if arguments.down:
            down(known, folder)
        else:
            asked_for = (arguments.port, arguments.server_name, arguments.backend)
            wanted = settings.change(known or Settings(folder), *asked_for)
            up(replace(wanted, containers=wanted.containers or arguments.containers), ask=not arguments.yes)
    except (KitError, OSError) as error:
        fail(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, EOFError):
        fail("Interrupted. scripts/demo goes on from here; scripts/demo --down removes what there is.")
        sys.exit(130)


if __name__ == "__main__":
    main()
