"""A machine whose gateway is a container: Debian with systemd and its own engine, reached over SSH as a real one is.

The image comes from a registry on that machine's loopback; the vault is a real OpenBao; a restart of the machine
empties its /run. Every step ends in a real handshake.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from tests.integration.containers import build, docker
from tests.integration.load import Load
from tests.integration.registry import REFUSED_TAG
from tests.integration.runs import ROOT, Run, command
from tests.integration.test_password_delivery import (
    Fleet,
    nothing_to_do,
    reboot,
    rotate,
    started_fleet,
    switch,
    where_it_lies,
)

MACHINE = """\
FROM mtls-kit-target:bookworm
RUN DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends docker.io iptables python3-docker \\
python3-cryptography
"""
REGISTRY = "127.0.0.1:5000/mtls/gateway"
SERVICE = """\
[Service]
ExecStart=/usr/bin/python3 /images/registry.py 5000 /images/images.tar
StandardOutput=truncate:/root/digests.json
[Install]
WantedBy=multi-user.target
"""
"""It is there again after a restart of the machine."""
PRIVILEGES = (
    "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE", "--security-opt", "apparmor=unconfined",
    "--volume", "/var/lib/docker", "--sysctl", "net.ipv4.tcp_migrate_req=1",
)  # fmt: skip


@dataclass(frozen=True)
class ContainerHost(Fleet):
    """Its gateway is a container."""

    def docker(self, *arguments: str) -> str:
        """The engine of the machine."""
        return self.gateway.run(["docker", *arguments]).decode().strip()

    def reload(self) -> None:
        self.docker("kill", "--signal", "HUP", self.serving)

    @property
    def serving(self) -> str:
        """Name of the container that runs."""
        return self.docker("ps", "--filter", "label=mtls-kit.gateway", "--format", "{{.Names}}")

    def serves(self, image: str) -> bool:
        """Whether the gateway is of that image."""
        return self.docker("inspect", "--format", "{{.Image}}", self.serving) == self.docker(
            "images", "--no-trunc", "--format", "{{.ID}}", image
        )

    def roll(self, image: str, delivery: str = "memory") -> Run:
        """Have the gateway of another image."""
        return self.run(delivery, name="roll", nginx_container_image=image)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerHost]:
    folder, images = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("images")
    docker("build", "--tag", "mtls-kit-engine:bookworm", "-", stdin=MACHINE.encode())
    build(f"{REGISTRY}:1")
    docker("build", "--tag", f"{REGISTRY}:2", "-", stdin=f"FROM {REGISTRY}:1\nLABEL number=2\n".encode())
    docker("save", "--output", str(images / "images.tar"), f"{REGISTRY}:1", f"{REGISTRY}:2")
    (images / "registry.py").write_bytes((ROOT / "tests/integration/registry.py").read_bytes())
    seen = ("--volume", f"{images}:/images:ro")
    variables = {
        "nginx_mtls_instance": "container",
        "nginx_container_source": "pull",
        "nginx_container_image": f"{REGISTRY}:1",
        "nginx_container_start_seconds": 60,
        "nginx_container_drain_seconds": 20,
    }
    with started_fleet(
        folder, tmp_path_factory.mktemp("bao"), "mtls-kit-engine:bookworm", *PRIVILEGES, *seen, **variables
    ) as fleet:
        (fleet.inventory / "group_vars" / "ca.yml").write_text(
            yaml.safe_dump({"pki_clients": [{"name": name, "groups": ["buyers"]} for name in ("alice", "bob")]})
        )
        fleet.gateway.run(["tee", "/etc/systemd/system/registry.service"], stdin=SERVICE.encode())
        fleet.gateway.run(["systemctl", "enable", "--now", "registry.service"])
        yield ContainerHost(**vars(fleet))


def test_the_image_comes_from_the_registry_by_tag(host: ContainerHost) -> None:
    first = host.run("file")
    assert first.code == 0, first.text[-3000:]
    assert "roll: no container serves" in first.text
    where_it_lies(host, "file")
    host.serves_within(1)
    assert host.serving == "mtls-gateway-1"


@pytest.mark.parametrize("name", ["verify", "status", "doctor"])
def test_a_playbook_that_looks_finds_a_container_as_it_is(host: ContainerHost, name: str) -> None:
    looked = host.run("file", name=name)
    print(looked.text[-2500:])
    assert (looked.code, looked.changed) == (0, 0), looked.text[-3000:]
    expected = {"verify": "orders: good accepted", "status": "server/gw1/orders", "doctor": "Nothing is wrong"}
    assert expected[name] in looked.text


def test_what_is_revoked_is_refused_after_a_reload_and_proven(host: ContainerHost) -> None:
    before, bob = host.serving, host.target.context(host.identity("bob"))
    assert host.target.status(bob) == 200
    revoked = host.run("file", "-e", "revoke=client/bob", "-e", "revoke_reason=keyCompromise", name="revoke")
    print(revoked.text[-2500:])
    assert revoked.code == 0, revoked.text[-3000:]
    assert host.target.status(bob) == 403
    host.serves_within(1)
    assert host.serving == before


def test_the_doctor_names_what_is_wrong_inside_a_container(host: ContainerHost) -> None:
    """Its files lie on the machine; its log is the container's."""
    page = f"/var/lib/mtls-kit/containers/mtls-gateway/{host.serving.rpartition('-')[2]}/conf.d/broken.conf"
    host.gateway.run(["tee", page], stdin=b"no_such_directive on;\n")
    found = host.run("file", name="doctor")
    assert found.code != 0
    assert "nginx-test" in found.text and "no_such_directive" in found.text
    host.gateway.run(["rm", page])


