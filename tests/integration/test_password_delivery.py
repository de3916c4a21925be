"""Each way a key's password reaches Nginx: switched under load, looked for on the disk, and rebooted.

The gateway is a container with systemd whose /run is in memory, so that a restart empties it; the vault is a real
OpenBao with TLS and AppRole on this machine. Every step ends in a real handshake: alice gets in, a client without a
certificate doesn't.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway import CREDENTIALS, Gateway, network_of_its_own
from tests.integration.load import Identity, Load, Target
from tests.integration.openbao import Bao
from tests.integration.runs import ROOT, Run, playbook
from tests.integration.test_leaks import (
    PLAIN_KEYS,
    SEARCH_FILES,
    ProcessWatch,
    encodings,
    environment_in,
    found_in,
)

PREFIX = "mtls-kit"
CONTROLLER_POLICY = f'path "secret/data/{PREFIX}/*" {{ capabilities = ["create", "read", "update"] }}'
GATEWAY_POLICY = f'path "secret/data/{PREFIX}/server/gw1/*" {{ capabilities = ["read"] }}'
RELEASES = "/etc/mtls/orders/releases"


@dataclass(frozen=True)
class Fleet:
    """A gateway, its vault, and the inventory that has both."""

    gateway: Gateway
    bao: Bao
    folder: Path
    inventory: Path
    vault: dict[str, Any]
    secret_id: str
    variables: Mapping[str, Any]
    """Of the gateway, in every run."""

    def run(
        self, delivery: str, *arguments: str, name: str = "site", leaving: Path | None = None, **variables: Any
    ) -> Run:
        """Run a playbook; all it may leave on this machine is below the folder ``leaving``, where one is given."""
        self.wish(delivery, **variables)
        environment = os.environ if leaving is None else environment_in(leaving)
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        return playbook(name, self.inventory, self.folder, *arguments, environment={**environment, **settings})

    def wish(self, delivery: str, **variables: Any) -> None:
        """Write the gateway's variables."""
        self.gateway.set_variables(
            self.inventory,
            {
                "certificate_install_password_delivery": delivery,
                "certificate_install_openbao": self.vault,
                "certificate_install_openbao_secret_id": self.secret_id,
                **self.variables,
                **variables,
            },
        )

    def password(self, path: str) -> str:
        """A key's password, as the vault has it."""
        answer = self.bao.api("GET", f"secret/data/{PREFIX}/{path}").json()
        password: str = answer["data"]["data"]["password"]
        return password

    @property
    def target(self) -> Target:
        return Target(self.gateway.address, 8443, "orders.example.test", self.folder / "store" / "trust-anchor.crt")

    @property
    def alice(self) -> Identity:
        return self.identity("alice")

    def identity(self, client: str) -> Identity:
        """What a client has."""
        certificates = self.folder / "store" / "certificates" / "client" / client
        return Identity(certificates / "client.crt", certificates / "client.key", self.password(f"client/{client}"))

    def reload(self) -> None:
        """As an operator would, by hand."""
        self.gateway.run(["systemctl", "reload", "nginx.service"])

    def refuses(self) -> None:
        """Nobody without a certificate gets in."""
        assert self.target.status(self.target.context(None)) == 400

    def serves_within(self, seconds: float) -> float:
        """Until alice gets in, and nobody without a certificate; the seconds that took."""
        context, begun = self.target.context(self.alice), time.monotonic()
        while True:
            try:
                assert self.target.status(context) == 200
                break
            except OSError:
                if time.monotonic() - begun > seconds:
                    raise
                time.sleep(0.1)
        self.refuses()
        return time.monotonic() - begun

    def files_with(self, secret: str) -> list[str]:
        """Every file of the gateway that holds ``secret``, in whatever form."""
        return self.gateway.run(["python3", "-c", SEARCH_FILES], stdin=b"\n".join(encodings(secret))).decode().split()

    def plain_keys(self) -> list[str]:
        return self.gateway.run(["grep", "-rlE", "BEGIN PRIVATE KEY", "/etc/mtls"], check=False).decode().split()


