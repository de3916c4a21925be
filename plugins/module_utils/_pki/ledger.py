"""The ledger: an SQLite file with every certificate, authority, CRL and number that ever was.

It is the truth; the files of the store are what it hands out. Moments are whole seconds since 1970 (UTC), serials
upper-case hex as Nginx prints them, lists JSON. The schema has a version (``PRAGMA user_version``) and migrates
forward only, inside one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

_SCHEMA_1: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- AUTOINCREMENT: the number of an authority never comes back, for gateways know issuers by it.
CREATE TABLE authorities (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    label TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL UNIQUE,
    issuer INTEGER REFERENCES authorities (number),
    serial TEXT NOT NULL,
    key_type TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    created INTEGER NOT NULL,
    der BLOB NOT NULL,
    UNIQUE (name, generation)
);

CREATE TABLE certificates (
    id INTEGER PRIMARY KEY,
    issuer INTEGER NOT NULL REFERENCES authorities (number),
    serial TEXT NOT NULL,
    name TEXT NOT NULL,
    current INTEGER NOT NULL,
    probe INTEGER NOT NULL,
    reason TEXT NOT NULL,
    profile TEXT NOT NULL,
    subject TEXT NOT NULL,
    sans TEXT NOT NULL,
    groups TEXT NOT NULL,
    key_type TEXT NOT NULL,
    public_key_sha256 TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    created INTEGER NOT NULL,
    der BLOB NOT NULL,
    key BLOB,
    UNIQUE (issuer, serial)
);
CREATE UNIQUE INDEX one_current_certificate_a_name ON certificates (name) WHERE current = 1;
CREATE INDEX certificates_by_name ON certificates (name);
CREATE INDEX certificates_by_serial ON certificates (serial);

-- Apart from certificates: a serial can be revoked that this ledger does not know, after a restore for one.
CREATE TABLE revocations (
    issuer INTEGER NOT NULL REFERENCES authorities (number),
    serial TEXT NOT NULL,
    reason TEXT NOT NULL,
    revoked INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    PRIMARY KEY (issuer, serial)
) WITHOUT ROWID;

CREATE TABLE crls (
    issuer INTEGER PRIMARY KEY REFERENCES authorities (number),
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    days INTEGER NOT NULL,
    entries TEXT NOT NULL,
    pem BLOB NOT NULL
);

CREATE TABLE trust (
    scope TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    files TEXT NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;

-- What the file system said about each file right after it was written: an unchanged file is not read again.
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    mode INTEGER NOT NULL
) WITHOUT ROWID;
"""

# What a certificate has from a profile of one's own, and whether gateways accept it from clients: the profile may be
# gone from the inventory while its certificates are still valid.
_SCHEMA_2: Final = """
ALTER TABLE certificates ADD COLUMN profile_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN for_clients INTEGER NOT NULL DEFAULT 0;
UPDATE certificates SET for_clients = 1 WHERE profile IN ('client', 'both');
"""

# Before, the newest generation signed; that it was replaced by one is all that an older one can be.
_SCHEMA_3: Final = """
ALTER TABLE authorities ADD COLUMN state TEXT NOT NULL DEFAULT 'signing';
UPDATE authorities SET state = 'replaced' WHERE EXISTS (
    SELECT 1 FROM authorities newer
    WHERE newer.name = authorities.name AND newer.generation > authorities.generation
);

CREATE TABLE rotations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    names TEXT NOT NULL,
    phase TEXT NOT NULL,
    started INTEGER NOT NULL,
    since INTEGER NOT NULL,
    trust TEXT NOT NULL,
    waits TEXT NOT NULL
);
CREATE UNIQUE INDEX one_rotation_at_a_time ON rotations ((1)) WHERE phase IN ('introduce', 'switch');

-- A root's key and DN once more, signed by the root it replaces.
CREATE TABLE cross_certificates (
    subject INTEGER PRIMARY KEY REFERENCES authorities (number),
    issuer INTEGER NOT NULL REFERENCES authorities (number),
    serial TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    der BLOB NOT NULL
);
"""

