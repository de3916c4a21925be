"""The container engine of this machine, through its SDK, as far as a gateway needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

try:
    import docker
    import docker.errors
    import docker.types
    import requests
except ImportError:  # the module that needs it says so
    docker = None

ANSWER_SECONDS: Final = 60
"""An engine under load takes seconds to create a container; one that takes longer is stuck."""

CAPABILITIES: Final = ("CHOWN", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What Nginx's master needs as root: folders of its workers, signals to them, ports below 1024, and their user."""

LOG_LINES: Final = 8
LOG_TAIL: Final = 500
"""Lines that are looked through for those that are no requests, which are logged as JSON."""
LONG_LOG_TAIL: Final = 20_000
MOST_PROCESSES: Final = 1024


@dataclass(frozen=True)
class Image:
    """An image that is on this machine."""

    id: str
    tags: tuple[str, ...]
    created: str
    """ISO 8601, so that the newest sorts last."""
    healthcheck: tuple[str, ...] = ()
    """The command that says whether a container is well; empty where the image has none."""


@dataclass(frozen=True)
class Container:
    """A container, running or not."""

    id: str
    name: str
    image: str
    """Id of its image."""
    labels: Mapping[str, str]
    running: bool
    restarting: bool
    """Whether the engine starts it again and again, for it doesn't stay."""
    pid: int
    """Of its first process, as this machine counts; 0 where it doesn't run."""
    exit_code: int


@dataclass(frozen=True)
class Options:
    """What the engine is told of a container beside its image; a change of it needs a new one."""

    mounts: tuple[str, ...]
    """Paths of this machine, seen at the same place inside, read-only."""
    user: str
    binary: str
    memory: str = ""
    cpus: float = 0
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a command inside a container came to."""

    exit_code: int
    output: str
    errors: str


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the engine refuses, and its silence, into a KitError about ``what``."""
    try:
        yield
    except docker.errors.APIError as error:
        raise KitError(
            what,
            " ".join(str(error.explanation or error).split()),
            "the container engine to do it",
            "cure what the engine names and run again",
        ) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise KitError(
            what,
            f"a container engine that doesn't answer ({' '.join(str(error).split())[:200]})",
            "an engine that runs and lets this user in",
            "start it (systemctl start docker), look into its log, and run again; what served goes on where it runs",
        ) from error


