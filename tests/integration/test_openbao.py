"""Key passwords in a real OpenBao: every way to log in, both engines, each fault, and nothing of it in any output."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller, Record, Replacement
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.openbao import OpenBao
from tests.integration.openbao import Bao, signed_jwt
from tests.integration.test_leaks import ProcessWatch, found_in

ROOT = Path(__file__).resolve().parents[2]
ALICE = "a-password-of-alice-0Zx9"
BOB = "another-password-of-bob-7Qy3"
PATH = "client/alice"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POLICY = """
path "secret/data/mtls-kit/*" { capabilities = ["read", "create", "update"] }
path "kv1/mtls-kit/*" { capabilities = ["read", "create", "update"] }
path "secret/data/readonly/*" { capabilities = ["read"] }
"""


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """With TLS and raft storage, the key-value engines ``secret`` (2) and ``kv1`` (1), and AppRole."""
    with Bao.with_tls(tmp_path_factory.mktemp("bao")) as started:
        started.set("sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        started.set("sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
        started.set("sys/policies/acl/mtls-kit", {"policy": POLICY})
        started.set("sys/auth/approle", {"type": "approle"})
        yield started


def approle(bao: Bao, name: str = "kit", **role: Any) -> dict[str, Any]:
    """Options with the credentials of a role."""
    bao.set(f"auth/approle/role/{name}", {"token_policies": "mtls-kit", **role})
    return {
        "url": bao.url,
        "ca_cert": str(bao.ca_cert),
        "auth": "approle",
        "role_id": bao.api("GET", f"auth/approle/role/{name}/role-id").json()["data"]["role_id"],
        "secret_id": bao.set(f"auth/approle/role/{name}/secret-id")["data"]["secret_id"],
    }


def token(bao: Bao, **request: Any) -> dict[str, Any]:
    """Options with a token of its own."""
    made = bao.set("auth/token/create", {"policies": ["mtls-kit"], **request})["auth"]["client_token"]
    return {"url": bao.url, "ca_cert": str(bao.ca_cert), "token": made}


def opened(options: dict[str, Any]) -> OpenBao:
    return OpenBao(options, Controller(None, None, lambda *_: None))


def fault_of(options: dict[str, Any], path: str = PATH) -> str:
    """The message of a read, in which none of the secrets of ``options`` may be."""
    started = time.monotonic()
    with pytest.raises(KitError) as caught, opened(options) as backend:
        backend.get_many([path])
    assert time.monotonic() - started < 20
    for secret in ("token", "role_id", "secret_id", "jwt"):
        assert options.get(secret, "\n") not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mount", ["secret", "kv1"])
def test_what_was_put_is_found_again_and_other_fields_stay(bao: Bao, mount: str) -> None:
    options = {**approle(bao), "mount": mount, "prefix": "mtls-kit/round-trip"}
    place = f"{mount}/{'data/' if mount == 'secret' else ''}mtls-kit/round-trip/client"
    fields = {"password": BOB, "owner": "shop"}
    bao.set(f"{place}/bob", {"data": fields} if mount == "secret" else fields)
    with opened(options) as backend:
        assert backend.get_many([PATH, "client/bob"]) == {"client/bob": BOB}
        assert backend.put_many({PATH: ALICE, "client/bob": ALICE}, now=NOW) == {PATH: ALICE, "client/bob": BOB}
        backend.replace_many({"client/bob": Replacement(BOB, ALICE, Record(NOW, previous=BOB))})
        assert backend.get_many([PATH, "client/bob"]) == {PATH: ALICE, "client/bob": ALICE}
        assert backend.records([PATH, "client/bob"]) == {PATH: Record(NOW), "client/bob": Record(NOW, BOB)}
        with pytest.raises(KitError, match="somebody else replaced it"):
            backend.replace_many({"client/bob": Replacement(BOB, ALICE, Record(NOW, previous=BOB))})
        backend.replace_many({"client/bob": Replacement(ALICE, ALICE, Record(NOW))})
    stored = bao.api("GET", f"{place}/bob").json()["data"]
    assert (stored["data"] if mount == "secret" else stored) == {
        "password": ALICE,
        "password_since": "2026-11-24T12:00:00Z",
        "owner": "shop",
    }


def test_runs_at_the_same_time_end_with_the_same_passwords(bao: Bao) -> None:
    options = {**approle(bao), "prefix": "mtls-kit/together"}
    paths = [f"client/c{number}" for number in range(5)]

    def run(number: int) -> dict[str, str]:
        with opened(options) as backend:
            return backend.put_many({path: f"{path}-of-run-{number}" for path in paths}, now=NOW)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, range(6)))
    assert [result == results[0] for result in results] == [True] * 6
    with opened(options) as backend:
        assert backend.get_many(paths) == results[0]


def test_fifty_passwords_take_less_than_a_second(bao: Bao) -> None:
    options = {**approle(bao), "prefix": "mtls-kit/fifty"}
    passwords = {f"client/c{number}": f"{ALICE}-{number}" for number in range(50)}
    with opened(options) as backend:
        backend.put_many(passwords, now=NOW)
    started = time.monotonic()
    with opened(options) as backend:
        assert backend.get_many(passwords) == passwords
    assert time.monotonic() - started < 1


def test_a_token_of_a_login_ends_with_the_session(bao: Bao) -> None:
    with opened(approle(bao)) as backend:
        made = backend._session.client.token
        assert bao.api("GET", "auth/token/lookup-self", token=made).status_code == 200
    assert bao.api("GET", "auth/token/lookup-self", token=made).status_code == 403
    # One that was given is the user's.
    options = token(bao)
    with opened(options):
        pass
    assert bao.api("GET", "auth/token/lookup-self", token=options["token"]).status_code == 200


def test_a_jwt_opens_it(bao: Bao, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bao.set("sys/auth/ci", {"type": "jwt"})
    bao.set("auth/ci/config", {"jwt_validation_pubkeys": [pem.decode()], "jwt_supported_algs": ["ES256"]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["bao"], "token_policies": "mtls-kit"}
    bao.set("auth/ci/role/deploy", role)
    now = int(time.time())
    claims = {"sub": "pipeline", "aud": "bao", "iat": now, "exp": now + 300}
    file = tmp_path / "jwt"
    file.write_text(signed_jwt(key, claims) + "\n")
    common = {"url": bao.url, "ca_cert": str(bao.ca_cert), "auth": "jwt", "auth_mount": "ci", "role": "deploy"}
    with opened({**common, "jwt_file": str(file)}) as backend:
        assert backend.get_many([PATH]) == {}
    expired = signed_jwt(key, {**claims, "iat": now - 7200, "exp": now - 3600})
    assert "login by jwt at auth/ci: found status 4" in fault_of({**common, "jwt": expired})


def test_a_client_certificate_opens_it(bao: Bao) -> None:
    folder = bao.ca_cert.parent
    bao.set("sys/auth/cert", {"type": "cert"})
    authority = bao.ca_cert.read_text()
    bao.set("auth/cert/certs/controller", {"certificate": authority, "token_policies": "mtls-kit"})
    options = {
        "url": bao.url,
        "ca_cert": str(bao.ca_cert),
        "auth": "cert",
        "role": "controller",
        "client_cert": str(folder / "client.crt"),
        "client_key": str(folder / "client.key"),
    }
    with opened(options) as backend:
        assert backend.get_many([PATH]) == {}
    # A pair that doesn't fit together.
    assert "TLS handshake that failed" in fault_of({**options, "client_key": str(folder / "server.key")})


def test_a_namespace_is_a_vault_of_its_own(bao: Bao) -> None:
    inside = {"X-Vault-Namespace": "platform"}
    bao.set("sys/namespaces/platform")
    bao.set("sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, **inside)
    bao.set("sys/policies/acl/mtls-kit", {"policy": POLICY}, **inside)
    made = bao.set("auth/token/create", {"policies": ["mtls-kit"]}, **inside)["auth"]["client_token"]
    options = {"url": bao.url, "ca_cert": str(bao.ca_cert), "token": made, "namespace": "platform"}
    with opened(options) as backend:
        backend.put_many({"client/tenant": ALICE}, now=NOW)
        assert backend.get_many(["client/tenant"]) == {"client/tenant": ALICE}
    with opened(approle(bao)) as backend:
        assert backend.get_many(["client/tenant"]) == {}


def test_a_client_reads_its_own_password_and_no_other(bao: Bao) -> None:
    """With the policy and the program of docs/client-passwords.md."""
    bao.set("secret/data/mtls-kit/client/alice", {"data": {"password": ALICE}})
    bao.set("secret/data/mtls-kit/client/bob", {"data": {"password": BOB}})
    page = (ROOT / "docs" / "client-passwords.md").read_text()
    policy = page.partition("<<'POLICY'\n")[2].partition("POLICY\n")[0]
    bao.set("sys/policies/acl/mtls-client-alice", {"policy": policy})
    own = bao.set("auth/token/create", {"policies": ["mtls-client-alice"]})["auth"]["client_token"]
    program: dict[str, Any] = {"__name__": "page"}
    exec(page.partition("```python\n")[2].partition("```")[0], program)  # noqa: S102  the page's own program
    assert program["key_password"](bao.url, own, str(bao.ca_cert)) == ALICE
    for path in ("secret/data/mtls-kit/client/bob", "secret/data/mtls-kit/ca/root"):
        assert bao.api("GET", path, token=own).status_code == 403
    assert bao.api("LIST", "secret/metadata/mtls-kit/client", token=own).status_code == 403
    changed = {"data": {"password": BOB}}
    assert bao.api("POST", "secret/data/mtls-kit/client/alice", changed, token=own).status_code == 403


def test_in_batches_of_one_host_there_is_one_session_for_all(bao: Bao, tmp_path: Path) -> None:
    """A login with a secret_id that works once: a second session would be refused."""
    options = {**approle(bao, "batches", secret_id_num_uses=1), "prefix": "mtls-kit/batches"}
    gateways = [f"gw{number}" for number in range(1, 5)]
    inventory = {
        "ca": {"hosts": {"ca1": {"key_password_options": options}}},
        "gateways": {"hosts": dict.fromkeys(gateways)},
    }
    variables = {
        "ansible_connection": "local",
        "key_password_backend": "openbao",
        "key_password_paths": [f"server/{gateway}/orders" for gateway in gateways],
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": inventory}}))
    given = "{{ hostvars.ca1.key_password_json | mtls.kit.gateway_passwords(inventory_hostname) | from_json }}"
    tasks = [
        {
            "ansible.builtin.assert": {"that": ["given.keys() == ['orders']", "given.orders | length == 43"]},
            "vars": {"given": given},
        },
        {"ansible.builtin.debug": {"msg": "batch {{ ansible_play_batch }}"}},
    ]
    plays = [
        {"hosts": "ca", "gather_facts": False, "roles": ["mtls.kit.key_password"]},
        {"hosts": "gateways", "gather_facts": False, "serial": 1, "tasks": tasks},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    code, output = run_play(tmp_path)
    assert code == 0, output
    assert output.count("batch [") == len(gateways)
    assert found_in(output.encode(), {"secret_id": options["secret_id"]}) == []


def test_a_login_is_repeated_when_its_token_ends_in_the_middle(bao: Bao) -> None:
    options = {**approle(bao, "brief", token_num_uses=3), "prefix": "mtls-kit/brief"}
    passwords = {f"client/c{number}": f"{ALICE}-{number}" for number in range(6)}
    with opened(options) as backend:
        first = backend._session.client.token
        assert backend.put_many(passwords, now=NOW) == passwords
        assert backend.get_many(passwords) == passwords
        assert backend._session.client.token != first


def test_a_login_that_cant_be_repeated_is_told(bao: Bao) -> None:
    options = approle(bao, "once", secret_id_num_uses=1, token_num_uses=2)
    with opened(options) as backend, pytest.raises(KitError) as caught:
        backend.get_many([f"client/c{number}" for number in range(4)])
    assert "login by approle at auth/approle: found status 400" in str(caught.value)
    assert "a secret_id may be used up" in str(caught.value)
    assert options["secret_id"] not in str(caught.value)


def test_a_token_that_ends_in_the_middle_is_told(bao: Bao) -> None:
    options = {**token(bao, ttl="2s"), "prefix": "mtls-kit/ended"}
    with opened(options) as backend:
        assert backend.get_many([PATH]) == {}
        time.sleep(2.2)
        with pytest.raises(KitError) as caught:
            backend.get_many([PATH])
    place = f"{bao.url}, secret/mtls-kit/ended/client/alice"
    assert f"password 'client/alice' in backend openbao, {place}:" in str(caught.value)
    assert "found status 403, and a token that can't even look itself up" in str(caught.value)
    assert options["token"] not in str(caught.value)


def test_what_the_policy_lacks_is_named(bao: Bao) -> None:
    options = approle(bao)
    message = fault_of({**options, "prefix": "others"})
    assert "its policies don't allow this; expected the capability read on secret/data/others/client/alice" in message
    with opened({**options, "prefix": "readonly"}) as backend:
        assert backend.get_many([PATH]) == {}
        with pytest.raises(KitError, match="the capability create and update on secret/data/readonly/client/alice"):
            backend.put_many({PATH: ALICE}, now=NOW)
    message = fault_of({**options, "mount": "nowhere"})
    assert "mount nowhere: found status 403; expected a key-value engine below which this token may read" in message


def test_wrong_credentials_are_told(bao: Bao) -> None:
    options = approle(bao)
    assert "login by approle at auth/approle: found status 400" in fault_of({**options, "secret_id": "hunter2-hunter2"})
    given = {"url": bao.url, "ca_cert": str(bao.ca_cert), "token": "s.hunter2-hunter2"}
    assert "a token that can't even look itself up" in fault_of(given)


def test_a_server_that_cant_be_trusted_gets_no_token(bao: Bao, tmp_path: Path) -> None:
    options = approle(bao)
    without = {name: value for name, value in options.items() if name != "ca_cert"}
    message = fault_of(without)
    assert "found a server certificate that isn't trusted (" in message
    assert "set key_password_options.ca_cert" in message
    other_name = {**options, "url": bao.url.replace("127.0.0.1", "localhost")}
    assert "isn't trusted (Hostname mismatch" in fault_of(other_name)
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate\n")
    assert "TLS handshake that failed" in fault_of({**options, "ca_cert": str(empty)})


def test_a_deleted_version_isnt_replaced_by_a_new_password(bao: Bao) -> None:
    options = {**approle(bao), "prefix": "mtls-kit/deleted"}
    bao.set("secret/data/mtls-kit/deleted/client/alice", {"data": {"password": ALICE}})
    bao.api("DELETE", "secret/data/mtls-kit/deleted/client/alice").raise_for_status()
    message = fault_of(options)
    assert "found version 1, which was deleted" in message
    assert "bao kv undelete -versions=1 -mount=secret mtls-kit/deleted/client/alice" in message
    with opened(options) as backend, pytest.raises(KitError, match="which was deleted"):
        backend.put_many({PATH: BOB}, now=NOW)


def test_a_server_that_is_sealed_in_the_middle_and_one_that_is_gone(tmp_path: Path) -> None:
    with Bao.dev(tmp_path) as dev:
        options = {"url": dev.url, "token": dev.token}
        with opened(options) as backend:
            assert backend.put_many({PATH: ALICE}, now=NOW) == {PATH: ALICE}
            dev.set("sys/seal")
            with pytest.raises(KitError, match=r"password 'client/alice' in backend openbao.*found a sealed server"):
                backend.get_many([PATH])
        assert "found a sealed server" in fault_of(options)
    assert "found no connection (Connection refused)" in fault_of(options)


def run_play(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run play.yml on hosts.yml; exit status and all it said."""
    finished = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i", folder / "hosts.yml", folder / "play.yml", *arguments,
        ],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env={
            "PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": str(folder / "ansible.log"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        },
    )  # fmt: skip
    return finished.returncode, finished.stdout + finished.stderr


