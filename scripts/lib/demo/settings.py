"""What a user asked for, remembered between runs in the demo's own folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

ROOT: Final = Path(__file__).resolve().parents[3]
CLIENT: Final = "alice"
GATEWAY: Final = "demo"
SITE: Final = "demo"
ADDRESS: Final = "127.0.0.1"

_MARKER: Final = "demo.json"
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)
_BACKEND: Final = re.compile(r"http://[A-Za-z0-9.-]+:[0-9]{1,5}")


@dataclass(frozen=True)
class Settings:
    """``folder`` holds everything the demo writes. ``backend`` is empty when the echo backend serves.

    ``packages`` are the Debian packages that a run of the demo installed; they are what ``--down`` leaves.
    ``gateway_folder`` is ``gateway`` in ``folder``, or for root a folder elsewhere: Nginx's workers are another user
    then, who cannot enter root's folders.
    ``made_environment`` tells whether .venv is the demo's making, and so goes with it.
    ``containers`` has the gateway in a container, bound to ``memory`` MiB, that is proven at ``probe_port`` and the one
    after; ``engine_started`` tells whether the engine is the demo's to stop.
    """

    folder: Path
    port: int = 8443
    server_name: str = "gateway.demo.test"
    backend: str = ""
    echo_port: int = 0
    packages: list[str] = field(default_factory=list)
    gateway_folder: str = ""
    made_environment: bool = False
    containers: bool = False
    memory: int = 256
    probe_port: int = 0
    engine_started: bool = False

    @property
    def inventory(self) -> Path:
        """The demo's inventory."""
        return self.folder / "inventory"

    @property
    def vault_password_file(self) -> Path:
        """Opens the embedded vault; outside the inventory, as it should be in real life."""
        return self.folder / "vault-password"

    @property
    def vault_file(self) -> Path:
        """The embedded vault, where the role key_password keeps it: the passwords of all keys, encrypted."""
        return self.inventory / "key_passwords.vault.txt"

    @property
    def store(self) -> Path:
        """The PKI's store."""
        return self.folder / "pki"

    @property
    def bundles(self) -> Path:
        """What each client is handed."""
        return self.folder / "clients"

    @property
    def certificates(self) -> Path:
        """Releases and trust of the gateway's site."""
        return self.folder / "mtls"

    @property
    def gateway_prefix(self) -> Path:
        """The gateway's own Nginx: configuration, logs and pid file."""
        return Path(self.gateway_folder or self.folder / "gateway")

    @property
    def gateway_name(self) -> str:
        """The gateway as a container; demos in several folders don't meet."""
        return f"mtls-kit-demo-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:4]}"

    @property
    def base_image(self) -> str:
        """The Debian that the gateway's image is built on: a name of the demo's own, which goes with it."""
        return f"{self.gateway_name}-base:debian"

    @property
    def gateway_pid_file(self) -> Path:
        """Written by the gateway's Nginx."""
        return self.gateway_prefix / "nginx.pid"

    @property
    def backend_pid_file(self) -> Path:
        """Written by the echo backend."""
        return self.folder / "echo-backend.pid"

    @property
    def logs(self) -> Path:
        """Full results of every task, one file per playbook."""
        return self.folder / "log"

    @property
    def backend_url(self) -> str:
        """Where the gateway sends requests."""
        return self.backend or f"http://{ADDRESS}:{self.echo_port}"

    def url(self, path: str = "/") -> str:
        """The address a client calls."""
        port = "" if self.port == 443 else f":{self.port}"
        return f"https://{self.server_name}{port}{path}"

    def save(self) -> None:
        """Remember the settings; the file also marks the folder as the demo's own."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remembered = asdict(self) | {"folder": str(self.folder)}
        marker = self.folder / _MARKER
        temporary = marker.with_suffix(".new")
        temporary.write_text(json.dumps(remembered, indent=2) + "\n")
        temporary.rename(marker)


def load(folder: Path) -> Settings | None:
    """The settings of an earlier run, None where there was none. Raises KitError for a folder of someone else's."""
    marker = folder / _MARKER
    try:
        remembered = json.loads(marker.read_text())
        return Settings(**remembered | {"folder": folder})
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        found = "a folder that the demo did not make" if folder.is_dir() else "a file"
    except (ValueError, TypeError):
        found = f"a {_MARKER} that cannot be read"
    raise KitError(
        f"--dir {folder}",
        found,
        "a folder of an earlier demo, an empty one, or none",
        "choose another folder with --dir",
    )


def change(settings: Settings, port: int | None, server_name: str | None, backend: str | None) -> Settings:
    """The settings with what was asked for this time. Raises KitError for a value that does not fit."""
    if port is not None:
        lowest = 1 if os.geteuid() == 0 else 1024
        if not lowest <= port <= 65535:
            raise KitError("--port", str(port), f"a port from {lowest} to 65535", "choose another, such as --port 8443")
        settings = replace(settings, port=port)
    if server_name is not None:
        if not _HOST_NAME.fullmatch(server_name):
            raise KitError("--server-name", repr(server_name), "a DNS name in lower case", "correct the name")
        settings = replace(settings, server_name=server_name)
    if backend is not None:
        if backend and not _BACKEND.fullmatch(backend):
            raise KitError(
                "--backend",
                repr(backend),
                "http://host:port, or '' for the echo backend",
                "correct the address",
            )
        settings = replace(settings, backend=backend)
    return settings