@contextmanager
def started_fleet(folder: Path, vault_folder: Path, image: str, *privileges: str, **variables: Any) -> Iterator[Fleet]:
    """A gateway of that image with a vault of its own; ``variables`` are the gateway's."""
    with (
        network_of_its_own() as (network, address),
        Gateway.started(folder, image, (*CREDENTIALS, *privileges), network) as gateway,
        Bao.with_tls(vault_folder, address) as bao,
    ):
        bao.set("sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        bao.set("sys/policies/acl/controller", {"policy": CONTROLLER_POLICY})
        bao.set("sys/policies/acl/gw1", {"policy": GATEWAY_POLICY})
        bao.set("sys/auth/approle", {"type": "approle"})
        # As docs/password-delivery.md says: read one gateway's path, from that gateway's address alone.
        cidrs = [f"{gateway.address}/32"]
        bound = {"secret_id_bound_cidrs": cidrs, "token_bound_cidrs": cidrs}
        bao.set("auth/approle/role/gw1", {"token_policies": "gw1", "token_ttl": "60s", **bound})
        role_id = bao.api("GET", "auth/approle/role/gw1/role-id").json()["data"]["role_id"]
        secret_id = bao.set("auth/approle/role/gw1/secret-id")["data"]["secret_id"]
        token = bao.set("auth/token/create", {"policies": ["controller"]})["auth"]["client_token"]
        assert bao.ca_cert is not None
        inventory = gateway.write_inventory(folder, "no password file is encrypted")
        (inventory / "group_vars").mkdir()
        backend = {"url": bao.url, "ca_cert": str(bao.ca_cert), "token": token}
        (inventory / "group_vars" / "all.yml").write_text(
            f"key_password_backend: openbao\nkey_password_options: {backend}\n"
        )
        vault = {"url": bao.url, "ca": bao.ca_cert.read_text(), "role_id": role_id}
        vault["approle_at_rest"] = "systemd_credential"
        yield Fleet(gateway, bao, folder, inventory, vault, secret_id, variables)


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.slow)])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folders = (tmp_path_factory.mktemp("fleet"), tmp_path_factory.mktemp("bao"))
    with started_fleet(*folders, f"mtls-kit-target:{request.param}") as fleet:
        yield fleet


def where_it_lies(fleet: Fleet, delivery: str) -> None:
    """What the delivery says and no more: a password on the disk with ``file`` alone, a plain key with ``none``."""
    secret = fleet.password("server/gw1/orders")
    hits = fleet.files_with(secret)
    current = fleet.gateway.run(["readlink", f"{RELEASES}/current"]).decode().strip()
    expected = {
        "file": [f"{RELEASES}/{current}/password"],
        "systemd_credential": ["/run/mtls/orders/credential"],
        "memory": ["/run/mtls/orders/password"],
        "none": [],
    }[delivery]
    assert hits == expected
    for hit in hits:
        assert fleet.gateway.run(["stat", "--format", "%a %U", hit]) == b"400 root\n"
    assert fleet.plain_keys() == ([f"{RELEASES}/{current}/server.key"] if delivery == "none" else [])
    key_mode = fleet.gateway.run(["stat", "--format", "%a %U", f"{RELEASES}/{current}/server.key"])
    assert key_mode == b"400 root\n"
    journal = fleet.gateway.run(["journalctl", "--no-pager", "--output=export"])
    assert found_in(journal, {"password": secret, "secret_id": fleet.secret_id}) == []
    # It is a credential itself, and never plain.
    assert fleet.files_with(fleet.secret_id) == []
    # Nothing of another delivery is left.
    units = fleet.gateway.run(["find", "/etc/systemd/system", "-name", "*mtls-k*", "-type", "f"]).decode().split()
    assert len(units) == (2 if delivery in ("systemd_credential", "memory") else 0), units
    releases = fleet.gateway.run(["find", RELEASES, "-name", "password", "-printf", "%y %l\\n"]).decode().splitlines()
    assert set(releases) == {f"l {hits[0]}" if hits and delivery != "file" else "f "}