def play(folder: Path, vaults: dict[str, dict[str, Any]], *arguments: str) -> tuple[int, str]:
    """Run the role as a user does, on a host for each vault and as loud as it gets; exit status and all it said."""
    hosts = {host: {"key_password_options": options} for host, options in vaults.items()}
    variables = {"key_password_backend": "openbao", "key_password_paths": ["ca/root", PATH]}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
    role = {"name": "Resolve", "ansible.builtin.include_role": {"name": "mtls.kit.key_password"}}
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [role]}]))
    return run_play(folder, "-vvvv", "--diff", *arguments)


def test_a_play_at_its_loudest_shows_neither_token_nor_password(bao: Bao, tmp_path: Path) -> None:
    by_role = {**approle(bao), "prefix": "mtls-kit/play"}
    by_token = {**token(bao), "prefix": "mtls-kit/play"}
    watch = ProcessWatch()
    watch.start()
    try:
        checked = play(tmp_path, {"ca1": by_role}, "--check")
        assert bao.api("LIST", "secret/metadata/mtls-kit/play").status_code == 404
        first = play(tmp_path, {"ca1": by_role})
        second = play(tmp_path, {"ca1": by_token, "ca2": {**by_token, "prefix": "others"}})
    finally:
        watch.stop()
    stored = {
        path: bao.api("GET", f"secret/data/mtls-kit/play/{path}").json()["data"]["data"]["password"]
        for path in ("ca/root", PATH)
    }
    for (status, output), expected, changed in ((checked, 0, 1), (first, 0, 1), (second, 2, 0)):
        assert status == expected, output
        [recap] = [line for line in output.splitlines() if line.startswith("ca1 ") and "ok=" in line]
        assert f"changed={changed} " in recap
        assert "failed=0 " in recap
        assert output.count("write: the vault had none") == 2 * changed
    assert "its policies don't allow this" in second[1]

    secrets = {**stored, "role_id": by_role["role_id"], "secret_id": by_role["secret_id"], "token": by_token["token"]}
    for _, output in (checked, first, second):
        assert found_in(output.encode(), secrets) == []
    assert [name for text in watch.seen for name in found_in(text, secrets)] == []
    for file in (each for each in tmp_path.rglob("*") if each.is_file()):
        # In the inventory lies what was put there, which also shows that the search finds things.
        assert found_in(file.read_bytes(), secrets) == (["token"] if file.name == "hosts.yml" else []), file
