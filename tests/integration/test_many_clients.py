"""Clients from a table, many of them: all of them in one run, and one more touches one."""

from __future__ import annotations

import json
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.runs import Run, playbook


@dataclass
class Fleet:
    """A CA host without gateways, whose clients are in a CSV file beside the inventory."""

    folder: Path

    def __post_init__(self) -> None:
        self.inventory = self.folder / "inventory"
        self.inventory.mkdir()
        for name in ("vault-password", "become-password"):
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_text("the vault's password in this test\n")
        (self.inventory / "hosts.yml").write_text(
            textwrap.dedent(f"""\
                all:
                  vars:
                    pki_name: test
                    pki_store: {self.folder}/store
                    pki_init: true
                    clients: "{{{{ lookup('ansible.builtin.file', inventory_dir ~ '/clients.csv') }}}}"
                    pki_clients: "{{{{ clients | mtls.kit.clients_from_csv }}}}"
                    client_bundle_dir: {self.folder}/bundles
                  children:
                    ca:
                      hosts:
                        localhost:
                          ansible_connection: local
                          ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
                """)
        )

    def list(self, number: int) -> None:
        rows = [f"app-{one};fleet;{'java' if one % 2 else ''}" for one in range(number)]
        (self.inventory / "clients.csv").write_text("\n".join(["name;groups;platforms", *rows, ""]))

    def run(self, *arguments: str) -> Run:
        done = playbook("clients", self.inventory, self.folder, *arguments)
        assert done.code == 0, done.text[-4000:]
        return done

    def files(self) -> dict[str, int]:
        """Every file of every bundle with the moment of its last change."""
        bundles = self.folder / "bundles"
        return {
            str(path.relative_to(bundles)): path.stat().st_mtime_ns for path in bundles.rglob("*") if path.is_file()
        }


@pytest.mark.parametrize("number", [30, pytest.param(5_000, marks=pytest.mark.slow)])
def test_one_more_client_touches_one_folder(
    tmp_path: Path, number: int, record_property: pytest.RecordProperty
) -> None:
    fleet = Fleet(tmp_path)
    fleet.list(number)
    times: dict[str, float] = {}

    def timed(name: str, *arguments: str) -> Run:
        begun = time.monotonic()
        done = fleet.run(*arguments)
        times[name] = round(time.monotonic() - begun, 1)
        return done

    timed("all")
    before = fleet.files()
    assert len({name.partition("/")[0] for name in before}) == number
    assert "app-0/client_requests.py" in before
    assert {name for name in before if name.startswith("app-1/")} == {
        f"app-1/{name}"
        for name in ("client.crt", "client.key", "client.p12", "trust-anchor.crt", "truststore.p12", "Client.java")
    } | {"app-1/README.md", "app-1/bundle.json"}

    fleet.list(number + 1)
    # Once a task of the PKI, once one of the bundles, and in neither any other client.
    listed = timed("check", "--check")
    assert f"client/app-{number}: issue: new" in listed.text, listed.text[-3000:]
    assert f"client/app-{number}: write: new client" in listed.text, listed.text[-3000:]
    assert "client/app-1:" not in listed.text
    assert fleet.files() == before

    timed("one more")
    after = fleet.files()
    assert {name: moment for name, moment in after.items() if name in before} == before
    assert {name.partition("/")[0] for name in set(after) - set(before)} == {f"app-{number}"}

    taken = timed("taken", "-e", "clients_taken=app-*")
    assert taken.changed > 0
    assert not [*(tmp_path / "bundles").rglob("client.key"), *(tmp_path / "store/certificates").rglob("*.key")]
    assert timed("nothing to do").changed == 0
    record_property("seconds", json.dumps(times))
    print(f"{number:,} clients, seconds: {times}")
