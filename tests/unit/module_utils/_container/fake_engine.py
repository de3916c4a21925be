"""An engine without containers: it remembers what it was told, and can be cut off, or fail, at any step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._container import generations
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Answer, Container, Image, Options
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError


class Killed(BaseException):
    """What ends a process without a word."""


@dataclass
class FakeEngine:
    """Containers by id. A container listens as its folder said when it was started or got SIGHUP."""

    known: dict[str, Container] = field(default_factory=dict)
    public: dict[str, bool] = field(default_factory=dict)
    present: dict[str, Image] = field(default_factory=dict)
    dies: set[str] = field(default_factory=set)
    """Ids of images whose containers end at once."""
    ill: set[str] = field(default_factory=set)
    """Ids of images whose health check fails."""
    steps: list[str] = field(default_factory=list)
    cut_off_at: int = -1
    kept: set[str] = field(default_factory=set)
    live_restore: bool = True

    def _step(self, name: str) -> None:
        if len(self.steps) == self.cut_off_at:
            raise Killed
        self.steps.append(name)

    def _folder(self, id_: str) -> Path:
        return Path(self.known[id_].labels["folder"])

    def held(self, pid: int) -> list[gateway.Listen]:
        """Where the process of a container listens."""
        (found,) = [one for one in self.known.values() if one.pid == pid]
        record = generations.Record.of_label(found.labels[generations.RECORD_LABEL])
        sites = record.sites + (record.public if self.public.get(found.id) else ())
        return [place for site in sites for place in site.listens]

    def keeps_alive(self) -> bool:
        return self.live_restore

    def containers(self, label: str) -> list[Container]:
        key, _, value = label.partition("=")
        return [one for one in self.known.values() if one.labels.get(key) == value or (key in one.labels and not value)]

    def container(self, id_: str) -> Container | None:
        return self.known.get(id_)

    def image(self, reference: str) -> Image | None:
        by_id = {one.id: one for one in self.present.values()}
        return self.present.get(reference) or by_id.get(reference)

    def images(self, label: str) -> list[Image]:
        return sorted(self.present.values(), key=lambda image: image.created, reverse=True)

    def used_images(self) -> set[str]:
        return {one.image for one in self.known.values()}

    def remove_image(self, id_: str) -> None:
        self._step("remove_image")
        self.present = {name: image for name, image in self.present.items() if image.id != id_}

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
        self._step("create")
        marked = {**labels, "folder": mounts[generations.PREFIX]}
        self.known[f"id-{name}"] = Container(f"id-{name}", name, image, marked, False, False, 0, 0)
        return f"id-{name}"

    def start(self, id_: str) -> None:
        self._step("start")
        one = self.known[id_]
        if one.image in self.dies:
            self.known[id_] = replace(one, exit_code=1)
            return
        self.known[id_] = replace(one, running=True, pid=sum(id_.encode()))
        self._load(id_)

    def _load(self, id_: str) -> None:
        self.public[id_] = str((self._folder(id_) / "listeners").readlink()) == generations.PUBLIC

    def signal(self, id_: str, name: str) -> None:
        self._step("signal")
        self._load(id_)

    def keep(self, id_: str) -> None:
        self._step("keep")
        self.kept.add(id_)

    def stop(self, id_: str, seconds: int) -> None:
        self.retire(id_, seconds)

    def retire(self, id_: str, seconds: int) -> None:
        self._step("retire")
        self.kept.discard(id_)
        self.public[id_] = False
        self.known[id_] = replace(self.known[id_], running=False, pid=0)

    def remove(self, id_: str) -> None:
        self._step("remove")
        self.known.pop(id_, None)

    def error_log(self, id_: str) -> list[str]:
        return []

    def last_words(self, id_: str) -> list[str]:
        return ["nginx: [emerg] of its own"]

    def execute(self, id_: str, command: Sequence[str]) -> Answer:
        failed = self.known[id_].image in self.ill
        return Answer(int(failed), "", "ill" if failed else "")

    def run(self, image: str, command: Sequence[str]) -> Answer:
        return Answer(0, "", "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.4\n")

    def serving(self) -> list[str]:
        """Names of the containers that clients reach."""
        return [one.name for one in self.known.values() if one.running and self.public[one.id]]


def refuse(what: str) -> Any:
    """A verb of the engine that fails."""

    def verb(*arguments: Any, **more: Any) -> None:
        raise KitError(what, "no room", "room", "make room")

    return verb