# What each client was handed last, and when it took that; from then on the CA need not keep its key.
_SCHEMA_4: Final = """
CREATE TABLE bundles (
    name TEXT PRIMARY KEY,
    serial TEXT NOT NULL,
    anchor_sha256 TEXT NOT NULL,
    written INTEGER NOT NULL,
    taken INTEGER
) WITHOUT ROWID;

ALTER TABLE certificates ADD COLUMN handed_over INTEGER NOT NULL DEFAULT 0;
"""

MIGRATIONS: Final[Sequence[str]] = (_SCHEMA_1, _SCHEMA_2, _SCHEMA_3, _SCHEMA_4)
"""Statement ``n`` brings a ledger from version ``n`` to ``n + 1``."""


@dataclass(frozen=True)
class Authority:
    """One generation of a CA key. ``issuer`` is the number of its root; None for a root.

    ``state`` is one of ``rotation.STATES``.
    """

    number: int
    name: str
    generation: int
    label: str
    subject: str
    issuer: int | None
    serial: str
    key_type: str
    not_after: datetime
    der: bytes = field(repr=False)
    state: str = "signing"

    @property
    def path(self) -> str:
        """``ca/issuing``: where its password is found and how changes name it."""
        return f"ca/{self.name}"


@dataclass(frozen=True)
class Issued:
    """A certificate without its contents.

    ``has_key`` where the CA made its key; ``revoked`` is the reason of its revocation, or None; ``for_clients`` where
    gateways accept it from a client; ``adopted`` where it was signed before its CA was adopted; ``handed_over`` where
    the CA made its key and has it no more.
    """

    id: int
    issuer: int
    serial: str
    name: str
    profile: str
    subject: str
    sans: str
    groups: str
    key_type: str
    public_key_sha256: str
    not_before: datetime
    not_after: datetime
    has_key: bool
    revoked: str | None
    profile_sha256: str = ""
    for_clients: bool = False
    adopted: bool = False
    handed_over: bool = False

    @property
    def made_here(self) -> bool:
        """Whether the CA made its key."""
        return self.has_key or self.handed_over


@dataclass(frozen=True)
class Handed:
    """What a client was handed last: the certificate of that serial, and the trust anchor of that SHA-256 (hex).

    ``taken`` is when it was said to have it, None as long as it waits.
    """

    name: str
    serial: str
    anchor_sha256: str
    written: datetime
    taken: datetime | None = None


@dataclass(frozen=True)
class NewCertificate:
    """A row to be entered; ``key`` is the encrypted PKCS#8 PEM where the CA made the key."""

    issuer: int
    serial: str
    name: str
    probe: bool
    reason: str
    profile: str
    profile_sha256: str
    for_clients: bool
    subject: str
    sans: str
    groups: str
    key_type: str
    public_key_sha256: str
    sha256: str
    not_before: int
    not_after: int
    created: int
    der: bytes = field(repr=False)
    key: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Revocation:
    """A revoked serial; ``not_after`` is the certificate's, or where that is unknown its issuer's."""

    issuer: int
    serial: str
    reason: str
    revoked: datetime
    not_after: datetime


class Listed(NamedTuple):
    """An entry of a CRL, plain as the ledger holds it: there may be a million. ``revoked`` in seconds since 1970."""

    serial: str
    reason: str
    revoked: int


@dataclass(frozen=True)
class Crl:
    """The CRL in force. ``entries`` is the extent of what it lists (``Ledger.revoked_extent``)."""

    issuer: int
    number: int
    this_update: datetime
    next_update: datetime
    days: int
    entries: str
    pem: bytes = field(repr=False)


@dataclass(frozen=True)
class TrustUnit:
    """The trust unit in force in a scope; ``files`` maps each file to the SHA-256 of its content."""

    scope: str
    number: int
    sha256: str
    files: Mapping[str, str]
    created: datetime


@dataclass(frozen=True)
class Rotation:
    """A planned replacement of CA keys. ``names`` are the CAs that are replaced, ``trust`` the number by scope of the
    trust unit that brought the new ones in, ``waits`` what the last run found it to wait for."""

    id: int
    kind: str
    names: Sequence[str]
    phase: str
    started: datetime
    since: datetime
    trust: Mapping[str, int]
    waits: Sequence[str]


