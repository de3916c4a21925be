"""What clients are handed is run, against a real gateway in both presets: in, out without, and away from a stranger."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format

from ansible_collections.mtls.kit.plugins.filter.client_code import client_code
from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle, der, platforms
from tests.integration.wire import BINARY, ROOT, Wire, free_port, started

ENVOYS_MESSAGES = (router_pb2, http_connection_manager_pb2)
"""Imported so that json_format finds them by the names that the file gives them."""

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

    def handed(self, gateway: str, variant: str, *, sealed: bool = False, client: str = "alice") -> Path:
        """A client's bundle as the role writes it, for the address of this gateway."""
        directory = self.folder / gateway / variant
        settings = bundle.Settings(
            store=self.ours.host.store,
            directory=directory,
            urls=(self.url(gateway),),
            vault="the vault of the tests",
            code=client_code([self.url(gateway)], str(ROOT / "roles/client_bundle/templates")),
            platforms=tuple(platforms.PLATFORMS),
            sealed=sealed,
        )
        for item in bundle.plan(settings, [client], self.ours.host.passwords).due:
            bundle.write(settings, item)
        return directory / client

    def renew(self, folder: Path, password_file: Path) -> None:
        """Put Bob's files and password in place of those in use, so that the gateway tells old from new."""
        source = self.handed("modern", f"renewed-{secrets.token_hex(4)}", client="bob")
        for name in ("client.crt", "client.key", "client.p12"):
            (source / name).replace(folder / name)
        password_file.write_text(self.ours.host.passwords["client/bob"] + "\n")

    def log(self, gateway: str) -> list[tuple[str, str]]:
        """(status, what Nginx found of the certificate) of each request that a gateway has answered."""
        wire = self.stranger if gateway == "stranger" else self.ours
        return [(entry["status"], entry["verify"]) for entry in wire.log(gateway)]

    def last(self, gateway: str, expected: tuple[str, str]) -> tuple[str, str] | None:
        """The last request, once it is the ``expected`` one or 5 s are over: Nginx logs when the client is gone.

        None where not even the first one is logged.
        """
        deadline = time.monotonic() + 5
        while (found := next(reversed(self.log(gateway)), None)) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


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


def run(
    command: tuple[str, ...], folder: Path, gateways: Gateways, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home or gateways.folder),
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
    assert gateways.last(preset, ("200", "SUCCESS")) == ("200", "SUCCESS")

    folder = gateways.handed(preset, f"{name}-without")
    program.without_certificate(folder)
    answer = run(program.run, folder, gateways)
    assert "X-Client-Name" not in answer.stdout
    assert answer.returncode != 0 or " 400 " in answer.stdout, answer.stdout + answer.stderr
    assert gateways.last(preset, ("400", "NONE")) == ("400", "NONE"), answer.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_code_of_a_bundle_refuses_a_gateway_of_another_ca(gateways: Gateways, name: str) -> None:
    answer = run(PROGRAMS[name].run, gateways.handed("stranger", name), gateways)
    assert answer.returncode != 0, answer.stdout
    assert re.search("certificate|PKIX", answer.stderr + answer.stdout), answer.stderr
    assert gateways.log("stranger") == []


RENEWAL = """
import sys
import {module} as program
print(program.{make}().get(program.URL).text, flush=True)
sys.stdin.readline()
print(program.{make}().get(program.URL).text, flush=True)
"""


@pytest.mark.parametrize(("module", "make"), [("client_requests", "session"), ("client_httpx", "client")])
def test_python_takes_up_a_renewed_certificate_without_a_restart(gateways: Gateways, module: str, make: str) -> None:
    folder = gateways.handed("modern", f"{module}-renewal")
    command = [sys.executable, "-c", RENEWAL.format(module=module, make=make)]
    assert_renewed_while_it_runs(command, folder, gateways)


GO_RENEWAL = """
package main

import ("bufio"; "fmt"; "io"; "os")

func twice() error {
	made, err := client()
	if err != nil { return err }
	for i := 0; i < 2; i++ {
		answer, err := made.Get(url)
		if err != nil { return err }
		body, _ := io.ReadAll(answer.Body)
		fmt.Println(string(body))
		made.CloseIdleConnections()
		bufio.NewReader(os.Stdin).ReadString('\\n')
	}
	return nil
}
"""


def test_go_takes_up_a_renewed_certificate_at_the_next_handshake(gateways: Gateways) -> None:
    folder = gateways.handed("modern", "go-renewal")
    (folder / "twice.go").write_text(GO_RENEWAL)
    text = (folder / "client.go").read_text()
    (folder / "client.go").write_text(text.replace("err := run();", "err := twice();"))
    build = run(("go", "build", "-o", "twice", "client.go", "twice.go"), folder, gateways)
    assert build.returncode == 0, build.stderr
    assert_renewed_while_it_runs([str(folder / "twice")], folder, gateways)


