"""Beside an Nginx as nginx.org's packages lay it out, with sites and a default server of its own, and with nginx-debug.

The program is Debian's; layout, user, units and ``nginx-debug`` are theirs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.integration.gateway import Gateway
from tests.integration.load import Identity, Target
from tests.integration.runs import Run, playbook

VAULT_PASSWORD = "a password of the operators"
NAME, PORT = "orders.example.test", 8443
PORT_OF_OTHERS = 8444

pytestmark = pytest.mark.slow

MAIN = """\
user  nginx;
worker_processes  auto;

error_log  /var/log/nginx/error.log notice;
pid        /run/nginx.pid;

events {
    worker_connections  1024;
}

http {
    default_type  application/octet-stream;
    access_log  /var/log/nginx/access.log;
    keepalive_timeout  65;
    include /etc/nginx/conf.d/*.conf;
}
"""
SITES = f"""\
server {{
    listen       80;
    server_name  localhost;
    location / {{ return 200 "the default page"; }}
}}
server {{
    listen              {PORT_OF_OTHERS} ssl default_server;
    server_name         other.example.test;
    ssl_certificate     /etc/nginx/other.crt;
    ssl_certificate_key /etc/nginx/other.key;
    location / {{ return 200 "another site"; }}
}}
"""
UNIT = """\
[Unit]
Description=nginx - high performance web server
After=network-online.target remote-fs.target nss-lookup.target

[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/{program} -c /etc/nginx/nginx.conf
ExecReload=/bin/sh -c "/bin/kill -s HUP $(/bin/cat /run/nginx.pid)"
ExecStop=/bin/sh -c "/bin/kill -s TERM $(/bin/cat /run/nginx.pid)"

[Install]
WantedBy=multi-user.target
"""
INSTALL = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install --yes --no-install-recommends nginx openssl >/dev/null
systemctl stop nginx
"""
LAYOUT = """\
set -eu
rm -rf /etc/nginx/sites-enabled /etc/nginx/sites-available /etc/nginx/modules-enabled
useradd --system --no-create-home --shell /sbin/nologin nginx
chown -R nginx:adm /var/log/nginx
cp /usr/sbin/nginx /usr/sbin/nginx-debug
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 9 -subj /CN=other.example.test \\
  -keyout /etc/nginx/other.key -out /etc/nginx/other.crt 2>/dev/null
systemctl daemon-reload
systemctl start nginx
"""


@dataclass(frozen=True)
class Host:
    """A gateway that was there before, and what the kit knows of it."""

    gateway: Gateway
    folder: Path
    inventory: Path

    def run(self, name: str, *arguments: str) -> Run:
        run = playbook(name, self.inventory, self.folder, *arguments)
        assert run.code == 0, run.text[-4000:]
        return run

    def configure(self, port: int, **more: object) -> None:
        """The site at this port."""
        site = {"name": "orders", "server_names": [NAME], "backend": "http://127.0.0.1:80", "port": port, **more}
        self.gateway.set_variables(self.inventory, {"nginx_mtls_sites": [site]})

    def statuses(self, port: int) -> tuple[int, int]:
        """Alice's, and that of somebody without a certificate."""
        password = self.gateway.key_passwords(self.inventory, VAULT_PASSWORD)["client/alice"]
        store = self.folder / "store"
        bundle = store / "certificates" / "client" / "alice"
        target = Target(self.gateway.address, port, NAME, store / "trust-anchor.crt")
        alice = Identity(bundle / "client.crt", bundle / "client.key", password)
        return target.status(target.context(alice)), target.status(target.context(None))

    def others(self) -> tuple[str, str]:
        """What the sites of others answer, on port 80 and to whoever names nobody on their port with TLS."""
        plain = requests.get(f"http://{self.gateway.address}/", timeout=10).text
        command = ["curl", "-sk", "-m", "10", f"https://{self.gateway.address}:{PORT_OF_OTHERS}/"]
        return plain, subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def systemd(self, *words: str) -> str:
        return self.gateway.run(["systemctl", *words], check=False).decode().strip()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder, place = tmp_path_factory.mktemp("controller"), tmp_path_factory.mktemp("gateway")
    with Gateway.started(place) as gateway:
        gateway.run(["sh", "-c", INSTALL])
        for path, content in {
            "/etc/nginx/nginx.conf": MAIN,
            "/etc/nginx/conf.d/default.conf": SITES,
            "/lib/systemd/system/nginx-debug.service": UNIT.format(program="nginx-debug"),
            "/etc/systemd/system/nginx.service": UNIT.format(program="nginx"),
        }.items():
            gateway.run(["install", "-D", "-m", "0644", "/dev/stdin", path], stdin=content.encode())
        gateway.run(["sh", "-c", LAYOUT])
        host = Host(gateway, folder, gateway.write_inventory(folder, VAULT_PASSWORD))
        assert host.others() == ("the default page", "another site")
        yield host


def test_a_site_on_a_port_of_others_and_nothing_of_theirs_changes(host: Host) -> None:
    host.configure(PORT_OF_OTHERS)
    run = host.run("site")
    assert "which stays" in run.text
    assert host.statuses(PORT_OF_OTHERS) == (200, 400)
    assert host.others() == ("the default page", "another site")
    written = host.gateway.run(["find", "/etc/nginx", "-name", "*mtls*"]).decode().split()
    assert {str(Path(path).parent) for path in written} == {"/etc/nginx", "/etc/nginx/conf.d"}
    workers = host.gateway.run(["ps", "-o", "user=", "-C", "nginx"]).decode().split()
    assert {*workers} == {"root", "nginx"}
    again = host.run("site")
    assert again.changed == 0, again.text[-3000:]


def test_the_one_that_debugs_is_the_one_that_is_reloaded_while_it_runs(host: Host) -> None:
    host.systemd("stop", "nginx.service")
    host.systemd("start", "nginx-debug.service")
    host.configure(PORT, debug=True)
    host.run("site")
    assert (host.systemd("is-active", "nginx.service"), host.systemd("is-active", "nginx-debug.service")) == (
        "inactive", "active",
    )  # fmt: skip
    assert host.systemd("is-enabled", "nginx-debug.service") == "disabled"
    assert host.statuses(PORT) == (200, 400)
    log = host.gateway.run(["cat", "/var/log/nginx/mtls-orders.error.log"]).decode()
    assert "[debug]" in log
    again = host.run("site")
    assert again.changed == 0, again.text[-3000:]
