"""A gateway's container replaced by another: proven beside the old one, let in, and only then the old one drained."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._container import generations
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine, Image, Options
from ansible_collections.mtls.kit.plugins.module_utils._container.generations import Folders, Generation, Standing
from ansible_collections.mtls.kit.plugins.module_utils._container.kernel import Migration
from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy, files, tls, units
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._gateway.release import rollback
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

PAUSE_SECONDS: Final = 0.05
SLICE_SECONDS: Final = 0.5
"""How long a new container is looked at before it is asked whether it still runs."""
PUBLIC_SECONDS: Final = 15.0
"""From the reload of a proven container to its public listeners, on top of the time that its start took."""
KILLED: Final = 137
ENDS_WITH_THE_ENGINE: Final = (
    "live-restore is off in this container engine: when it is killed, restarted or upgraded, the gateway ends and "
    'begins with it, and refuses connections meanwhile. Next: "live-restore": true in /etc/docker/daemon.json, then '
    "systemctl reload docker"
)


@dataclass(frozen=True)
class Site:
    """A site as clients reach it, and the loopback port of each slot."""

    public: gateway.Site
    probe_ports: tuple[int, ...]

    def at(self, slot: int) -> gateway.Site:
        """As it is looked at in the container of a slot, whoever has the public port."""
        place = gateway.Listen("127.0.0.1", self.probe_ports[slot])
        return replace(self.public, address=place.address, port=place.port, listens=(place,))


@dataclass(frozen=True)
class Wish:
    """What a gateway is to be."""

    reference: str
    """Name of the image."""
    contents: Mapping[str, str]
    """Files by their path below the folder of the configuration."""
    listeners: Mapping[str, Mapping[str, Any]]
    """By server, its directives: C(public), and C(probe) by slot."""
    sites: Sequence[Site]
    options: Options

    @property
    def config(self) -> str:
        """Fingerprint of all files."""
        listeners = {name: json.dumps(server) for name, server in self.listeners.items()}
        return generations.fingerprint({**self.contents, **listeners})

    def listens(self, slot: int) -> tuple[dict[str, str], dict[str, str]]:
        """The listeners of each server, those of the probe and those of the public as well."""
        probe = {name: _directives(server["probe"][slot]) for name, server in self.listeners.items()}
        return probe, {name: probe[name] + _directives(server["public"]) for name, server in self.listeners.items()}


def _directives(listens: Sequence[str]) -> str:
    return "".join(f"listen {listen};\n" for listen in listens)


@dataclass(frozen=True)
class Times:
    """Bounds, in seconds."""

    start: float
    drain: int


class ContainerNginx:
    """The Nginx in a running container, as :class:`deploy.Deployment` takes one."""

    def __init__(self, engine: Engine, generation: Generation) -> None:
        """``generation`` is the one that serves."""
        self.instance = gateway.Instance(binary=str(generation.record.options["binary"]))
        self._engine = engine
        self._container = generation.container

    def command(self, *arguments: str) -> list[str]:
        """As a person would run it."""
        return ["docker", "exec", self._container.name, *self._inside(), *arguments]

    def _inside(self) -> list[str]:
        return [self.instance.binary, "-c", f"{generations.PREFIX}/nginx.conf"]

    def test(self) -> gateway.Verdict:
        """``nginx -t`` in the container."""
        answer = self._engine.execute(self._container.id, [*self._inside(), "-t"])
        return gateway.Verdict.of(answer.exit_code, answer.errors)

    def master(self) -> int | None:
        """Its first process."""
        now = self._engine.container(self._container.id)
        return now.pid if now is not None and now.running else None

    def start(self) -> None:
        """Start the container."""
        self._engine.start(self._container.id)

    def reload(self, master: int) -> None:
        """Make the master read its configuration again."""
        self._engine.signal(self._container.id, "SIGHUP")

    def stop(self, master: int) -> None:
        """Stop the container."""
        self._engine.stop(self._container.id, int(gateway.STOP_SECONDS))

    def enabled(self) -> bool:
        """The engine brings back what serves."""
        return True

    def enable(self) -> None:
        """It is."""

    def log_end(self) -> int:
        """The log is the container's, and its end is what counts."""
        return 0

    def log_since(self, begin: int) -> list[str]:
        """The container's last words."""
        return self._engine.last_words(self._container.id)