def reasons(run: Run) -> set[str]:
    """What a run said it changes about the delivery; releases that are made anew have names of their own."""
    found = re.findall(r'"([^"]*: (?:write|install|remove): [^"]*)"', run.text)
    return {re.sub(r"release [0-9]{8}-[0-9a-f]{12}", "release …", reason) for reason in found}


def nothing_to_do(fleet: Fleet, delivery: str, **variables: Any) -> None:
    """A second run changes nothing, and warns of a plain key as the first one did."""
    again = fleet.run(delivery, **variables)
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]
    assert ("lies on the gateway without a password" in again.text) == (delivery == "none")


def switch(fleet: Fleet, delivery: str, *arguments: str, **variables: Any) -> Run:
    """Have the delivery, while clients ask for new connections all the time."""
    with Load(fleet.target, fleet.alice) as load:
        switched = fleet.run(delivery, *arguments, **variables)
        assert switched.code == 0, switched.text[-3000:]
        fleet.reload()
        fleet.refuses()
    print(f"{delivery}: {load.answered} answered and {len(load.failures)} failed during switch and reload")
    assert load.failures == []
    assert load.answered > 100
    where_it_lies(fleet, delivery)
    return switched


def rotate(fleet: Fleet, delivery: str, **variables: Any) -> None:
    """A new password for every key, as loud as it gets, then a reload and a reboot.

    No new connection fails but while the machine is down, and no secret is in what was printed, written or run.
    """
    paths = ("server/gw1/orders", "client/alice", "ca/root")
    old = {path: fleet.password(path) for path in paths}
    leaving = fleet.folder / f"rotation-of-{delivery}"
    leaving.mkdir()
    watch = ProcessWatch()
    with Load(fleet.target, fleet.alice) as load:
        watch.start()
        try:
            loudest = ["-vvvv", "--diff", "-e", "rotate=password"]
            rotated = fleet.run(delivery, *loudest, name="rotate", leaving=leaving, **variables)
            assert rotated.code == 0, rotated.text[-3000:]
            fleet.reload()
        finally:
            watch.stop()
        time.sleep(1)
    print(f"{delivery}: {load.answered} answered and {len(load.failures)} failed during rotation and reload")
    assert load.failures == []
    assert load.answered > 100
    new = {path: fleet.password(path) for path in paths}
    assert [path for path in paths if old[path] == new[path]] == []
    # Every key has it, so the vault has forgotten the one before.
    entry = fleet.bao.api("GET", f"secret/data/{PREFIX}/server/gw1/orders").json()["data"]["data"]
    assert "password_previous" not in entry

    secrets = {f"{age} {path}": each[path] for age, each in (("old", old), ("new", new)) for path in paths}
    secrets |= {"secret_id": fleet.secret_id, "sudo password": fleet.gateway.sudo_password}
    assert (leaving / "ansible.log").stat().st_size > 0
    left = [path.read_bytes() for path in leaving.rglob("*") if path.is_file()]
    # The processes of the gateway are in this machine's /proc, too.
    assert [name for content in (rotated.output, *left, *watch.seen) for name in found_in(content, secrets)] == []
    assert [mark for content in (rotated.output, *left) for mark in PLAIN_KEYS if mark in content] == []
    nothing_to_do(fleet, delivery, **variables)
    where_it_lies(fleet, delivery)
    reboot(fleet, delivery)


def reboot(fleet: Fleet, delivery: str) -> None:
    """Requests are refused while the machine is down, and never after the first one that was answered."""
    with Load(fleet.target, fleet.alice) as load:
        begun = time.monotonic()
        fleet.gateway.reboot()
        fleet.serves_within(60)
        up = time.monotonic()
        time.sleep(1)
    print(f"{delivery}: served {up - begun:.1f} s after the reboot began")
    assert load.failures, "no request met the reboot"
    assert [failure for failure in load.failures if failure[0] > up] == []
    where_it_lies(fleet, delivery)


