"""The program that tells how near things are to their end, on real ledgers, real files and real connections."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.mtls.kit.plugins.module_utils._pki import delivery, keys, store
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client, csr, server
from tests.unit.roles.conftest import CHECKOUT, load_program

PROGRAM = CHECKOUT / "roles" / "cert_monitoring" / "files" / "mtls_metrics.py"
LIMITS = {"certificate": 336, "authority": 2160, "crl": 72}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_program(PROGRAM)


@pytest.fixture
def host(tmp_path: Path) -> AuthorityHost:
    host = AuthorityHost(tmp_path)
    host.run()
    return host


def settings(**more: Any) -> dict[str, Any]:
    return {"limit_hours": LIMITS, "ledger": {}, "gateway": {}, "runs": {}, **more}


def problems(program: ModuleType, host: AuthorityHost, now: datetime) -> list[str]:
    """What is told of the host's ledger at ``now``."""
    found = program.look(settings(ledger={"store": str(host.store)}), now.timestamp())
    return [text for _, _, text in found.problems]


def samples(program: ModuleType, config: dict[str, Any], now: datetime) -> list[str]:
    """The lines of the metrics, without the prefix and comments."""
    text = program.exposition(program.look(config, now.timestamp()))
    return [line.removeprefix("mtls_kit_") for line in text.splitlines() if not line.startswith("#")]


# --- The ledger ---------------------------------------------------------------------------------------------------


def test_a_fresh_store_has_no_problem_and_all_its_metrics(program: ModuleType, host: AuthorityHost) -> None:
    assert problems(program, host, host.now) == []
    lines = samples(program, settings(ledger={"store": str(host.store)}), host.now)
    leaf, end = host.leaf("client/alice"), int((host.now + timedelta(days=90)).timestamp())
    serial = program.hexadecimal(leaf.serial_number)
    labels = f'issuer="issuing-g1",name="client/alice",pki="demo",serial="{serial}",source="ledger"'
    assert f"certificate_not_after_seconds{{{labels}}} {end}" in lines
    crl = 'issuer="issuing-g1",pki="demo"'
    assert f"crl_number{{{crl}}} 1" in lines
    assert f"crl_this_update_seconds{{{crl}}} {int(host.now.timestamp())}" in lines
    assert 'trust_number{pki="demo",scope="issuing"} 1' in lines
    assert "problems 0" in lines
    assert f"written_seconds {int(host.now.timestamp())}" in lines
    assert len([line for line in lines if line.startswith("authority_not_after_seconds")]) == 2


def test_clients_can_be_left_out_of_the_metrics_but_not_of_the_problems(
    program: ModuleType, host: AuthorityHost
) -> None:
    config = settings(ledger={"store": str(host.store), "clients": False})
    assert not any("client/alice" in line for line in samples(program, config, host.now))
    found = program.look(config, (host.now + timedelta(days=88)).timestamp())
    assert "client/alice ends in 2 days, and nothing has replaced it" in [text for _, _, text in found.problems]


def test_the_guard_speaks_before_a_crl_ends_and_when_it_has(program: ModuleType, host: AuthorityHost) -> None:
    assert problems(program, host, host.now + timedelta(days=3, hours=23)) == []
    assert "the CRL of issuing-g1 ends in 3 days, and nothing has replaced it" in problems(
        program, host, host.now + timedelta(days=4, hours=1)
    )
    assert "the CRL of issuing-g1 ended 5 hours ago" in problems(program, host, host.now + timedelta(days=7, hours=5))
    host.after(days=6).run()
    assert not any("CRL" in text for text in problems(program, host, host.now))


def test_the_guard_speaks_before_a_certificate_ends_and_until_nobody_waits(
    program: ModuleType, host: AuthorityHost
) -> None:
    def told(days: float) -> list[str]:
        found = problems(program, host, host.now + timedelta(days=days))
        return [text for text in found if "client/bob" in text]

    assert told(75.9) == []
    assert told(76.5) == ["client/bob ends in 14 days, and nothing has replaced it"]
    assert told(92) == ["client/bob ended 2 days ago"]
    assert told(121) == []


def test_a_short_life_has_a_short_limit(program: ModuleType, host: AuthorityHost) -> None:
    host.run(certificates=[client("alice"), client("bob"), client("batch", days=6, renew_days=3)])
    assert not any("batch" in text for text in problems(program, host, host.now + timedelta(days=4.9)))
    assert any("client/batch ends in" in text for text in problems(program, host, host.now + timedelta(days=5.1)))


def test_what_is_revoked_is_not_waited_for(program: ModuleType, host: AuthorityHost) -> None:
    host.after(hours=1).run(revoke=[{"name": "client/bob", "reason": "keyCompromise"}])
    assert not any("client/bob" in text for text in problems(program, host, host.now + timedelta(days=88)))


def test_a_ca_near_its_end_is_told_unless_it_was_replaced(program: ModuleType, host: AuthorityHost) -> None:
    later = host.now + timedelta(days=1010)
    assert "issuing-g1 ends in 85 days, and nothing has replaced it" in problems(program, host, later)
    assert not any(text.startswith("root-g1 ends") for text in problems(program, host, later))