class Roller:
    """The containers of one gateway on this machine."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        root: Path,
        times: Times,
        migration: Migration | None = None,
        held: Callable[[int], Sequence[gateway.Listen]] = gateway.held_by,
    ) -> None:
        """``root`` is the folder of the gateway's configurations."""
        self.engine = engine
        self.name = name
        self.folders = Folders(root)
        self.times = times
        self.outcome = deploy.Outcome()
        self._migration = migration or Migration()
        self._held = held

    @property
    def _label(self) -> str:
        return f"{generations.GATEWAY_LABEL}={self.name}"

    def standing(self) -> Standing:
        """What is there. KitError when it can't be told."""
        containers = self.engine.containers(self._label)
        try:
            return generations.standing(generations.survey(containers, self.folders, self._held))
        except PermissionError as error:
            raise KitError(
                f"gateway {self.name}",
                "that this user may not see where its processes listen",
                "root, to whom the keys belong as well",
                "run with become: true",
            ) from error

    # -- what is to be done ---------------------------------------------------------------------------------------

    def check(self, wish: Wish) -> None:
        """KitError for what would keep the sites from being served, as far as can be told before they exist."""
        standing = self.standing()
        deploy.check_places([site.public for site in wish.sites], _master(standing.current))
        if not standing.unfinished:
            self._check_probe_ports(wish, standing.current)
        if standing.current is not None:
            self._look(standing.current)

    def run(self, wish: Wish, check_mode: bool) -> deploy.Outcome:
        """Have the gateway as it is wished. KitError; what served before then serves on, and the error says so."""
        standing = self.standing()
        current = standing.current
        self._check_releases(wish, check_mode)
        deploy.check_places([site.public for site in wish.sites], _master(current))
        image = self.engine.image(wish.reference)
        if image is None and not check_mode:
            raise self._no_image(wish.reference, current)
        reasons = generations.reasons(current, image.id if image else "", wish.reference, wish.config, wish.options)
        if current is not None:
            altered = self.folders.altered(current.record.number, wish.contents)
            if altered and current.record.config == wish.config:
                reasons.append(f"configuration altered on this machine: {', '.join(altered)}")
            reasons += self._look(current)
        for reason in self._migration.wanting():
            self.outcome.add(str(self._migration.kept), "write", reason)
        self._tell_leftovers(standing)
        if not check_mode:
            self._prepare(standing)
        # A release that this container can't read is what new engine options are for.
        if current is not None and not any("engine options" in reason or "answer" in reason for reason in reasons):
            self._reload(current, check_mode)
        for reason in reasons:
            self.outcome.add(self.name, "roll", reason)
        if reasons and not check_mode and image is not None:
            self._check_probe_ports(wish, current)
            self._roll(wish, image, current)
        if not check_mode:
            self._remove_superseded()
            self._tell_served(wish)
        return self.outcome

    def back(self, check_mode: bool) -> deploy.Outcome:
        """Have the container of before the last roll serve again, with the releases that it served."""
        standing = self.standing()
        current, previous = standing.current, standing.previous
        if current is None or previous is None:
            raise KitError(
                f"gateway {self.name}",
                "no container to go back from" if current is None else "no container of before the last roll",
                "one that served until another took its place",
                "give nginx_container_image and the variables of the earlier state, and run roll.yml",
            )
        self.outcome.add(
            self.name, "roll", f"back to {previous.name} (image {previous.record.reference}), from {current.name}"
        )
        moves = self._releases_to_go_back_to(previous)
        for folder, _, release in moves:
            self.outcome.add(folder.parent.name, "rollback", f"to release {release}, which {previous.name} served")
        if check_mode:
            return self.outcome
        self._prepare(standing)
        for folder, _, release in moves:
            units.switch(folder, release)
        try:
            self._exchange(previous, current, fresh=False)
        except KitError:
            for folder, release, _ in moves:
                units.switch(folder, release)
            raise
        self.outcome.served = {site.name: deploy.told(gateway.on_disk(site)) for site in previous.record.sites}
        return self.outcome

    def remove(self, check_mode: bool) -> deploy.Outcome:
        """Have no container of this gateway left; the last gateway takes the kernel's setting with it."""
        containers = self.engine.containers(self._label)
        for container in containers:
            self.outcome.add(container.name, "remove", "the gateway is not wanted any more")
        folder = self.folders.root
        if folder.exists():
            self.outcome.add(str(folder), "remove", "the gateway is not wanted any more")
        others = [one for one in self.engine.containers(generations.GATEWAY_LABEL) if one not in containers]
        if not others and self._migration.kept.exists():
            self.outcome.add(str(self._migration.kept), "remove", "no gateway needs it any more")
        if check_mode:
            return self.outcome
        for container in containers:
            self.engine.retire(container.id, self.times.drain)
            self.engine.remove(container.id)
        with files.told_failures(f"gateway {self.name}"):
            files.remove(folder)
            if not others:
                self._migration.unset()
        return self.outcome

    # -- before -----------------------------------------------------------------------------------------------------

    def _check_probe_ports(self, wish: Wish, current: Generation | None) -> None:
        for site in wish.sites:
            for place in site.at(_next_slot(current)).listens:
                gateway.check_port(place, None)

    def _check_releases(self, wish: Wish, check_mode: bool) -> None:
        for site in wish.sites:
            try:
                gateway.on_disk(site.public)
                gateway.check_password_file(site.public)
            except KitError as error:
                if not check_mode:
                    raise
                # A dry run of a new gateway: the roles before this one wrote nothing.
                self.outcome.warnings.append(f"check mode: {error}")

    def _no_image(self, reference: str, current: Generation | None) -> KitError:
        return KitError(
            f"gateway {self.name}, image {reference}",
            "no such image on this machine",
            "an image that was built, pulled or loaded before",
            f"correct nginx_container_image or nginx_container_source; {_goes_on(current)}",
        )

    def _look(self, current: Generation) -> list[str]:
        """Why the container that serves must be replaced whatever it was made from; and what it serves."""
        for site in current.record.sites:
            try:
                self.outcome.served[site.name] = deploy.told(gateway.look(site))
            except (tls.NotReachable, tls.NoSession) as error:
                return [f"{current.name} doesn't answer for site {site.name}: {error}"]
        return []

    def _tell_leftovers(self, standing: Standing) -> None:
        for one in standing.draining:
            self.outcome.add(one.name, "remove", "its place was taken by a run that was cut off before it had ended")
        for one in standing.unfinished:
            self.outcome.add(one.name, "remove", "left by a run that was cut off")

    def _prepare(self, standing: Standing) -> None:
        """The kernel's setting, and no leftovers."""
        with files.told_failures(f"file {self._migration.kept}"):
            if self._migration.wanting():
                self.outcome.warnings += self._migration.set()
        for one in standing.unfinished:
            self.engine.remove(one.container.id)
        # Without a container that serves, one that fails may still come round.
        for one in standing.draining if standing.current else ():
            self.engine.retire(one.container.id, self.times.drain)
        known = {one.record.number for one in (standing.current, standing.previous, *standing.draining) if one}
        with files.told_failures(f"folder {self.folders.root}"):
            for leftover in files.unfinished(self.folders.root):
                files.remove(leftover)
            for number in set(self.folders.numbers()) - known:
                self.folders.remove(number)

    def _reload(self, current: Generation, check_mode: bool) -> None:
        """A new release or trust unit: a reload is enough."""
        deployment = deploy.Deployment(
            ContainerNginx(self.engine, current), [], [], [], current.record.sites, self.times.start, rollback
        )
        try:
            done = deployment.run(check_mode)
        finally:
            self.outcome.changes += deployment.outcome.changes
            self.outcome.warnings += deployment.outcome.warnings
        self.outcome.served |= done.served

    # -- the roll ---------------------------------------------------------------------------------------------------

    def _roll(self, wish: Wish, image: Image, current: Generation | None) -> None:
        if not self.engine.keeps_alive():
            self.outcome.warnings.append(ENDS_WITH_THE_ENGINE)
        slot = _next_slot(current)
        sites = tuple(site.at(slot) for site in wish.sites)
        taken = [one.record.number for one in self._all()]
        number = max([0, *taken, *self.folders.numbers()]) + 1
        made_from = generations.record(
            number, slot, wish.reference, wish.config, wish.options, sites, tuple(site.public for site in wish.sites)
        )
        name = f"{self.name}-{number}"
        with files.told_failures(f"configuration of container {name}"):
            contents = {**wish.contents, generations.PROBE_PORT: f"{sites[0].port}\n"}
            folder = self.folders.place(number, contents, *wish.listens(slot))
        try:
            id_ = self.engine.create(
                name,
                image.id,
                ["-c", f"{generations.PREFIX}/nginx.conf", "-e", "stderr", "-g", "daemon off;"],
                {generations.GATEWAY_LABEL: self.name, generations.RECORD_LABEL: made_from.as_label()},
                {generations.PREFIX: str(folder)},
                generations.STATE,
                wish.options,
            )
            container = self.engine.container(id_)
            if container is None:
                raise KitError(f"container {name}", "that it is gone", "it to be there", "find out who removed it")
        except KitError as error:
            with files.told_failures(f"folder {folder}"):
                self.folders.remove(number)
            raise KitError(
                f"roll of gateway {self.name}: container {name}",
                error.found,
                error.expected,
                f"{error.next_step}; {_goes_on(current)}",
            ) from error
        self._exchange(Generation(container, made_from, folder, listens=False), current, fresh=True)

    def _exchange(self, new: Generation, old: Generation | None, *, fresh: bool) -> None:
        """Let ``new`` take the place of ``old``, or take ``new`` back."""
        try:
            expected = {site: gateway.on_disk(site) for site in new.record.sites}
            if not fresh:
                files.point(new.folder / generations.LISTENERS, generations.PROBE)
            self.engine.start(new.container.id)
            took = self._prove(new, expected)
            self._let_in(new, took)
            if old is not None:
                self._remember(old)
                self.engine.retire(old.container.id, self.times.drain)
                self._stands_alone(new, old)
        except (KitError, OSError) as error:
            raise self._take_back(new, old, error, fresh=fresh) from error
        if old is not None and (ended := self.engine.container(old.container.id)) and ended.exit_code == KILLED:
            self.outcome.warnings.append(
                f"{old.name} had not finished after {self.times.drain} seconds: what was still open was cut"
            )

    def _prove(self, new: Generation, expected: Mapping[gateway.Site, gateway.Served]) -> float:
        """Wait until the new container is well and serves what lies on disk; returns the seconds it took."""
        begin = time.monotonic()
        deadline = tls.Deadline(self.times.start)
        while True:
            wrong = gateway.poll(expected, SLICE_SECONDS)
            found = "; ".join(f"site {site}: {reason}" for site, reason in wrong.items()) or self._illness(new)
            if not found:
                return time.monotonic() - begin
            self._check_runs(new)
            if deadline.passed:
                raise KitError(
                    new.name,
                    f"after {self.times.start:.0f} seconds {found}",
                    "the release, the trust unit and the configuration on disk, served",
                    "cure what the log names and run again",
                )
            time.sleep(PAUSE_SECONDS)

    def _illness(self, new: Generation) -> str:
        """What the image's own check says, asked now and not when the engine next does; empty when all is well."""
        image = self.engine.image(new.container.image)
        if image is None or not image.healthcheck:
            return ""
        answer = self.engine.execute(new.container.id, image.healthcheck)
        said = " ".join((answer.output + answer.errors).split())
        return f"its health check ended with status {answer.exit_code}: {said or 'no word'}" if answer.exit_code else ""

    def _check_runs(self, new: Generation) -> None:
        now = self.engine.container(new.container.id)
        if now is None or not now.running:
            raise KitError(
                new.name,
                f"that it ended with status {now.exit_code}" if now else "that somebody removed it",
                "a container that stays",
                "cure what the log names and run again",
            )

    def _let_in(self, new: Generation, took: float) -> None:
        """Switch the public listeners on, and see them there."""
        files.point(new.folder / generations.LISTENERS, generations.PUBLIC)
        self.engine.signal(new.container.id, "SIGHUP")
        seconds = PUBLIC_SECONDS + deploy.RELOAD_PER_TEST * took
        self._wait_for_listeners(new, seconds)
        # The engine brings it back from now on, and not before.
        self.engine.keep(new.container.id)
        wrong = gateway.poll({site: gateway.on_disk(site) for site in new.record.public}, seconds)
        if wrong:
            raise KitError(
                new.name,
                "; ".join(f"site {site} at its own address: {reason}" for site, reason in wrong.items()),
                "new connections to get what lies on disk",
                "cure what the log names and run again",
            )

    def _wait_for_listeners(self, one: Generation, seconds: float) -> None:
        deadline = tls.Deadline(seconds)
        wanted = {place for site in one.record.public for place in site.listens}
        while True:
            now = self.engine.container(one.container.id)
            missing = wanted - set(self._held(now.pid) if now and now.running else ())
            if not missing:
                return
            self._check_runs(one)
            if deadline.passed:
                places = ", ".join(sorted(f"{place.address} port {place.port}" for place in missing))
                raise KitError(
                    one.name,
                    f"that it doesn't listen on {places}",
                    "its public listeners",
                    "cure what the log names and run again",
                )
            time.sleep(PAUSE_SECONDS)

    def _stands_alone(self, new: Generation, old: Generation) -> None:
        """The old one is gone: what clients get now comes from the new one."""
        wrong = gateway.poll({site: gateway.on_disk(site) for site in new.record.public}, self.times.start)
        if not wrong:
            return
        self.engine.start(old.container.id)
        self._wait_for_listeners(old, self.times.start)
        self.engine.keep(old.container.id)
        raise KitError(
            new.name,
            f"alone, {'; '.join(f'site {site}: {reason}' for site, reason in wrong.items())}",
            "new connections to get what lies on disk",
            "cure what the log names and run again",
        )

    def _take_back(self, new: Generation, old: Generation | None, error: Exception, *, fresh: bool) -> KitError:
        found, expected, step = (
            (error.found, error.expected, error.next_step)
            if isinstance(error, KitError)
            else (str(error), "a file system that takes the files", "cure it and run again")
        )
        notes = [found]
        try:
            words = self.engine.last_words(new.container.id)
            if words:
                notes.append(f"its last words: {' / '.join(words)}")
            self.engine.retire(new.container.id, self.times.drain if new.was_public else int(gateway.STOP_SECONDS))
            if fresh:
                self.engine.remove(new.container.id)
                self.folders.remove(new.record.number)
            else:
                files.point(new.folder / generations.LISTENERS, generations.PUBLIC)
        except (KitError, OSError) as trouble:
            told = getattr(trouble, "found", str(trouble))
            why = "" if told == found else f" ({told})"
            notes.append(f"AND IT COULD NOT BE TAKEN AWAY{why}: the next run does that")
        return KitError(
            f"roll of gateway {self.name}: container {new.name}", "; ".join(notes), expected, f"{step}; {_goes_on(old)}"
        )

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def _all(self) -> list[Generation]:
        return generations.survey(self.engine.containers(self._label), self.folders, self._held)

    def _remember(self, old: Generation) -> None:
        """Which release each site had: what it takes to go back."""
        served = {site.name: site.release_directory.readlink().name for site in old.record.sites}
        for site, seen in self.outcome.served.items():
            if site in served and seen["release"]:
                served[site] = seen["release"]
        text = json.dumps(served, sort_keys=True) + "\n"
        files.replace(old.folder / generations.SERVED, text.encode(), 0o644, files.Ownership.current())

    def _releases_to_go_back_to(self, previous: Generation) -> list[tuple[Path, str, str]]:
        """By folder of releases, the one in use and the one to use; what is gone or has expired is told and left."""
        content = files.read(previous.folder / generations.SERVED) or b"{}"
        served: dict[str, str] = json.loads(content)
        moves = []
        for site in previous.record.sites:
            releases = site.release_directory.parent
            now, then = units.current(releases), served.get(site.name)
            if then is None or now is None or then == now:
                continue
            if generations.is_usable(releases / then, datetime.now(UTC)):
                moves.append((releases, now, then))
            else:
                self.outcome.warnings.append(
                    f"site {site.name}: {previous.name} served release {then}, which is gone or expired; {now} stays"
                )
        return moves

    def _remove_superseded(self) -> None:
        """One generation is kept to go back to; what is older goes."""
        standing = self.standing()
        for one in (*standing.unfinished, *standing.draining):
            if one.container.restarting:
                self.engine.retire(one.container.id, self.times.drain)
            self.engine.remove(one.container.id)
            with files.told_failures(f"folder {one.folder}"):
                self.folders.remove(one.record.number)

    def _tell_served(self, wish: Wish) -> None:
        self.outcome.served = {site.public.name: deploy.told(gateway.on_disk(site.public)) for site in wish.sites}


def prune(engine: Engine, label: str, keep: int, outcome: deploy.Outcome, check_mode: bool) -> None:
    """Have no more than ``keep`` images with ``label`` beside those that containers are made from."""
    used = engine.used_images()
    for image in [one for one in engine.images(label) if one.id not in used][keep:]:
        name = image.tags[0] if image.tags else image.id
        outcome.add(name, "remove", f"{keep} images are kept beside those in use")
        if not check_mode:
            engine.remove_image(image.id)


def _master(one: Generation | None) -> int | None:
    return one.container.pid if one else None


def _next_slot(current: Generation | None) -> int:
    return 0 if current is None else 1 - current.record.slot


def _goes_on(old: Generation | None) -> str:
    return f"{old.name} goes on serving" if old else "nothing served before"