class Engine:
    """The verbs of the engine. Each raises KitError with the engine's own words."""

    def __init__(self) -> None:
        """Connects as the environment says (``DOCKER_HOST``), to the usual socket where it says nothing."""
        if docker is None:
            raise KitError(
                "the container engine's library for Python",
                "no module docker",
                "Debian's package python3-docker, or docker in the virtual environment that Ansible uses on this host",
                "run the role nginx_container, which installs it, or install it by hand",
            )
        with told("the container engine"):
            self._client = docker.APIClient(**docker.utils.kwargs_from_env(), version="auto", timeout=ANSWER_SECONDS)

    def keeps_alive(self) -> bool:
        """Whether containers run on while the engine is restarted (its ``live-restore``)."""
        with told("the container engine"):
            return bool(self._client.info().get("LiveRestoreEnabled"))

    def containers(self, label: str) -> list[Container]:
        """All that bear ``label`` (``key=value``), running or not."""
        with told("the list of containers"):
            ids = [one["Id"] for one in self._client.containers(all=True, filters={"label": [label]})]
        return [found for id_ in ids if (found := self.container(id_)) is not None]

    def container(self, id_: str) -> Container | None:
        """The container as it is now; None when it is gone."""
        with told(f"container {id_[:12]}"):
            try:
                raw = self._client.inspect_container(id_)
            except docker.errors.NotFound:
                return None
        state = raw["State"]
        return Container(
            raw["Id"],
            raw["Name"].removeprefix("/"),
            raw["Image"],
            raw["Config"].get("Labels") or {},
            bool(state["Running"]) and not state.get("Restarting", False),
            bool(state.get("Restarting", False)),
            int(state.get("Pid") or 0),
            int(state.get("ExitCode") or 0),
        )

    def image(self, reference: str) -> Image | None:
        """The image of that name or id; None when it isn't on this machine."""
        with told(f"image {reference}"):
            try:
                raw = self._client.inspect_image(reference)
            except docker.errors.NotFound:
                return None
        return _image(raw)

    def images(self, label: str) -> list[Image]:
        """All images that bear ``label``, the newest first."""
        with told(f"images with the label {label}"):
            ids = {one["Id"] for one in self._client.images(filters={"label": label})}
            found = [_image(self._client.inspect_image(id_)) for id_ in ids]
        return sorted(found, key=lambda image: (image.created, image.id), reverse=True)

    def used_images(self) -> set[str]:
        """Ids of the images that any container on this machine is made from."""
        with told("the list of containers"):
            return {one["ImageID"] for one in self._client.containers(all=True)}

    def remove_image(self, id_: str) -> None:
        """Have an image gone, with all its names."""
        with told(f"image {id_}"), contextlib.suppress(docker.errors.NotFound):
            self._client.remove_image(id_, force=True)

    def create(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        labels: Mapping[str, str],
        mounts: Mapping[str, str],
        state: str,
        options: Options,
    ) -> str:
        """Create a container on the host's network that may do nothing it needn't; returns its id.

        ``mounts`` are paths of this machine by their place inside, beside those of the options; ``state`` is a folder
        in memory.
        """
        # A mount of this kind is refused where its source is missing; a volume would make a folder of that name.
        binds = [
            docker.types.Mount(target, source, type="bind", read_only=True)
            for target, source in {**mounts, **{path: path for path in options.mounts}}.items()
        ]
        log = {"type": options.log_driver, "config": dict(options.log_options)} if options.log_driver else None
        with told(f"container {name}"):
            host = self._client.create_host_config(
                network_mode="host",
                mounts=binds,
                tmpfs={state: "mode=0755,size=64m"},
                read_only=True,
                cap_drop=["ALL"],
                cap_add=list(CAPABILITIES),
                security_opt=["no-new-privileges"],
                # One that hasn't been proven must not come back by itself.
                restart_policy={"Name": "no"},
                pids_limit=MOST_PROCESSES,
                mem_limit=options.memory or None,
                nano_cpus=int(options.cpus * 1_000_000_000) or None,
                log_config=log,
            )
            created = self._client.create_container(
                image,
                name=name,
                entrypoint=[options.binary],
                command=list(command),
                labels=dict(labels),
                host_config=host,
                stop_signal="SIGQUIT",
                user="root",
            )
        return str(created["Id"])

    def start(self, id_: str) -> None:
        """Start it; whether it stays is another question."""
        with told(f"container {id_[:12]}"):
            self._client.start(id_)

    def keep(self, id_: str) -> None:
        """Have the engine bring it back when it ends by itself, and when engine or machine come up again."""
        with told(f"container {id_[:12]}"):
            # Not unless-stopped: an engine that comes up after it was killed stops what it finds alive, and takes that
            # for the wish of a user.
            self._client.update_container(id_, restart_policy={"Name": "always"})

    def stop(self, id_: str, seconds: int) -> None:
        """Send its stop signal, and kill what hasn't ended after ``seconds``."""
        with told(f"container {id_[:12]}"):
            self._client.stop(id_, timeout=seconds)

    def retire(self, id_: str, seconds: int) -> None:
        """Stop it for good: nothing but a start by name brings it back. What is gone already is left alone."""
        with told(f"container {id_[:12]}"), contextlib.suppress(docker.errors.NotFound):
            self._client.update_container(id_, restart_policy={"Name": "no"})
            self._client.stop(id_, timeout=seconds)

    def signal(self, id_: str, name: str) -> None:
        """Send a signal to its first process."""
        with told(f"container {id_[:12]}"):
            self._client.kill(id_, signal=name)

    def remove(self, id_: str) -> None:
        """Have it gone, running or not, with its anonymous volumes."""
        with told(f"container {id_[:12]}"), contextlib.suppress(docker.errors.NotFound):
            self._client.remove_container(id_, force=True, v=True)

    def last_words(self, id_: str) -> list[str]:
        """The last lines of its log that tell of no request; none where its log driver can't be read."""
        return self.error_log(id_, LOG_TAIL)[-LOG_LINES:]

    def error_log(self, id_: str, tail: int = LONG_LOG_TAIL) -> list[str]:
        """What of the last lines of its log tells of no request; nothing where its log driver can't be read."""
        try:
            with told(f"log of container {id_[:12]}"):
                text = self._client.logs(id_, stdout=True, stderr=True, tail=tail)
        except KitError:
            return []
        lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
        return [line for line in lines if line and not line.startswith("{")]

    def execute(self, id_: str, command: Sequence[str]) -> Answer:
        """Run a command inside a running container."""
        with told(f"command {' '.join(command)[:80]} in container {id_[:12]}"):
            execution = self._client.exec_create(id_, list(command))["Id"]
            output, errors = self._client.exec_start(execution, demux=True)
            code = self._client.exec_inspect(execution)["ExitCode"]
        return Answer(
            int(code or 0), (output or b"").decode(errors="replace"), (errors or b"").decode(errors="replace")
        )

    def run(self, image: str, command: Sequence[str]) -> Answer:
        """Run a command in a container of its own, which has no network and is gone afterwards."""
        with told(f"command {' '.join(command)} in image {image}"):
            host = self._client.create_host_config(network_mode="none", read_only=True, cap_drop=["ALL"])
            entry, *arguments = command
            id_ = self._client.create_container(image, arguments, entrypoint=[entry], host_config=host)["Id"]
            try:
                self._client.start(id_)
                code = self._client.wait(id_)["StatusCode"]
                output = self._client.logs(id_, stdout=True, stderr=False)
                errors = self._client.logs(id_, stdout=False, stderr=True)
            finally:
                self._client.remove_container(id_, force=True, v=True)
        return Answer(int(code), output.decode(errors="replace"), errors.decode(errors="replace"))


def _image(raw: Mapping[str, Any]) -> Image:
    check = ((raw.get("Config") or {}).get("Healthcheck") or {}).get("Test") or []
    command: tuple[str, ...] = ()
    if check[:1] == ["CMD"]:
        command = tuple(check[1:])
    elif check[:1] == ["CMD-SHELL"]:
        command = ("/bin/sh", "-c", check[1])
    return Image(raw["Id"], tuple(raw.get("RepoTags") or ()), str(raw.get("Created") or ""), command)
