#!/usr/bin/python3
"""Tells how near certificates and CRLs are to their end, to Prometheus (write) and to whoever asks (check).

mTLS Kit installs it and its timer runs it: mtls_metrics.py [--config FILE] write|check
It reads the ledger of a CA host, the files of a gateway and what that gateway really serves, needs no password and
opens no key. ``check`` prints a line for each problem and ends with 2 when there is one: before anybody is refused.
Both end with 1 when they could not do their work. Moments in metrics are seconds since 1970 (UTC).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sqlite3
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from cryptography import x509

CONFIG = "/etc/mtls-kit/cert_monitoring.json"
PROBE = "/.well-known/mtls-kit/probe"
HOUR, DAY = 3600, 86400
CALL_SECONDS = 5
LARGEST_ANSWER = 64 * 1024
FORGOTTEN_AFTER = 30 * DAY
"""From then on an ended certificate of the ledger is no problem any more: nobody waits for it."""
SHORT_LIVED = {"crl": 2, "other": 6}
"""No limit begins before the last half of a CRL's life, or the last sixth of a certificate's."""
LONG_LIVED = 12
"""Nor later than the last twelfth: a root that is kept offline, and its CRL of a year, take time to replace."""
PHASES = ("introduce", "switch", "retired", "withdrawn")

METRICS = {
    "certificate_not_after_seconds": "End of a certificate: of the ledger, or of a site's release on the disk.",
    "certificate_serial_info": "Serial of a site's certificate on the disk, and of the one that it serves (wire).",
    "served_is_on_disk": "1 where a site serves the certificate and the trust unit that are on its disk.",
    "site_reachable": "1 where a TLS connection to the site came about.",
    "authority_not_after_seconds": "End of a CA.",
    "crl_this_update_seconds": "When a CRL was signed.",
    "crl_next_update_seconds": "End of a CRL.",
    "crl_number": "Number of a CRL.",
    "trust_number": "Number of the trust unit in force in a scope, or in use at a site.",
    "trust_served_number": "Number of the trust unit that a site serves.",
    "gateway_not_reached": "1 for a site without a revocation, or a gateway that the last run did not reach.",
    "last_issued_seconds": "When the CA signed its newest certificate.",
    "last_rotation_seconds": "When the newest rotation of CA keys came to its phase.",
    "rotation_phase": "1 for the phase that the newest rotation of CA keys is in.",
    "last_success_seconds": "When a scheduled job last ended without a failure.",
    "last_run_failed": "1 where the last run of a scheduled job failed.",
    "problem": "1 for everything that needs somebody before clients are refused.",
    "problems": "How many problems there are.",
    "written_seconds": "When these metrics were written.",
}


class Failure(Exception):
    """The work can't be done; its text says why and what to do."""


@dataclass
class Findings:
    """What was found: samples by metric, and problems as (kind, name, text)."""

    now: float
    limits: Mapping[str, int]
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """A sample; the same labels again replace it."""
        self.samples.setdefault(metric, {})[tuple(sorted(labels.items()))] = value

    def problem(self, kind: str, name: str, text: str) -> None:
        """Something that needs somebody."""
        if (kind, name, text) not in self.problems:
            self.problems.append((kind, name, text))

    def end(self, kind: str, name: str, begin: float, end: float) -> None:
        """A problem where ``end`` is nearer than the limit of its kind."""
        left, life = end - self.now, end - begin
        limit = min(max(self.limits[kind], life / LONG_LIVED), life / SHORT_LIVED["crl" if kind == "crl" else "other"])
        if left <= 0:
            self.problem(kind, name, f"{name} ended {span(-left)} ago")
        elif left < limit:
            self.problem(kind, name, f"{name} ends in {span(left)}, and nothing has replaced it")


def span(seconds: float) -> str:
    """``3 days`` or, below two days, ``5 hours``."""
    return f"{seconds / DAY:.0f} days" if seconds >= 2 * DAY else f"{seconds / HOUR:.0f} hours"


# --- The ledger of a CA host --------------------------------------------------------------------------------------


