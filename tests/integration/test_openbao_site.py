"""The playbooks with keys of CAs in an OpenBao with TLS and AppRole, on the wire; each test goes on where one ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from ansible_collections.mtls.kit.plugins.module_utils._pki import openbao
from tests.integration.gateway import Gateway, with_packages
from tests.integration.openbao import Authority, Bao
from tests.integration.runs import Run, playbook
from tests.integration.test_leaks import environment_in
from tests.integration.test_openbao_ca import TOKEN, with_approle
from tests.integration.test_openbao_pki import serials
from tests.integration.test_rotation import Client

VAULT_PASSWORD = "a password of the operators"
NAME, PORT = "orders.example.test", 8443
pytestmark = pytest.mark.slow


@dataclass
class Fleet:
    """This machine as the CA host, OpenBao with its keys, and a gateway."""

    gateway: Gateway
    bao: Bao
    folder: Path
    inventory: Path
    environment: dict[str, str]
    first: Run | None = None
    """The run that made everything."""

    def run(self, name: str, *arguments: str, fails: bool = False) -> Run:
        done = playbook(name, self.inventory, self.folder, *arguments, environment=self.environment)
        assert (done.code != 0) == fails, done.output.decode()[-4000:]
        return done

    def wish(self, **variables: Any) -> None:
        """Set variables of the inventory; None takes one out."""
        hosts = self.inventory / "hosts.yml"
        content = yaml.safe_load(hosts.read_text())
        content["all"]["vars"].update(variables)
        content["all"]["vars"] = {name: value for name, value in content["all"]["vars"].items() if value is not None}
        hosts.write_text(yaml.safe_dump(content))

    def clients(self, *names: str) -> None:
        """List clients."""
        self.wish(pki_clients=[{"name": name, **({"groups": ["buyers"]} if name == "alice" else {})} for name in names])

    def rotate(self, kind: str, **options: str) -> Run:
        """One run of rotate.yml, which goes one phase on at most."""
        words = [f"{name}={value}" for name, value in options.items()]
        arguments = (word for option in (f"rotate={kind}", *words) for word in ("-e", option))
        return self.run("rotate", *arguments)

    def handed(self, client: str = "alice") -> Client:
        """A client that took its files just now."""
        folder = self.folder / f"handed-{len(list(self.folder.glob('handed-*')))}"
        password = self.gateway.key_passwords(self.inventory, VAULT_PASSWORD)[f"client/{client}"]
        return Client.handed(self.folder / "store", folder, password, client)

    def calls(self, *clients: Client) -> list[str]:
        """What each client finds at the gateway."""
        return [client.calls(self.gateway.address, PORT, NAME, tls.PROBE_PATH) for client in clients]

    def report(self) -> dict[str, Any]:
        """What status.yml writes for machines."""
        file = self.folder / "status.json"
        self.run("status", "-e", f"status_json={file}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def authorities(self) -> dict[str, tuple[str, str]]:
        """Where the key of each authority is, and in which state it is, as status.yml says."""
        return {ca["label"]: (ca["backend"], ca["role"]) for ca in self.report()["authorities"]}

    def everything(self) -> list[bytes]:
        """What a run could change: ledger, vault, and all that the gateway serves."""
        files = (self.folder / "store/ledger.sqlite", self.inventory / "key_passwords.vault.txt")
        served = ["find", "/etc/mtls", "/etc/nginx", "-printf", "%p %l %T@ %m\\n"]
        return [*(file.read_bytes() for file in files), self.gateway.run(served)]

    def status(self, client: str | None) -> int:
        """What Nginx answers to this client."""
        bundle = self.folder / "store"
        context = tls.verified((bundle / "trust-anchor.crt").read_text())
        if client is not None:
            place = bundle / "certificates/client" / client
            password = self.gateway.key_passwords(self.inventory, VAULT_PASSWORD)[f"client/{client}"]
            context.load_cert_chain(place / "client.crt", place / "client.key", password)
        return tls.ask(self.gateway.address, PORT, NAME, context, tls.Deadline(10)).status

    def stranger(self, folder: Path) -> int:
        """What Nginx answers to a client of another CA."""
        Authority.made(folder / "ca.crt").issue(folder, "client", [])
        context = tls.verified((self.folder / "store/trust-anchor.crt").read_text())
        context.load_cert_chain(folder / "client.crt", folder / "client.key")
        return tls.ask(self.gateway.address, PORT, NAME, context, tls.Deadline(10)).status


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, vault = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("bao")
    with Gateway.started(tmp_path_factory.mktemp("gw"), with_packages()) as gateway, Bao.with_tls(vault) as bao:
        found = Fleet(gateway, bao, folder, gateway.write_inventory(folder, VAULT_PASSWORD), environment_in(folder))
        found.wish(pki_backend="openbao", pki_openbao=with_approle(bao, folder))
        found.clients("alice", "bob")
        found.first = found.run("site", "-vvvv", "--diff")
        yield found


def test_the_right_get_in_and_nobody_else(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.first is not None
    verified = fleet.run("verify", "-vvvv", "--diff")
    assert TOKEN.findall(fleet.first.output + verified.output) == []
    assert not list((fleet.folder / "store").glob("authorities/*/ca.key"))
    assert len(fleet.bao.api("LIST", "auth/token/accessors").json()["data"]["keys"]) == 1
    for check in ("good", "none", "stranger", "expired", "sibling", "server-cert"):
        assert f"orders: {check} " in verified.text
    assert {name: fleet.status(name) for name in ("alice", "bob", None)} == {"alice": 200, "bob": 200, None: 400}
    assert fleet.stranger(tmp_path) == 400
    assert fleet.run("site").changed == 0
    assert fleet.run("site", "--check").changed == 0


def test_who_is_revoked_is_out_on_the_wire(fleet: Fleet) -> None:
    done = fleet.run("revoke", "-e", "revoke=client/bob", "-e", "revoke_reason=keyCompromise")
    assert "shown to the site: TLS 1.2 refused (403: client certificate revoked)" in done.text
    assert (fleet.status("alice"), fleet.status("bob")) == (200, 403)
    assert len(serials(fleet.bao, "pki-test-issuing/certs/revoked")) == 1


def test_a_gateway_serves_on_while_openbao_is_sealed_and_the_next_run_heals(fleet: Fleet) -> None:
    alice, before = fleet.handed(), fleet.everything()
    fleet.bao.set("sys/seal")
    for name, *more in (("revoke", "-e", "revoke=client/alice"), ("site",)):
        failed = fleet.run(name, *more, fails=True)
        assert "a sealed server; expected an unsealed one. Next: unseal it (bao operator unseal)" in failed.text
        assert (failed.output.count(b"fatal:"), failed.changed) == (1, 0)
        # What is new in the inventory waits, and no password is made for it.
        fleet.clients("alice", "bob", "carol")
    assert fleet.everything() == before
    assert fleet.calls(alice) == ["in"]
    assert fleet.report()["not_issued"] == ["client/carol"]
    fleet.bao.unseal()
    assert "client/carol: issue: new" in fleet.run("site").text
    assert fleet.calls(alice, fleet.handed("carol")) == ["in", "in"]
    assert fleet.run("site").changed == 0


def test_an_issuing_ca_is_rotated_and_can_go_back(fleet: Fleet) -> None:
    old = fleet.handed()
    assert "rotate: introduce issuing-g2" in fleet.rotate("issuing").text
    assert fleet.calls(old) == ["in"]
    assert "rotate: switch: issuing-g2 replaces issuing-g1" in fleet.rotate("issuing", rotate_clients="now").text
    new = fleet.handed()
    assert fleet.calls(old, new) == ["in", "in"]
    assert "rotate: back: issuing-g1 signs again" in fleet.rotate("issuing", rotate_step="back").text
    assert fleet.calls(old, new) == ["in", "in"]
    fleet.rotate("issuing", rotate_clients="now")
    newest = fleet.handed()
    assert fleet.authorities()["issuing-g1"] == ("openbao", "replaced")
    assert "rotate: retire issuing-g1" in fleet.rotate("issuing", rotate_confirmed="true").text
    assert fleet.calls(old, new, newest) == ["refused by the server", "in", "in"]
    assert fleet.authorities() == {
        "root-g1": ("openbao", "signing"), "issuing-g1": ("openbao", "retired"), "issuing-g2": ("openbao", "signing"),
    }  # fmt: skip
    assert fleet.rotate("issuing").changed == 0


def test_a_backup_brings_the_store_back_and_who_was_revoked_since_stays_out(fleet: Fleet) -> None:
    secret = fleet.folder / "archive.yml"
    secret.touch(mode=0o600)
    secret.write_text(f"pki_archive: {fleet.folder}/archive\npki_archive_password: a password of the archive\n")
    fleet.run("backup", "-e", f"@{secret}")
    alice, bob, carol = (fleet.handed(name) for name in ("alice", "bob", "carol"))
    fleet.run("revoke", "-e", "revoke=client/bob")
    # By whoever has OpenBao at hand: no gateway has heard of it before the store is lost.
    (serial,) = (one["serial"] for one in fleet.report()["certificates"] if one["name"] == "client/carol")
    fleet.bao.set("pki-test-issuing/revoke", {"serial_number": openbao.colons(serial)})
    assert fleet.calls(alice, bob, carol) == ["in", "refused by the server", "in"]
    trust = fleet.report()["trust"][0]["number"]

    shutil.rmtree(fleet.folder / "store")
    fleet.run("restore", "-e", f"@{secret}")
    assert "revoked in OpenBao" in fleet.run("site").text
    assert fleet.calls(alice, bob, carol) == ["in", "refused by the server", "refused by the server"]
    assert fleet.report()["trust"][0]["number"] > trust
    assert fleet.run("site").changed == 0


def test_a_root_is_rotated_and_old_clients_get_in_until_it_is_retired(fleet: Fleet) -> None:
    old = fleet.handed()
    assert "rotate: introduce root-g2" in fleet.rotate("root").text
    both = fleet.handed()
    assert fleet.calls(old, both) == ["in", "in"]
    switched = fleet.rotate("root", rotate_confirmed="true", rotate_clients="now").text
    assert "rotate: switch: root-g2 replaces root-g1" in switched
    new = fleet.handed()
    assert fleet.calls(old, both, new) == ["refused by the client", "in", "in"]
    assert "rotate: retire root-g1, issuing-g2" in fleet.rotate("root", rotate_confirmed="true").text
    assert fleet.calls(both, new) == ["refused by the server", "in"]
    assert fleet.rotate("root").changed == 0


def test_a_rotation_leads_back_to_keys_of_the_stores_own_and_openbao_can_go(fleet: Fleet) -> None:
    fleet.wish(pki_backend="local")
    old = fleet.handed()
    # With everything else that can be replaced.
    before = fleet.gateway.key_passwords(fleet.inventory, VAULT_PASSWORD)
    begun = fleet.rotate("all", rotate_again="true", rotate_cross_sign="true").text
    assert "rotate: introduce root-g3" in begun
    assert "client/alice: re-issue: on demand" in begun
    after = fleet.gateway.key_passwords(fleet.inventory, VAULT_PASSWORD)
    assert [path for path in ("client/alice", "server/gw1/orders") if before[path] == after[path]] == []
    assert fleet.calls(old, fleet.handed()) == ["in", "in"]
    fleet.rotate("root", rotate_confirmed="true", rotate_clients="now", rotate_cross_sign="true")
    new = fleet.handed()
    # The old root has signed the new one, so who knows the old one only is still served.
    assert fleet.calls(old, new) == ["in", "in"]
    assert "rotate: retire root-g2" in fleet.rotate("root", rotate_confirmed="true", rotate_cross_sign="true").text
    assert fleet.calls(old, new) == ["refused by the client", "in"]
    signing = {label: backend for label, (backend, role) in fleet.authorities().items() if role == "signing"}
    assert signing == {"root-g3": "local", "issuing-g4": "local"}

    fleet.bao.set("sys/seal")
    assert "a sealed server" in fleet.run("site", fails=True).text
    fleet.wish(pki_openbao=None)
    assert fleet.run("site").changed == 0
    fleet.run("revoke", "-e", "revoke=client/alice")
    assert fleet.calls(new) == ["refused by the server"]
