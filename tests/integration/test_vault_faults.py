"""Whatever is wrong with the vault, the gateway serves on, nothing is changed, and the message says what to do.

The controller is this machine, the gateway a container reached over SSH, the vault a real OpenBao with TLS. Each fault
meets a whole run at -vvvv --diff, without a terminal.
"""

from __future__ import annotations

import os
import re
import select
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.integration.gateway import Gateway, with_packages
from tests.integration.load import Identity, Target
from tests.integration.openbao import Authority, Bao, free_port
from tests.integration.runs import ROOT, Run, playbook
from tests.integration.test_leaks import found_in

VAULT_PASSWORD = "a vault password of the test"
PATHS = ("ca/issuing", "ca/root", "client/alice", "server/gw1/orders")
LAST = PATHS[-1]
"""Read after all the others."""
POLICY = 'path "secret/data/mtls-kit/*" { capabilities = ["read", "create", "update"] }'
SPOILT = {
    "without-field": {"pass": "in-another-field-0Zx9"},
    "empty": {"password": ""},
    "newline": {"password": "first-line-0Zx9-7Qy3\nsecond-line-4Wv8-2Kj6"},
}
FROM_A_VAULT_OF_OURS = "said-by-the-vault-0Zx9-5Jt1"
"""What a plugin or a program of the test says that must not be shown."""
# A lookup plugin and a program, each with the same ways to fail.
FAILING = f"""
import time

def answer(way):
    if way == "fails":
        raise OSError("{FROM_A_VAULT_OF_OURS}")
    if way == "slow":
        time.sleep(60)
    return {{"empty": "", "newline": "{FROM_A_VAULT_OF_OURS}\\nand-more", "weak": "hunter2hunter2hu"}}[way]
"""
PLUGIN = """
from ansible.plugins.lookup import LookupBase

class LookupModule(LookupBase):
    def run(self, terms, variables=None, **options):
        return [answer(options["way"])]
"""
PROGRAM = """
import sys

print(answer(sys.argv[1]))
"""
VAULT_TASK = "TASK [mtls.kit.key_password : Ensure every key has its password in the vault]"
VAULT_SECONDS = 30