def look_at_ledger(found: Findings, section: Mapping[str, Any]) -> None:
    """Certificates, authorities, CRLs, rotations and trust; changes nothing and takes no lock."""
    path = Path(section["store"]) / "ledger.sqlite"
    if not path.is_file():
        raise Failure(f"ledger {path}: found no file. Next: correct cert_monitoring_store")
    ledger = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=CALL_SECONDS)
    try:
        pki = ledger.execute("SELECT value FROM meta WHERE key = 'name'").fetchone()[0]
        _authorities(found, pki, ledger)
        _certificates(found, pki, ledger, bool(section.get("clients", True)))
        for scope, number in ledger.execute("SELECT scope, number FROM trust"):
            found.add("trust_number", number, pki=pki, scope=scope, site="")
        _rotation(found, pki, ledger)
        _undelivered(found, pki, ledger)
    finally:
        ledger.close()


def _authorities(found: Findings, pki: str, ledger: sqlite3.Connection) -> None:
    rows = ledger.execute(
        "SELECT a.label, a.state, a.created, a.not_after, c.number, c.this_update, c.next_update"
        " FROM authorities a LEFT JOIN crls c ON c.issuer = a.number"
    )
    for label, state, created, not_after, number, this_update, next_update in rows:
        if state in ("retired", "withdrawn"):
            continue
        found.add("authority_not_after_seconds", not_after, pki=pki, authority=label, state=state)
        # One that was replaced is to end.
        if state == "signing":
            found.end("authority", label, created, not_after)
        if number is not None:
            _crl(found, pki, label, "", number, this_update, next_update)
        elif not_after > found.now:
            found.problem("crl", label, f"{label} has no CRL")


def _crl(found: Findings, pki: str, issuer: str, site: str, number: float, begin: float, end: float) -> None:
    labels = {"pki": pki, "issuer": issuer, "site": site}
    found.add("crl_number", number, **labels)
    found.add("crl_this_update_seconds", begin, **labels)
    found.add("crl_next_update_seconds", end, **labels)
    where = f" at site {site}" if site else ""
    found.end("crl", f"the CRL of {issuer}{where}", begin, end)


def _certificates(found: Findings, pki: str, ledger: sqlite3.Connection, clients: bool) -> None:
    rows = ledger.execute(
        "SELECT c.name, c.serial, a.label, c.not_before, c.not_after FROM certificates c"
        " JOIN authorities a ON a.number = c.issuer"
        " LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial"
        " WHERE c.current = 1 AND c.probe = 0 AND r.serial IS NULL AND c.not_after > ?",
        (found.now - FORGOTTEN_AFTER,),
    )
    for name, serial, issuer, not_before, not_after in rows:
        if clients or not name.startswith("client/"):
            labels = {"pki": pki, "name": name, "serial": serial, "issuer": issuer}
            found.add("certificate_not_after_seconds", not_after, source="ledger", **labels)
        found.end("certificate", name, not_before, not_after)
    newest = ledger.execute("SELECT max(created) FROM certificates WHERE probe = 0").fetchone()[0]
    if newest is not None:
        found.add("last_issued_seconds", newest, pki=pki)


def _rotation(found: Findings, pki: str, ledger: sqlite3.Connection) -> None:
    newest = ledger.execute("SELECT kind, phase, since FROM rotations ORDER BY id DESC LIMIT 1").fetchone()
    if newest is not None:
        kind, current, since = newest
        found.add("last_rotation_seconds", since, pki=pki, kind=kind)
        for phase in PHASES:
            found.add("rotation_phase", float(phase == current), pki=pki, kind=kind, phase=phase)


def _undelivered(found: Findings, pki: str, ledger: sqlite3.Connection) -> None:
    """Sites that serve an older trust unit than the one in force, and thereby let in what was revoked since."""
    units = dict(ledger.execute("SELECT scope, number FROM trust"))
    revoked = ledger.execute(
        "SELECT a.name, r.revoked FROM revocations r JOIN authorities a ON a.number = r.issuer WHERE r.not_after > ?",
        (found.now,),
    ).fetchall()
    # Sites that were removed have a certificate that was revoked, and none in force.
    listed = ledger.execute(
        "SELECT m.key, m.value FROM meta m JOIN certificates c ON c.name = 'server/' || substr(m.key, 11)"
        " LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial"
        " WHERE m.key LIKE 'delivered %' AND c.current = 1 AND r.serial IS NULL"
    )
    for key, value in listed:
        place = key.partition(" ")[2]
        scope, number, created, accept = json.loads(value)
        if number < units.get(scope, number) and any(issuer in accept and when > created for issuer, when in revoked):
            found.add("gateway_not_reached", 1, pki=pki, gateway=place, job="")
            found.problem("gateway", place, f"{place} serves trust {number}, and something was revoked since")


