"""What fills a gateway's memory with key passwords: a program, its units, and what it reads them from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy, files, password_delivery, release, units
from ansible_collections.mtls.kit.plugins.module_utils._gateway.deploy import FileChange, Outcome
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import run
from ansible_collections.mtls.kit.plugins.module_utils._gateway.password_delivery import CREDENTIAL, ENGINE_UNIT, MEMORY
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import SiteFolders
from ansible_collections.mtls.kit.plugins.module_utils._gateway.systemd import Systemd
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

PROGRAM: Final = "key_passwords.py"
CONFIG: Final = "key_passwords.json"
AUTHORITY: Final = "openbao-ca.pem"
APPROLE: Final = "openbao-approle"
APPROLE_CREDENTIAL: Final = "mtls-openbao-approle"
UNITS: Final[Mapping[str, str]] = {
    CREDENTIAL: "mtls-key-credentials.service",
    MEMORY: "mtls-key-passwords.service",
}
PYTHON: Final = "/usr/bin/python3"
PROGRAM_SECONDS: Final = 30.0
"""The program ends by itself after 25."""

Config = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Where it all lies on a gateway."""

    config: Path = Path("/etc/mtls-kit")
    program: Path = Path("/usr/local/lib/mtls-kit")
    units: Path = Path("/etc/systemd/system")
    mounts: Path = Path("/proc/mounts")

    @property
    def credentials(self) -> Path:
        """A credential for each site."""
        return self.config / "credentials"

    def credential(self, site: str) -> Path:
        """The credential of one site."""
        return self.credentials / f"{site}.cred"

    def drop_in(self, unit: str) -> Path:
        """What the unit that runs Nginx is told."""
        return self.units / f"{unit}.d" / "mtls-kit.conf"


@dataclass(frozen=True)
class VaultSettings:
    """How a gateway reaches its passwords in OpenBao or HashiCorp Vault."""

    url: str
    ca: str
    namespace: str
    auth_mount: str
    mount: str
    kv_version: int
    prefix: str
    field: str
    approle_at_rest: str
    """``file`` or ``systemd_credential``."""
    role_id: str
    secret_id: str = dataclass_field(repr=False)

    @property
    def approle(self) -> bytes:
        """What logs the gateway in, as its program reads it."""
        return json.dumps({"role_id": self.role_id, "secret_id": self.secret_id}).encode()

    def check(self) -> None:
        """KitError for what can't work, before anything is tried."""
        for option in ("url", "role_id", "secret_id"):
            if not getattr(self, option):
                name = "certificate_install_openbao_secret_id" if option == "secret_id" else f"openbao.{option}"
                raise KitError(
                    f"password delivery {MEMORY}",
                    f"no {name}",
                    "url, role_id and secret_id of the vault that this gateway fetches its passwords from",
                    "see docs/password-delivery.md",
                )
        url = urlsplit(self.url)
        to_itself = url.scheme == "http" and url.hostname in ("127.0.0.1", "::1")
        if not url.hostname or url.path.strip("/") or not (url.scheme == "https" or to_itself):
            raise KitError(
                "certificate_install_openbao.url",
                repr(self.url),
                "https://host:port; http only to the gateway itself",
                "correct it",
            )
        if self.ca and "-----BEGIN CERTIFICATE-----" not in self.ca:
            raise KitError(
                "certificate_install_openbao.ca",
                "a text that is no certificate",
                "the PEM of the CA that signed the vault's certificate",
                "read it with lookup('ansible.builtin.file', …), or leave it out where the system trusts that CA",
            )