def test_from_a_file_to_memory_which_is_a_roll(host: ContainerHost) -> None:
    switched = switch(host, "memory")
    assert "roll: engine options changed: mounts" in switched.text
    nothing_to_do(host, "memory")


def test_a_restart_of_the_container_and_of_the_machine_find_the_password(host: ContainerHost) -> None:
    host.docker("restart", host.serving)
    host.serves_within(20)
    where_it_lies(host, "memory")
    reboot(host, "memory")


@pytest.mark.slow
def test_a_rotation_of_a_password_in_memory_is_a_reload(host: ContainerHost) -> None:
    before = host.serving
    rotate(host, "memory")
    assert host.serving == before


@pytest.mark.slow
def test_without_the_vault_the_container_waits_and_comes_up_when_it_is_back(host: ContainerHost) -> None:
    host.bao.process.send_signal(signal.SIGSTOP)
    try:
        host.gateway.reboot()
        time.sleep(12)
        with pytest.raises(OSError, match="refused"):
            host.target.status(host.target.context(None))
    finally:
        host.bao.process.send_signal(signal.SIGCONT)
    # The vault is asked every 10 s; the engine starts a container that doesn't stay after a minute at the latest.
    print(f"memory: served {host.serves_within(90):.1f} s after the vault was back")
    where_it_lies(host, "memory")


@pytest.mark.slow
def test_the_same_image_by_its_digest_needs_no_roll_and_another_one_does(host: ContainerHost) -> None:
    before = host.serving
    (digests,) = json.loads(host.gateway.run(["cat", "/root/digests.json"]))
    same = host.roll(f"{REGISTRY}@{digests[f'{REGISTRY}:1']}")
    assert (same.code, host.serving) == (0, before), same.text[-3000:]
    foreseen = host.run("memory", "--check", name="roll", nginx_container_image=f"{REGISTRY}:2")
    assert foreseen.code == 0 and "roll: image changed" in foreseen.text, foreseen.text[-3000:]
    assert host.serving == before
    with Load(host.target, host.alice) as load:
        other = host.roll(f"{REGISTRY}@{digests[f'{REGISTRY}:2']}")
    assert other.code == 0, other.text[-3000:]
    assert "roll: image changed" in other.text
    assert load.failures == [] and load.answered > 20
    assert host.serving != before
    back = host.roll(f"{REGISTRY}:1")
    assert back.code == 0 and host.serves(f"{REGISTRY}:1"), back.text[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "said"), [(REFUSED_TAG, "not for you"), ("none", "manifest unknown|not found")])
def test_an_image_that_the_registry_does_not_hand_out_leaves_what_serves(
    host: ContainerHost, tag: str, said: str
) -> None:
    before = host.serving
    refused = host.roll(f"{REGISTRY}:{tag}")
    print(refused.text[-2500:])
    assert refused.code != 0
    assert re.search(said, refused.text)
    assert f"{REGISTRY}:{tag}" in refused.text and "goes on serving" in refused.text and "Next:" in refused.text
    assert host.serving == before
    host.serves_within(1)


EVENTS = ("create", "start", "exec_create", "kill", "update", "die")


@pytest.mark.slow
@pytest.mark.parametrize("event", EVENTS)
def test_a_playbook_that_is_killed_when_the_engine_reports_a_step_is_healed_by_the_next(
    host: ContainerHost, event: str
) -> None:
    image = f"{REGISTRY}:{2 if host.serves(f'{REGISTRY}:1') else 1}"
    host.wish("memory", nginx_container_image=image)
    watch = [
        "docker",
        "exec",
        host.gateway.container,
        "docker",
        "events",
        "--filter",
        f"event={event}",
        "--format",
        "x",
    ]
    with Load(host.target, host.alice) as load:
        with subprocess.Popen(watch, stdout=subprocess.PIPE) as events:
            run = subprocess.Popen(
                command("roll", host.inventory, host.folder),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            assert events.stdout is not None and events.stdout.readline()
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            events.terminate()
        healed = host.roll(image)
        assert healed.code == 0, healed.text[-3000:]
    assert load.failures == []
    again = host.roll(image)
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]
    assert host.serves(image)
    assert len(host.docker("ps", "--all", "--quiet", "--filter", "label=mtls-kit.gateway").split()) == 2


@pytest.mark.slow
def test_from_memory_to_a_credential(host: ContainerHost) -> None:
    switched = switch(host, "systemd_credential")
    assert "the password is delivered by systemd_credential, not memory" in switched.text
    nothing_to_do(host, "systemd_credential")
    reboot(host, "systemd_credential")
