"""One change of an Nginx: looked at before, written, tested, reloaded, looked at again, or taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files, tls
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

RELOAD_PER_TEST = 3.0
"""Times as long as ``nginx -t`` that a reload is given on top: it also frees the old configuration."""

Rollback = Callable[[Path], tuple[str, str]]
"""Takes a site's folder, swaps its release back and returns (release left, release now current); KitError if none."""


@dataclass(frozen=True)
class FileChange:
    """A file as it was and as it is to be; None: not there."""

    path: Path
    before: bytes | None
    after: bytes | None
    mode: int
    mode_before: int
    reason: str

    @property
    def action(self) -> str:
        """The word of the contract."""
        return "remove" if self.after is None else "write"

    def stage(self) -> Path | None:
        """Write the new content beside the file, so that a full disk is met before anything is changed."""
        if self.after is None:
            return None
        owner = files.Ownership.current()
        files.make_folder(self.path.parent, 0o755, owner)
        # Nginx's includes are globs, which leave names out that begin with a dot.
        staged = self.path.parent / files.temporary_name()
        try:
            files.write_new(staged, self.after, self.mode, owner)
        except OSError:
            files.remove(staged)
            raise
        return staged

    def settle(self, staged: Path | None) -> None:
        """Let the staged file take the file's place, or remove the file."""
        if staged is None:
            self.path.unlink(missing_ok=True)
        else:
            staged.replace(self.path)
        files.sync_folder(self.path.parent)

    def undo(self) -> None:
        """Put the very bytes back that were there."""
        if self.before is None:
            self.path.unlink(missing_ok=True)
        else:
            files.replace(self.path, self.before, self.mode_before, files.Ownership.current())


def apply(changes: Sequence[FileChange]) -> None:
    """Make the changes, all of them or, after an OSError, none as long as the disk was what failed."""
    staged: list[Path | None] = []
    try:
        for change in changes:
            staged.append(change.stage())
        for change, path in zip(changes, staged, strict=True):
            change.settle(path)
    except OSError:
        for path in staged:
            if path is not None:
                path.unlink(missing_ok=True)
        raise


def plan_files(wanted: Sequence[tuple[Path, bytes, int]], absent: Sequence[Path]) -> list[FileChange]:
    """What differs between the files as they are and as they are ``wanted``, (path, content, mode)."""
    changes = []
    for path, content, mode in wanted:
        before, mode_before = _read(path)
        if before is None:
            reason = "new"
        elif before != content:
            reason = "content changed"
        elif mode_before != mode:
            reason = f"mode {mode_before:04o} was found, {mode:04o} is expected"
        else:
            continue
        changes.append(FileChange(path, before, content, mode, mode_before, reason))
    for path in absent:
        before, mode_before = _read(path)
        if before is not None:
            changes.append(FileChange(path, before, None, 0, mode_before, "not wanted any more"))
    return changes


def _read(path: Path) -> tuple[bytes | None, int]:
    try:
        return path.read_bytes(), path.stat().st_mode & 0o7777
    except (FileNotFoundError, NotADirectoryError):
        return None, 0o644
    except OSError as error:
        raise KitError(
            f"file {path}",
            f"it can't be read ({error.strerror})",
            "a readable file",
            "run with become: true, or move it away",
        ) from error