# --- What a gateway has and serves --------------------------------------------------------------------------------


def look_at_gateway(found: Findings, section: Mapping[str, Any]) -> None:
    """Each site's files, and what it serves at its own address."""
    for site in section["sites"]:
        folder = Path(section["root"]) / site["name"]
        try:
            serial = _release(found, section["pki"], site["name"], folder)
            number = _trust(found, section["pki"], site["name"], folder)
        except (OSError, ValueError) as error:
            found.problem("unreadable", site["name"], f"site {site['name']}: {error}")
            continue
        _wire(found, section["pki"], site, serial, number)


def _release(found: Findings, pki: str, site: str, folder: Path) -> str:
    """The serial of the certificate on the disk."""
    leaf = x509.load_pem_x509_certificate((folder / "releases/current/server.crt").read_bytes())
    serial, end = hexadecimal(leaf.serial_number), moment(leaf, "not_valid_after")
    name = f"site {site}"
    labels = {"pki": pki, "name": name, "serial": serial, "issuer": leaf.issuer.rfc4514_string()}
    found.add("certificate_not_after_seconds", end, source="disk", **labels)
    found.add("certificate_serial_info", 1, pki=pki, site=site, where="disk", serial=serial)
    found.end("certificate", name, moment(leaf, "not_valid_before"), end)
    return serial


def _trust(found: Findings, pki: str, site: str, folder: Path) -> int:
    """The number of the trust unit on the disk."""
    unit = folder / "trust/current"
    number = int(unit.readlink().name)
    found.add("trust_number", number, pki=pki, scope="", site=site)
    for block in blocks((unit / "client-ca.crt").read_bytes(), b"CERTIFICATE"):
        ca = x509.load_pem_x509_certificate(block)
        name, end = ca.subject.rfc4514_string(), moment(ca, "not_valid_after")
        found.add("authority_not_after_seconds", end, pki=pki, authority=name, state="")
        found.end("authority", name, moment(ca, "not_valid_before"), end)
    for block in blocks((unit / "crl.pem").read_bytes(), b"X509 CRL"):
        crl = x509.load_pem_x509_crl(block)
        number_of_crl = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        begin, end = moment(crl, "last_update"), moment(crl, "next_update")
        _crl(found, pki, crl.issuer.rfc4514_string(), site, number_of_crl, begin, end)
    return number


def _wire(found: Findings, pki: str, site: Mapping[str, Any], on_disk: str, number: int) -> None:
    name = site["name"]
    try:
        serial, answer = ask(site["address"], site["port"], site["server_name"])
    except OSError as error:
        found.add("site_reachable", 0, pki=pki, site=name)
        found.problem("wire", name, f"site {name}: no TLS connection to {site['address']}:{site['port']} ({error})")
        return
    found.add("site_reachable", 1, pki=pki, site=name)
    found.add("certificate_serial_info", 1, pki=pki, site=name, where="wire", serial=serial)
    served = answer.get("trust")
    if str(served).isdigit():
        found.add("trust_served_number", int(str(served)), pki=pki, site=name)
    wrong = []
    if serial != on_disk:
        wrong.append(f"serves the certificate {serial}, {on_disk} is on the disk")
    if served is not None and str(served) != str(number):
        wrong.append(f"serves trust {served}, {number} is on the disk")
    found.add("served_is_on_disk", float(not wrong), pki=pki, site=name)
    for text in wrong:
        found.problem("wire", name, f"site {name} {text}")