@dataclass(frozen=True)
class Wish:
    """A site, its password and how that is to reach Nginx."""

    folders: SiteFolders
    delivery: str
    password: bytes = dataclass_field(repr=False)

    @classmethod
    def of(cls, root: Path, site: Mapping[str, Any], passwords: Mapping[str, str]) -> Wish:
        """The site of a module's argument; KitError names what is wrong with it."""
        folders = SiteFolders.of(root, site["name"])
        return cls(
            folders,
            password_delivery.check_delivery(site["password_delivery"], folders.name),
            release.check_password(passwords.get(folders.name), folders.name),
        )

    @classmethod
    def without_password(cls, root: Path, site: Mapping[str, Any]) -> Wish:
        """As ``of``, for what is done without knowing any password."""
        folders = SiteFolders.of(root, site["name"])
        return cls(folders, password_delivery.check_delivery(site["password_delivery"], folders.name), b"")

    @property
    def name(self) -> str:
        """The site's."""
        return self.folders.name

    @property
    def in_memory(self) -> Path | None:
        """The file in memory; None where there is none."""
        return password_delivery.runtime_file(self.name, self.delivery)


@dataclass(frozen=True)
class Gateway:
    """A gateway, the sites it is to have, and what the deliveries of their passwords need."""

    wishes: Sequence[Wish]
    inventory_name: str
    unit: str
    """The unit of systemd that runs Nginx; empty: there is none."""
    owner: Ownership
    program: str
    """The text of the program."""
    credential_key: str
    """Which key encrypts credentials, in systemd-creds' words."""
    vault: VaultSettings
    systemd: Systemd = dataclass_field(default_factory=Systemd)
    places: Places = dataclass_field(default_factory=Places)

    # -- before anything changes ----------------------------------------------------------------------------------

    def check(self) -> None:
        """KitError for what a wished delivery needs and this machine doesn't have. Changes nothing."""
        wanted = {wish.delivery for wish in self.wishes} & set(UNITS)
        if not wanted:
            return
        what = f"password delivery {' and '.join(sorted(wanted))}"
        instead = "use password delivery file for the sites of this gateway"
        if os.geteuid() != 0:
            raise KitError(what, "an ordinary user", "root, who installs units", "set become: true")
        if not self.systemd.is_running():
            raise KitError(what, "a machine without systemd", "systemd as its first process", instead)
        if not self.unit:
            raise KitError(
                what,
                "an Nginx that no unit of systemd starts (nginx_mtls_instance: own, or nginx_mtls_service: signals)",
                "the packaged Nginx, started by systemd after its passwords are there",
                instead,
            )
        if CREDENTIAL in wanted and not self.systemd.has_credentials():
            raise KitError(what, "no program systemd-creds", "systemd 250 or newer, as Debian 12 has it", instead)
        if not self._runs_from_memory():
            raise KitError(what, "/run on a disk", "/run in memory (tmpfs), as systemd mounts it", instead)
        if not os.access(PYTHON, os.X_OK):
            raise KitError(what, f"no {PYTHON}", "Debian's own Python", "install the package python3")
        if MEMORY in wanted:
            self.vault.check()

    def _runs_from_memory(self) -> bool:
        mounts = [line.split() for line in self.places.mounts.read_text(encoding="utf-8").splitlines()]
        kinds = [words[2] for words in mounts if words[1] == "/run"]
        return bool(kinds) and kinds[-1] in ("tmpfs", "ramfs")

    # -- what is to be --------------------------------------------------------------------------------------------

    def config_found(self) -> Config:
        """What the program on this machine is told now; nothing where that can't be read."""
        try:
            config = json.loads(files.read(self.places.config / CONFIG) or b"{}")
        except ValueError:
            config = {}
        return config if isinstance(config, dict) else {}

    def config_wanted(self, found: Config) -> Config:
        """What the program is to be told: the wished sites, and as ``found`` those that nobody lists."""
        listed = {wish.name for wish in self.wishes}
        sections: Config = {}
        for delivery in UNITS:
            others = {name: one for name, one in _sites(found, delivery).items() if name not in listed}
            sites = others | {wish.name: self._entry(wish) for wish in self.wishes if wish.delivery == delivery}
            if not sites:
                continue
            settings = {key: value for key, value in found.get(delivery, {}).items() if key != "sites"}
            if delivery == MEMORY and any(wish.delivery == MEMORY for wish in self.wishes):
                settings = self._vault_section()
            sections[delivery] = {**settings, "sites": sites}
        return {"runtime": str(password_delivery.RUNTIME), **sections} if sections else {}

    def _entry(self, wish: Wish) -> dict[str, Any]:
        owner = {"uid": self.owner.uid, "gid": self.owner.gid}
        if wish.delivery == CREDENTIAL:
            return {**owner, "file": str(self.places.credential(wish.name)), "name": _credential_name(wish.name)}
        path = f"{self.vault.prefix}/server/{self.inventory_name}/{wish.name}"
        return {**owner, "path": path.lstrip("/")}

    def _vault_section(self) -> dict[str, Any]:
        vault = self.vault
        return {
            "url": vault.url,
            "ca_file": str(self.places.config / AUTHORITY) if vault.ca else "",
            "namespace": vault.namespace,
            "auth_mount": vault.auth_mount,
            "mount": vault.mount,
            "kv_version": vault.kv_version,
            "field": vault.field,
            "approle_file": str(self.places.config / APPROLE),
            "approle_credential": APPROLE_CREDENTIAL if vault.approle_at_rest == CREDENTIAL else "",
        }

    def plain_files(self, config: Config) -> dict[Path, tuple[bytes, int]]:
        """Content and mode of every file without a secret that ``config`` needs, by path."""
        if not config:
            return {}
        places = self.places
        wanted = {
            places.program / PROGRAM: (self.program.strip().encode() + b"\n", 0o755),
            places.config / CONFIG: (json.dumps(config, indent=2, sort_keys=True).encode() + b"\n", 0o644),
        }
        if self.unit:
            wanted[places.drop_in(self.unit)] = (self._drop_in(config).encode(), 0o644)
        for delivery, unit in UNITS.items():
            if delivery in config:
                wanted[places.units / unit] = (self._unit(delivery).encode(), 0o644)
        if MEMORY in config and config[MEMORY]["ca_file"]:
            given = any(wish.delivery == MEMORY for wish in self.wishes)
            content = self.vault.ca.strip().encode() + b"\n" if given else files.read(places.config / AUTHORITY) or b""
            wanted[places.config / AUTHORITY] = (content, 0o644)
        return wanted

    def _unit(self, delivery: str) -> str:
        command = f"{PYTHON} -I {self.places.program / PROGRAM} {delivery}"
        if delivery == CREDENTIAL:
            return _CREDENTIAL_UNIT.format(nginx=self.unit, command=command)
        return _MEMORY_UNIT.format(nginx=self.unit, command=command)

    def _drop_in(self, config: Config) -> str:
        names = " ".join(unit for delivery, unit in UNITS.items() if delivery in config)
        # An engine comes up without any password, and starts a container of its own accord until that stays.
        waits = MEMORY in config and self.unit != ENGINE_UNIT
        return _DROP_IN.format(units=names) + (_UNTIL_THE_VAULT_IS_BACK if waits else "")

    # -- making it so ---------------------------------------------------------------------------------------------

    def prepare(self, check_mode: bool) -> tuple[Outcome, list[FileChange]]:
        """Have every wished password in memory by the way that a start of the machine will take, too.

        What the deliveries before need stays until ``finish``. Returns the changes, and those of plain files. Raises
        KitError; the files of this machine are then as they were.
        """
        self.check()
        outcome = Outcome()
        found = self.config_found()
        config = _union(found, self.config_wanted(found))
        wanted = self.plain_files(config)
        changes = deploy.plan_files([(path, *rest) for path, rest in wanted.items()], [])
        secret = list(self._secret_changes(config, check_mode))
        outcome.add_files([*changes, *secret])
        due = {delivery: reason for delivery in UNITS if (reason := self._why_due(delivery, [*changes, *secret]))}
        for delivery, reason in due.items():
            outcome.add(UNITS[delivery], "write", reason)
        if outcome.changes and not check_mode:
            with files.told_failures("delivery of key passwords"):
                self._apply([*changes, *secret], due)
        return outcome, changes

    def _secret_changes(self, config: Config, check_mode: bool) -> Iterator[FileChange]:
        for wish in self.wishes:
            if wish.delivery == CREDENTIAL:
                path = self.places.credential(wish.name)
                needed = [wish.password, *_passwords_before(wish)]
                yield from self._sealed(path, _credential_name(wish.name), needed, check_mode)
        if any(wish.delivery == MEMORY for wish in self.wishes):
            path = self.places.config / APPROLE
            if config[MEMORY]["approle_credential"]:
                yield from self._sealed(path, APPROLE_CREDENTIAL, [self.vault.approle], check_mode)
            else:
                for change in deploy.plan_files([(path, self.vault.approle, 0o400)], []):
                    reason = "the AppRole changed" if change.reason == "content changed" else change.reason
                    yield FileChange(path, change.before, change.after, 0o400, change.mode_before, reason)

    def _sealed(self, path: Path, name: str, lines: Sequence[bytes], check_mode: bool) -> Iterator[FileChange]:
        """The change that lets ``path`` be a credential with ``lines``, when its first one isn't the first of them."""
        before = files.read(path)
        reason = "new"
        if before is not None:
            held = self.systemd.decrypt(name, before)
            if held is not None and held.split(b"\n")[0] == lines[0] and _mode(path) == 0o400:
                return
            reason = "this machine can't decrypt it" if held is None else "what it is to hold changed"
        # The first encryption on a machine makes its key: nothing for check mode.
        sealed = b"" if check_mode else self.systemd.encrypt(name, b"\n".join(lines), self.credential_key)
        yield FileChange(path, before, sealed, 0o400, _mode(path), reason)

    def _why_due(self, delivery: str, changes: Sequence[FileChange]) -> str | None:
        wishes = [wish for wish in self.wishes if wish.delivery == delivery]
        if not wishes:
            return None
        for wish in wishes:
            if wish.in_memory is not None and wish.password not in password_delivery.lines(wish.in_memory):
                return f"the password of site {wish.name} isn't in {wish.in_memory}"
        if not self.systemd.is_enabled(UNITS[delivery]):
            return "it isn't enabled: memory would be empty after a reboot"
        if not self.systemd.is_active(UNITS[delivery]):
            return "it isn't active"
        return "what it reads changed" if changes else None

    def _apply(self, changes: Sequence[FileChange], due: Mapping[str, str]) -> None:
        enabled = [delivery for delivery in due if self.systemd.is_enabled(UNITS[delivery])]
        deploy.apply(changes)
        try:
            self.systemd.reload()
            for delivery in due:
                # First by itself, which tells what is wrong; then as a start of the machine does it.
                self._run_program(delivery)
                self._check_memory(delivery)
                self.systemd.enable(UNITS[delivery])
                self.systemd.run_again(UNITS[delivery])
        except KitError:
            for delivery in due:
                if delivery not in enabled:
                    self.systemd.forget(UNITS[delivery])
            for change in reversed(changes):
                change.undo()
            self._remove_empty_folders()
            self.systemd.reload()
            raise

    def _run_program(self, delivery: str) -> None:
        program = self.places.program / PROGRAM
        done = run(
            [PYTHON, "-I", str(program), "--config", str(self.places.config / CONFIG), delivery], PROGRAM_SECONDS
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise KitError(
                f"password delivery {delivery}",
                f"that {program} failed: {said.removeprefix('mtls-kit: ')}",
                "every password in memory",
                "cure what it names and run again; what was delivered before still is",
            )

    def _check_memory(self, delivery: str) -> None:
        for wish in self.wishes:
            path = wish.in_memory
            if wish.delivery != delivery or path is None or wish.password in password_delivery.lines(path):
                continue
            place = f"{self.vault.mount}, {self._entry(wish).get('path')}" if delivery == MEMORY else str(path)
            raise KitError(
                f"password of site {wish.name!r}, delivered by {delivery}",
                f"another one at {place} than the vault of this run has",
                "the same, for the key is encrypted with that one",
                "let key_password use the vault that the gateway fetches from (key_password_backend: openbao), or "
                "correct url, mount or prefix of certificate_install_openbao",
            )

    # -- afterwards -----------------------------------------------------------------------------------------------

    def finish(self, check_mode: bool, *, unlisted: bool = False) -> tuple[Outcome, list[FileChange]]:
        """Leave nothing of a delivery that isn't wished any more: releases, credentials, units, files in memory.

        Only to be called when new connections proved what is in use. With ``unlisted``, what sites need that nobody
        lists goes, too. Raises KitError before anything is removed when a release in use is of another delivery.
        """
        outcome = Outcome()
        gone = list(self._releases_of_others(check_mode))
        for path, reason in gone:
            outcome.add(path.parents[1].name, "remove", reason)
        found = self.config_found()
        if unlisted:
            listed = {wish.name for wish in self.wishes}
            found = {
                key: {**part, "sites": {name: one for name, one in part["sites"].items() if name in listed}}
                if key in UNITS
                else part
                for key, part in found.items()
            }
        config = self.config_wanted(found)
        wanted = self.plain_files(config)
        absent = [path for path in self._all_plain_files() if path not in wanted]
        changes = deploy.plan_files([(path, *rest) for path, rest in wanted.items()], absent)
        if check_mode:
            # What ``prepare`` would have written by now, and has told.
            changes = [change for change in changes if change.before is not None]
        secret = deploy.plan_files([], list(self._secrets_not_in(config)))
        memory = list(self._memory_not_in(config))
        outcome.add_files([*changes, *secret])
        for path in memory:
            outcome.add(str(path), "remove", "not wanted any more")
        if outcome.changes and not check_mode:
            with files.told_failures("what is left of an earlier delivery of key passwords"):
                for delivery, unit in UNITS.items():
                    if delivery not in config and (self.places.units / unit).exists():
                        self.systemd.forget(unit)
                for path in [path for path, _ in gone] + memory:
                    files.remove(path)
                for releases in {path.parent for path, _ in gone}:
                    if files.target_of(releases / release.PREVIOUS) is None:
                        files.remove(releases / release.PREVIOUS)
                deploy.apply([*changes, *secret])
                self._remove_empty_folders()
                if changes:
                    self.systemd.reload()
        return outcome, changes

    def _releases_of_others(self, check_mode: bool) -> Iterator[tuple[Path, str]]:
        for wish in self.wishes:
            releases = wish.folders.releases
            in_use = units.current(releases)
            for name in units.names(releases):
                delivery = release.delivery_of(releases / name, wish.name)
                if delivery in (None, wish.delivery):
                    continue
                if name == in_use and not check_mode:
                    raise KitError(
                        f"site {wish.name!r}",
                        f"a release in use whose password is delivered by {delivery}",
                        f"one that is delivered by {wish.delivery}",
                        "run mtls.kit.site again",
                    )
                yield releases / name, f"release {name}, whose password was delivered by {delivery}"

    def _all_plain_files(self) -> list[Path]:
        places = self.places
        kept = [places.program / PROGRAM, places.config / CONFIG, places.config / AUTHORITY]
        kept += [places.units / unit for unit in UNITS.values()]
        return [*kept, *sorted(places.units.glob("*.d/mtls-kit.conf"))]

    def _secrets_not_in(self, config: Config) -> Iterator[Path]:
        wanted = {self.places.credential(site) for site in _sites(config, CREDENTIAL)}
        for path in sorted(self.places.credentials.glob("*")):
            if path not in wanted:
                yield path
        if MEMORY not in config:
            yield self.places.config / APPROLE

    def _memory_not_in(self, config: Config) -> Iterator[Path]:
        files_of_all = (password_delivery.runtime_file(site, kind) for kind in UNITS for site in _sites(config, kind))
        wanted = {path for path in files_of_all if path is not None}
        for folder in sorted(password_delivery.RUNTIME.glob("*")):
            # The folder of a wished password can be empty: the vault let nobody in, or nobody asked it yet.
            if all(path.parent != folder for path in wanted):
                yield folder
            else:
                yield from (path for path in sorted(folder.iterdir()) if path not in wanted)

    def _remove_empty_folders(self) -> None:
        places = self.places
        drop_ins = [places.units / f"{self.unit}.d"] if self.unit else []
        for folder in (places.credentials, places.config, places.program, *drop_ins, password_delivery.RUNTIME):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def is_unfinished(wish: Wish, places: Places | None = None) -> bool:
    """Whether ``finish`` has something to take away for a site, as it is before the switch or after it."""
    gateway = places or Places()
    for name in units.names(wish.folders.releases):
        if release.delivery_of(wish.folders.releases / name, wish.name) not in (None, wish.delivery):
            return True
    others = [password_delivery.runtime_file(wish.name, kind) for kind in UNITS if kind != wish.delivery]
    left = [path for path in others if path is not None]
    if wish.delivery != CREDENTIAL:
        left.append(gateway.credential(wish.name))
    return any(path.exists() for path in left)


def _passwords_before(wish: Wish) -> list[bytes]:
    """The passwords besides today's that open the key of a release which Nginx may have to go back to."""
    found: dict[bytes, None] = {}
    for name in units.names(wish.folders.releases):
        folder = wish.folders.releases / name
        for password in password_delivery.passwords_of(folder / release.PASSWORD, wish.name):
            key = release.stored_key(folder, wish.name, password)
            if password != wish.password and key is not None and key.opens:
                found[password] = None
    return list(found)


def _credential_name(site: str) -> str:
    return f"mtls-{site}"


def _sites(config: Config, delivery: str) -> dict[str, Any]:
    sites: dict[str, Any] = config.get(delivery, {}).get("sites", {})
    return sites


def _union(found: Config, wanted: Config) -> Config:
    """``wanted``, and what is ``found`` besides: the delivery before is needed until the new one proved itself."""
    joined = {**found, **wanted}
    for delivery in UNITS:
        if delivery in joined:
            joined[delivery] = {**joined[delivery], "sites": _sites(found, delivery) | _sites(wanted, delivery)}
    return joined


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o7777
    except FileNotFoundError:
        return 0o400


_CREDENTIAL_UNIT: Final = """\
# Written by mTLS Kit.
[Unit]
Description=Passwords of TLS keys, decrypted to memory
# Nginx starts, reloads and restarts after this has done the same.
Before={nginx} docker.service
ReloadPropagatedFrom={nginx}
PartOf={nginx}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}
ExecReload={command}
TimeoutStartSec=60
UMask=0077

[Install]
WantedBy=multi-user.target
"""

_MEMORY_UNIT: Final = """\
# Written by mTLS Kit.
[Unit]
Description=Passwords of TLS keys, fetched from the vault to memory
Wants=network-online.target
After=network-online.target
Before={nginx} docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}
TimeoutStartSec=60
UMask=0077
# Until the vault is back.
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
"""

_DROP_IN: Final = """\
# Written by mTLS Kit: the passwords of the keys are in memory before Nginx reads them.
[Unit]
Wants={units}
After={units}
"""

_UNTIL_THE_VAULT_IS_BACK: Final = """\
# Without a password Nginx doesn't start; it tries again until the vault was reached.
StartLimitIntervalSec=0

[Service]
Restart=on-failure
RestartSec=5
"""
