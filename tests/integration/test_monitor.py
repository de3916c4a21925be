"""``monitor.yml`` on a CA host with a real ledger and on a gateway: what is told, and that the guard speaks in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.integration.gateway import USER, Gateway, with_packages
from tests.integration.runs import Run, playbook

pytestmark = pytest.mark.slow

VAULT_PASSWORD = "a vault password of the test"
PROGRAM = "/usr/local/lib/mtls-kit/mtls_metrics.py"
METRICS = "/var/lib/prometheus/node-exporter/mtls_kit.prom"
# The program as it would find things so many days from now.
LATER = """
import sys, time
from importlib.machinery import SourceFileLoader
program = SourceFileLoader("program", sys.argv[1]).load_module()
sys.exit(program.main([sys.argv[2]], time.time() + float(sys.argv[3]) * 86400))
"""


@dataclass
class Fleet:
    """A CA host and a gateway, both reached over SSH."""

    machines: dict[str, Gateway]
    folder: Path
    inventory: Path

    def run(self, name: str, *arguments: str) -> Run:
        found = playbook(name, self.inventory, self.folder, *arguments)
        assert found.code == 0, found.text[-4000:]
        return found

    def metrics(self, host: str) -> list[str]:
        return self.machines[host].run(["cat", METRICS]).decode().splitlines()

    def check(self, host: str, days: float = 0) -> list[str]:
        """The problems, each with its line; the exit status says whether there are any."""
        script = f'status=0; python3 -c "$1" {PROGRAM} check {days} || status=$?; echo $status'
        lines = self.machines[host].run(["sh", "-c", script, "sh", LATER]).decode().splitlines()
        assert (lines[-1] == "2") == (len(lines) > 1), lines
        return lines[:-1]

    def write(self, host: str, days: float) -> list[str]:
        self.machines[host].run(["python3", "-c", LATER, PROGRAM, "write", str(days)])
        return self.metrics(host)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        image = with_packages()
        machines = {
            name: stack.enter_context(Gateway.started(tmp_path_factory.mktemp(name), image)) for name in ("gw1", "ca1")
        }
        inventory = machines["gw1"].write_inventory(folder, VAULT_PASSWORD)
        machines["ca1"].join(inventory, "ca1")
        hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
        groups = hosts["all"]["children"]
        ca1 = groups["gateways"]["hosts"].pop("ca1")
        del ca1["nginx_mtls_sites"]
        groups["ca"]["hosts"] = {"ca1": ca1}
        home = f"/home/{USER}"
        hosts["all"]["vars"] |= {"pki_store": f"{home}/store", "client_bundle_dir": f"{home}/bundles"}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        made = Fleet(machines, folder, inventory)
        made.run("site")
        made.run("monitor")
        yield made


def test_both_tell_what_they_hold_and_a_second_run_changes_nothing(fleet: Fleet) -> None:
    assert fleet.run("monitor").changed == 0
    told = {
        "ca1": [
            ("certificate_not_after_seconds", 'name="client/alice"'),
            ("authority_not_after_seconds", 'authority="root-g1"'),
            ("crl_next_update_seconds", 'issuer="issuing-g1"'),
        ],
        "gw1": [("served_is_on_disk", 'site="orders"} 1'), ("site_reachable", 'site="orders"} 1')],
    }
    for host, expected in told.items():
        fleet.machines[host].run(["systemctl", "start", "mtls-kit-metrics.service"])
        metrics = fleet.metrics(host)
        assert "mtls_kit_problems 0" in metrics
        for name, label in expected:
            assert [line for line in metrics if line.startswith(f"mtls_kit_{name}{{") and label in line], (
                name,
                metrics,
            )
        assert fleet.check(host) == []


@pytest.mark.parametrize("host", ["ca1", "gw1"])
def test_the_guard_speaks_before_anybody_is_refused(fleet: Fleet, host: str) -> None:
    """Nothing was rotated: CRLs live 7 days, certificates 90."""
    assert fleet.check(host, 1) == []
    crl = fleet.check(host, 5)
    assert crl and all(" ends in " in line and line.endswith("nothing has replaced it") for line in crl), crl
    assert any("issuing" in line.lower() for line in crl)
    metrics = fleet.write(host, 5)
    assert f"mtls_kit_problems {len(crl)}" in metrics
    assert [line for line in metrics if line.startswith('mtls_kit_problem{kind="crl"')]
    end = min(float(line.split()[-1]) for line in metrics if line.startswith("mtls_kit_crl_next_update_seconds"))
    assert end > time.time() + 5 * 86400
    leaves = fleet.check(host, 80)
    assert [line for line in leaves if "orders ends in 10 days, and nothing has replaced it" in line], leaves