@dataclass
class Bench:
    """A gateway that serves, the vault its passwords are in, and the store."""

    gateway: Gateway
    bao: Bao
    folder: Path
    inventory: Path
    passwords: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)

    def token(self, **request: Any) -> str:
        made: str = self.bao.set("auth/token/create", {"policies": ["mtls-kit"], **request})["auth"]["client_token"]
        self.tokens.append(made)
        return made

    def vault(self, **changed: Any) -> dict[str, Any]:
        """The variables that are right for the vault, but for the options ``changed``."""
        options = {"url": self.bao.url, "ca_cert": str(self.bao.ca_cert), **changed}
        return {"key_password_backend": "openbao", "key_password_options": {"token": self.token(), **options}}

    def run(self, name: str, variables: Mapping[str, Any], *arguments: str, **environment: str) -> Run:
        """Run a playbook with ``variables`` of the CA host; what it logged is in ``ansible.log``."""
        (self.inventory / "host_vars").mkdir(exist_ok=True)
        (self.inventory / "host_vars/localhost.yml").write_text(yaml.safe_dump(dict(variables)))
        self.log.unlink(missing_ok=True)
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": str(self.log)}
        return playbook(
            name, self.inventory, self.folder, "-vvvv", "--diff", *arguments,
            environment={**os.environ, **settings, **environment},
        )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.folder / "ansible.log"

    def seconds_of_the_vault(self) -> float:
        """From the first question to the vault to the end of the run, by the log's own clock."""
        times = [
            (datetime.fromisoformat(line[:23].replace(",", ".")), line)
            for line in self.log.read_text().splitlines()
            if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", line)
        ]
        began = next(time for time, line in times if VAULT_TASK in line)
        return (times[-1][0] - began).total_seconds()

    def state(self) -> dict[str, object]:
        """Every file of gateway, store and vault with its content; on the gateway also owner, mode and time.

        But for who works on the store: each run enters itself there, whatever becomes of it.
        """
        listed = "find /etc/mtls /etc/nginx -printf '%p %y %m %U:%G %T@ %l\\n' -type f -exec sha256sum {} +"
        store = self.folder / "store"
        return {
            "gateway": sorted(self.gateway.run(["sh", "-c", listed]).decode().splitlines()),
            "store": {
                path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path != store / "run.lock"
            },
            "vault": self._secrets("mtls-kit/"),
        }

    def stored(self) -> dict[str, str]:
        """The passwords that are in the vault now."""
        answers = {path: self.bao.api("GET", f"secret/data/mtls-kit/{path}").json() for path in PATHS}
        return {path: answer["data"]["data"]["password"] for path, answer in answers.items()}

    def _secrets(self, folder: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.bao.api("LIST", f"secret/metadata/{folder}").json()["data"]["keys"]:
            place = folder + name
            if name.endswith("/"):
                found |= self._secrets(place)
            else:
                found[place] = self.bao.api("GET", f"secret/data/{place}").json()["data"]
        return found

    def is_served(self) -> bool:
        """Alice gets in, and who has no certificate doesn't."""
        store = self.folder / "store"
        files = store / "certificates/client/alice"
        alice = Identity(files / "client.crt", files / "client.key", self.passwords["client/alice"])
        target = Target(self.gateway.address, 8443, "orders.example.test", store / "trust-anchor.crt")
        return [target.status(target.context(who)) for who in (alice, None)] == [200, 400]

    def secrets(self) -> dict[str, str]:
        lines = [line for fields in SPOILT.values() for value in fields.values() for line in value.split("\n") if line]
        return {
            **self.passwords,
            **{f"token {number}": token for number, token in enumerate(self.tokens)},
            **{f"spoilt {number}": line for number, line in enumerate(lines)},
            "what a vault said": FROM_A_VAULT_OF_OURS,
            "a weak password": "hunter2hunter2hu",
            "vault password": VAULT_PASSWORD,
            "sudo password": self.gateway.sudo_password,
        }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("controller")
    with (
        Bao.with_tls(tmp_path_factory.mktemp("bao")) as bao,
        Gateway.started(tmp_path_factory.mktemp("gateway"), with_packages()) as gateway,
    ):
        bao.set("sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        bao.set("sys/policies/acl/mtls-kit", {"policy": POLICY})
        made = Bench(gateway, bao, folder, gateway.write_inventory(folder, VAULT_PASSWORD))
        first = made.run("site", made.vault())
        assert first.code == 0, first.text[-3000:]
        made.passwords |= made.stored()
        for name, fields in SPOILT.items():
            for path, password in made.passwords.items():
                spoilt = fields if path == LAST else {"password": password}
                bao.set(f"secret/data/mtls-kit/{name}/{path}", {"data": spoilt})
        assert made.is_served()
        yield made


@dataclass(frozen=True)
class Setting:
    """How a run meets a fault."""

    variables: Mapping[str, Any]
    arguments: tuple[str, ...] = ("-e", "rotate=leaf")
    environment: Mapping[str, str] = field(default_factory=dict)


Fault = Callable[[Bench], AbstractContextManager[Setting]]


@contextmanager
def sealed(bench: Bench) -> Iterator[Setting]:
    variables = bench.vault()
    bench.bao.set("sys/seal")
    try:
        yield Setting(variables)
    finally:
        bench.bao.unseal()


@contextmanager
def silent(bench: Bench) -> Iterator[Setting]:
    """Connections are accepted, by the kernel, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Setting(bench.vault(url=f"https://127.0.0.1:{listener.getsockname()[1]}"))


@contextmanager
def unreachable(bench: Bench) -> Iterator[Setting]:
    yield Setting(bench.vault(url=f"https://127.0.0.1:{free_port()}"))


@contextmanager
def of_another_ca(bench: Bench) -> Iterator[Setting]:
    other = bench.folder / "another-ca.crt"
    Authority.made(other)
    yield Setting(bench.vault(ca_cert=str(other)))


@contextmanager
def revoked(bench: Bench) -> Iterator[Setting]:
    """Somebody revokes the token between two of the passwords; what counts the requests sits before the server."""
    token, upstream = bench.token(), urlsplit(bench.bao.url)

    # A client's records of application data (RFC 8446, section 5.1): its Certificate, as OpenBao asks for one, its
    # Finished, then the mount, and each password.
    third_password = 6

    class Counting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            said, records = b"", 0
            with socket.create_connection((upstream.hostname, upstream.port), 10) as server:
                other = {self.request: server, server: self.request}
                while True:
                    for side in select.select([*other], [], [])[0]:
                        chunk = side.recv(65536)
                        if not chunk:
                            return
                        if side is self.request:
                            said += chunk
                            # What arrives at once may hold several records, or a part of one.
                            while len(said) >= 5 and len(said) >= (end := 5 + int.from_bytes(said[3:5], "big")):
                                records += said[0] == 23
                                said = said[end:]
                                if records == third_password:
                                    bench.bao.set("auth/token/revoke", {"token": token})
                        other[side].sendall(chunk)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Counting) as before_it:
        threading.Thread(target=before_it.serve_forever, daemon=True).start()
        try:
            yield Setting(bench.vault(token=token, url=f"https://127.0.0.1:{before_it.server_address[1]}"))
        finally:
            before_it.shutdown()


def lookup(way: str) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[Setting]:
        folder = bench.folder / "plugins"
        folder.mkdir(exist_ok=True)
        (folder / "of_the_test.py").write_text(FAILING + PLUGIN)
        settings = {"plugin": "of_the_test", "term": "{path}", "options": {"way": way}, "timeout": 1}
        variables = {"key_password_backend": "lookup", "key_password_options": settings}
        yield Setting(variables, environment={"ANSIBLE_LOOKUP_PLUGINS": str(folder)})

    return fault


def command(way: str) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[Setting]:
        program = bench.folder / "program.py"
        program.write_text(FAILING + PROGRAM)
        settings = {"get_argv": [sys.executable, str(program), way, "{path}"], "timeout": 1}
        yield Setting({"key_password_backend": "command", "key_password_options": settings})

    return fault


def options(**changed: Any) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[Setting]:
        yield Setting(bench.vault(**changed))

    return fault


@contextmanager
def nothing_there_and_none_to_be_made(bench: Bench) -> Iterator[Setting]:
    yield Setting({**bench.vault(prefix="mtls-kit/nothing"), "key_password_generate": False})


@contextmanager
def ending(bench: Bench) -> Iterator[Setting]:
    """The token is good for two of the passwords."""
    yield Setting(bench.vault(token=bench.token(num_uses=2)))


@contextmanager
def read_only(bench: Bench) -> Iterator[Setting]:
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    variables = {
        "MTLS_KIT_PASSWORD_" + re.sub("[^A-Z0-9]", "_", path.upper()): vault.encrypt(password).decode()
        for path, password in bench.passwords.items()
    }
    yield Setting({"key_password_backend": "env"}, ("-e", "rotate=password"), variables)


@contextmanager
def of_another_vault_password(bench: Bench) -> Iterator[Setting]:
    file = bench.inventory / "key_passwords.vault.txt"
    file.write_bytes(VaultLib([("default", VaultSecret(b"another one"))]).encrypt(yaml.safe_dump(bench.passwords)))
    before = file.read_bytes()
    try:
        yield Setting({"key_password_backend": "ansible_vault"})
        assert file.read_bytes() == before
    finally:
        file.unlink()


CORRECT = "Next: correct key_password_options"
BY_ITSELF = "Next: run the program by itself"
WITH_ITS_TOOL = "Next: with the tool"
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "sealed": (sealed, ("mount secret: found a sealed server", "Next: unseal it")),
    "unreachable": (unreachable, ("mount secret: found no connection (Connection refused)", "Next: see that it runs")),
    "slow": (silent, ("mount secret: found no answer in the time that is left", "Next: see what slows the server")),
    "another CA's certificate": (
        of_another_ca,
        ("found a server certificate that isn't trusted", "Next: set key_password_options.ca_cert"),
    ),
    "not allowed": (
        options(prefix="others"),
        ("secret/others/ca/issuing: found status 403", "the capability read on secret/data/others/ca/issuing", "Next:"),
    ),
    "missing path": (
        nothing_there_and_none_to_be_made,
        ("secret/mtls-kit/nothing/ca/issuing: found no entry, and none for 3 more", "Next: add it with bao kv put"),
    ),
    "missing field": (
        options(prefix="mtls-kit/without-field"),
        (f"secret/mtls-kit/without-field/{LAST}: found a secret without the field 'password'", "Next: bao kv patch"),
    ),
    "empty value": (
        options(prefix="mtls-kit/empty"),
        (f"secret/mtls-kit/empty/{LAST}: found an empty password", "Next: with bao kv put"),
    ),
    "newline in the value": (
        options(prefix="mtls-kit/newline"),
        (f"secret/mtls-kit/newline/{LAST}: found a password with a line break", "Next: with bao kv put"),
    ),
    "token that ends in the middle": (
        ending,
        ("secret/mtls-kit/client/alice: found status 403, and a token that can't even", "Next: take a new token"),
    ),
    "token that is revoked in the middle": (
        revoked,
        ("secret/mtls-kit/client/alice: found status 403, and a token that can't even", "Next: take a new token"),
    ),
    "a plugin that fails": (lookup("fails"), ("of_the_test 'ca/issuing'", "the plugin failed with OSError", CORRECT)),
    "a plugin without an end": (lookup("slow"), ("of_the_test 'ca/issuing'", "found no answer within 1 s", CORRECT)),
    "a plugin with nothing": (
        lookup("empty"),
        ("of_the_test 'ca/issuing'", "found an empty password", WITH_ITS_TOOL),
    ),
    "a plugin with a newline": (
        lookup("newline"),
        ("of_the_test 'ca/issuing'", "found a password with a line break", WITH_ITS_TOOL),
    ),
    "a password that can be guessed": (
        lookup("weak"),
        ("of_the_test 'ca/issuing'", "found a password of fewer than 8 different characters", WITH_ITS_TOOL),
    ),
    "a program that fails": (command("fails"), ("'ca/issuing' in", "found exit code 1", BY_ITSELF)),
    "a program without an end": (command("slow"), ("'ca/issuing' in", "found no end within 1 s", BY_ITSELF)),
    "a program that prints nothing": (
        command("empty"),
        ("'ca/issuing' in", "found an empty password", WITH_ITS_TOOL),
    ),
    "a program that prints two lines": (
        command("newline"),
        ("'ca/issuing' in", "found a password with a line break", WITH_ITS_TOOL),
    ),
    "rotation without writing": (read_only, ("backend env", "can only be read", "Next: ")),
    "another vault password": (
        of_another_vault_password,
        ("backend ansible_vault", "key_passwords.vault.txt", "Next: run again with the right --vault-password-file"),
    ),
}


LONG_RUN = {
    "a plugin without an end",
    "a plugin with nothing",
    "a plugin with a newline",
    "a password that can be guessed",
    "a program that fails",
    "a program that prints nothing",
    "a program that prints two lines",
}
"""Left to the long tests: the unit tests of the backends see the same messages, here a whole run meets them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG_RUN else name for name in FAULTS]
)
def test_the_gateway_serves_on_and_nothing_is_changed(bench: Bench, name: str) -> None:
    fault, told = FAULTS[name]
    before = bench.state()
    with fault(bench) as setting:
        run = bench.run("rotate", setting.variables, *setting.arguments, **setting.environment)
        assert bench.is_served()
    assert run.code != 0
    assert bench.state() == before
    assert bench.seconds_of_the_vault() < VAULT_SECONDS

    message = run.text
    assert f"backend {setting.variables['key_password_backend']}" in message, message[-3000:]
    for words in told:
        assert words in message, message[-3000:]
    assert "; expected " in message
    assert "Traceback" not in message
    assert found_in(run.output + bench.log.read_bytes(), bench.secrets()) == []


