"""Backup and restore: one encrypted archive of a store and the passwords of its keys.

The archive is a container of its own: a magic line, a JSON header line (scrypt's parameters and salt), then a tar in
chunks under AES-256-GCM. Each chunk has a 4-byte length before it; its nonce is the salt's random prefix, the chunk's
number, and whether it is the last, and the header is authenticated with each, so that nothing can be cut off,
exchanged or reordered (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015).

A restored store goes forward: its CRL and trust numbers jump over whatever was handed out since the backup, and
``revocations`` tells it what the gateways know as revoked.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, trust
from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Ledger, Revocation
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import Change
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import (
    FOLDER_MODE,
    LEDGER,
    LOCK,
    RUN_LOCK,
    Lock,
    Store,
    check_place,
    guarded,
    sync_folder,
)

MAGIC: Final = b"mTLS-Kit-backup-1\n"
PASSWORDS: Final = "passwords.json"
_STORE: Final = "store"
_CHUNK: Final = 1 << 20
_SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 1}
_LONGEST_HEADER: Final = 1024
_SHORTEST_PASSWORD: Final = 16
_REVOKED_LINE: Final = re.compile(r'"(\d+):([0-9A-F]{2,40})" 1;')


def check_archive_password(password: str) -> bytes:
    """The archive password's bytes; KitError for one that can be guessed, for the archive leaves the CA host."""
    if len(password) < _SHORTEST_PASSWORD or len(set(password)) < _SHORTEST_PASSWORD // 2:
        raise KitError(
            "archive_password",
            "an empty or weak one",
            f"at least {_SHORTEST_PASSWORD} characters, {_SHORTEST_PASSWORD // 2} of them different",
            "generate one (openssl rand -base64 24) and keep it apart from the archive",
        )
    return password.encode()


def check_new_archive(archive: Path, archive_password: str) -> bytes:
    """The archive password's bytes; KitError for a weak one, or an archive that is there already."""
    password = check_archive_password(archive_password)
    if archive.exists():
        raise KitError(
            f"archive {archive}", "a file", "a name that is not taken", "put the date into the archive's name"
        )
    return password


def _cipher(password: bytes, header: Mapping[str, Any]) -> AESGCM:
    salt = bytes.fromhex(header["salt"])
    return AESGCM(Scrypt(salt=salt, length=32, n=header["n"], r=header["r"], p=header["p"]).derive(password))


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


class _Sealer:
    """A writable stream that encrypts what passes through; nothing is complete before ``seal``."""

    def __init__(self, target: BinaryIO, password: bytes) -> None:
        header: dict[str, Any] = {
            "kdf": "scrypt",
            **_SCRYPT,
            "salt": secrets.token_hex(16),
            "nonce": secrets.token_hex(7),
        }
        self._header = MAGIC + json.dumps(header).encode() + b"\n"
        self._cipher = _cipher(password, header)
        self._prefix = bytes.fromhex(header["nonce"])
        self._target = target
        self._buffer = bytearray()
        self._number = 0
        target.write(self._header)

    def write(self, data: bytes) -> int:
        """Take the next bytes of the tar."""
        self._buffer += data
        while len(self._buffer) > _CHUNK:
            self._put(bytes(self._buffer[:_CHUNK]), last=False)
            del self._buffer[:_CHUNK]
        return len(data)

    def seal(self) -> None:
        """Write the last chunk."""
        self._put(bytes(self._buffer), last=True)

    def _put(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._prefix, self._number, last), plain, self._header)
        self._target.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1


def _damaged(archive: Path, found: str) -> KitError:
    return KitError(f"archive {archive}", found, "a whole backup of the kit", "use another copy of the archive")


def _opened_chunks(archive: Path, source: BinaryIO, password: bytes) -> Iterator[bytes]:
    header_line = source.readline(len(MAGIC))
    parameters = source.readline(_LONGEST_HEADER)
    if header_line != MAGIC:
        raise _damaged(archive, "another kind of file")
    try:
        header = json.loads(parameters)
        if {key: header[key] for key in _SCRYPT} != _SCRYPT:
            raise _damaged(archive, "unknown parameters")
        cipher, prefix = _cipher(password, header), bytes.fromhex(header["nonce"])
    except (ValueError, KeyError, TypeError):
        raise _damaged(archive, "a damaged header") from None
    number, chunk = 0, _next_chunk(archive, source)
    while True:
        following = _next_chunk(archive, source)
        try:
            yield cipher.decrypt(_nonce(prefix, number, following is None), chunk or b"", header_line + parameters)
        except InvalidTag:
            if number == 0:
                raise KitError(
                    f"archive {archive}",
                    "that the password does not open it, or that it is damaged",
                    "the password it was made with",
                    "check archive_password",
                ) from None
            raise _damaged(archive, f"damage in its chunk {number}") from None
        if following is None:
            return
        number, chunk = number + 1, following


