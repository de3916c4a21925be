"""scripts/test counts what really ran: nothing that was skipped, missing or cut off passes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECAP = "SCENARIO RECAP\n"


def bash(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script that has the functions of scripts/lib at hand."""
    libraries = "".join(f"source {ROOT}/scripts/lib/{name}.sh\n" for name in ("results", "molecule", "lint"))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", libraries + script, "bash", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def recap(name: str, successful: int, missing: int = 0, failed: int = 0) -> str:
    return (
        f"{name:<26}: actions=4  successful={successful}  disabled=0  skipped=0  missing={missing}  failed={failed}\n"
    )


@pytest.mark.parametrize(
    ("log", "passes"),
    [
        (RECAP + recap("pki", 4), True),
        # Molecule counts a scenario that shares its state several times.
        (RECAP + recap("pki", 0) + recap("pki", 4), True),
        (RECAP + recap("default", 1) + recap("pki", 4), True),
        (RECAP + recap("pki", 3, failed=1), False),
        (RECAP + recap("pki", 3, missing=1), False),
        (RECAP + recap("pki", 0), False),
        (RECAP + recap("default", 4), False),
        (RECAP, False),
        ("it was killed\n", False),
        ("[WARNING]: Could not match supplied host pattern, ignoring: gw9\n" + RECAP + recap("pki", 4), False),
        ("skipping: no hosts matched\n" + RECAP + recap("pki", 4), True),
    ],
)
def test_a_scenario_passes_by_its_recap_alone(tmp_path: Path, log: str, passes: bool) -> None:
    (tmp_path / "log").write_text(log)
    verdict = bash('molecule_verdict pki "$1"', str(tmp_path / "log"))
    assert (verdict.returncode == 0) is passes, verdict.stdout + verdict.stderr
    assert passes or verdict.stdout, "a refusal says why"


@pytest.mark.parametrize(
    ("results", "total"),
    [
        ({"lint": "1 0 0\n1 0 0\n", "unit": "7 1 2\n"}, "9 1 2"),
        ({"lint": "", "unit": "7 0 0\n"}, "7 1 0"),
        ({"unit": "0 0 4\n", "lint": "1 0 0\n"}, "1 1 4"),
        ({"unit": "7 0 0\n"}, "7 1 0"),
    ],
    ids=["sum", "a part without results", "a part that skipped all", "a part that never began"],
)
def test_a_part_that_executed_nothing_is_a_failure(tmp_path: Path, results: dict[str, str], total: str) -> None:
    for part, lines in results.items():
        (tmp_path / f"{part}.results").write_text(lines)
    assert bash("RESULTS=$1; result_sum lint unit", str(tmp_path)).stdout.strip() == total


@pytest.mark.parametrize(
    ("report", "status", "counted"),
    [
        ('<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1"/></testsuites>', 1, "2 2 1"),
        ('<testsuites><testsuite tests="5" failures="0" errors="0" skipped="0"/></testsuites>', 0, "5 0 0"),
        ('<testsuites><testsuite tests="5" failures="0" errors="0" skipped="0"/></testsuites>', 3, "5 1 0"),
        ("", 3, "0 1 0"),
        (None, 4, "0 1 0"),
    ],
    ids=["mixed", "all passed", "passed but pytest broke", "an empty report", "no report"],
)
def test_pytest_is_counted_by_its_report(tmp_path: Path, report: str | None, status: int, counted: str) -> None:
    if report is not None:
        (tmp_path / "report.xml").write_text(report)
    run = bash('RESULTS=$1; result_junit unit "$1/report.xml" "$2"', str(tmp_path), str(status))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "unit.results").read_text().strip() == counted


def test_a_failed_check_shows_the_end_of_its_log(tmp_path: Path) -> None:
    run = bash('RESULTS=$1; mkdir -p "$1/lint"; run_check lint "a b" bash -c "echo why; exit 3"', str(tmp_path))
    assert run.returncode == 0
    assert "FAILED" in run.stderr and "why" in run.stderr
    assert (tmp_path / "lint.results").read_text() == "0 1 0\n"
