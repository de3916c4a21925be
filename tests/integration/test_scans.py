"""What scanners find on a site of the kit: nothing above low that docs/scans.md doesn't explain."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.wire import RELEASE, ROOT, Wire, free_port, started

SCANNERS = ("sslyze==6.3.1", "gixy-ng==0.2.59")
"""In an environment of their own: sslyze wants an older cryptography than the kit."""
TESTSSL = shutil.which("testssl") or shutil.which("testssl.sh")

EXPLAINED = {
    "testssl": {"cipher_order", "cert_revocation", "DNS_CAArecord", "HSTS"},
    "gixy": {"http_splitting", "hsts_header"},
    "sslyze": set[str](),
}
"""Findings that docs/scans.md has a row for."""
HARMLESS = ("OK", "INFO", "LOW", "UNSPECIFIED")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(RELEASE), reason="this machine's Nginx is scanned")]


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the scanners' programs."""
    folder = tmp_path_factory.mktemp("scanners")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    subprocess.run([folder / "bin/pip", "install", "--quiet", *SCANNERS], check=True, timeout=300, capture_output=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with started(tmp_path_factory.mktemp("scans")) as one:
        one.serve(
            one.site(
                websocket=True, answers="html", rate_limit="100r/s",
                locations=[{"path": "/admin", "allow": {"groups": ["admins"]}}],
            ),
            one.site(
                name="modern", port=free_port(), tls="modern", verify="optional",
                locations=[{"path": "/open", "certificate": "none"}],
            ),
        )  # fmt: skip
        yield one


def port(wire: Wire, preset: str) -> int:
    return int(wire.plan["sites"][preset == "modern"]["port"])


def run(*command: str | Path, seconds: float) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
    )
    return done.stdout


@pytest.mark.parametrize("preset", ["modern", "intermediate"])
def test_sslyze_finds_the_presets_to_be_mozilla_s(wire: Wire, scanners: Path, preset: str) -> None:
    anchor = wire.host.store / "trust-anchor.crt"
    place = f"127.0.0.1:{port(wire, preset)}"
    command = [scanners / "sslyze", "--sni", "orders.test", "--certinfo_ca_file", anchor, "--mozilla_config", preset]
    told = run(*command, place, seconds=200)
    verdict = told.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    # Its path validation asks the public CAs, whatever --certinfo_ca_file says; the chain is proven by every test here.
    faults = [line.strip("* ") for line in verdict.splitlines() if line.strip().startswith("* ")]
    assert [one for one in faults if not one.startswith("certificate_path_validation")] == []
    for passed in ("Not vulnerable to Heartbleed", "Not vulnerable to OpenSSL CCS injection"):
        assert passed in told


def test_gixy_finds_nothing_else_in_the_configuration(wire: Wire, scanners: Path) -> None:
    found: list[dict[str, Any]] = json.loads(
        run(scanners / "gixy", "--format", "json", wire.prefix / "nginx.conf", seconds=100)
    )
    # It did read the configuration.
    assert {one["plugin"] for one in found} >= {"http_splitting"}
    unexplained = [one for one in found if one["severity"] not in HARMLESS and one["plugin"] not in EXPLAINED["gixy"]]
    assert unexplained == []
    # All of it is what OpenSSL says of the client's certificate.
    of_the_certificate = re.compile(r"\$(?:ssl_client_|mtls_\w+_(?:told_\w+|serial)\")")
    splitting = [one["reason"] for one in found if one["plugin"] == "http_splitting"]
    assert [reason for reason in splitting if not of_the_certificate.search(reason)] == []


@pytest.mark.parametrize("preset", ["modern", "intermediate"])
def test_testssl_finds_nothing_else(wire: Wire, tmp_path: Path, preset: str) -> None:
    assert TESTSSL, "Debian's package testssl.sh is wanted"
    report = tmp_path / "report.json"
    what = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--headers", "--vulnerable"]
    run(
        TESTSSL, "--quiet", "--warnings", "batch", "--color", "0", "--ip", "127.0.0.1", "--jsonfile", report,
        "--add-ca", wire.host.store / "trust-anchor.crt", *what, f"orders.test:{port(wire, preset)}", seconds=400,
    )  # fmt: skip
    found: list[dict[str, str]] = json.loads(report.read_text())
    ids = {one["id"] for one in found}
    assert {"TLS1_3", "heartbleed", "cert_chain_of_trust"} <= ids
    told = {
        (one["id"], one["severity"], one["finding"])
        for one in found
        if one["severity"] not in (*HARMLESS, "WARN") and one["id"] not in EXPLAINED["testssl"]
    }
    assert told == set()


def test_every_explained_finding_has_its_row() -> None:
    page = (ROOT / "docs" / "scans.md").read_text()
    for scanner, ids in EXPLAINED.items():
        assert {one for one in ids if f"| {scanner} | `{one}` |" in page} == ids