def test_a_new_gateway_decrypts_its_password_before_nginx_starts(fleet: Fleet) -> None:
    first = fleet.run("systemd_credential")
    assert first.code == 0, first.text[-3000:]
    nothing_to_do(fleet, "systemd_credential")
    where_it_lies(fleet, "systemd_credential")
    reboot(fleet, "systemd_credential")


def test_a_running_unit_takes_up_another_credential_by_a_reload(fleet: Fleet) -> None:
    """What is in memory comes anew from the credential, before Nginx reads it."""
    fleet.gateway.run(["rm", "/run/mtls/orders/credential"])
    with Load(fleet.target, fleet.alice) as load:
        fleet.gateway.run(["systemctl", "reload", "nginx.service"])
        where_it_lies(fleet, "systemd_credential")
        fleet.gateway.run(["rm", "/run/mtls/orders/credential"])
    assert load.failures == []
    fleet.gateway.run(["systemctl", "restart", "nginx.service"])
    fleet.serves_within(10)
    where_it_lies(fleet, "systemd_credential")


@pytest.mark.slow
def test_a_rotation_of_a_password_in_a_credential(fleet: Fleet) -> None:
    rotate(fleet, "systemd_credential")


def test_from_a_credential_to_a_file(fleet: Fleet) -> None:
    switched = switch(fleet, "file")
    assert "the password is delivered by file, not systemd_credential: the key is written anew" in switched.text


def test_a_vault_that_lets_nobody_in_changes_nothing(fleet: Fleet) -> None:
    before = fleet.gateway.run(["find", "/etc", "/usr/local"])
    run = fleet.run("memory", certificate_install_openbao_secret_id="00000000-0000-0000-0000-000000000000")
    assert run.code != 0
    assert "login at auth/approle: found status 400; expected an AppRole that lets it in" in run.text
    where_it_lies(fleet, "file")
    assert fleet.gateway.run(["find", "/etc", "/usr/local"]) == before
    fleet.serves_within(1)


def test_from_a_file_to_memory_and_what_is_foreseen_is_done(fleet: Fleet) -> None:
    foreseen = fleet.run("memory", "--check", "--diff")
    assert foreseen.code == 0, foreseen.text[-3000:]
    where_it_lies(fleet, "file")
    done = switch(fleet, "memory")
    assert reasons(foreseen) == reasons(done)
    assert len(reasons(done)) > 5
    assert "mtls-key-passwords.service: write: the password of site orders isn't in /run/mtls" in done.text
    nothing_to_do(fleet, "memory")
    reboot(fleet, "memory")


def test_a_new_password_is_in_memory_before_its_key_and_the_old_one_until_the_reload_proved_itself(
    fleet: Fleet,
) -> None:
    old = fleet.password("server/gw1/orders")
    new = f"{old[::-1]}-anew"
    fleet.bao.set(f"secret/data/{PREFIX}/server/gw1/orders", {"data": {"password": new}})
    rotated = switch(fleet, "memory", "-vvvv", "--diff")
    assert found_in(rotated.output, {"old": old, "new": new, "secret_id": fleet.secret_id}) == []
    assert "install: the password of the key changed" in rotated.text
    held = fleet.gateway.run(["cat", "/run/mtls/orders/password"]).decode().split()
    assert held == [new, old]
    reboot(fleet, "memory")


@pytest.mark.slow
def test_a_rotation_of_a_password_in_memory(fleet: Fleet) -> None:
    rotate(fleet, "memory")


