"""Bad input is told in one message, and nothing is changed: not at the CA, in the vault or on the gateway."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.integration.gateway import Gateway
from tests.integration.runs import Run, playbook

VAULT_PASSWORD = "a password of the operators"


@dataclass(frozen=True)
class Bench:
    """A fresh gateway, and the inventory that would be right for it."""

    gateway: Gateway
    folder: Path
    inventory: Path

    def run(self, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Run:
        """Run site.yml on an inventory that ``change`` spoilt, given the variables of all and of the site."""
        hosts = self.inventory / "hosts.yml"
        right = hosts.read_text()
        spoilt = yaml.safe_load(right)
        change(spoilt["all"]["vars"], spoilt["all"]["children"]["gateways"]["hosts"]["gw1"]["nginx_mtls_sites"][0])
        hosts.write_text(yaml.safe_dump(spoilt))
        try:
            return playbook("site", self.inventory, self.folder)
        finally:
            hosts.write_text(right)

    def is_untouched(self) -> bool:
        """Neither store nor vault nor anything of the kit on the gateway."""
        on_gateway = self.gateway.run(["find", "/etc/mtls", "/etc/nginx", "-name", "*mtls*"], check=False)
        kept = [self.folder / "store", self.inventory / "key_passwords.vault.txt"]
        return on_gateway == b"" and not any(path.exists() for path in kept)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bad-input")
    with Gateway.started(tmp_path_factory.mktemp("gateway")) as gateway:
        yield Bench(gateway, folder, gateway.write_inventory(folder, VAULT_PASSWORD))


def client(**keys: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda variables, site: variables["pki_clients"].append({"name": "x", **keys})


def variable(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda variables, site: variables.update({name: value})


def in_site(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda variables, site: site.update({name: value})


CASES = {
    "misspelt variable": (variable("pki_clinets", []), "pki_clinets: found an unknown variable", "pki_clients"),
    "wrong type": (variable("pki_init", "maybe"), "pki_init: found the text 'maybe'", "true or false"),
    "misspelt key": (variable("pki_leaf", {"dayz": 3}), "pki_leaf.dayz: found an unknown key", "nearest is days"),
    "missing variable": (lambda variables, site: variables.pop("pki_name"), "pki_name", "set pki_name"),
    "store without pki_init": (variable("pki_init", False), "no store", "pki_init"),
    "two of one name": (client(name="alice"), "client 'alice': found 2 of that name", "rename"),
    "the CA's own DN": (client(subject={"common_name": "test Issuing G1"}), "that of a CA of this PKI", "common_name"),
    "newline in a name": (client(name="a\nb"), r"found the name 'a\nb'", "1 to 64 of"),
    "quote in a name": (client(name='a"b'), "found the name 'a\"b'", "1 to 64 of"),
    "comma in a name": (client(name="a,b"), "found the name 'a,b'", "1 to 64 of"),
    "NUL in a name": (client(name="a\0b"), r"found the name 'a\x00b'", "1 to 64 of"),
    "UTF-8 in a name": (client(name="ü"), "found the name 'ü'", "takes UTF-8 text"),
    "NUL in a subject": (client(subject={"common_name": "a\0b"}), "common_name", "control"),
    "server without a name": (
        in_site("server_names", []),
        "found neither a DNS name nor an address",
        "add server_names",
    ),
    "site name": (in_site("name", "Orders!"), "Orders!", "a-z 0-9"),
    "unknown issuing CA": (in_site("accept_issuers", ["staff"]), "accept_issuers of site 'orders'", "issuing"),
    "backend without a port": (in_site("backend", "http://127.0.0.1"), "backend", "http://<host>:<port>"),
    "backend that doesn't resolve": (
        in_site("backend", "http://nowhere.invalid:80"),
        "doesn't resolve",
        "correct backend",
    ),
    "port taken": (in_site("port", 22), "port 22 on 0.0.0.0: found process", "another port"),
    "no Nginx": (
        variable("nginx_mtls_package", "no-such-nginx"),
        "found no program 'nginx', and package",
        "repair apt",
    ),
    "store in a file's place": (
        variable("pki_store", "/etc/hostname/store"),
        "/etc/hostname, which is no folder",
        "pki_store",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message_and_nothing_changed(bench: Bench, case: str) -> None:
    change, found, remedy = CASES[case]
    run = bench.run(change)
    assert run.code != 0
    assert found in run.text, run.text[-3000:]
    assert remedy in run.text, run.text[-3000:]
    assert "; expected " in run.text
    assert "Next: " in run.text
    assert "Traceback" not in run.text
    assert bench.is_untouched(), run.text[-3000:]


def test_a_wrong_vault_password(bench: Bench) -> None:
    vault = bench.inventory / "key_passwords.vault.txt"
    vault.write_bytes(VaultLib([("default", VaultSecret(b"another password"))]).encrypt("ca/root: hidden\n"))
    before = vault.read_bytes()
    try:
        run = bench.run(lambda variables, site: None)
        assert run.code != 0
        assert "key_passwords.vault.txt" in run.text
        assert "vault password" in run.text
        assert vault.read_bytes() == before
    finally:
        vault.unlink()
    assert bench.is_untouched()


def test_a_full_disk_on_the_ca_host(bench: Bench, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)], check=True)
    try:
        run = bench.run(variable("pki_store", str(full / "store")))
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert run.code != 0
    assert "no space" in run.text.lower(), run.text[-3000:]
    assert "Next: " in run.text
    assert bench.is_untouched()


def test_the_inventory_that_was_spoilt_is_right(bench: Bench) -> None:
    """Every case above failed for its own reason: without it, the run comes through, and again without a change."""
    first = playbook("site", bench.inventory, bench.folder)
    assert first.code == 0, first.text[-3000:]
    again = playbook("site", bench.inventory, bench.folder)
    assert again.code == 0, again.text[-3000:]
    assert again.changed == 0, again.text[-3000:]


def test_the_doctor_finds_that_gateway_well_and_names_what_is_broken_later(bench: Bench) -> None:
    well = playbook("doctor", bench.inventory, bench.folder)
    assert well.code == 0, well.text[-3000:]
    assert "Nothing is wrong that the doctor knows of." in well.text
    assert well.changed == 0
    # Behind the kit's back: another certificate on the disk than the one that Nginx loaded.
    released = "/etc/mtls/orders/releases/current/server.crt"
    bench.gateway.run(["sh", "-c", f"cp /etc/ssl/certs/ssl-cert-snakeoil.pem {released} || sed -i 1,/END/d {released}"])
    broken = playbook("doctor", bench.inventory, bench.folder)
    assert broken.code != 0
    assert "gw1: stale: Nginx serves another certificate" in broken.text, broken.text[-3000:]
    assert "Next: reload Nginx" in broken.text