@dataclass
class Outcome:
    """What a deployment did and found."""

    changes: list[dict[str, str]] = field(default_factory=list)
    served: dict[str, dict[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, action: str, reason: str) -> None:
        """One change with its reason, which is complete in itself."""
        self.changes.append({"name": name, "action": action, "reason": f"{action}: {reason}"})

    def add_files(self, changes: Sequence[FileChange]) -> None:
        """The changes of files."""
        for change in changes:
            self.add(str(change.path), change.action, change.reason)


def told(seen: gateway.Served) -> dict[str, str]:
    """As a module returns it."""
    return {"release": seen.release, "trust": seen.trust, "serial": seen.serial}


class Server(Protocol):
    """The Nginx that is changed, on this machine or in a container."""

    instance: gateway.Instance

    def command(self, *arguments: str) -> list[str]:
        """The argument list that addresses it, as a person would run it."""

    def test(self) -> gateway.Verdict:
        """``nginx -t``."""

    def master(self) -> int | None:
        """The master process's id, when it runs."""

    def start(self) -> None:
        """Start it; raises KitError."""

    def reload(self, master: int) -> None:
        """Make the master read its configuration again."""

    def stop(self, master: int) -> None:
        """Let it finish for a while, then end it."""

    def enabled(self) -> bool:
        """Whether it comes up with the machine."""

    def enable(self) -> None:
        """Make it come up with the machine."""

    def log_end(self) -> int:
        """Where :meth:`log_since` is to begin."""

    def log_since(self, begin: int) -> list[str]:
        """The last errors that it logged since then."""


class Deployment:
    """Sites and files for one Nginx."""

    def __init__(
        self,
        nginx: Server,
        changes: Sequence[FileChange],
        managed: Sequence[Path],
        directories: Sequence[Path],
        sites: Sequence[gateway.Site],
        poll_seconds: float,
        rollback: Rollback,
    ) -> None:
        """``managed``: every file that is this kit's, changed or not."""
        self.nginx = nginx
        self.file_changes = list(changes)
        self.managed = set(managed)
        self.directories = [directory for directory in directories if not directory.is_dir()]
        self.sites = list(sites)
        self.poll_seconds = poll_seconds
        self.rollback = rollback
        self.outcome = Outcome()
        self.seen: dict[str, gateway.Served] = {}

    # -- before ---------------------------------------------------------------------------------------------------

    def _is_ours(self, path: Path) -> bool:
        return path in self.managed or any(path.is_relative_to(site.root) for site in self.sites)

    def _check_what_is_there(self) -> None:
        config = self.nginx.instance.config
        if config and not Path(config).exists():
            return
        verdict = self.nginx.test()
        # What is broken in our own files or releases is what this run may be about to cure.
        if verdict.passed or any(self._is_ours(path) for path in verdict.paths):
            return
        raise KitError(
            "Nginx's configuration, before this run changed anything",
            verdict.text,
            "nginx -t passes",
            f"repair {verdict.paths[0] if verdict.paths else 'what it names'} and run again; nothing was changed",
        )

    def _check_sites(self, master: int | None, check_mode: bool) -> dict[str, gateway.Served]:
        expected = {}
        for site in self.sites:
            try:
                expected[site.name] = gateway.on_disk(site)
                gateway.check_password_file(site)
            except KitError as error:
                if not check_mode:
                    raise
                # A dry run of a new gateway: the roles before this one wrote nothing.
                self.outcome.warnings.append(f"check mode: {error}")
        check_places(self.sites, master)
        return expected

    def _look_at_sites(self, expected: dict[str, gateway.Served]) -> list[tuple[str, str]]:
        """(site, reason) for each site that doesn't serve what is on disk."""
        reasons = []
        for site in self.sites:
            try:
                self.seen[site.name] = gateway.look(site)
            except (tls.NotReachable, tls.NoSession) as error:
                # A site of which anything is new isn't expected to be there.
                if not self.file_changes:
                    reasons.append((site.name, f"not served: {error}"))
                continue
            if site.name in expected:
                seen = self.seen[site.name]
                # Files that change are a reason of their own, already told.
                wanted = replace(expected[site.name], config=seen.config) if self.file_changes else expected[site.name]
                differences = seen.differences(wanted)
                reasons += [(site.name, ", ".join(differences))] if differences else []
        return reasons

    def check(self) -> None:
        """Raises KitError for what would keep the sites from being served, as far as can be told before they exist.

        What they serve now is in the outcome.
        """
        self._check_what_is_there()
        master = self.nginx.master()
        check_places(self.sites, master)
        self._look_at_sites({})
        self.outcome.served = {name: told(seen) for name, seen in self.seen.items()}

    # -- the change -----------------------------------------------------------------------------------------------

    def run(self, check_mode: bool) -> Outcome:
        """Raises KitError; then either nothing was changed, or the error says what was taken back."""
        master = self.nginx.master()
        self._check_what_is_there()
        expected = self._check_sites(master, check_mode)
        for directory in self.directories:
            self.outcome.add(str(directory), "write", "new")
        self.outcome.add_files(self.file_changes)
        stale = self._look_at_sites(expected) if master else []
        if not master:
            self.outcome.add("nginx", "reload", "it isn't running: start it")
        elif self.file_changes:
            self.outcome.add("nginx", "reload", f"changed files: {len(self.file_changes)}")
        for name, reason in stale:
            self.outcome.add(name, "reload", reason)
        enable = not self.nginx.enabled()
        if enable:
            self.outcome.add(
                self.nginx.instance.unit, "write", "it isn't enabled: it would not come up with the machine"
            )
        if check_mode:
            return self.outcome

        self._write()
        self._test()
        if not master or self.file_changes or stale:
            self._take_up(master, expected)
        if enable:
            self.nginx.enable()
        self.outcome.served = {name: told(one) for name, one in expected.items()}
        return self.outcome

    def _write(self) -> None:
        try:
            for directory in self.directories:
                files.make_folder(directory, 0o755, files.Ownership.current())
            apply(self.file_changes)
        except OSError as error:
            failed = self._restore()
            raise KitError(
                f"file {error.filename}",
                "; ".join([f"it can't be written ({error.strerror})", *failed]),
                "a writable folder with room in it",
                "make room or correct its rights and run again; Nginx was not reloaded",
            ) from error

    def _restore(self) -> list[str]:
        """Put every file back that is not as it was; return what could not be."""
        failed = []
        for change in reversed(self.file_changes):
            try:
                if _read(change.path) != (change.before, change.mode_before):
                    change.undo()
            except OSError as error:
                failed.append(f"{change.path} could not be put back ({error.strerror})")
        return failed

    def _test(self) -> None:
        begin = time.monotonic()
        verdict = self.nginx.test()
        # A reload loads what the test loaded; a map of a million entries takes seconds.
        self.poll_seconds += RELOAD_PER_TEST * (time.monotonic() - begin)
        if verdict.passed:
            self.outcome.warnings += verdict.warnings
            return
        broken = [
            site for site in self.sites if any(path.is_relative_to(site.root / "releases") for path in verdict.paths)
        ]
        raise self._take_back(f"nginx -t refuses it: {verdict.text}", broken, reload=False)

    def _take_up(self, master: int | None, expected: dict[str, gateway.Served]) -> None:
        log_begin = self.nginx.log_end()
        try:
            if master:
                self.nginx.reload(master)
            else:
                self.nginx.start()
        except KitError as error:
            raise self._take_back(str(error), self._switched(expected), reload=bool(master)) from error
        wrong = gateway.poll({site: expected[site.name] for site in self.sites}, self.poll_seconds)
        if wrong:
            found = "; ".join(f"{name}: {reason}" for name, reason in wrong.items())
            logged = self.nginx.log_since(log_begin)
            if logged:
                found += f"; Nginx logged: {' / '.join(logged)}"
            switched = [site for site in self._switched(expected) if site.name in wrong]
            raise self._take_back(f"after {self.poll_seconds:.0f} seconds {found}", switched, reload=True)

    def _switched(self, expected: dict[str, gateway.Served]) -> list[gateway.Site]:
        """Sites whose failure may be their release's: another one was served when this run began, or, without any
        change of the configuration to blame, none at all."""
        return [
            site
            for site in self.sites
            if (
                self.seen[site.name].release != expected[site.name].release
                if site.name in self.seen
                else not self.file_changes
            )
        ]

    # -- taking it back -------------------------------------------------------------------------------------------

    def _take_back(self, found: str, broken: Sequence[gateway.Site], *, reload: bool) -> KitError:
        """Restore files and releases, make Nginx serve them, and say how that went."""
        notes = []
        failed = []
        for site in broken:
            try:
                left, now = self.rollback(site.root)
                notes.append(f"site {site.name}: release {left} was rolled back to {now}")
            except KitError as error:
                failed.append(f"site {site.name}: no rollback ({error.found})")
        failed += self._restore()
        if self.file_changes:
            notes.append(f"files put back as they were: {len(self.file_changes)}")
        failed += self._serve_again(reload)
        nginx = " ".join(self.nginx.command("-t"))
        if failed:
            return KitError(
                "the change of Nginx failed, AND SO DID TAKING IT BACK",
                "; ".join([found, *notes, *failed]),
                "the earlier release and configuration served again",
                f"by hand: run '{nginx}' and repair what it names; point releases/current of the site at the folder of "
                "a good release beside it; reload Nginx; don't restart it before that test passes, for what runs may "
                "still be good",
            )
        return KitError(
            "the change of Nginx failed and was taken back",
            "; ".join([found, *notes]),
            "the new release and configuration served",
            "repair what is named and run again; what served before serves again",
        )

    def _serve_again(self, reload: bool) -> list[str]:
        """Test and reload what was restored; return what went wrong."""
        config = self.nginx.instance.config
        master = self.nginx.master()
        if config and not Path(config).exists():
            # The instance began with this run: it must not be left running without its files.
            if master:
                self.nginx.stop(master)
            return []
        verdict = self.nginx.test()
        if not verdict.passed:
            return [f"nginx -t refuses what was restored, too: {verdict.text}"]
        if not master:
            return [] if not self.seen else ["Nginx isn't running"]
        if reload:
            try:
                self.nginx.reload(master)
            except KitError as error:
                return [str(error)]
        failed = []
        restored = {}
        for site in self.sites:
            if site.name not in self.seen:
                continue
            try:
                restored[site] = replace(gateway.on_disk(site), config=self.seen[site.name].config)
            except KitError as error:
                failed.append(str(error))
        wrong = gateway.poll(restored, self.poll_seconds)
        return failed + [f"site {name} doesn't serve what was restored: {reason}" for name, reason in wrong.items()]


def check_places(sites: Sequence[gateway.Site], master: int | None) -> None:
    """Raises KitError for a backend that doesn't resolve, or a place where a site can't listen.

    ``master`` is the process of the Nginx that is to serve them, None where it doesn't run.
    """
    for site in sites:
        gateway.check_backends(site)
        for listen in site.listens:
            gateway.check_address(listen)
            gateway.check_port(listen, master)


def before_installation(file_changes: Sequence[FileChange]) -> Outcome:
    """What a dry run can tell on a machine that has no Nginx yet."""
    outcome = Outcome()
    outcome.add_files(file_changes)
    outcome.add("nginx", "reload", "it isn't installed yet: start it")
    return outcome


def stop(nginx: gateway.Nginx, file_changes: Sequence[FileChange], check_mode: bool) -> Outcome:
    """Stop the instance, then change its files (as a rule: remove them)."""
    outcome = Outcome()
    master = nginx.master()
    if master:
        outcome.add("nginx", "remove", f"process {master} is stopped")
    outcome.add_files(file_changes)
    if not check_mode:
        if master:
            nginx.stop(master)
        apply(file_changes)
    return outcome


def diffs(changes: Sequence[FileChange]) -> list[dict[str, Any]]:
    """Ansible's form of a unified diff, file by file."""
    return [
        {
            "before": (change.before or b"").decode(errors="replace"),
            "after": (change.after or b"").decode(errors="replace"),
            "before_header": str(change.path),
            "after_header": str(change.path),
        }
        for change in changes
    ]
