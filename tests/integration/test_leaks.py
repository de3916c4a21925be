"""A whole run at -vvvv --diff leaves no secret behind where it doesn't belong.

The controller is this machine, the gateway a container reached over SSH as an ordinary user with a sudo password.
Looked through afterwards: everything Ansible printed and logged, every file the run could write on both machines (fact
cache, temporary folders, home, journal), and the arguments and environment of every process that lived meanwhile.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway import Gateway
from tests.integration.runs import ROOT, playbook

SEARCH_FILES = r"""
import os, sys
needles = sys.stdin.buffer.read().split(b"\n")
for top, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(top, f) not in ("/proc", "/sys", "/dev")]
    for name in files:
        path = os.path.join(top, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        try:
            with open(path, "rb") as handle:
                content = handle.read()
        except OSError:  # gone meanwhile, or a file of the kernel's in a mount of a container
            continue
        if any(needle in content for needle in needles):
            print(path)
"""


PLAIN_KEYS = [f"BEGIN {kind}PRIVATE KEY".encode() for kind in ("", "EC ", "RSA ")]


class ProcessWatch(threading.Thread):
    """Keeps every distinct command line and environment seen in /proc while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and int(process.name) != os.getpid():
                    for part in ("cmdline", "environ"):
                        try:
                            self.seen.add((process / part).read_bytes())
                        except (FileNotFoundError, ProcessLookupError, PermissionError):
                            continue  # ended between the listing and the reading
            self._stopped.wait(0.02)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def encodings(secret: str) -> set[bytes]:
    """The forms a secret could be written in without anyone meaning to hide it."""
    raw = secret.encode()
    return {raw, base64.b64encode(raw), raw.hex().encode()}


def found_in(content: bytes, secrets: dict[str, str]) -> list[str]:
    """Names of the secrets that ``content`` holds."""
    return [name for name, secret in secrets.items() if any(form in content for form in encodings(secret))]


def environment_in(folder: Path) -> dict[str, str]:
    """What a run is to see of the environment, so that all it writes beside store and vault is below ``folder``."""
    for name in ("home", "tmp", "facts"):
        (folder / name).mkdir()
    return {
        "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LC_ALL": "C.UTF-8",
        # A socket's path has at most 108 characters, and the default one lies three folders deeper.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_LOG_PATH": str(folder / "ansible.log"),
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
    }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway.started(tmp_path_factory.mktemp("gateway")) as started:
        yield started


def test_a_run_leaves_no_secret_behind(gateway: Gateway, tmp_path: Path) -> None:
    vault_password = base64.b64encode(os.urandom(24)).decode()
    inventory = gateway.write_inventory(tmp_path, vault_password)
    environment = environment_in(tmp_path)
    archive_password = base64.b64encode(os.urandom(24)).decode()
    archive_variables = tmp_path / "archive-password.yml"
    archive_variables.touch(mode=0o600)
    archive_variables.write_text(f"pki_archive_password: {archive_password}\n")
    archive = ["-e", f"pki_archive={tmp_path}/archive", "-e", f"@{archive_variables}", "-e", "pki_restore_replace=true"]
    watch = ProcessWatch()
    watch.start()
    output = b""
    try:
        for playbook_name in ("site", "rotate", "clients", "verify", "backup", "restore"):
            if playbook_name == "rotate":
                replaced = gateway.key_passwords(inventory, vault_password)
            if playbook_name == "restore":
                # As after a loss: the passwords go from the archive to the vault again.
                (inventory / "key_passwords.vault.txt").unlink()
            rotation = ["-e", "rotate=password"]
            arguments = {"backup": archive, "restore": archive, "rotate": rotation}.get(playbook_name, [])
            run = playbook(playbook_name, inventory, tmp_path, "-vvvv", "--diff", *arguments, environment=environment)
            output += run.output
            assert run.code == 0, run.output.decode()[-4000:]
    finally:
        watch.stop()

    passwords = gateway.key_passwords(inventory, vault_password)
    assert {"ca/root", "ca/issuing", "client/alice", "server/gw1/orders"} <= set(passwords)
    assert not set(replaced.values()) & set(passwords.values())
    secrets = {
        **passwords,
        **{f"replaced {path}": password for path, password in replaced.items()},
        "vault password": vault_password,
        "sudo password": gateway.sudo_password,
        "archive password": archive_password,
    }

    assert found_in(output, secrets) == []
    assert [s for text in watch.seen for s in found_in(text, secrets)] == []

    # Every private key is encrypted wherever it lies: the marks of a plain one stand nowhere.
    assert [mark for mark in PLAIN_KEYS if mark in output] == []
    assert gateway.run(["grep", "-rlE", "BEGIN (EC |RSA )?PRIVATE KEY", "/etc/mtls"], check=False) == b""
    assert gateway.run(["grep", "-rl", "BEGIN ENCRYPTED PRIVATE KEY", "/etc/mtls"]) != b""

    belongs = {
        tmp_path / "vault-password": {"vault password"},
        tmp_path / "become-password": {"sudo password"},
        archive_variables: {"archive password"},
    }
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert set(found_in(content, secrets)) <= belongs.get(path, set()), path
        assert not any(mark in content for mark in PLAIN_KEYS), path

    # On the gateway, the password of its own key in its release, and that alone. That it is found proves the search.
    needles = b"\n".join(form for secret in secrets.values() for form in encodings(secret))
    hits = gateway.run(["python3", "-c", SEARCH_FILES], stdin=needles).decode().split()
    assert hits, "the search itself found nothing, not even the password file of the release"
    assert all(hit.startswith("/etc/mtls/orders/releases/") and hit.endswith("/password") for hit in hits), hits
    releases = b"".join(gateway.run(["cat", hit]) for hit in hits)
    # The release before the rotation, which a rollback would go to, has its own.
    assert set(found_in(releases, secrets)) == {"server/gw1/orders", "replaced server/gw1/orders"}
    assert found_in(gateway.run(["journalctl", "--no-pager", "--output=export"]), secrets) == []