def test_a_rotation_tells_its_phase(program: ModuleType, host: AuthorityHost) -> None:
    wish = {"kind": "issuing", "names": ["issuing"], "step": "auto", "overlap_days": 30}
    config = settings(ledger={"store": str(host.store)})
    assert not any(line.startswith("rotation_phase") for line in samples(program, config, host.now))
    host.run(rotation=wish)
    lines = samples(program, config, host.now)
    assert 'rotation_phase{kind="issuing",phase="introduce",pki="demo"} 1' in lines
    assert 'rotation_phase{kind="issuing",phase="switch",pki="demo"} 0' in lines
    assert f'last_rotation_seconds{{kind="issuing",pki="demo"}} {int(host.now.timestamp())}' in lines


def serves(host: AuthorityHost, number: int) -> None:
    """Record what a poll after a reload found."""
    served = [delivery.Served("gw1", "orders", "issuing", ("issuing",), number)]
    with store.opened(host.store, None, host.now) as opened, opened.ledger.transaction():
        for key, value in delivery.news(opened.ledger, served).items():
            opened.ledger.set_meta(key, value)


def test_a_site_that_a_revocation_has_not_reached_is_told(program: ModuleType, host: AuthorityHost) -> None:
    desired = {
        "certificates": [client("alice"), client("bob"), server()],
        "csrs": {"server/gw1/orders": csr(keys.generate("ec-p256"))},
    }
    result = host.after(minutes=5).run(**desired)
    number = result.trust["issuing"]["number"]
    serves(host, number)
    assert problems(program, host, host.now) == []
    desired.pop("csrs")
    host.after(minutes=5).run(**desired, revoke=[{"name": "client/bob", "reason": "keyCompromise"}])
    assert problems(program, host, host.now) == [f"gw1/orders serves trust {number}, and something was revoked since"]
    assert any(line.startswith("gateway_not_reached{") for line in samples(
        program, settings(ledger={"store": str(host.store)}), host.now
    ))  # fmt: skip


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but some text that is long enough" * 100])
def test_a_ledger_that_cannot_be_read_is_a_problem_itself(
    program: ModuleType, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ledger.sqlite").write_bytes(content)
    found = program.look(settings(ledger={"store": str(tmp_path)}), 0)
    ((kind, name, text),) = found.problems
    assert (kind, name) == ("unreadable", "ledger")
    assert text.startswith("ledger: ")
    assert "problems 1" in program.exposition(found)


# --- A gateway ----------------------------------------------------------------------------------------------------


class Site:
    """A gateway's folder of one site, and a server that answers for it."""

    def __init__(self, host: AuthorityHost, folder: Path) -> None:
        self.root = folder
        self.trust: Any = "7"
        self._key = keys.generate("ec-p256")
        desired = {"certificates": [client("alice"), server()], "csrs": {"server/gw1/orders": csr(self._key)}}
        host.run(**desired)
        release, trust = folder / "orders/releases/one", folder / "orders/trust/7"
        release.mkdir(parents=True)
        trust.mkdir(parents=True)
        (release.parent / "current").symlink_to("one")
        (trust.parent / "current").symlink_to("7")
        self.certificate = release / "server.crt"
        self.certificate.write_bytes((host.store / "certificates/server/gw1/orders/server.crt").read_bytes())
        self.other = (host.store / "certificates/client/alice/client.crt").read_bytes()
        unit = host.store / "trust/issuing"
        newest = unit / max((path.name for path in unit.iterdir()), key=int)
        for name in ("client-ca.crt", "crl.pem"):
            (trust / name).write_bytes((newest / name).read_bytes())
        self._serve(folder)

    def _serve(self, folder: Path) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = json.dumps({"error": "no client certificate", "trust": site.trust}).encode()
                self.send_response(400)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key, chain = folder / "served.key", folder / "served.crt"
        key.write_bytes(pem)
        chain.write_bytes(self.certificate.read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def config(self) -> dict[str, Any]:
        target = {
            "name": "orders",
            "address": "127.0.0.1",
            "port": self.server.server_port,
            "server_name": "orders.example.com",
        }
        return settings(gateway={"pki": "demo", "root": str(self.root), "sites": [target]})

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(host: AuthorityHost, tmp_path: Path) -> Iterator[Site]:
    site = Site(host, tmp_path / "gateway")
    yield site
    site.stop()


def told(program: ModuleType, site: Site, now: datetime) -> list[str]:
    return [text for _, _, text in program.look(site.config, now.timestamp()).problems]


def test_a_gateway_that_serves_what_it_has(program: ModuleType, site: Site, host: AuthorityHost) -> None:
    assert told(program, site, host.now) == []
    lines = samples(program, site.config, host.now)
    assert 'served_is_on_disk{pki="demo",site="orders"} 1' in lines
    assert 'site_reachable{pki="demo",site="orders"} 1' in lines
    assert 'trust_served_number{pki="demo",site="orders"} 7' in lines
    serials = [line for line in lines if line.startswith("certificate_serial_info")]
    assert [line.replace('"disk"', "").replace('"wire"', "") for line in serials[:1]] * 2 == [
        line.replace('"disk"', "").replace('"wire"', "") for line in serials
    ]


def test_another_certificate_on_the_disk_is_told(program: ModuleType, site: Site, host: AuthorityHost) -> None:
    site.certificate.write_bytes(site.other)
    (text,) = told(program, site, host.now)
    assert text.startswith("site orders serves the certificate ")
    assert 'served_is_on_disk{pki="demo",site="orders"} 0' in samples(program, site.config, host.now)


def test_an_older_trust_unit_on_the_wire_is_told(program: ModuleType, site: Site, host: AuthorityHost) -> None:
    site.trust = "6"
    assert told(program, site, host.now) == ["site orders serves trust 6, 7 is on the disk"]


def test_a_site_that_does_not_say_its_trust_is_looked_at_all_the_same(
    program: ModuleType, site: Site, host: AuthorityHost
) -> None:
    site.trust = None
    assert told(program, site, host.now) == []


def test_a_site_nobody_serves_is_told(program: ModuleType, site: Site, host: AuthorityHost) -> None:
    site.stop()
    (text,) = told(program, site, host.now)
    assert text.startswith("site orders: no TLS connection to 127.0.0.1:")
    assert 'site_reachable{pki="demo",site="orders"} 0' in samples(program, site.config, host.now)


def test_what_nears_its_end_on_a_gateway_is_told_there(program: ModuleType, site: Site, host: AuthorityHost) -> None:
    found = told(program, site, host.now + timedelta(days=80))
    assert "site orders ends in 10 days, and nothing has replaced it" in found
    assert any(text.startswith("the CRL of ") and "at site orders ended" in text for text in found)


def test_a_site_without_files_is_told(program: ModuleType, site: Site, host: AuthorityHost) -> None:
    site.certificate.unlink()
    (text,) = told(program, site, host.now)
    assert text.startswith("site orders: ")


# --- Scheduled runs -----------------------------------------------------------------------------------------------


def report(folder: Path, job: str, ended: int, **more: Any) -> None:
    (folder / job).mkdir(parents=True, exist_ok=True)
    content = {"succeeded": True, "ended": ended, "message": "", "unreachable": [], **more}
    (folder / job / f"{ended:012}.json").write_text(json.dumps(content))


def test_runs_that_fail_leave_gateways_out_or_do_not_come_are_told(program: ModuleType, tmp_path: Path) -> None:
    config = settings(runs={"folder": str(tmp_path), "jobs": {"rotation": 192, "refresh": 36}})
    assert program.look(config, 0).problems == []
    report(tmp_path, "rotation", 1000)
    report(tmp_path, "refresh", 1000)
    assert program.look(config, 2000).problems == []
    report(tmp_path, "refresh", 1500, succeeded=False, message="the vault is away", unreachable=["gw4"])
    found = program.look(config, 2000)
    assert [text for _, _, text in found.problems] == [
        "the last run of refresh failed: the vault is away",
        "gateway gw4 was not reached by the last run of refresh",
    ]
    text = program.exposition(found)
    assert 'mtls_kit_last_success_seconds{job="refresh"} 1000\n' in text
    assert 'mtls_kit_last_run_failed{job="refresh"} 1\n' in text
    assert 'mtls_kit_gateway_not_reached{gateway="gw4",job="refresh"} 1\n' in text
    late = program.look(config, 1000 + 37 * 3600)
    assert "refresh has not succeeded for 37 hours" in [text for _, _, text in late.problems]


# --- The program --------------------------------------------------------------------------------------------------


def test_write_and_check_end_as_they_say(
    program: ModuleType, host: AuthorityHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, metrics = tmp_path / "config.json", tmp_path / "metrics.prom"
    config.write_text(json.dumps(settings(ledger={"store": str(host.store)}, textfile=str(metrics))))
    now = host.now.timestamp()
    assert program.main(["--config", str(config), "check"], now) == 0
    assert program.main(["--config", str(config), "write"], now + 80 * 86400) == 0
    assert metrics.stat().st_mode & 0o777 == 0o644
    assert 'mtls_kit_problem{kind="certificate",name="client/alice"} 1\n' in metrics.read_text()
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["metrics.prom"]
    assert capsys.readouterr().out == ""
    assert program.main(["--config", str(config), "check"], now + 80 * 86400) == 2
    assert "client/alice ends in 10 days" in capsys.readouterr().out
    assert program.main(["--config", str(tmp_path / "absent"), "check"], now) == 1
    config.write_text(json.dumps(settings(textfile=str(tmp_path / "absent" / "metrics.prom"))))
    assert program.main(["--config", str(config), "write"], now) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_hostile_name_stays_one_label(program: ModuleType) -> None:
    found = program.Findings(0, {})
    found.add("problem", 1, name='a"} 1\nmtls_kit_problems 0\\')
    (line,) = [line for line in program.exposition(found).splitlines() if not line.startswith("#")]
    assert line == 'mtls_kit_problem{name="a\\"} 1\\nmtls_kit_problems 0\\\\"} 1'