def _next_chunk(archive: Path, source: BinaryIO) -> bytes | None:
    length = source.read(4)
    if not length:
        return None
    size = int.from_bytes(length, "big")
    chunk = source.read(size) if size <= _CHUNK + 16 else b""
    if len(length) < 4 or len(chunk) != size:
        raise _damaged(archive, "that its end is missing")
    return chunk


class _Unsealer:
    """A readable stream of what an archive holds; only authenticated bytes come out of it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end only."""
        while len(self._rest) < size and (following := next(self._chunks, None)) is not None:
            self._rest += following
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    archive.addfile(entry, io.BytesIO(content))


def write(store: Store, passwords: Mapping[str, str], archive: Path, archive_password: str) -> int:
    """Write ``store`` and ``passwords`` to ``archive`` (0600), which must not exist, and return its size in bytes."""
    password = check_new_archive(archive, archive_password)
    temporary = archive.with_name(f".{archive.name}.{secrets.token_hex(4)}.tmp")
    with guarded(archive):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as target:
                sealer = _Sealer(target, password)
                with tarfile.open(fileobj=cast(BinaryIO, sealer), mode="w|", bufsize=_CHUNK) as tar:
                    _add(tar, PASSWORDS, json.dumps(dict(passwords)).encode(), 0o600)
                    _add(tar, f"{_STORE}/{LEDGER}", store.ledger.serialized(), 0o600)
                    for path in _files_of(store.folder):
                        content = path.read_bytes()
                        _add(tar, f"{_STORE}/{path.relative_to(store.folder)}", content, path.stat().st_mode & 0o777)
                sealer.seal()
                target.flush()
                os.fsync(target.fileno())
            # A link, not a rename: it fails where the name was taken meanwhile.
            os.link(temporary, archive)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(archive.parent)
        return archive.stat().st_size


def _files_of(folder: Path) -> Iterator[Path]:
    """What belongs into a backup beside the ledger: neither a lock nor what a killed run left half written."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".tmp"):
            name = str(path.relative_to(folder))
            if name not in (LOCK, RUN_LOCK) and not name.startswith(LEDGER):
                yield path


@dataclass(frozen=True)
class _Content:
    files: dict[str, tuple[bytes, int]] = field(repr=False)
    ledger: bytes = field(repr=False)
    passwords: str = field(repr=False)


def _read(archive: Path, archive_password: str) -> _Content:
    password = archive_password.encode()
    files: dict[str, tuple[bytes, int]] = {}
    try:
        with archive.open("rb") as source:
            stream = _Unsealer(_opened_chunks(archive, source, password))
            with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|", bufsize=_CHUNK) as tar:
                for entry in tar:
                    content = tar.extractfile(entry)
                    name = PurePosixPath(entry.name)
                    if content is None or name.is_absolute() or ".." in name.parts:
                        raise _damaged(archive, f"the entry {entry.name!r}")
                    files[entry.name] = (content.read(), entry.mode & 0o777)
            # The end of the tar is not yet the end of the archive: the last chunk proves that nothing was cut off.
            while stream.read(_CHUNK):
                pass
    except tarfile.TarError as error:
        raise _damaged(archive, str(error)) from None
    except OSError as error:
        raise KitError(f"archive {archive}", str(error.strerror), "a readable file", "correct archive") from None
    try:
        ledger, _ = files.pop(f"{_STORE}/{LEDGER}")
        passwords, _ = files.pop(PASSWORDS)
    except KeyError as error:
        raise _damaged(archive, f"no {error.args[0]}") from None
    prefix = f"{_STORE}/"
    return _Content({name.removeprefix(prefix): file for name, file in files.items()}, ledger, passwords.decode())


@dataclass
class Restored:
    """What a restore did."""

    changes: list[Change]
    warnings: list[str]
    moved_aside: str | None = None


def _revoke_again(ledger: Ledger, revocations: Iterable[str], now: datetime, restored: Restored) -> None:
    """Enter what the gateways' ``revoked.map`` texts know and the backup does not."""
    authorities = {ca.number: ca for ca in ledger.authorities()}
    unknown: set[int] = set()
    for line in sorted({line.strip() for text in revocations for line in text.splitlines() if line.strip()}):
        match = _REVOKED_LINE.fullmatch(line)
        if match is None:
            raise KitError(
                "revocations",
                f"the line {line[:80]!r}",
                'the lines of revoked.map files, "<authority>:<SERIAL>" 1;',
                "hand in the files' texts as they are",
            )
        number, serial = int(match[1]), match[2]
        if number not in authorities:
            unknown.add(number)
            continue
        if ledger.is_revoked(number, serial):
            continue
        known = [issued for issued in ledger.by_serial(serial) if issued.issuer == number]
        # Of a certificate that was issued after the backup only its serial is left: it can't outlive its issuer.
        end = known[0].not_after if known else authorities[number].not_after
        ledger.revoke([Revocation(number, serial, "unspecified", now, end)])
        name = known[0].name if known else "unknown"
        restored.changes.append(Change(name, "revoke", f"revoke: known to a gateway only, serial {serial}"))
    if unknown:
        ledger.reserve_authorities(max(unknown))
        numbers = ", ".join(map(str, sorted(unknown)))
        restored.warnings.append(
            f"the gateways know the authorities {numbers}, made after this backup: their certificates are lost, and "
            "their numbers are not used again"
        )


