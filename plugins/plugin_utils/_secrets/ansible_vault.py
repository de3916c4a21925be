"""The embedded vault: one YAML file, encrypted by Ansible Vault, beside the inventory."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import is_encrypted, match_encrypt_secret

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.records import moment_from, replaced_meanwhile

DEFAULT_FILE_NAME = "key_passwords.vault.txt"
"""Ends in .txt: a folder inventory parses, and thereby decrypts and quotes, files of other extensions (ADR 3)."""

RECORDS = "records"
"""The one key of the file that is no path: what is known of the passwords, by path."""

_NAME = "ansible_vault"


@dataclass
class _Content:
    """What the file holds."""

    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    records: dict[str, Record] = field(default_factory=dict)

    def as_yaml(self) -> dict[str, Any]:
        """Passwords first; a record has only what is known."""
        records = {}
        for path, record in self.records.items():
            known = {"since": clock.iso(record.since) if record.since else None, "previous": record.previous}
            records[path] = {name: value for name, value in known.items() if value is not None}
        return {**self.passwords, **({RECORDS: records} if records else {})}


class AnsibleVault:
    """A sorted mapping ``path: password`` in a file of mode 0600, and under ``records`` what is known of them.

    Options: ``file`` (default: ``key_passwords.vault.txt`` beside the inventory), ``timeout`` (seconds to wait for
    another run that is writing the file).
    """

    writable = True

    def __init__(self, options: Mapping[str, Any], controller: Controller) -> None:
        """Check the options and that a vault password was given. Raises ``KitError``."""
        checked.refuse_unknown(_NAME, options, ("file", "timeout"))
        self._timeout = checked.timeout(_NAME, options)
        # Through a symbolic link the file itself is replaced, not the link.
        self._file = _chosen_file(checked.text(_NAME, options, "file"), controller.inventory_dir).resolve()
        self._vault = controller.vault
        if not self._vault.secrets:
            raise KitError(
                self._thing(),
                "no vault password",
                "the password that this file is encrypted with",
                "run again with --vault-password-file or --vault-id",
            )

    def __enter__(self) -> AnsibleVault:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing stays open between the operations."""

    def location(self, path: str) -> str:
        """The file and the key in it."""
        return f"{path!r} in {self._thing()}"

    def remedy(self, path: str) -> str:
        """The command that edits the file."""
        return f"ansible-vault edit {self._file}"

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        """Read the file once; it needs no lock, for it is only ever replaced as a whole."""
        content, _ = self._read()
        return {path: content.passwords[path] for path in paths if path in content.passwords}

    def records(self, paths: Iterable[str]) -> dict[str, Record]:
        """Read the file again."""
        content, _ = self._read()
        return {path: content.records[path] for path in paths if path in content.records}

    def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        """Read again under the lock, merge, and replace the file."""
        with self._locked():
            content, secret = self._read()
            missing = {path: password for path, password in passwords.items() if path not in content.passwords}
            if missing:
                content.passwords.update(missing)
                content.records.update((path, Record(since=now)) for path in missing)
                self._write(content, secret)
        return {path: content.passwords[path] for path in passwords}

    def replace_many(self, replacements: Mapping[str, Replacement]) -> None:
        """All of them at once: the file is replaced as a whole, or not at all."""
        with self._locked():
            content, secret = self._read()
            for path, replacement in replacements.items():
                if content.passwords.get(path) != replacement.found:
                    raise replaced_meanwhile(self, path)
                content.passwords[path] = replacement.password
                content.records[path] = replacement.record
            self._write(content, secret)

    def _thing(self) -> str:
        return f"backend {_NAME}, file {self._file}"

    def _failed(self, doing: str, error: OSError) -> KitError:
        return KitError(
            self._thing(),
            f"{error.strerror or type(error).__name__} while {doing}",
            f"a file of mode 0600 in a folder that user id {os.geteuid()} can write",
            "correct the folder, its permissions or the free space, or set key_password_options.file",
        )

    def _read(self) -> tuple[_Content, tuple[str, Any] | None]:
        """What the file holds, and the vault id and secret that opened the file (None while there is no file)."""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return _Content(), None
        except OSError as error:
            raise self._failed("reading it", error) from None
        if not is_encrypted(content):
            raise KitError(
                self._thing(),
                "a plain file",
                "a file encrypted by Ansible Vault",
                f"treat the passwords in it as known to others, then run ansible-vault encrypt {self._file}",
            )
        # Errors of Ansible and of the YAML parser quote what they read, so none of them is passed on.
        try:
            plaintext, vault_id, secret = self._vault.decrypt_and_get_vault_id(content)
        except AnsibleError:
            raise KitError(
                self._thing(),
                "that none of the given vault passwords opens it",
                "the vault password it was encrypted with, and a file that wasn't cut short",
                "run again with the right --vault-password-file or --vault-id, or restore the file from a backup",
            ) from None
        try:
            entries = yaml.safe_load(bytes(plaintext))
        except (yaml.YAMLError, UnicodeDecodeError):
            raise self._malformed("something else than YAML") from None
        return self._checked(entries), (vault_id, secret)

    def _checked(self, entries: Any) -> _Content:
        if entries is None:
            return _Content()
        if not isinstance(entries, dict):
            raise self._malformed(type(entries).__name__)
        records = entries.pop(RECORDS, None) or {}
        if not isinstance(records, dict):
            raise self._malformed(f"{type(records).__name__} for {RECORDS!r}")
        for path, password in entries.items():
            if not isinstance(path, str) or not isinstance(password, str):
                raise self._malformed(f"{type(password).__name__} for the path {path!r}")
        return _Content(entries, {path: self._record(path, record) for path, record in records.items()})

    def _record(self, path: Any, entry: Any) -> Record:
        if not isinstance(path, str) or not isinstance(entry, dict) or not set(entry) <= {"since", "previous"}:
            raise self._malformed(f"something else than 'since' and 'previous' in the record of {path!r}")
        previous = entry.get("previous")
        if previous is not None and not isinstance(previous, str):
            raise self._malformed(f"{type(previous).__name__} for the previous password of {path!r}")
        return Record(moment_from(entry.get("since")), previous)

    def _malformed(self, found: str) -> KitError:
        return KitError(
            self._thing(),
            found,
            f"a mapping of path to password, each password a quoted text, and {RECORDS!r} as the kit wrote them",
            f"correct it with ansible-vault edit {self._file}",
        )

    def _write(self, content: _Content, opened_by: tuple[str, Any] | None) -> None:
        vault_id, secret = opened_by or self._secret_for_new_file()
        plaintext = yaml.safe_dump(content.as_yaml(), sort_keys=True, allow_unicode=True, width=4096)
        ciphertext = self._vault.encrypt(plaintext, secret, vault_id=vault_id)
        try:
            _replace(self._file, ciphertext)
        except OSError as error:
            raise self._failed("writing it", error) from None

    def _secret_for_new_file(self) -> tuple[str, Any]:
        wanted = constants.DEFAULT_VAULT_ENCRYPT_IDENTITY
        try:
            vault_id, secret = match_encrypt_secret(self._vault.secrets, encrypt_vault_id=wanted)
        except AnsibleError:
            raise KitError(
                self._thing(),
                f"no vault password for the vault id {wanted!r}",
                "the vault id that vault_encrypt_identity in ansible.cfg names",
                f"run again with --vault-id {wanted}@FILE, or correct vault_encrypt_identity",
            ) from None
        return vault_id, secret

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold a hidden sidecar file, which inventories ignore; the vault itself is replaced and can't be the lock."""
        sidecar = self._file.with_name(f".{self._file.name}.lock")
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                descriptor = os.open(sidecar, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise self._failed("locking it", error) from None
            try:
                if _acquired(descriptor, sidecar):
                    try:
                        yield
                    finally:
                        sidecar.unlink(missing_ok=True)
                    return
            finally:
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise KitError(
                    self._thing(),
                    f"another run that has been writing it for more than {self._timeout:g} s",
                    f"the lock {sidecar} to come free",
                    "wait for the other run to end, then run again",
                )
            time.sleep(0.05)


def _chosen_file(given: str | None, inventory_dir: Path | None) -> Path:
    if given is None:
        if inventory_dir is None:
            raise KitError(
                f"backend {_NAME}",
                "no folder of an inventory to keep its file in",
                "key_password_options.file, or an inventory file or folder",
                "set key_password_options.file to an absolute path",
            )
        return inventory_dir / DEFAULT_FILE_NAME
    file = Path(given).expanduser()
    if not file.is_absolute():
        raise KitError(
            f"key_password_options.file of backend {_NAME}",
            f"the relative path {given!r}",
            "an absolute path",
            'begin it with "{{ inventory_dir }}/"',
        )
    ignored = tuple(constants.INVENTORY_IGNORE_EXTS)
    if inventory_dir is not None and inventory_dir in file.parents and not file.name.endswith(ignored):
        raise KitError(
            f"key_password_options.file of backend {_NAME}",
            f"{given!r} in the folder of the inventory",
            "a name that ends in .txt, for Ansible parses others as inventories and quotes them in warnings",
            f"name it {file.stem}.txt",
        )
    return file


def _acquired(descriptor: int, sidecar: Path) -> bool:
    """True when we hold the lock and the file we hold is still the one others will open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return sidecar.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _replace(file: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``file``, mode 0600, complete or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