def test_a_rotation_whose_token_ends_while_it_writes_is_finished_by_the_next_run(bench: Bench) -> None:
    """The vault is written first: what it has new by then, it has together with what the keys still open with."""
    before = bench.state()
    # Four passwords, then a read and a write for each: the third of them is not written any more.
    run = bench.run("rotate", bench.vault(token=bench.token(num_uses=9)), "-e", "rotate=password")
    output = run.output + bench.log.read_bytes()
    assert run.code != 0
    assert "secret/mtls-kit/client/alice: found status 403" in run.text, run.text[-3000:]
    assert "after 2 of 4 passwords were stored" in run.text
    after = bench.state()
    assert [after[part] == before[part] for part in ("gateway", "store", "vault")] == [True, True, False]
    stored = bench.stored()
    assert [path for path in PATHS if stored[path] != bench.passwords[path]] == ["ca/issuing", "ca/root"]
    assert bench.is_served()

    # With a token that lasts the run comes through: every fault above was that of its own setting alone.
    finished = bench.run("site", bench.vault())
    output += finished.output + bench.log.read_bytes()
    assert finished.code == 0, finished.text[-3000:]
    assert "ca/root: re-encrypt: password rotated" in finished.text
    assert bench.stored() == stored
    assert bench.is_served()

    new = {f"new {path}": stored[path] for path in ("ca/issuing", "ca/root")}
    assert found_in(output, {**bench.secrets(), **new}) == []
    # That the search finds what is there.
    assert set(found_in(str(after["vault"]).encode(), new)) == set(new)

    # And so is what every one of them kept from being done.
    before = bench.state()
    rotated = bench.run("rotate", bench.vault(), "-e", "rotate=leaf")
    assert rotated.code == 0, rotated.text[-3000:]
    assert bench.state()["gateway"] != before["gateway"]
    assert bench.is_served()
    again = bench.run("rotate", bench.vault())
    assert (again.code, again.changed) == (0, 0), again.text[-3000:]