def restore(
    folder: Path,
    name: str,
    archive: Path,
    archive_password: str,
    now: datetime,
    *,
    replace: bool = False,
    revocations: Iterable[str] = (),
    passwords_file: Path | None = None,
    dry: bool = False,
) -> Restored:
    """Bring the store of PKI ``name`` back from ``archive``, whole or not at all.

    A store that is there is moved aside with ``replace`` and refused without. ``passwords_file`` (0600, must not exist)
    gets the archive's passwords. Raises KitError for a wrong password, a damaged archive, and another PKI's.
    """
    now = now.replace(microsecond=0)
    check_place(folder)
    if passwords_file is not None and passwords_file.exists():
        raise KitError(f"passwords file {passwords_file}", "a file", "a name that is not taken", "choose another name")
    content = _read(archive, archive_password)
    passwords_from(content.passwords)
    ledger = Ledger.from_bytes(content.ledger, str(archive))
    try:
        found = ledger.meta("name")
        if found != name:
            raise KitError(f"archive {archive}", f"the PKI {found!r}", f"the PKI {name!r}", "use the right archive")
        there = folder.is_dir() and any(folder.iterdir())
        if there and not replace:
            raise KitError(
                f"store {folder}", "a store", "an absent or empty folder", "set replace=true to move it aside"
            )
        restored = Restored([Change("store", "write", f"write: restored from {archive.name}")], [])
        counters = (trust.COUNTER, *(f"crl {ca.number}" for ca in ledger.authorities()))
        with ledger.transaction():
            ledger.raise_counters(clock.seconds(now), counters)
            ledger.set_meta("restored", str(clock.seconds(now)))
            _revoke_again(ledger, revocations, now, restored)
        if not dry:
            _put_back(folder, content, ledger, passwords_file, there, now, restored)
    finally:
        ledger.close()
    return restored


def _put_back(
    folder: Path,
    content: _Content,
    ledger: Ledger,
    passwords_file: Path | None,
    there: bool,
    now: datetime,
    restored: Restored,
) -> None:
    with guarded(folder), ExitStack() as stack:
        if there:
            stack.enter_context(Lock(folder, now))
        folder.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".restoring", dir=folder.parent))
        stack.callback(shutil.rmtree, new, ignore_errors=True)
        store = Store(new, ledger, fresh=False)
        states = store.write([(path, text, mode) for path, (text, mode) in content.files.items()])
        with ledger.transaction():
            ledger.forget_files(list(ledger.files()))
            ledger.put_files(states)
        store.write([(LEDGER, ledger.serialized(), 0o600)])
        if passwords_file is not None:
            descriptor = os.open(passwords_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as target:
                target.write(content.passwords)
        if there:
            aside = folder.with_name(f"{folder.name}.replaced-{now:%Y%m%dT%H%M%SZ}")
            folder.rename(aside)
            restored.moved_aside = str(aside)
        new.rename(folder)
        sync_folder(folder.parent)
