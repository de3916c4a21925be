"""The key-value engine of OpenBao or HashiCorp Vault, version 1 or 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_login import NAME
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_session import OpenBaoSession
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.records import moment_from, replaced_meanwhile

if TYPE_CHECKING:
    from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao_client import Answer

SECONDS_PER_PATH = 0.1
"""Added to the time-out for each password, so that ten thousand from another continent are no fault."""

_OPTIONS = ("mount", "kv_version", "prefix", "field")


@dataclass(frozen=True)
class _Stored:
    """A secret as it lies in the vault."""

    fields: dict[str, Any] = field(repr=False)
    version: int
    created: str | None
    """When this version was written, as version 2 of the engine knows it."""


class OpenBao:
    """A secret per path, ``<mount>/<prefix>/<path>``, with the password in one of its fields, such as ``password``.

    Beside it are ``password_since`` and, during a rotation, ``password_previous``: all of it is written at once.

    The options are in docs/vault-openbao.md. The time-out is that of all calls of a run together.
    """

    writable = True

    def __init__(self, options: Mapping[str, Any], controller: Controller) -> None:
        """Check the options. Raises ``KitError``; nothing is sent yet."""
        self._session = OpenBaoSession(options, _OPTIONS)
        self._mount = checked.place(NAME, options, "mount", "secret")
        self._prefix = checked.place(NAME, options, "prefix", "mtls-kit")
        self._field = checked.text(NAME, options, "field") or "password"
        self._since, self._previous = f"{self._field}_since", f"{self._field}_previous"
        version = str(options.get("kv_version") or 0)
        if version not in ("0", "1", "2"):
            raise checked.refuse(NAME, "kv_version", "something else", "1 or 2", "correct it, or leave it out")
        self._version = int(version)
        """0 until the server was asked."""
        self._seen: dict[str, _Stored] = {}

    def __enter__(self) -> OpenBao:
        """Log in, and ask what kind of engine is at the mount. Raises ``KitError``."""
        self._session.open()
        try:
            self._version = self._version_of_mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End what ``__enter__`` began."""
        self._session.close()

    def location(self, path: str) -> str:
        """Server and place."""
        return f"{path!r} in {self._session.thing}, {self._mount}/{self._prefix}/{path}"

    def remedy(self, path: str) -> str:
        """The command that writes one field and reads it from standard input."""
        return f"bao kv put -mount={self._mount} {self._prefix}/{path} {self._field}=-"

    def get_many(self, paths: Iterable[str]) -> dict[str, str]:
        """Read one after another over one connection; the session remembers what lies beside the passwords."""
        wanted = list(paths)
        self._session.client.allow(SECONDS_PER_PATH * len(wanted))
        found = {path: self._read(path) for path in wanted}
        self._seen = {path: stored for path, stored in found.items() if stored is not None}
        return {path: self._password(path, stored) for path, stored in self._seen.items()}

    def records(self, paths: Iterable[str]) -> dict[str, Record]:
        """What ``get_many`` found beside the passwords; nothing is asked again."""
        return {path: self._record(self._seen[path]) for path in paths if path in self._seen}

    def put_many(self, passwords: Mapping[str, str], *, now: datetime) -> dict[str, str]:
        """Write one after another; other fields of a secret stay as they are.

        Version 2 of the engine itself sees to it that of two runs one wins. Version 1 can't: two runs that generate
        the same password within the same milliseconds may end with different ones.
        """
        present: dict[str, str] = {}

        def put(path: str) -> None:
            present[path] = self._put(path, passwords[path], now)

        self._one_after_another(passwords, put)
        return present

    def replace_many(self, replacements: Mapping[str, Replacement]) -> None:
        """Write one after another; password and record of a path are one secret, so they change at once."""
        self._one_after_another(replacements, lambda path: self._replace(path, replacements[path]))

    def _one_after_another(self, paths: Iterable[str], write: Callable[[str], None]) -> None:
        ordered = sorted(paths)
        self._session.client.allow(SECONDS_PER_PATH * len(ordered))
        for done, path in enumerate(ordered):
            try:
                write(path)
            except KitError as error:
                if not done:
                    raise
                raise KitError(
                    error.what,
                    f"{error.found}, after {done} of {len(ordered)} passwords were stored",
                    error.expected,
                    error.next_step,
                ) from None

    def _version_of_mount(self) -> int:
        """Ask as the command line client does: every token may that can reach any path below the mount."""
        what = f"{self._session.thing}, mount {self._mount}"
        answer = self._session.call(what, "get", f"sys/internal/ui/mounts/{self._mount}")
        engine = answer.body.get("data") or {}
        if answer.status == 200 and engine.get("type") in ("kv", "generic"):
            version = int((engine.get("options") or {}).get("version") or 1)
            if self._version in (0, version) and version in (1, 2):
                return version
            raise KitError(
                what, f"version {version} of the engine", f"{self._version or '1 or 2'}", "correct kv_version or mount"
            )
        if answer.status == 200:
            raise KitError(what, f"an engine {engine.get('type')!r}", "a key-value engine", "correct mount")
        if not self._version:
            raise KitError(
                what,
                f"status {answer.status}",
                "a key-value engine below which this token may read something",
                "correct mount or namespace, or the policy of the token; if both are right, set kv_version",
            )
        return self._version

    def _api_path(self, path: str) -> str:
        return f"{self._mount}/{'data/' if self._version == 2 else ''}{self._prefix}/{path}"

    def _read(self, path: str) -> _Stored | None:
        answer = self._session.call(f"password {self.location(path)}", "get", self._api_path(path))
        data = answer.body.get("data") or {}
        metadata = data.get("metadata") or {} if self._version == 2 else {}
        if answer.status == 404 and metadata:
            raise self._deleted(path, metadata)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refused(path, answer, "read")
        if self._version == 2:
            created = metadata.get("created_time")
            return _Stored(dict(data.get("data") or {}), int(metadata.get("version") or 0), created)
        return _Stored(dict(data), 0, None)

    def _password(self, path: str, stored: _Stored) -> str:
        value = stored.fields.get(self._field)
        if not isinstance(value, str):
            raise KitError(
                f"password {self.location(path)}",
                f"a secret without the field {self._field!r}"
                if value is None
                else f"something else than a text in the field {self._field!r}",
                "the password in that field, as a text",
                f"bao kv patch -mount={self._mount} {self._prefix}/{path} {self._field}=- keeps the other fields, or "
                "correct key_password_options.field or prefix",
            )
        return value

    def _record(self, stored: _Stored) -> Record:
        since, previous = stored.fields.get(self._since), stored.fields.get(self._previous)
        return Record(moment_from(since or stored.created), previous if isinstance(previous, str) else None)

    def _put(self, path: str, password: str, now: datetime) -> str:
        stored = self._read(path) if self._version == 1 else None
        if stored is not None:
            return self._password(path, stored)
        answer = self._write(path, {self._field: password, self._since: clock.iso(now)}, 0)
        if answer.status in (200, 204):
            return password
        # Somebody else wrote meanwhile, or a try of ours did whose answer was lost.
        present = self._read(path) if answer.status == 400 and self._version == 2 else None
        if present is None:
            raise self._refused(path, answer, "create and update")
        return self._password(path, present)

    def _replace(self, path: str, replacement: Replacement) -> None:
        stored = self._read(path)
        if stored is None or self._password(path, stored) != replacement.found:
            raise replaced_meanwhile(self, path)
        known = {
            self._since: clock.iso(replacement.record.since) if replacement.record.since else None,
            self._previous: replacement.record.previous,
        }
        fields = {name: value for name, value in stored.fields.items() if name not in known}
        fields |= {self._field: replacement.password, **{name: value for name, value in known.items() if value}}
        answer = self._write(path, fields, stored.version)
        if answer.status in (200, 204):
            return
        present = self._read(path) if answer.status == 400 and self._version == 2 else None
        if present is None:
            raise self._refused(path, answer, "create and update")
        if present.fields != fields:
            raise replaced_meanwhile(self, path)

    def _write(self, path: str, fields: Mapping[str, Any], version: int) -> Answer:
        """Write a secret whole; version 2 of the engine does so only while ``version`` (0: none) is the newest."""
        body: Mapping[str, Any] = fields
        if self._version == 2:
            body = {"data": fields, "options": {"cas": version}}
        return self._session.call(f"password {self.location(path)}", "post", self._api_path(path), body)

    def _refused(self, path: str, answer: Answer, capability: str) -> KitError:
        if answer.status == 403:
            return KitError(
                f"password {self.location(path)}",
                "status 403: the token is valid, its policies don't allow this",
                f"the capability {capability} on {self._api_path(path)}",
                "give it to the policy of this token or role",
            )
        return KitError(
            f"password {self.location(path)}",
            f"status {answer.status}",
            "one of the key-value engine's own answers",
            "see the server's log, then run again",
        )

    def _deleted(self, path: str, metadata: Mapping[str, Any]) -> KitError:
        version, place = metadata.get("version"), f"-mount={self._mount} {self._prefix}/{path}"
        remove = f"if no key has it, remove the secret with bao kv metadata delete {place}"
        destroyed = bool(metadata.get("destroyed"))
        return KitError(
            f"password {self.location(path)}",
            f"version {version}, which was {'destroyed' if destroyed else 'deleted'}",
            "a password, or no secret at all: one made anew wouldn't open a key that is there",
            remove if destroyed else f"bring it back with bao kv undelete -versions={version} {place}, or {remove}",
        )