def test_without_the_vault_nginx_waits_and_comes_up_when_it_is_back(fleet: Fleet) -> None:
    fleet.bao.process.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        fleet.gateway.reboot()
        print(f"memory: up without its vault {time.monotonic() - begun:.1f} s after the reboot began")
        with pytest.raises(OSError, match="refused"):
            fleet.target.status(fleet.target.context(None))
        # Nothing waits for a terminal: Nginx says what it misses, and is started again and again.
        time.sleep(12)
        journal = fleet.gateway.run(["journalctl", "--no-pager", "--boot", "--unit=nginx.service"]).decode()
        assert "/password" in journal, journal
        assert "Enter PEM pass phrase" not in journal
        with pytest.raises(OSError, match="refused"):
            fleet.target.status(fleet.target.context(None))
    finally:
        fleet.bao.process.send_signal(signal.SIGCONT)
    print(f"memory: served {fleet.serves_within(60):.1f} s after the vault was back")
    where_it_lies(fleet, "memory")


def test_from_memory_to_a_key_without_a_password(fleet: Fleet) -> None:
    switch(fleet, "none", certificate_install_plain_keys_accepted=True)
    nothing_to_do(fleet, "none", certificate_install_plain_keys_accepted=True)
    reboot(fleet, "none")


@pytest.mark.slow
def test_a_rotation_of_a_password_that_the_key_does_without(fleet: Fleet) -> None:
    rotate(fleet, "none", certificate_install_plain_keys_accepted=True)


def test_and_back_to_a_file(fleet: Fleet) -> None:
    switched = switch(fleet, "file")
    assert "the password is delivered by file, not none: the key is written anew" in switched.text
    reboot(fleet, "file")


def left_of_a_delivery(fleet: Fleet) -> list[str]:
    """Everything outside a site's folder that a delivery needs."""
    places = ["/etc/mtls-kit", "/usr/local/lib/mtls-kit", "/run/mtls", "/etc/systemd/system"]
    find = ["find", *places, "-path", "*mtls*", "!", "-type", "d"]
    return sorted(fleet.gateway.run(find, check=False).decode().splitlines())


@pytest.mark.slow
def test_a_removed_site_takes_away_what_its_delivery_needed(fleet: Fleet) -> None:
    """Two sites with a delivery each: what the other one needs stays, and after the last one nothing does."""
    orders = {"name": "orders", "server_names": ["orders.example.test"], "port": 8443}
    orders |= {"backend": "http://127.0.0.1:9000", "password_delivery": "systemd_credential"}
    billing = {**orders, "name": "billing", "server_names": ["billing.example.test"], "password_delivery": "memory"}
    both = fleet.run("file", nginx_mtls_sites=[orders, billing])
    assert both.code == 0, both.text[-3000:]
    held = left_of_a_delivery(fleet)
    assert {"/run/mtls/billing/password", "/run/mtls/orders/credential", "/etc/mtls-kit/openbao-approle"} < {*held}
    fleet.serves_within(1)

    confirmed = ["-e", "remove_confirmed=true"]
    removed = fleet.run("file", *confirmed, name="remove", nginx_mtls_sites=[orders])
    assert removed.code == 0, removed.text[-3000:]
    assert [path for path in left_of_a_delivery(fleet) if "billing" in path or "passwords.service" in path] == []
    assert not {"/etc/mtls-kit/openbao-approle", "/etc/mtls-kit/openbao-ca.pem"} & {*left_of_a_delivery(fleet)}
    reboot_of_what_is_left = time.monotonic()
    fleet.gateway.reboot()
    fleet.serves_within(60)
    print(f"orders alone: served {time.monotonic() - reboot_of_what_is_left:.1f} s after the reboot began")

    removed = fleet.run("file", *confirmed, name="remove", nginx_mtls_sites=[])
    assert removed.code == 0, removed.text[-3000:]
    assert left_of_a_delivery(fleet) == []
    assert fleet.gateway.run(["find", "/etc/mtls", "-name", "*.key"], check=False) == b""
    units = fleet.gateway.run(["systemctl", "list-units", "--all", "--no-legend", "mtls-*"]).decode()
    assert "mtls-key" not in units
    again = fleet.run("file", *confirmed, name="remove", nginx_mtls_sites=[])
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]
