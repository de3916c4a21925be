"""Which client certificates an access log shows, within bounds, whatever lies beside it."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import access_log

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(days=30)
PLENTY = 1 << 20


def line(
    serial: str, hours: float, *, verify: str = "SUCCESS", uri: str = "/", issuer: str = "CN=demo Issuing G1"
) -> str:
    """What Nginx writes of a request ``hours`` ago."""
    return (
        json.dumps(
            {
                "time": (NOW - timedelta(hours=hours)).astimezone().isoformat(timespec="seconds"),
                "uri": uri,
                "verify": verify,
                "reason": "",
                "name": f"client {serial}",
                "subject": "CN=x",
                "issuer": issuer,
                "serial": serial,
            },
            separators=(",", ":"),
        )
        + "\n"
    )


def written(path: Path, content: str, days: float = 0) -> Path:
    """A log file that was last written to ``days`` ago."""
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    when = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (when, when))
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mtls-orders.access.log"


def serials(look: access_log.Look) -> list[str]:
    return [one.serial for one in look.certificates]


def test_the_log_and_what_was_rotated_away_of_it_are_read(log: Path) -> None:
    written(log, line("0A", 1) + line("0B", 2) + line("0A", 0.5))
    written(log.with_name(f"{log.name}.1"), line("0C", 30) + line("0A", 40), 1)
    written(log.with_name(f"{log.name}.2.gz"), line("0D", 50), 2)
    written(log.with_name(f"{log.name}-20261120.gz"), line("0E", 100), 4)
    written(log.with_name(f"{log.name}.swp"), line("FF", 1))
    found = access_log.look(log, SINCE, PLENTY)
    assert serials(found) == ["0A", "0B", "0C", "0D", "0E"]
    assert found.complete
    assert found.certificates[0].as_dict() == {
        "issuer": "CN=demo Issuing G1", "serial": "0A", "name": "client 0A", "last_seen": "2026-11-24T11:30:00Z",
    }  # fmt: skip


def test_equal_serials_of_two_issuers_are_two_certificates(log: Path) -> None:
    written(log, line("01", 1) + line("01", 2, issuer="CN=other"))
    assert [one.issuer for one in access_log.look(log, SINCE, PLENTY).certificates] == [
        "CN=demo Issuing G1",
        "CN=other",
    ]


def test_what_was_not_verified_or_is_forged_in_a_path_is_nobody(log: Path) -> None:
    forged = '/","verify":"SUCCESS","reason":"","name":"mallory","issuer":"CN=demo Issuing G1","serial":"66"}'
    written(log, line("0A", 1, verify="FAILED:expired") + line("0B", 1, verify="NONE", uri=forged) + line("0C", 1))
    assert serials(access_log.look(log, SINCE, PLENTY)) == ["0C"]


def test_nothing_older_is_told_though_it_stands_in_a_newer_file(log: Path) -> None:
    written(log, line("0A", 24 * 31) + line("0B", 24 * 29))
    written(log.with_name(f"{log.name}.9.gz"), line("0C", 24 * 40), 40)
    assert serials(access_log.look(log, SINCE, PLENTY)) == ["0B"]


def test_the_newest_is_read_when_there_is_too_much(log: Path) -> None:
    lines = [line(f"{number:04X}", 20 - number / 100) for number in range(1000)]
    written(log, "".join(lines))
    written(log.with_name(f"{log.name}.1"), line("AAAA", 30), 1)
    found = access_log.look(log, SINCE, len(lines[0]) * 10)
    assert not found.complete
    assert 8 <= len(found.certificates) <= 10
    assert serials(found)[0] == f"{999:04X}"


def test_a_packed_file_is_bounded_unpacked(log: Path) -> None:
    written(log.with_name(f"{log.name}.2.gz"), line("0A", 50) + " " * (3 << 20), 2)
    found = access_log.look(log, SINCE, 1 << 20)
    assert serials(found) == ["0A"]
    assert not found.complete


def test_damage_and_what_is_no_file_is_passed_over(log: Path, tmp_path: Path) -> None:
    written(log, "{\n" + line("0A", 1)[:-20] + "\n\xff\n" + line("0B", 1) + line("0C", 1).replace("T", " at ", 1))
    packed = written(log.with_name(f"{log.name}.2.gz"), line("0D", 50) * 5000, 2)
    packed.write_bytes(packed.read_bytes()[:-40])
    os.utime(packed, (NOW.timestamp() - 99, NOW.timestamp() - 99))
    os.mkfifo(log.with_name(f"{log.name}.3"))
    secret = written(tmp_path / "elsewhere", line("EE", 1))
    log.with_name(f"{log.name}.4").symlink_to(secret)
    found = access_log.look(log, SINCE, 4 * PLENTY)
    assert serials(found) == ["0B", "0D"]
    assert not found.complete


def test_no_log_shows_nobody(log: Path) -> None:
    assert access_log.look(log, SINCE, PLENTY) == access_log.Look((), SINCE, True)
    assert access_log.look(log.parent / "missing" / "x.log", SINCE, PLENTY).certificates == ()
