"""A fleet that nobody looked after: what ended by itself meanwhile, and what the next run does about it.

It is set up some days ago: the CA host and the gateway's Python have the time of then. Nginx and its clients have
today's, by which all that was made then has come of age.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.faults import NAME, Fleet, another_time, told
from tests.integration.gateway import Gateway, with_packages
from tests.integration.load import PROBE
from tests.integration.test_leaks import found_in
from tests.integration.test_rotation import Client

pytestmark = pytest.mark.slow
VAULT_PASSWORD = "a vault password of the test"


@contextmanager
def set_up(folder: Path, days_ago: int, variables: Mapping[str, Any]) -> Iterator[Fleet]:
    """A fleet of one gateway that was set up then."""
    with Gateway.started(folder, with_packages()) as gateway:
        inventory = gateway.write_inventory(folder, VAULT_PASSWORD)
        (inventory / "group_vars").mkdir()
        (inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(dict(variables)))
        fleet = Fleet({"gw1": gateway}, folder, inventory)
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        then = {"LD_PRELOAD": str(library), "FAKETIME": f"-{days_ago}d"}
        with fleet.python("gw1", another_time(f"-{days_ago}d")):
            made = fleet.run("site", **then)
        assert made.code == 0, made.text[-3000:]
        yield fleet


def handed(fleet: Fleet, folder: str) -> Client:
    """Alice with her files of now."""
    return Client.handed(fleet.folder / "store", fleet.folder / folder, fleet.vault()["client/alice"])


def calls(fleet: Fleet, client: Client) -> str:
    return client.calls(fleet.gateways["gw1"].address, 8443, NAME, PROBE)


def test_a_crl_that_ended_is_signed_again_and_nobody_notices(tmp_path: Path) -> None:
    with set_up(tmp_path, 8, {"pki_crl": {"days": 7}}) as fleet:
        alice, secrets, before = handed(fleet, "alice"), fleet.secrets(), fleet.releases()
        assert calls(fleet, alice) == "in"
        with fleet.load("gw1") as load:
            seen = fleet.run("status")
            told(("CRL", "has ended: who enforces it refuses everyone"), seen)
            healed = fleet.run("rotate", "-v", "--diff")
            assert healed.code == 0, healed.text[-5000:]
            told(("sign-crl",), healed)
            again = fleet.run("rotate", "-v", "--diff")
            assert (again.code, again.changed) == (0, 0), again.text[-5000:]
        assert (load.failures, load.answered > 0) == ([], True)
        assert "has ended" not in fleet.run("status").text
        fleet.check_sets()
        assert fleet.releases() == before
        assert found_in(seen.output + healed.output + again.output, secrets) == []


def test_where_crls_are_enforced_one_that_ended_shuts_everybody_out_until_it_is_signed_again(tmp_path: Path) -> None:
    """With OpenSSL every client is refused then; the next run lets them in again."""
    enforced = {"nginx_mtls_revocation": "crl", "nginx_mtls_crl_renewed": True}
    with set_up(tmp_path, 8, {"pki_crl": {"days": 7}, **enforced}) as fleet:
        alice = handed(fleet, "alice")
        assert calls(fleet, alice) == "refused by the server"
        healed = fleet.run("rotate")
        assert healed.code == 0, healed.text[-5000:]
        assert calls(fleet, alice) == "in"
        again = fleet.run("rotate")
        assert (again.code, again.changed) == (0, 0), again.text[-5000:]


@pytest.mark.parametrize(
    ("kind", "lives", "ended"),
    [
        ("issuing", {"pki_issuing": [{"name": "issuing", "days": 5}]}, "issuing-g1"),
        ("root", {"pki_root": {"days": 5}}, "root-g1, issuing-g1"),
    ],
)
def test_a_ca_that_ended_is_told_and_a_rotation_replaces_it(
    tmp_path: Path, kind: str, lives: dict[str, Any], ended: str
) -> None:
    with set_up(tmp_path, 6, lives) as fleet:
        old, secrets, before = handed(fleet, "old"), fleet.secrets(), fleet.state()
        assert calls(fleet, old) != "in"
        refused = fleet.run("rotate", "-v", "--diff")
        assert refused.code != 0
        told((ended.partition(",")[0], "found that it ended at", "Next: rotate it"), refused)
        assert fleet.state() == before

        replaced = fleet.run("rotate", "-v", "--diff", "-e", f"rotate={kind}")
        assert replaced.code == 0, replaced.text[-5000:]
        told((f"{ended} ended, so the successor signs at once",), replaced)
        fleet.check_sets()
        new = handed(fleet, "new")
        # So that it is the gateway that refuses.
        shutil.copy(new.folder / "anchor.crt", old.folder)
        assert (calls(fleet, new), calls(fleet, old)) == ("in", "refused by the server")
        again = fleet.run("rotate", "-v", "--diff", "-e", f"rotate={kind}")
        assert (again.code, again.changed) == (0, 0), again.text[-5000:]
        secrets |= {f"new {path}": password for path, password in fleet.secrets().items()}
        assert found_in(refused.output + replaced.output + again.output, secrets) == []
