"""What the scenario ``doctor`` leaves out: an Nginx that could not start again, and nothing found where all is well.

Every row of docs/when-it-does-not-work.md is made there.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mtls.kit.plugins.module_utils._gateway import doctor, nginx
from tests.integration.broken import NAME, NOW, PASSWORD, Pki, bundle, key_pem, pem
from tests.integration.wire import free_port


class Server:
    """A real Nginx of its own with a hand-written configuration, as somebody may have it."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.folder, self.pki, self.port = folder, pki, free_port()
        self.instance = nginx.Instance("nginx", str(folder), f"{folder}/nginx.conf", f"{folder}/pid", f"{folder}/log")
        self.write(key_pem(pki.server.key))

    def write(self, key: str) -> None:
        """Its files, with this server key."""
        files = {
            "ca.crt": self.pki.cas,
            "server.crt": pem(self.pki.server.certificate, self.pki.issuing.certificate),
            "server.key": key,
            "password": "another password\n",
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)
        (self.folder / "nginx.conf").write_text(f"""
            pid {self.folder}/pid; error_log {self.folder}/log info; worker_processes 1;
            events {{}}
            http {{
              access_log off; client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b;
              fastcgi_temp_path {self.folder}/c; uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
              server {{
                listen 127.0.0.1:{self.port} ssl; server_name {NAME};
                ssl_certificate {self.folder}/server.crt; ssl_certificate_key {self.folder}/server.key;
                ssl_password_file {self.folder}/password;
                ssl_verify_client on; ssl_client_certificate {self.folder}/ca.crt;
                location / {{ return 200 in; }}
              }}
            }}""")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        nginx.Nginx(self.instance).start()
        for _ in range(100):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("Nginx doesn't listen")

    def stop(self) -> None:
        """End this very process."""
        try:
            pid = int((self.folder / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)

    def looked_at(self) -> list[str]:
        """Causes that the doctor finds on the gateway."""
        return [one.cause for one in doctor.of_nginx(self.instance, datetime.now(UTC), self.instance.error_log)]


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


@pytest.fixture
def server(pki: Pki, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, pki)
    server.start()
    yield server
    server.stop()


def test_where_all_is_well_nothing_is_found(pki: Pki, server: Server, tmp_path: Path) -> None:
    found = doctor.read_bundle(bundle(tmp_path / "alice", pki.good(), [pki.issuing]), PASSWORD, NOW)
    site = doctor.Site(NAME, server.port, "127.0.0.1")
    assert list(doctor.of_site(site, found, pem(pki.root.certificate), datetime.now(UTC))) == []
    assert list(found.findings) == server.looked_at() == []
    assert list(doctor.of_client_at(found, pki.cas, pki.crls, 1)) == []


def test_a_key_that_nginx_cannot_use(pki: Pki, server: Server) -> None:
    server.write(key_pem(ec.generate_private_key(ec.SECP256R1())))
    assert server.looked_at() == ["key-mismatch"]
    server.write(key_pem(pki.server.key, PASSWORD))
    assert server.looked_at() == ["wrong-password"]


def test_the_playbook_names_the_cause_and_fails(pki: Pki, server: Server, tmp_path: Path) -> None:
    place = bundle(tmp_path / "alice", pki.good(days=(-30, -1)), [pki.issuing])
    (tmp_path / "password.yml").write_text(f"doctor_password: {PASSWORD}\n")
    root = Path(__file__).parents[2]
    command = [
        f"{root}/.venv/bin/ansible-playbook", "-i", "localhost,", "playbooks/doctor.yml",
        "-e", f"doctor_bundle={place}", "-e", f"doctor_url=https://{NAME}:{server.port}/",
        "-e", "doctor_address=127.0.0.1", "-e", f"@{tmp_path}/password.yml", "-e", f"doctor_json={tmp_path}/found.json",
    ]  # fmt: skip
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg")}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120)
    text = " ".join(run.stdout.split())
    assert run.returncode != 0
    assert "error-10: the certificate has expired" in text, run.stdout + run.stderr
    assert "Next: issue it again" in text
    assert '"cause": "error-10"' in (tmp_path / "found.json").read_text()
    assert PASSWORD not in run.stdout
