"""Publicly trusted server certificates, from a real ACME server, on two gateways of one name.

Clients verify the server with that CA's root and nothing else; who gets in is the private PKI's to say, all the while.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._gateway.challenge import FOLDER
from tests.integration.gateway import Gateway
from tests.integration.load import Identity, Load, Target
from tests.integration.openbao import Authority
from tests.integration.pebble import Pebble
from tests.integration.runs import Run, playbook

VAULT_PASSWORD = "a password of the operators"
NAME, PORT = "orders.example.test", 8443
EVERYTHING_IS_DUE = ("-e", "public_certificate_renew_percent=100")


@dataclass(frozen=True)
class Fleet:
    """Two gateways of one name, an ACME server, and a client."""

    gateways: tuple[Gateway, Gateway]
    pebble: Pebble
    folder: Path
    inventory: Path
    first: Run
    """The first run of site.yml, which every test is after."""

    def run(self, name: str, *arguments: str) -> Run:
        return succeeded(playbook(name, self.inventory, self.folder, *arguments))

    def alice(self) -> Identity:
        password = self.gateways[0].key_passwords(self.inventory, VAULT_PASSWORD)["client/alice"]
        bundle = self.folder / "store" / "certificates" / "client" / "alice"
        return Identity(bundle / "client.crt", bundle / "client.key", password)

    def stranger(self) -> Identity:
        """A client of another CA."""
        Authority.made(self.folder / "other.crt").issue(self.folder, "client", [x509.DNSName("alice")])
        return Identity(self.folder / "client.crt", self.folder / "client.key", "")

    def target(self, gateway: Gateway) -> Target:
        return Target(gateway.address, PORT, NAME, self.pebble.roots_file)

    def lead_to(self, *gateways: Gateway) -> None:
        self.pebble.lead(NAME, *(gateway.address for gateway in gateways))

    def serials(self) -> list[int]:
        """Of what the gateways serve."""
        return [served(self.target(gateway)).serial_number for gateway in self.gateways]


def succeeded(run: Run) -> Run:
    assert run.code == 0, run.text[-4000:]
    return run


def served(target: Target) -> x509.Certificate:
    """The certificate of the site, which its root alone verifies."""
    context = target.context(None)
    with (
        socket.create_connection((target.address, target.port), 10) as plain,
        context.wrap_socket(plain, server_hostname=target.name) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder, server = tmp_path_factory.mktemp("acme"), tmp_path_factory.mktemp("pebble")
    first, second = tmp_path_factory.mktemp("gw1"), tmp_path_factory.mktemp("gw2")
    with Gateway.started(first) as one, Gateway.started(second) as two, Pebble.started(server) as pebble:
        inventory = one.write_inventory(folder, VAULT_PASSWORD)
        hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
        hosts["all"]["vars"] |= {
            "public_certificate_directory_url": pebble.directory_url,
            "public_certificate_terms_agreed": True,
            "public_certificate_contact": ["operators@example.test"],
            "public_certificate_ca_file": str(pebble.ca_file),
            "public_certificate_roots_file": str(pebble.roots_file),
            "public_certificate_folder": f"{folder}/public",
        }
        site = hosts["all"]["children"]["gateways"]["hosts"]["gw1"]["nginx_mtls_sites"][0]
        site |= {"certificate": "acme", "redirect_port": 80}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        two.join(inventory, "gw2")
        # Whichever gateway the server asks, it may be about the other's certificate.
        pebble.lead(NAME, two.address)
        yield Fleet((one, two), pebble, folder, inventory, succeeded(playbook("site", inventory, folder)))


def test_the_first_start_and_the_run_after_it(fleet: Fleet) -> None:
    assert "server/gw1/orders: issue: no public certificate at hand" in fleet.first.text
    for gateway in fleet.gateways:
        target = fleet.target(gateway)
        leaf = served(target)
        assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        ) == [NAME]
        assert target.status(target.context(fleet.alice())) == 200
        assert target.status(target.context(None)) == 400
        assert target.status(target.context(fleet.stranger())) == 400
        assert gateway.run(["ls", "-A", str(FOLDER)]) == b""
        # Nothing but answers to the server is to be had without TLS.
        for path in ("/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/../../etc/passwd"):
            answer = requests.get(
                f"http://{gateway.address}{path}", headers={"Host": NAME}, allow_redirects=False, timeout=10
            )
            assert answer.status_code == 308
        unknown = requests.get(
            f"http://{gateway.address}/.well-known/acme-challenge/{'a' * 43}", headers={"Host": NAME}, timeout=10
        )
        assert unknown.status_code == 404
    assert len(set(fleet.serials())) == 2, "each gateway has a key and a certificate of its own"
    account = fleet.folder / "public" / "account.key"
    assert account.stat().st_mode & 0o7777 == 0o600
    assert account.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")

    again = fleet.run("site")
    assert again.changed == 0, again.text[-3000:]
    fleet.run("verify")


def test_the_status_report_has_their_ends(fleet: Fleet) -> None:
    page, data = fleet.folder / "status.html", fleet.folder / "status.json"
    run = fleet.run("status", "-e", f"status_json={data}", "-e", f"report={page}")
    report = json.loads(data.read_text())
    leaf = served(fleet.target(fleet.gateways[0]))
    first = report["public"][0]
    assert (first["name"], first["state"], int(first["serial"], 16)) == (
        "server/gw1/orders", "valid", leaf.serial_number,
    )  # fmt: skip
    end = f"{leaf.not_valid_after_utc:%Y-%m-%d}"
    assert first["not_after"].startswith(end)
    assert re.search(rf"Public certificates .* valid server/gw1/orders [\d,]+ days {end}", run.text), run.text[-3000:]
    assert "<h2>Public certificates</h2>" in page.read_text()
    assert not [one for one in report["attention"] if "public certificate" in one["text"]]


def test_a_renewal_is_noticed_by_nobody(fleet: Fleet) -> None:
    before = fleet.serials()
    loads = [Load(fleet.target(gateway), fleet.alice(), clients=1) for gateway in fleet.gateways]
    with loads[0], loads[1]:
        run = fleet.run("site", *EVERYTHING_IS_DUE)
    assert re.search(r"server/gw1/orders: renew: \d+ of \d+ days left", run.text)
    assert [load.failures for load in loads] == [[], []]
    assert all(load.answered > 50 for load in loads)
    assert not {*before} & {*fleet.serials()}


@pytest.mark.slow
def test_a_server_that_refuses_changes_nothing_that_is_served(fleet: Fleet) -> None:
    before = fleet.serials()
    fleet.pebble.lead(NAME, "127.0.0.1")
    run = playbook("site", fleet.inventory, fleet.folder, *EVERYTHING_IS_DUE)
    fleet.lead_to(*fleet.gateways)
    assert run.code != 0
    for name in ("server/gw1/orders", "server/gw2/orders"):
        assert f"public certificate {name}: found " in run.text, run.text[-3000:]
    assert "Next: cure the cause and run mtls.kit.site again; until then the one that ends" in run.text
    assert fleet.serials() == before
    for gateway in fleet.gateways:
        assert fleet.target(gateway).status(fleet.target(gateway).context(fleet.alice())) == 200
        assert gateway.run(["ls", "-A", str(FOLDER)]) == b""


@pytest.mark.slow
def test_a_hook_proves_names_that_lead_nowhere(fleet: Fleet) -> None:
    before = fleet.serials()
    hook = fleet.pebble.hook(fleet.folder)
    hosts = yaml.safe_load((fleet.inventory / "hosts.yml").read_text())
    hosts["all"]["vars"]["public_certificate_dns_hook"] = [str(hook)]
    for gateway in hosts["all"]["children"]["gateways"]["hosts"].values():
        gateway["nginx_mtls_sites"][0] |= {"challenge": "dns-01", "redirect_port": 0}
    (fleet.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    fleet.pebble.lead(NAME, "127.0.0.1")
    fleet.run("site", *EVERYTHING_IS_DUE)
    assert not {*before} & {*fleet.serials()}
    calls = [line.split() for line in hook.with_suffix(".log").read_text().splitlines()]
    assert [call[0] for call in calls] == ["present", "present", "cleanup", "cleanup"]
    assert {tuple(call[1:3]) for call in calls} == {(NAME, f"_acme-challenge.{NAME}")}
    assert {call[3] for call in calls[:2]} == {call[3] for call in calls[2:]}
    # Nothing of ours answers without TLS any more; port 80 is the default server's that was there before.
    for gateway in fleet.gateways:
        answer = requests.get(f"http://{gateway.address}/", headers={"Host": NAME}, allow_redirects=False, timeout=10)
        assert (answer.status_code, "Welcome to nginx" in answer.text) == (200, True)
