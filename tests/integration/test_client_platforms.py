"""What clients are handed is run, against a real gateway in both presets: in, out without, and away from a stranger."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.filter.client_code import client_code
from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle, platforms
from tests.integration.wire import ROOT, Wire, free_port, started

PRESETS = ("modern", "intermediate")
PASSWORD = 'quoted "twice" with \\ and spaces'
"""What a shell, a configuration file and a program could each take amiss."""


@dataclass
class Gateways:
    """A site in each preset, and one of the same name whose CA is another."""

    folder: Path
    ours: Wire
    stranger: Wire
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def password_file(self) -> Path:
        return self.folder / "alice.password"

    def serve(self) -> None:
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(PASSWORD + "\n")
        # The fixture's vault: a password that nobody would generate.
        self.ours.host.passwords["client/alice"] = PASSWORD  # type: ignore[index]
        self.ports = {"modern": self.ours.port, "intermediate": free_port(), "stranger": self.stranger.port}
        sites = [
            {**self.ours.site(tls=preset, server_names=["localhost"]), "name": preset, "port": self.ports[preset]}
            for preset in PRESETS
        ]
        self.ours.serve(*sites)
        self.stranger.serve({**self.stranger.site(server_names=["localhost"]), "name": "stranger"})

    def url(self, gateway: str) -> str:
        return f"https://localhost:{self.ports[gateway]}/"

    def handed(self, gateway: str, variant: str) -> Path:
        """Alice's bundle as the role writes it, for the address of this gateway."""
        directory = self.folder / gateway / variant
        settings = bundle.Settings(
            store=self.ours.host.store,
            directory=directory,
            urls=(self.url(gateway),),
            vault="the vault of the tests",
            code=client_code([self.url(gateway)], str(ROOT / "roles/client_bundle/templates")),
            platforms=tuple(platforms.PLATFORMS),
        )
        for item in bundle.plan(settings, ["alice"], self.ours.host.passwords).due:
            bundle.write(settings, item)
        return directory / "alice"

    def log(self, gateway: str) -> list[tuple[str, str]]:
        """(status, what Nginx found of the certificate) of each request that a gateway has answered."""
        wire = self.stranger if gateway == "stranger" else self.ours
        return [(entry["status"], entry["verify"]) for entry in wire.log(gateway)]


@dataclass(frozen=True)
class Program:
    """A file of the bundle, how the bundle says it is run, and what is taken out to have it present no certificate."""

    file: str
    run: tuple[str, ...]
    certificate: str
    instead: str = ""

    def without_certificate(self, folder: Path) -> None:
        text = (folder / self.file).read_text()
        changed = re.sub(self.certificate, self.instead, text)
        assert changed != text, f"{self.file} has no {self.certificate}"
        (folder / self.file).write_text(changed)


PROGRAMS = {
    "curl": Program("curl.sh", ("sh", "curl.sh"), "--cert client.crt --key client.key"),
    "wget": Program("wget.sh", ("sh", "wget.sh"), "--certificate=client.crt --private-key=/dev/stdin"),
    "gnutls-cli": Program(
        "gnutls-cli.sh", ("sh", "gnutls-cli.sh"), "--x509certfile=client.crt --x509keyfile=/dev/fd/3"
    ),
    "requests": Program(
        "client_requests.py", (sys.executable, "client_requests.py"), r"(?m)^ +context.load_cert_chain.*$"
    ),
    "httpx": Program("client_httpx.py", (sys.executable, "client_httpx.py"), r"(?m)^ +made.load_cert_chain.*$"),
    "node": Program("client.mjs", ("node", "client.mjs"), r'cert: read\("client.crt"\),'),
    "go": Program("client.go", ("go", "run", "client.go"), "GetClientCertificate: certificate, "),
    "java": Program("Client.java", ("java", "Client.java"), r"own.getKeyManagers\(\)", "null"),
}


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    folder = tmp_path_factory.mktemp("platforms")
    with started(folder / "ours") as ours, started(folder / "stranger") as stranger:
        made = Gateways(folder, ours, stranger)
        made.serve()
        yield made


def run(command: tuple[str, ...], folder: Path, gateways: Gateways) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(gateways.folder),
        "MTLS_PASSWORD_FILE": str(gateways.password_file),
        "GOCACHE": str(gateways.folder / "go"),
    }
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_code_of_a_bundle_gets_in_and_without_its_certificate_does_not(
    gateways: Gateways, name: str, preset: str
) -> None:
    program = PROGRAMS[name]
    answer = run(program.run, gateways.handed(preset, f"{name}-with"), gateways)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert '["X-Client-Name", "alice"]' in answer.stdout, answer.stdout
    assert gateways.log(preset)[-1] == ("200", "SUCCESS")

    folder = gateways.handed(preset, f"{name}-without")
    program.without_certificate(folder)
    answer = run(program.run, folder, gateways)
    assert "X-Client-Name" not in answer.stdout
    assert answer.returncode != 0 or " 400 " in answer.stdout, answer.stdout + answer.stderr
    assert gateways.log(preset)[-1] == ("400", "NONE"), answer.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_code_of_a_bundle_refuses_a_gateway_of_another_ca(gateways: Gateways, name: str) -> None:
    answer = run(PROGRAMS[name].run, gateways.handed("stranger", name), gateways)
    assert answer.returncode != 0, answer.stdout
    assert re.search("certificate|PKIX", answer.stderr + answer.stdout), answer.stderr
    assert gateways.log("stranger") == []
