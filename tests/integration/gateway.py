"""A gateway for tests: a container with systemd, reached over SSH as an ordinary user whose sudo wants a password."""

from __future__ import annotations

import json
import secrets
import subprocess
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

IMAGE = "mtls-kit-target:bookworm"
CREDENTIALS = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
"""What systemd-creds needs in a container."""
USER = "deploy"


def _docker(*args: str, stdin: bytes | None = None, check: bool = True) -> bytes:
    return subprocess.run(["docker", *args], input=stdin, capture_output=True, check=check, timeout=600).stdout


def with_packages() -> str:
    """An image whose gateways have what the roles install already; the engine keeps it for the next test.

    Beside it are chattr, and another time for who asks for it.
    """
    name = "mtls-kit-test-gateway:bookworm"
    install = "apt-get install --yes --no-install-recommends nginx python3-cryptography e2fsprogs libfaketime"
    recipe = f"FROM {IMAGE}\nRUN DEBIAN_FRONTEND=noninteractive {install} && rm -f /etc/nginx/sites-enabled/default\n"
    _docker("build", "--tag", name, "-", stdin=recipe.encode())
    return name


@contextmanager
def network_of_its_own() -> Iterator[tuple[str, str]]:
    """A network's name and this machine's address in it: nobody else takes a gateway's address while that reboots."""
    name = f"mtls-kit-{secrets.token_hex(4)}"
    _docker("network", "create", name)
    try:
        yield (
            name,
            _docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name).decode().strip(),
        )
    finally:
        _docker("network", "rm", name)