def assert_renewed_while_it_runs(command: list[str], folder: Path, gateways: Gateways) -> None:
    """The program calls, waits for a line, and calls again."""
    password_file = folder.parent / "password"
    password_file.write_text(PASSWORD)
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, "MTLS_PASSWORD_FILE": str(password_file)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert '["X-Client-Name", "alice"]' in process.stdout.readline()
        gateways.renew(folder, password_file)
        process.stdin.write("\n")
        process.stdin.flush()
        assert '["X-Client-Name", "bob"]' in process.stdout.readline()
        process.stdin.close()
        assert process.wait(10) == 0


# ---------------------------------------------------------------------- browsers


@contextmanager
def policy(origin: str) -> Iterator[None]:
    """Have Chromium choose the certificate for this address; where it asks, nobody answers."""
    text = next(line for line in rendered("import.md", origin).splitlines() if "AutoSelectCertificateForUrls" in line)
    place = Path("/etc/chromium/policies/managed") / f"mtls-kit-test-{secrets.token_hex(4)}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    try:
        yield
    finally:
        place.unlink()


def rendered(name: str, origin: str) -> str:
    return client_code([f"{origin}/"], str(ROOT / "roles/client_bundle/templates"))[name]


def imported(gateways: Gateways, folder: Path, home: Path, *, certificate: bool) -> None:
    """A home with the NSS database that ``import.md`` says how to fill."""
    home.mkdir()
    text = (folder / "import.md").read_text()
    (block,) = re.findall(
        r"((?:^    .*\n)+)", text[text.index("## Linux") :].partition("The browser asks")[0], re.MULTILINE
    )
    commands = [line for line in block.splitlines() if certificate or "pk12util" not in line]
    assert len(commands) == 3 + certificate, block
    answer = run(("sh", "-eu", "-c", "\n".join(commands)), folder, gateways, home)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def page(gateways: Gateways, gateway: str, home: Path) -> str:
    """What Chromium shows, and below it what it complains about."""
    command = (
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", f"--user-data-dir={home}/profile", "--timeout=20000", "--dump-dom",
        gateways.url(gateway),
    )  # fmt: skip
    answer = run(command, home, gateways, home)
    return answer.stdout + answer.stderr


@pytest.mark.parametrize("preset", PRESETS)
def test_chromium_gets_in_with_what_import_md_says(gateways: Gateways, preset: str) -> None:
    folder = gateways.handed(preset, "browser")
    with policy(gateways.url(preset).rstrip("/")):
        imported(gateways, folder, folder.parent / "with", certificate=True)
        assert '["X-Client-Name", "alice"]' in page(gateways, preset, folder.parent / "with")
        imported(gateways, folder, folder.parent / "without", certificate=False)
        assert "no client certificate" in page(gateways, preset, folder.parent / "without")
        assert ("400", "NONE") in gateways.log(preset)[-2:]


def test_chromium_refuses_a_gateway_of_another_ca(gateways: Gateways) -> None:
    folder = gateways.handed("stranger", "browser")
    with policy(gateways.url("stranger").rstrip("/")):
        imported(gateways, folder, folder.parent / "home", certificate=True)
        shown = page(gateways, "stranger", folder.parent / "home")
    assert "ERR_CERT_AUTHORITY_INVALID" in shown, shown
    assert gateways.log("stranger") == []


# ---------------------------------------------------------------------- Nginx as a client


