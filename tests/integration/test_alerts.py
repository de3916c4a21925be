"""The alert rules, as Prometheus itself reads and evaluates them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.runs import ROOT

RULES = ROOT / "roles/cert_monitoring/files/alerts.yml"
TESTS = ROOT / "tests/integration/prometheus/alerts.test.yml"
PROGRAM = ROOT / "roles/cert_monitoring/files/mtls_metrics.py"


def promtool(folder: Path, *arguments: str) -> str:
    """What promtool says of copies of both files, side by side as it wants them."""
    for file in (RULES, TESTS):
        shutil.copy(file, folder)
    run = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.mark.slow
def test_every_alert_fires_for_its_cause_and_none_when_all_is_well(tmp_path: Path) -> None:
    assert "SUCCESS: 11 rules found" in promtool(tmp_path, "check", "rules", RULES.name)
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", TESTS.name)


def test_every_alert_is_about_a_metric_that_there_is() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    known = re.findall(r'^    "(\w+)": "', PROGRAM.read_text(), re.MULTILINE)
    for rule in rules:
        metrics = re.findall(r"mtls_kit_(\w+)", rule["expr"])
        assert metrics, rule["alert"]
        assert set(metrics) <= set(known), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
