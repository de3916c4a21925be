"""The sites on Debian 13's Nginx and OpenSSL, whatever release this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.container_nginx import openssl, program
from tests.integration.wire import RELEASE, ROOT, started

SLOW = pytest.mark.slow


@pytest.mark.skipif(bool(RELEASE), reason="runs the others, not itself")
@pytest.mark.parametrize(
    "name",
    [
        "identities",
        *(
            pytest.param(name, marks=SLOW)
            for name in (
                "site_answers",
                "site_authorization",
                "site_backends",
                "site_identity",
                "site_includes",
                "site_revocation",
            )
        ),
    ],
)
def test_trixie_answers_alike(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--color=no", f"tests/integration/test_{name}.py"],
        cwd=ROOT, env={**os.environ, "MTLS_KIT_TEST_NGINX": "trixie"}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.parametrize("preset", ["modern", "intermediate"])
def test_the_post_quantum_group_is_agreed_on_where_openssl_has_it(tmp_path: Path, preset: str) -> None:
    with started(tmp_path) as wire:
        wire.binary = program("trixie")
        wire.serve(wire.site(tls=preset))
        certificate, key, password = wire.files_of("alice")
        common = [
            "s_client", "-connect", f"127.0.0.1:{wire.port}", "-servername", "orders.test", "-verify_return_error",
            "-CAfile", str(wire.host.store / "trust-anchor.crt"), "-cert", str(certificate), "-key", str(key),
            "-pass", "stdin",
        ]  # fmt: skip
        secret = f"{password}\n".encode()
        assert "Negotiated TLS1.3 group: X25519MLKEM768" in openssl("trixie", *common, stdin=secret)
        # A client without it gets what it has.
        assert "Peer Temp Key: X25519," in openssl("trixie", *common, "-groups", "X25519", stdin=secret)
        assert wire.ask("/").status == 200