def ask(address: str, port: int, server_name: str) -> tuple[str, dict[str, Any]]:
    """The serial of the certificate that is served, and what the probe location says; OSError without a connection.

    The server is not verified: what it serves is compared with the file it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = f"GET {PROBE} HTTP/1.1\r\nHost: {server_name}\r\nConnection: close\r\n\r\n"
    with (
        socket.create_connection((address, port), CALL_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=server_name) as connection,
    ):
        leaf = connection.getpeercert(binary_form=True) or b""
        serial = hexadecimal(x509.load_der_x509_certificate(leaf).serial_number)
        received = b""
        try:
            connection.sendall(request.encode())
            while len(received) < LARGEST_ANSWER and (part := connection.recv(16 * 1024)):
                received += part
        except OSError:
            # The certificate is known by now; a site that wants a client's may end the connection without a word.
            return serial, {}
    try:
        document = json.loads(received.partition(b"\r\n\r\n")[2])
    except ValueError:
        return serial, {}
    return serial, document if isinstance(document, dict) else {}


# --- Reports of scheduled runs ------------------------------------------------------------------------------------


def look_at_runs(found: Findings, section: Mapping[str, Any]) -> None:
    """The last runs of each job, as the role rotation_timer keeps their reports."""
    for job, hours in section["jobs"].items():
        reports = [json.loads(path.read_bytes()) for path in sorted((Path(section["folder"]) / job).glob("*.json"))]
        # Before the first run there is nothing to tell; that it is missing is told by what nears its end.
        if not reports:
            continue
        found.add("last_run_failed", float(not reports[-1]["succeeded"]), job=job)
        if not reports[-1]["succeeded"]:
            found.problem("run", job, f"the last run of {job} failed: {reports[-1]['message']}")
        for gateway in reports[-1]["unreachable"]:
            found.add("gateway_not_reached", 1, pki="", gateway=gateway, job=job)
            found.problem("gateway", gateway, f"gateway {gateway} was not reached by the last run of {job}")
        ends = [report["ended"] for report in reports if report["succeeded"]]
        if ends:
            found.add("last_success_seconds", max(ends), job=job)
        last = max(ends, default=reports[0]["ended"])
        if found.now - last > hours * HOUR:
            found.problem("run", job, f"{job} has not succeeded for {span(found.now - last)}")


# --- Forms --------------------------------------------------------------------------------------------------------


def moment(thing: Any, name: str) -> float:
    """Seconds since 1970 of that moment of a certificate or CRL; cryptography 38 has it without a zone only."""
    aware = getattr(thing, f"{name}_utc", None) or getattr(thing, name).replace(tzinfo=UTC)
    return float(aware.timestamp())


def hexadecimal(serial: int) -> str:
    """Upper-case, of even length, as Nginx and the ledger write serials."""
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def blocks(content: bytes, kind: bytes) -> Iterable[bytes]:
    """Each PEM block of this kind."""
    begin, end = b"-----BEGIN " + kind + b"-----", b"-----END " + kind + b"-----"
    for part in content.split(begin)[1:]:
        yield begin + part.partition(end)[0] + end + b"\n"


def exposition(found: Findings) -> str:
    """Prometheus' text format, sorted."""
    lines = []
    for metric, text in METRICS.items():
        samples = found.samples.get(metric)
        if samples:
            lines += [f"# HELP mtls_kit_{metric} {text}", f"# TYPE mtls_kit_{metric} gauge"]
            lines += [f"mtls_kit_{metric}{_labels(labels)} {value:.0f}" for labels, value in sorted(samples.items())]
    return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    given = ",".join(f'{key}="{value.translate(escapes)}"' for key, value in labels if value)
    return f"{{{given}}}" if given else ""


LOOKS: Mapping[str, Callable[[Findings, Mapping[str, Any]], None]] = {
    "ledger": look_at_ledger,
    "gateway": look_at_gateway,
    "runs": look_at_runs,
}


def look(config: Mapping[str, Any], now: float) -> Findings:
    """All that the configuration asks for; what can't be read is a problem of its own."""
    found = Findings(now, {kind: hours * HOUR for kind, hours in config["limit_hours"].items()})
    for kind, look_at in LOOKS.items():
        if not config.get(kind):
            continue
        try:
            look_at(found, config[kind])
        except (Failure, OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
            found.problem("unreadable", kind, f"{kind}: {error}")
    for problem, name, _ in found.problems:
        found.add("problem", 1, kind=problem, name=name)
    found.add("problems", len(found.problems))
    found.add("written_seconds", now)
    return found


def write(path: Path, text: str) -> None:
    """Complete or not at all, and readable for the node exporter."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            os.fchmod(handle, 0o644)
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink()
        raise


def main(arguments: list[str], now: float) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("what", choices=["write", "check"])
    given = parser.parse_args(arguments)
    try:
        config = json.loads(Path(given.config).read_bytes())
        found = look(config, now)
        if given.what == "write":
            write(Path(config["textfile"]), exposition(found))
            return 0
    except (OSError, ValueError, KeyError) as error:
        print(f"mtls_metrics: {error}", file=sys.stderr)
        return 1
    for _, _, text in found.problems:
        print(text)
    return 2 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], time.time()))
