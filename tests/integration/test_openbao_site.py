"""site.yml and what follows it with keys of CAs in an OpenBao with TLS and AppRole: on the wire, and its faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from tests.integration.gateway import Gateway
from tests.integration.openbao import Authority, Bao
from tests.integration.runs import Run, playbook
from tests.integration.test_leaks import environment_in
from tests.integration.test_openbao_ca import TOKEN, with_approle
from tests.integration.test_openbao_pki import serials

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

    def options(self, **more: Any) -> None:
        """Set options of ``pki_openbao``."""
        hosts = self.inventory / "hosts.yml"
        content = yaml.safe_load(hosts.read_text())
        variables = content["all"]["vars"]
        variables.setdefault("pki_openbao", {}).update(more)
        variables["pki_backend"] = "openbao"
        variables["pki_clients"] = [{"name": "alice", "groups": ["buyers"]}, {"name": "bob"}]
        hosts.write_text(yaml.safe_dump(content))

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
    with Gateway.started(tmp_path_factory.mktemp("gw")) as gateway, Bao.with_tls(vault) as bao:
        found = Fleet(gateway, bao, folder, gateway.write_inventory(folder, VAULT_PASSWORD), environment_in(folder))
        found.options(**with_approle(bao, folder))
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
