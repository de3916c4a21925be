"""The containers of a gateway, one after the other: what each was made from, which one serves, what is left over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Container, Options
from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import load_certificates
from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import Listen, Site
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

GATEWAY_LABEL: Final = "mtls-kit.gateway"
RECORD_LABEL: Final = "mtls-kit.generation"
PREFIX: Final = "/etc/mtls-kit"
"""Where a container finds the configuration of its generation."""
STATE: Final = "/run/nginx"
LISTENERS: Final = "listeners"
PROBE: Final = "probe"
PUBLIC: Final = "public"
"""Folders with the listeners of each server; the link ``listeners`` leads to one of them."""
SERVED: Final = "served.json"
"""Which release each site had when the generation was drained."""
PROBE_PORT: Final = "probe-port"
"""For the image's health check."""


@dataclass(frozen=True)
class Record:
    """What a generation was made from; it lies as a label on its container."""

    number: int
    slot: int
    reference: str
    """The image's name, for people."""
    config: str
    options: Mapping[str, Any]
    sites: tuple[Site, ...]
    """Looked at through the probe listener of the slot."""
    public: tuple[Site, ...]
    """The same as clients reach them."""

    def as_label(self) -> str:
        """As :meth:`of_label` takes it."""
        return json.dumps(asdict(self), sort_keys=True, default=str)

    @classmethod
    def of_label(cls, text: str) -> Record:
        """Raises ValueError, KeyError or TypeError for the label of somebody else."""
        raw = json.loads(text)
        raw |= {key: tuple(_site(one) for one in raw[key]) for key in ("sites", "public")}
        return cls(**raw)


def _site(raw: Mapping[str, Any]) -> Site:
    listens = tuple(Listen(one["address"], int(one["port"])) for one in raw["listens"])
    return Site(**{**raw, "root": Path(raw["root"]), "listens": listens, "backends": tuple(raw["backends"])})


@dataclass(frozen=True)
class Generation:
    """A container of a gateway, with its record and its folder."""

    container: Container
    record: Record
    folder: Path
    listens: bool
    """Whether it holds a public listener now."""

    @property
    def was_public(self) -> bool:
        """Whether it has been proven, and its public listeners were switched on."""
        return files.target_of(self.folder / LISTENERS) == PUBLIC

    @property
    def name(self) -> str:
        """For people."""
        return self.container.name


@dataclass(frozen=True)
class Standing:
    """Which generation serves, which is kept to go back to, and what a run that was cut off left."""

    current: Generation | None
    previous: Generation | None
    draining: tuple[Generation, ...]
    """They have been public and haven't ended: what they are at is finished first."""
    unfinished: tuple[Generation, ...]


def standing(generations: Sequence[Generation]) -> Standing:
    """Sort the generations of a gateway.

    The newest that holds public listeners is the current one: it got them only after it had been proven.
    """
    newest = sorted(generations, key=lambda one: one.record.number, reverse=True)
    serving = [one for one in newest if one.listens]
    current = serving[0] if serving else None
    others = [one for one in newest if one is not current]
    draining = tuple(one for one in others if _active(one.container) and one.was_public)
    stopped = [one for one in others if not _active(one.container) and one.was_public]
    # What is drained now served until now: that is what one would go back to.
    previous = None if draining else next(iter(stopped), None)
    kept = {id(one) for one in (current, previous, *draining)}
    return Standing(current, previous, draining, tuple(one for one in others if id(one) not in kept))


def _active(container: Container) -> bool:
    return container.running or container.restarting


def fingerprint(contents: Mapping[str, str]) -> str:
    """Of the files of a generation, by their names."""
    return hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()[:12]


def reasons(current: Generation | None, image: str, reference: str, config: str, options: Options) -> list[str]:
    """Why the gateway needs another container, or nothing."""
    if current is None:
        return ["no container serves"]
    found = []
    if current.container.image != image:
        old, new = current.record.reference, reference
        found.append(f"image changed ({old} -> {new})" if old != new else f"image {new} changed")
    if current.record.config != config:
        found.append(f"configuration changed ({current.record.config} -> {config})")
    before, after = current.record.options, _plain(options)
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    if changed:
        found.append(f"engine options changed: {', '.join(changed)}")
    return found


def _plain(options: Options) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain


def record(
    number: int,
    slot: int,
    reference: str,
    config: str,
    options: Options,
    sites: tuple[Site, ...],
    public: tuple[Site, ...],
) -> Record:
    """The record of a generation that is to be."""
    return Record(number, slot, reference, config, _plain(options), sites, public)


class Folders:
    """The configurations of a gateway's generations, a folder each."""

    def __init__(self, root: Path) -> None:
        """``root`` is the gateway's own."""
        self.root = root

    def of(self, number: int) -> Path:
        """The folder of a generation."""
        return self.root / str(number)

    def numbers(self) -> list[int]:
        """Those there are."""
        return sorted(int(path.name) for path in self.root.glob("[0-9]*") if path.name.isdigit())

    def place(
        self, number: int, contents: Mapping[str, str], probe: Mapping[str, str], public: Mapping[str, str]
    ) -> Path:
        """Write the folder of a generation whose listeners are those of the probe; it is there whole or not at all.

        Raises OSError.
        """
        owner = files.Ownership.current()
        temporary = self.root / files.temporary_name()
        kinds = {PROBE: probe, PUBLIC: public}
        listens = {f"{kind}/{name}.conf": text for kind, texts in kinds.items() for name, text in texts.items()}
        try:
            for name, text in {**contents, **listens}.items():
                files.make_folder((temporary / name).parent, 0o755, owner)
                files.write_new(temporary / name, text.encode(), 0o644, owner)
            for kind in kinds:
                files.make_folder(temporary / kind, 0o755, owner)
            (temporary / LISTENERS).symlink_to(PROBE)
            folder = self.of(number)
            if folder.exists():
                files.remove(folder)
            temporary.rename(folder)
        except OSError:
            files.remove(temporary)
            raise
        files.sync_folder(self.root)
        return folder

    def altered(self, number: int, contents: Mapping[str, str]) -> list[str]:
        """Names of files that are not as they were written."""
        folder = self.of(number)
        return sorted(name for name, text in contents.items() if files.read(folder / name) != text.encode())

    def remove(self, number: int) -> None:
        """Have the folder gone. Raises OSError."""
        files.remove(self.of(number))


def is_usable(release: Path, now: datetime) -> bool:
    """Whether a release is there, and its certificate is valid."""
    content = files.read(release / "server.crt")
    if content is None:
        return False
    leaf = load_certificates(content.decode(errors="replace"), f"release {release.name}")[0]
    return clock.not_before(leaf) <= now < clock.not_after(leaf)


def survey(
    containers: Sequence[Container], folders: Folders, held: Callable[[int], Sequence[Listen]]
) -> list[Generation]:
    """The generations behind a gateway's containers; ``held`` tells where a process listens.

    KitError for a container that bears the gateway's label and isn't the kit's.
    """
    found = []
    for container in containers:
        try:
            its_record = Record.of_label(container.labels[RECORD_LABEL])
        except (ValueError, KeyError, TypeError) as error:
            raise KitError(
                f"container {container.name}",
                f"the label {GATEWAY_LABEL} and no record that can be read",
                "containers with this label to be the kit's",
                f"remove it (docker rm -f {container.name}) once you know who made it",
            ) from error
        listening = held(container.pid) if container.running and container.pid else ()
        places = {place.port for site in its_record.public for place in site.listens}
        public = any(one.port in places for one in listening)
        found.append(Generation(container, its_record, folders.of(its_record.number), public))
    return found