@dataclass(frozen=True)
class Gateway:
    """A running container and what a controller needs to reach it."""

    container: str
    address: str
    folder: Path
    sudo_password: str

    @classmethod
    @contextmanager
    def started(
        cls, folder: Path, image: str = IMAGE, privileges: tuple[str, ...] = (), network: str = "bridge"
    ) -> Iterator[Gateway]:
        """Start a gateway with an SSH key of its own in ``folder``; removed on leaving, whatever happened."""
        sudo_password = secrets.token_urlsafe(18)
        groups_version = _docker("info", "--format", "{{.CgroupVersion}}").decode().strip()
        groups = ["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
        if groups_version == "1":
            groups = ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]
        container = _docker(
            "run", "--detach", "--hostname", "gw1", "--tmpfs", "/run", "--tmpfs", "/run/lock",
            "--tmpfs", "/tmp",  # noqa: S108  a mount point inside the container
            "--network", network, *groups, *privileges, image,
        ).decode().strip()  # fmt: skip
        try:
            place = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
            address = _docker("inspect", "--format", place, container).decode().strip()
            gateway = cls(container, address, folder, sudo_password)
            gateway._let_the_user_in()
            yield gateway
        finally:
            _docker("rm", "--force", "--volumes", container)

    def run(self, command: list[str], stdin: bytes | None = None, *, check: bool = True) -> bytes:
        """Run a command as root in the container and return what it printed."""
        return _docker("exec", "--interactive", self.container, *command, stdin=stdin, check=check)

    def copy(self, path: str, destination: Path) -> None:
        """Copy a folder of the gateway to this machine, with its links; the engine's own copying sees no tmpfs."""
        destination.mkdir()
        packed = self.run(["tar", "-C", path, "-cf", "-", "."])
        subprocess.run(["tar", "-C", str(destination), "-xf", "-"], input=packed, check=True)

    def reboot(self) -> None:
        """Restart the machine: what is only in memory is gone, and what comes up does so by itself."""
        _docker("restart", "--time", "20", self.container)
        self._wait_for_systemd()

    def power_off(self) -> None:
        """Take the power away: nothing has time to end."""
        _docker("kill", self.container)

    def power_on(self) -> None:
        """Let it come up again."""
        _docker("start", self.container)
        self._wait_for_systemd()

    def _let_the_user_in(self) -> None:
        key = self.folder / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.run(["useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", USER])
        self.run(["chpasswd"], stdin=f"{USER}:{self.sudo_password}\n".encode())
        self.run(["install", "-d", "-o", USER, "-m", "0700", f"/home/{USER}/.ssh"])
        authorized = f"/home/{USER}/.ssh/authorized_keys"
        self.run(["tee", authorized], stdin=key.with_suffix(".pub").read_bytes())
        # The host key is read through the engine, which nobody on the network can forge.
        self.run(["ssh-keygen", "-A"])
        host_key = self.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).decode()
        (self.folder / "known_hosts").write_text(f"{self.address} {host_key}")
        self._wait_for_systemd()
        self.run(["systemctl", "enable", "--quiet", "--now", "ssh.service"])

    def _wait_for_systemd(self) -> None:
        # A boot may wait for a vault that is away, which the unit that asks it does for half a minute.
        for _ in range(600):
            state = subprocess.run(
                ["docker", "exec", self.container, "systemctl", "is-system-running"], capture_output=True, check=False
            )
            if state.stdout.strip() in (b"running", b"degraded"):
                return
            time.sleep(0.1)
        raise TimeoutError(f"systemd in {self.container} is {state.stdout.decode().strip()!r} after a minute")

    def write_inventory(self, folder: Path, vault_password: str) -> Path:
        """An inventory with this machine as the CA host and this gateway as ``gw1`` with one site, ``orders``."""
        inventory = folder / "inventory"
        inventory.mkdir()
        for name, secret in (("vault-password", vault_password), ("become-password", self.sudo_password)):
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(secret + "\n")
        ssh_args = f"-o UserKnownHostsFile={self.folder}/known_hosts -o IdentitiesOnly=yes"
        (inventory / "hosts.yml").write_text(
            textwrap.dedent(f"""\
                all:
                  vars:
                    pki_name: test
                    pki_store: {folder}/store
                    pki_init: true
                    pki_clients:
                      - name: alice
                        groups: [buyers]
                    client_bundle_dir: {folder}/bundles
                  children:
                    ca:
                      hosts:
                        localhost:
                          ansible_connection: local
                          ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
                    gateways:
                      hosts:
                        gw1:
                          ansible_host: {self.address}
                          ansible_user: {USER}
                          ansible_ssh_private_key_file: {self.folder}/id
                          ansible_ssh_common_args: {json.dumps(ssh_args)}
                          nginx_mtls_sites:
                            - name: orders
                              server_names: [orders.example.test]
                              port: 8443
                              backend: http://127.0.0.1:9000
                """)
        )
        return inventory

    def join(self, inventory: Path, name: str) -> None:
        """Be one more gateway, ``name``, of another one's inventory, with the same sites."""
        hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
        gateways = hosts["all"]["children"]["gateways"]["hosts"]
        gateways[name] = {
            **gateways["gw1"],
            "ansible_host": self.address,
            "ansible_ssh_private_key_file": f"{self.folder}/id",
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.folder}/known_hosts -o IdentitiesOnly=yes",
            "ansible_become_password": self.sudo_password,
        }
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))

    def set_variables(self, inventory: Path, variables: Mapping[str, Any]) -> None:
        """Variables of ``gw1``, beside those of ``write_inventory``."""
        (inventory / "host_vars").mkdir(exist_ok=True)
        (inventory / "host_vars" / "gw1.yml").write_text(yaml.safe_dump(dict(variables)))

    def key_passwords(self, inventory: Path, vault_password: str) -> dict[str, str]:
        """The passwords in the embedded vault beside ``inventory``."""
        vault = VaultLib([("default", VaultSecret(vault_password.encode()))])
        content = vault.decrypt((inventory / "key_passwords.vault.txt").read_bytes())
        passwords: dict[str, str] = yaml.safe_load(content)
        passwords.pop("records")
        return passwords