@dataclass(frozen=True)
class CrossCertificate:
    """A root's key and DN once more (``subject`` is its number), signed by the root it replaces."""

    subject: int
    issuer: int
    serial: str
    not_after: datetime
    der: bytes = field(repr=False)


@dataclass(frozen=True)
class Held:
    """A certificate in force of an authority that is to go.

    ``replaced`` is when the name got another one, None where this is its newest.
    """

    name: str
    serial: str
    issuer: int
    not_after: datetime
    replaced: datetime | None


@dataclass(frozen=True)
class FileState:
    """A file as ``os.stat`` saw it; ``path`` is relative to the store."""

    path: str
    size: int
    mtime_ns: int
    mode: int


@dataclass(frozen=True)
class Identity:
    """A line of a gateway's identity map."""

    issuer: int
    serial: str
    name: str
    groups: Sequence[str]
    sans: Sequence[str]
    sha256: str


_ISSUED_COLUMNS: Final = (
    "c.id, c.issuer, c.serial, c.name, c.profile, c.subject, c.sans, c.groups, c.key_type, c.public_key_sha256, "
    "c.not_before, c.not_after, c.key IS NOT NULL, r.reason, c.profile_sha256, c.for_clients, "
    "c.reason LIKE 'adopt:%', c.handed_over"
)
_ISSUED: Final = (
    f"SELECT {_ISSUED_COLUMNS} FROM certificates c "  # noqa: S608  constant columns, no input
    "LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial "
)


def _issued(row: tuple[Any, ...]) -> Issued:
    values = list(row)
    values[10:13] = clock.moment(row[10]), clock.moment(row[11]), bool(row[12])
    values[15:18] = bool(row[15]), bool(row[16]), bool(row[17])
    return Issued(*values)


def _authority(row: tuple[Any, ...]) -> Authority:
    values = list(row)
    values[8] = clock.moment(row[8])
    return Authority(*values)


def encode_list(texts: Iterable[str]) -> str:
    """A list of texts as the ledger stores and compares it."""
    return json.dumps(list(texts), separators=(",", ":"))