@dataclass
class NginxClient:
    """A running Nginx whose http block has the bundle's file; ``port`` is what it listens on."""

    prefix: Path
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def nginx_client(
    gateways: Gateways, gateway: str, *, certificate: bool = True, variant: str = ""
) -> Iterator[NginxClient]:
    folder = gateways.handed(gateway, f"nginx-{certificate}{variant}")
    prefix, port = folder.parent / "nginx", free_port()
    (prefix / "mtls").mkdir(parents=True)
    shutil.copytree(folder, prefix / "mtls/alice")
    shutil.copy(gateways.password_file, prefix / "mtls/alice.password")
    text = (folder / "nginx-client.conf").read_text()
    assert "127.0.0.1:8081" in text
    text = text.replace("127.0.0.1:8081", f"127.0.0.1:{port}")
    if not certificate:
        text = re.sub(r"(?m)^ +proxy_ssl_(certificate|certificate_key|password_file) .*$", "", text)
    temporary = "".join(
        f"{kind}_temp_path {prefix}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (prefix / "nginx.conf").write_text(
        f"daemon off; pid {prefix}/pid; error_log {prefix}/error.log info; events {{}}\n"
        f"http {{ access_log off; {temporary} {text} }}\n"
    )
    process = subprocess.Popen(
        [BINARY, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", f"{prefix}/error.log"]
    )
    try:
        wait_for(port)
        yield NginxClient(prefix, port, process)
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")


def plain(port: int) -> tuple[int, str]:
    """(status, body) over HTTP without TLS."""
    command = ["curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.parametrize("preset", PRESETS)
def test_nginx_as_a_client_gets_in_and_without_its_certificate_does_not(gateways: Gateways, preset: str) -> None:
    with nginx_client(gateways, preset) as one:
        status, body = plain(one.port)
        assert (status, '["X-Client-Name", "alice"]' in body) == (200, True), body
    with nginx_client(gateways, preset, certificate=False) as one:
        assert plain(one.port)[0] == 400
        assert gateways.last(preset, ("400", "NONE")) == ("400", "NONE")


def test_nginx_as_a_client_refuses_a_gateway_of_another_ca(gateways: Gateways) -> None:
    with nginx_client(gateways, "stranger") as one:
        assert plain(one.port)[0] == 502
        assert "upstream SSL certificate verify error" in (one.prefix / "error.log").read_text()
    assert gateways.log("stranger") == []


def test_nginx_as_a_client_takes_up_a_renewed_certificate_by_a_reload(gateways: Gateways) -> None:
    with nginx_client(gateways, "modern", variant="-renewal") as one:
        assert '["X-Client-Name", "alice"]' in plain(one.port)[1]
        gateways.renew(one.prefix / "mtls/alice", one.prefix / "mtls/alice.password")
        one.process.send_signal(signal.SIGHUP)
        answers = []
        for _ in range(50):
            answers.append(plain(one.port)[1])
            if '["X-Client-Name", "bob"]' in answers[-1]:
                return
            time.sleep(0.1)
        raise AssertionError(answers[-1])


def test_envoy_would_read_the_file(gateways: Gateways, folder: Path) -> None:
    """Every field and type by the messages of Envoy's API; Envoy itself can't be had here, so it isn't run."""
    text = (folder / "envoy.yaml").read_text()
    read = json_format.ParseDict(yaml.safe_load(text), bootstrap_pb2.Bootstrap())
    cluster = read.static_resources.clusters[0]
    tls = tls_pb2.UpstreamTlsContext()
    assert cluster.transport_socket.typed_config.Unpack(tls)
    files = tls.common_tls_context
    (own,) = files.tls_certificates
    assert own.certificate_chain.filename == "/etc/envoy/mtls/alice/client.crt"
    assert own.private_key.filename == "/etc/envoy/mtls/alice/client.key"
    assert own.password.filename == "/etc/envoy/mtls/alice.password"
    assert files.validation_context.trusted_ca.filename == "/etc/envoy/mtls/alice/trust-anchor.crt"
    assert files.validation_context.match_typed_subject_alt_names[0].matcher.exact == tls.sni == "localhost"
    address = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("localhost", gateways.ports["modern"])


# ---------------------------------------------------------------------- the files, as each platform reads them


@pytest.fixture(scope="module")
def folder(gateways: Gateways) -> Path:
    return gateways.handed("modern", "files")


def told(gateways: Gateways, folder: Path, *command: str) -> str:
    answer = run(command, folder, gateways)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


@pytest.mark.parametrize("archive", ["client.p12", "client-compatible.p12"])
def test_pkcs12_is_opened_by_openssl_keytool_nss_and_gnutls_and_has_no_rc2(
    gateways: Gateways, folder: Path, archive: str
) -> None:
    secret = str(gateways.password_file)
    words = told(gateways, folder, "openssl", "pkcs12", "-info", "-noout", "-in", archive, "-passin", f"file:{secret}")
    assert not re.search("RC2|40", words), words
    java = told(gateways, folder, "keytool", "-list", "-v", "-keystore", archive, "-storepass:file", secret)
    assert "PrivateKeyEntry" in java
    assert "Certificate chain length: 2" in java
    assert "CN=alice" in told(gateways, folder, "pk12util", "-l", archive, "-w", secret)
    gnutls = told(
        gateways, folder, "certtool", "--p12-info", "--inder", f"--infile={archive}", f"--password={PASSWORD}"
    )
    assert "BEGIN ENCRYPTED PRIVATE KEY" in gnutls or "BEGIN PRIVATE KEY" in gnutls, gnutls
    assert gnutls.count("BEGIN CERTIFICATE") == 2


def test_java_takes_the_truststore_as_it_is_set_in_properties(gateways: Gateways, folder: Path) -> None:
    listed = told(gateways, folder, "keytool", "-list", "-keystore", "truststore.p12", "-storepass", "changeit")
    assert listed.count("trustedCertEntry") == 1
    (folder / "Plain.java").write_text(
        "import java.net.URI; import java.net.http.*;\n"
        "public class Plain { public static void main(String[] a) throws Exception {\n"
        "System.out.println(HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(),"
        "HttpResponse.BodyHandlers.ofString()).body()); } }\n"
    )
    # As docs/clients/java.md: an argument file, for a command line is seen by every user of the machine.
    (folder / "mtls.options").write_text(
        "-Djavax.net.ssl.trustStore=truststore.p12\n-Djavax.net.ssl.trustStorePassword=changeit\n"
        f"-Djavax.net.ssl.keyStore=client.p12\n-Djavax.net.ssl.keyStorePassword={json.dumps(PASSWORD)}\n"
    )
    answer = told(gateways, folder, "java", "@mtls.options", "Plain.java", gateways.url("modern"))
    assert '["X-Client-Name", "alice"]' in answer


def test_an_archive_of_the_folder_is_opened_by_its_password_alone(gateways: Gateways) -> None:
    sealed = gateways.handed("modern", "sealed", sealed=True)
    wrong = subprocess.run(
        ["bsdtar", "--passphrase", "another", "-xf", "bundle.zip", "-O", "alice/client.crt"],
        cwd=sealed, capture_output=True, check=False, timeout=20, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert wrong.returncode != 0
    assert b"BEGIN" not in wrong.stdout
    told(gateways, sealed, "bsdtar", "--passphrase", PASSWORD, "-xf", "bundle.zip")
    for file in (sealed / "alice").iterdir():
        assert file.read_bytes() == (sealed / file.name).read_bytes()
        assert file.stat().st_mode == (sealed / file.name).stat().st_mode
    assert {file.name for file in sealed.iterdir()} - {file.name for file in (sealed / "alice").iterdir()} == {
        "alice", "bundle.zip", "bundle.json",
    }  # fmt: skip


BORINGSSL = """
import sys
from pathlib import Path
from curl_cffi import Curl, CurlError, CurlOpt
import io
assert "BoringSSL" in Curl().version().decode(), Curl().version()
folder, url, certificate = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
body = io.BytesIO()
curl = Curl()
curl.setopt(CurlOpt.URL, url.encode())
curl.setopt(CurlOpt.CAINFO, bytes(folder / "trust-anchor.crt"))
curl.setopt(CurlOpt.WRITEDATA, body)
curl.setopt(CurlOpt.TIMEOUT_MS, 10_000)
if certificate == "with":
    curl.setopt(CurlOpt.SSLCERT, bytes(folder / "client.crt"))
    curl.setopt(CurlOpt.SSLKEY, bytes(folder / "client.key"))
    curl.setopt(CurlOpt.KEYPASSWD, sys.stdin.readline().rstrip("\\n").encode())
try:
    curl.perform()
except CurlError as error:
    sys.exit(f"refused: {error}")
print(body.getvalue().decode())
"""


def boringssl(gateways: Gateways, folder: Path, gateway: str, certificate: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BORINGSSL, str(folder), gateways.url(gateway), certificate],
        input=PASSWORD + "\n", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_darts_tls_library_reads_the_files_and_gets_in(gateways: Gateways, folder: Path, preset: str) -> None:
    answer = boringssl(gateways, folder, preset, "with")
    assert '["X-Client-Name", "alice"]' in answer.stdout, answer.stderr
    assert "no client certificate" in boringssl(gateways, folder, preset, "without").stdout
    assert gateways.last(preset, ("400", "NONE")) == ("400", "NONE")


def test_darts_tls_library_refuses_a_gateway_of_another_ca(gateways: Gateways, folder: Path) -> None:
    answer = boringssl(gateways, folder, "stranger", "with")
    assert "certificate" in answer.stderr
    assert gateways.log("stranger") == []


def test_the_key_has_the_form_that_dart_reads(folder: Path) -> None:
    """PKCS#8 under PBES2, which dart:io documents for usePrivateKeyBytes, in one block of PEM; so has every file."""
    blocks = {
        name: re.findall(
            r"-----BEGIN ([A-Z ]+)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n", (folder / name).read_text()
        )
        for name in ("client.key", "client.crt", "trust-anchor.crt")
    }
    ((kind, key),) = blocks["client.key"]
    assert kind == "ENCRYPTED PRIVATE KEY"
    encoded = base64.b64decode(key)
    assert der.object_identifier("1.2.840.113549.1.5.13") in encoded
    assert [kind for kind, _ in blocks["client.crt"]] == ["CERTIFICATE"] * 2
    assert [kind for kind, _ in blocks["trust-anchor.crt"]] == ["CERTIFICATE"]