class Ledger:
    """The open ledger. Every writing method runs inside ``transaction()``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open or make the ledger at ``path`` and bring it to this version; KitError for a newer or damaged one."""
        return cls._migrated(sqlite3.connect(path, isolation_level=None), str(path))

    @classmethod
    def in_memory(cls, path: Path | None) -> Ledger:
        """A copy of the ledger at ``path``, or an empty one: what check mode plans on."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        if path is not None:
            source = sqlite3.connect(path, isolation_level=None)
            try:
                source.backup(copy)
            except sqlite3.OperationalError:
                # Not what is in the file, but how it may be used: read-only with a killed run's journal, for one.
                raise
            except sqlite3.DatabaseError as error:
                raise _damaged(str(path), error) from None
            finally:
                source.close()
        return cls._migrated(copy, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Ledger:
        """The ledger that ``serialized`` gave, in memory."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.deserialize(content)
        return cls._migrated(connection, where)

    @classmethod
    def _migrated(cls, connection: sqlite3.Connection, where: str) -> Ledger:
        try:
            # A committed certificate must survive a power cut: fsync at each commit.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise KitError(
                    f"ledger {where}",
                    f"schema version {version}",
                    f"at most {len(MIGRATIONS)}, the newest this release knows",
                    "use the newer release of the kit that wrote it",
                )
            for number in range(version, len(MIGRATIONS)):
                connection.executescript(
                    f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
                )
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            raise _damaged(where, error) from None
        except KitError:
            connection.close()
            raise
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def serialized(self) -> bytes:
        """The whole ledger as the bytes of an SQLite file, consistent whatever state the file is in."""
        return self._db.serialize()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written inside, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            # SQLite has already rolled back by itself after some errors, a full disk among them.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # ------------------------------------------------------------------ facts about the store

    def meta(self, key: str) -> str | None:
        """A fact about the store, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Write a fact about the store."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def metas(self, prefix: str) -> dict[str, str]:
        """The facts whose key begins with ``prefix``, by the rest of it."""
        rows = self._db.execute(
            "SELECT substr(key, ?), value FROM meta WHERE substr(key, 1, ?) = ? ORDER BY key",
            (len(prefix) + 1, len(prefix), prefix),
        )
        return dict(rows.fetchall())

    def next_number(self, counter: str) -> int:
        """The next number of a counter that only grows."""
        number = int(self.meta(f"counter {counter}") or 0) + 1
        self.set_meta(f"counter {counter}", str(number))
        return number

    def raise_counters(self, least: int, counters: Iterable[str]) -> None:
        """Let the next number of each counter be greater than ``least``."""
        for counter in counters:
            current = int(self.meta(f"counter {counter}") or 0)
            self.set_meta(f"counter {counter}", str(max(current, least)))

    def newest_entry(self) -> datetime | None:
        """When the ledger was last told that something came to be; the clock may not stand before that."""
        row = self._db.execute(
            "SELECT max(moment) FROM (SELECT max(created) AS moment FROM authorities UNION ALL"
            " SELECT created FROM certificates WHERE id = (SELECT max(id) FROM certificates) UNION ALL"
            " SELECT max(this_update) FROM crls UNION ALL SELECT max(created) FROM trust)"
        ).fetchone()
        return None if row[0] is None else clock.moment(row[0])

    # ------------------------------------------------------------------ authorities

    def authorities(self) -> list[Authority]:
        """Every authority, by number."""
        rows = self._db.execute(
            "SELECT number, name, generation, label, subject, issuer, serial, key_type, not_after, der, state"
            " FROM authorities ORDER BY number"
        )
        return [_authority(row) for row in rows]

    def add_authority(
        self,
        *,
        name: str,
        generation: int,
        label: str,
        subject: str,
        issuer: int | None,
        serial: str,
        key_type: str,
        not_after: int,
        created: int,
        der: bytes,
        state: str,
    ) -> int:
        """Enter an authority and return its number."""
        cursor = self._db.execute(
            "INSERT INTO authorities (name, generation, label, subject, issuer, serial, key_type,"
            " not_after, created, der, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (name, generation, label, subject, issuer, serial, key_type, not_after, created, der, state),
        )
        assert cursor.lastrowid is not None  # noqa: S101  for the type checker: an INSERT always sets it
        return cursor.lastrowid

    def reserve_authorities(self, number: int) -> None:
        """Let the next authority have a higher number than this one, which was in use outside this ledger."""
        self._db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'authorities'", (number,))

    def set_states(self, states: Mapping[int, str]) -> None:
        """Give authorities, by number, other states."""
        self._db.executemany(
            "UPDATE authorities SET state = ? WHERE number = ?", [(state, number) for number, state in states.items()]
        )

    # ------------------------------------------------------------------ rotations

    def rotations(self) -> list[Rotation]:
        """Every rotation, the latest last."""
        rows = self._db.execute(
            "SELECT id, kind, names, phase, started, since, trust, waits FROM rotations ORDER BY id"
        )
        return [
            Rotation(
                row[0], row[1], json.loads(row[2]), row[3], clock.moment(row[4]), clock.moment(row[5]),
                json.loads(row[6]), json.loads(row[7]),
            )
            for row in rows
        ]  # fmt: skip

    def start_rotation(self, kind: str, names: Iterable[str], phase: str, now: datetime) -> None:
        """Enter a rotation; at most one goes on at a time."""
        self._db.execute(
            "INSERT INTO rotations (kind, names, phase, started, since, trust, waits)"
            " VALUES (?, ?, ?, ?, ?, '{}', '[]')",
            (kind, encode_list(names), phase, clock.seconds(now), clock.seconds(now)),
        )

    def set_phase(self, rotation: int, phase: str, now: datetime) -> None:
        """Let a rotation be in another phase; what it waited for in the one before is forgotten."""
        self._db.execute(
            "UPDATE rotations SET phase = ?, since = ?, waits = '[]' WHERE id = ?",
            (phase, clock.seconds(now), rotation),
        )

    def set_waits(self, rotation: int, waits: Iterable[str]) -> None:
        """Note what a rotation waits for."""
        self._db.execute("UPDATE rotations SET waits = ? WHERE id = ?", (encode_list(waits), rotation))

    def set_rotation_trust(self, rotation: int, trust: Mapping[str, int]) -> None:
        """Note the trust number by scope that brought the new authorities of a rotation in."""
        self._db.execute("UPDATE rotations SET trust = ? WHERE id = ?", (json.dumps(dict(trust)), rotation))

    def held_by(self, issuers: Iterable[int], now: datetime) -> Iterator[Held]:
        """What is in force of these authorities, replaced certificates included, probes left out, by name."""
        for issuer in sorted(issuers):
            rows = self._db.execute(
                "SELECT c.name, c.serial, c.issuer, c.not_after, CASE WHEN c.current = 1 THEN NULL ELSE"
                " (SELECT newer.created FROM certificates newer WHERE newer.name = c.name AND newer.current = 1) END"
                " FROM certificates c LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial"
                " WHERE c.issuer = ? AND c.probe = 0 AND c.not_after >= ? AND r.reason IS NULL ORDER BY c.name, c.id",
                (issuer, clock.seconds(now)),
            )
            for name, serial, number, end, replaced in rows:
                yield Held(
                    name, serial, number, clock.moment(end), None if replaced is None else clock.moment(replaced)
                )

    def first_issued(self) -> dict[str, datetime]:
        """When each client got its first certificate."""
        rows = self._db.execute(
            "SELECT name, min(created) FROM certificates WHERE probe = 0 AND name LIKE 'client/%' GROUP BY name"
        )
        return {name: clock.moment(created) for name, created in rows}

    def cross_certificates(self) -> dict[int, CrossCertificate]:
        """The cross certificate of each root that has one, by the root's number."""
        rows = self._db.execute("SELECT subject, issuer, serial, not_after, der FROM cross_certificates")
        return {row[0]: CrossCertificate(row[0], row[1], row[2], clock.moment(row[3]), row[4]) for row in rows}

    def add_cross_certificate(self, cross: CrossCertificate) -> None:
        """Enter a cross certificate."""
        self._db.execute(
            "INSERT INTO cross_certificates VALUES (?, ?, ?, ?, ?)",
            (cross.subject, cross.issuer, cross.serial, clock.seconds(cross.not_after), cross.der),
        )

    # ------------------------------------------------------------------ certificates

    def current(self) -> dict[str, Issued]:
        """The newest certificate of each name, probes left out."""
        return {issued.name: issued for issued in map(_issued, self._db.execute(_ISSUED + "WHERE c.current = 1"))}

    def current_of(self, name: str) -> Issued | None:
        """The newest certificate of a name."""
        row = self._db.execute(_ISSUED + "WHERE c.name = ? AND c.current = 1", (name,)).fetchone()
        return None if row is None else _issued(row)

    def valid_of(self, names: Iterable[str], now: datetime) -> list[Issued]:
        """Every certificate of these names that has neither expired nor been revoked, replaced ones included."""
        found: list[Issued] = []
        for name in names:
            rows = self._db.execute(
                _ISSUED + "WHERE c.name = ? AND c.probe = 0 AND c.not_after >= ? AND r.reason IS NULL ORDER BY c.id",
                (name, clock.seconds(now)),
            )
            found.extend(map(_issued, rows))
        return found

    def strangers(self, prefix: str, now: datetime) -> list[Issued]:
        """Certificates in force that were entered under names beginning with ``prefix``, and nobody here asked for."""
        rows = self._db.execute(
            _ISSUED + "WHERE substr(c.name, 1, ?) = ? AND c.not_after >= ? AND r.reason IS NULL ORDER BY c.id",
            (len(prefix), prefix, clock.seconds(now)),
        )
        return list(map(_issued, rows))

    def by_serial(self, serial: str) -> list[Issued]:
        """The certificates of a serial; more than one only where two issuers drew the same."""
        return [_issued(row) for row in self._db.execute(_ISSUED + "WHERE c.serial = ?", (serial,))]

    def contents(self, ids: Iterable[int]) -> Iterator[tuple[int, bytes, bytes | None]]:
        """(id, certificate in DER, encrypted key in PEM) of these certificates."""
        for certificate in ids:
            row = self._db.execute("SELECT id, der, key FROM certificates WHERE id = ?", (certificate,)).fetchone()
            yield row[0], row[1], row[2]

    def keys_of(self, names: Iterable[str]) -> Iterator[tuple[int, str, bool, bytes]]:
        """(id, name, whether it is the newest, encrypted key in PEM) of the certificates whose keys the CA made."""
        for name in names:
            yield from self._db.execute(
                "SELECT id, name, current, key FROM certificates WHERE name = ? AND key IS NOT NULL ORDER BY id",
                (name,),
            )

    def replace_keys(self, keys: Iterable[tuple[int, bytes]]) -> None:
        """Enter the same keys (id, PEM) under another password."""
        self._db.executemany("UPDATE certificates SET key = ? WHERE id = ?", [(key, id) for id, key in keys])

    def add_certificates(self, certificates: Sequence[NewCertificate]) -> None:
        """Enter certificates as the current ones of their names (probes are nobody's current one)."""
        replaced = [(new.name,) for new in certificates if not new.probe]
        self._db.executemany("UPDATE certificates SET current = 0 WHERE name = ? AND current = 1", replaced)
        self._db.executemany(
            "INSERT INTO certificates (issuer, serial, name, current, probe, reason, profile, subject, sans, groups,"
            " key_type, public_key_sha256, sha256, not_before, not_after, created, der, key, profile_sha256,"
            " for_clients)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    new.issuer, new.serial, new.name, not new.probe, new.probe, new.reason, new.profile, new.subject,
                    new.sans, new.groups, new.key_type, new.public_key_sha256, new.sha256, new.not_before,
                    new.not_after, new.created, new.der, new.key, new.profile_sha256, new.for_clients,
                )
                for new in certificates
            ],
        )  # fmt: skip

    def adopt_certificates(self, certificates: Iterable[NewCertificate]) -> None:
        """Enter certificates that were signed elsewhere, each the current one of a name that has none."""
        self._db.executemany(
            "INSERT INTO certificates (current, issuer, serial, name, probe, reason, profile, subject, sans, groups,"
            " key_type, public_key_sha256, sha256, not_before, not_after, created, der, for_clients)"
            " VALUES (NOT EXISTS (SELECT 1 FROM certificates WHERE name = ? AND current = 1),"
            " ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            [
                (
                    new.name, new.issuer, new.serial, new.name, new.reason, new.profile, new.subject, new.sans,
                    new.groups, new.key_type, new.public_key_sha256, new.sha256, new.not_before, new.not_after,
                    new.created, new.der,
                )
                for new in certificates
            ],
        )  # fmt: skip

    def serials_of(self, issuer: int) -> set[str]:
        """The serials of all that an authority has signed."""
        rows = self._db.execute("SELECT serial FROM certificates WHERE issuer = ?", (issuer,))
        return {row[0] for row in rows}

    def set_groups(self, name: str, groups: str) -> None:
        """Give a name other groups; certificates of it that were replaced but are still valid follow."""
        self._db.execute("UPDATE certificates SET groups = ? WHERE name = ?", (groups, name))

    def identities(self, issuers: Iterable[int], now: datetime) -> Iterator[Identity]:
        """Valid certificates for clients that these authorities signed, by issuer, probes left out."""
        for issuer in sorted(issuers):
            rows = self._db.execute(
                "SELECT c.serial, c.name, c.groups, c.sans, c.sha256 FROM certificates c"
                " LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial"
                " WHERE c.issuer = ? AND c.for_clients = 1 AND c.probe = 0 AND c.not_after >= ? AND r.reason IS NULL",
                (issuer, clock.seconds(now)),
            )
            for serial, name, groups, sans, sha256 in rows:
                yield Identity(issuer, serial, name, json.loads(groups), json.loads(sans), sha256)

    # ------------------------------------------------------------------ bundles

    def bundles(self) -> dict[str, Handed]:
        """What each client was handed last, by certificate name."""
        rows = self._db.execute("SELECT name, serial, anchor_sha256, written, taken FROM bundles ORDER BY name")
        return {
            row[0]: Handed(
                row[0], row[1], row[2], clock.moment(row[3]), None if row[4] is None else clock.moment(row[4])
            )
            for row in rows
        }

    def put_bundles(self, bundles: Iterable[Handed]) -> None:
        """Let these be what their clients were handed last."""
        self._db.executemany(
            "INSERT OR REPLACE INTO bundles VALUES (?, ?, ?, ?, ?)",
            [
                (
                    one.name, one.serial, one.anchor_sha256, clock.seconds(one.written),
                    None if one.taken is None else clock.seconds(one.taken),
                )
                for one in bundles
            ],
        )  # fmt: skip

    def hand_over_keys(self, names: Iterable[str]) -> None:
        """Forget every key of these names, and know that they were made here."""
        # Or the pages that held them keep them until something else is written there.
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.executemany(
            "UPDATE certificates SET key = NULL, handed_over = 1 WHERE name = ? AND key IS NOT NULL",
            [(name,) for name in names],
        )

    def end_before(self, name: str, now: datetime) -> datetime | None:
        """When the last certificate ends that a name had before its newest and that is in force; None without one."""
        (end,) = self._db.execute(
            "SELECT max(c.not_after) FROM certificates c"
            " LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial"
            " WHERE c.name = ? AND c.current = 0 AND c.probe = 0 AND c.not_after >= ? AND r.reason IS NULL",
            (name, clock.seconds(now)),
        ).fetchone()
        return None if end is None else clock.moment(end)

    # ------------------------------------------------------------------ revocations and CRLs

    def revoke(self, revocations: Iterable[Revocation]) -> None:
        """Enter revocations; one that is there already keeps its reason and date."""
        self._db.executemany(
            "INSERT OR IGNORE INTO revocations (issuer, serial, reason, revoked, not_after) VALUES (?, ?, ?, ?, ?)",
            [
                (entry.issuer, entry.serial, entry.reason, clock.seconds(entry.revoked), clock.seconds(entry.not_after))
                for entry in revocations
            ],
        )

    def revocations(self, issuer: int, not_expired_at: datetime) -> Iterator[Listed]:
        """What an authority has revoked and had not expired at that moment, by serial."""
        rows = self._db.execute(
            "SELECT serial, reason, revoked FROM revocations WHERE issuer = ? AND not_after >= ? ORDER BY serial",
            (issuer, clock.seconds(not_expired_at)),
        )
        return map(Listed._make, rows)

    def revoked_extent(self, issuer: int, not_expired_at: datetime) -> str:
        """How much :meth:`revocations` gives, to be compared with what it was.

        A revocation is never changed or taken away (:meth:`revoke`), so as many of them are the same ones.
        """
        (count,) = self._db.execute(
            "SELECT count(*) FROM revocations WHERE issuer = ? AND not_after >= ?",
            (issuer, clock.seconds(not_expired_at)),
        ).fetchone()
        return f"{count} revoked"

    def revoked_map(self, issuer: int, not_expired_at: datetime) -> str:
        """The lines of Nginx's map of :meth:`revocations`, made by SQLite itself: there may be a million."""
        (lines,) = self._db.execute(
            """SELECT group_concat(line, '') FROM (SELECT '"' || issuer || ':' || serial || '" 1;\n' AS line"""
            " FROM revocations WHERE issuer = ? AND not_after >= ? ORDER BY serial)",
            (issuer, clock.seconds(not_expired_at)),
        ).fetchone()
        return lines or ""

    def revoked_counts(self, not_expired_at: datetime) -> dict[int, int]:
        """How many serials each authority has revoked that had not expired at that moment."""
        rows = self._db.execute(
            "SELECT issuer, count(*) FROM revocations WHERE not_after >= ? GROUP BY issuer",
            (clock.seconds(not_expired_at),),
        )
        return dict(rows.fetchall())

    def is_revoked(self, issuer: int, serial: str) -> bool:
        """Whether this serial is revoked."""
        row = self._db.execute("SELECT 1 FROM revocations WHERE issuer = ? AND serial = ?", (issuer, serial)).fetchone()
        return row is not None

    def revoked_of(self, names: Iterable[str], now: datetime) -> list[Issued]:
        """Every revoked certificate of these names that has not expired, the newest first."""
        found: list[Issued] = []
        for name in names:
            rows = self._db.execute(
                _ISSUED + "WHERE c.name = ? AND c.probe = 0 AND c.not_after >= ? AND r.reason IS NOT NULL"
                " ORDER BY c.id DESC",
                (name, clock.seconds(now)),
            )
            found.extend(map(_issued, rows))
        return found

    def revoked_after(self, moment: datetime, now: datetime) -> Iterator[tuple[int, str, datetime]]:
        """(issuer, name, when) of what was revoked after ``moment`` and has not expired, the first first.

        What the ledger does not know by name is named by its serial.
        """
        rows = self._db.execute(
            "SELECT r.issuer, ifnull(c.name, 'serial ' || r.serial), r.revoked FROM revocations r"
            " LEFT JOIN certificates c ON c.issuer = r.issuer AND c.serial = r.serial"
            " WHERE r.revoked > ? AND r.not_after >= ? ORDER BY r.revoked, r.serial",
            (clock.seconds(moment), clock.seconds(now)),
        )
        return ((issuer, name, clock.moment(revoked)) for issuer, name, revoked in rows)

    def knows_key(self, public_key_sha256: str) -> bool:
        """Whether any certificate was entered for this key."""
        row = self._db.execute(
            "SELECT 1 FROM certificates WHERE public_key_sha256 = ? LIMIT 1", (public_key_sha256,)
        ).fetchone()
        return row is not None

    def compromised(self, public_key_sha256: str) -> bool:
        """Whether a certificate of this key was revoked because the key was no longer its owner's alone."""
        row = self._db.execute(
            "SELECT 1 FROM revocations r JOIN certificates c ON c.issuer = r.issuer AND c.serial = r.serial"
            " WHERE r.reason = 'keyCompromise' AND c.public_key_sha256 = ?",
            (public_key_sha256,),
        ).fetchone()
        return row is not None

    def compromised_keys(self) -> set[str]:
        """Every key of which ``compromised`` is true."""
        rows = self._db.execute(
            "SELECT c.public_key_sha256 FROM revocations r"
            " JOIN certificates c ON c.issuer = r.issuer AND c.serial = r.serial WHERE r.reason = 'keyCompromise'"
        )
        return {row[0] for row in rows}

    def crls(self) -> dict[int, Crl]:
        """The CRL in force of each authority, by its number."""
        rows = self._db.execute("SELECT issuer, number, this_update, next_update, days, entries, pem FROM crls")
        return {row[0]: Crl(row[0], row[1], clock.moment(row[2]), clock.moment(row[3]), *row[4:]) for row in rows}

    def put_crl(self, crl: Crl) -> None:
        """Let ``crl`` be the one in force."""
        self._db.execute(
            "INSERT OR REPLACE INTO crls VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                crl.issuer, crl.number, clock.seconds(crl.this_update), clock.seconds(crl.next_update), crl.days,
                crl.entries, crl.pem,
            ),
        )  # fmt: skip

    # ------------------------------------------------------------------ trust units and files

    def trust_units(self) -> dict[str, TrustUnit]:
        """The trust unit in force of each scope."""
        rows = self._db.execute("SELECT scope, number, sha256, files, created FROM trust")
        return {row[0]: TrustUnit(row[0], row[1], row[2], json.loads(row[3]), clock.moment(row[4])) for row in rows}

    def put_trust_unit(self, unit: TrustUnit) -> None:
        """Let ``unit`` be the one in force."""
        self._db.execute(
            "INSERT OR REPLACE INTO trust VALUES (?, ?, ?, ?, ?)",
            (unit.scope, unit.number, unit.sha256, json.dumps(dict(unit.files)), clock.seconds(unit.created)),
        )

    def files(self) -> dict[str, FileState]:
        """Every file handed out, by path."""
        return {row[0]: FileState(*row) for row in self._db.execute("SELECT path, size, mtime_ns, mode FROM files")}

    def put_files(self, states: Iterable[FileState]) -> None:
        """Remember files as they were written."""
        self._db.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
            [(state.path, state.size, state.mtime_ns, state.mode) for state in states],
        )

    def forget_files(self, paths: Iterable[str]) -> None:
        """Let files be written again by whoever looks next: what they hand out has changed."""
        self._db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])


def _damaged(where: str, error: Exception) -> KitError:
    return KitError(
        f"ledger {where}", f"a damaged file ({error})", "an SQLite ledger of the kit", "restore the store from a backup"
    )
