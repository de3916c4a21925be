"""What systemd is asked, with programs of the same names that write down how they were called."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway.systemd import Systemd
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

SECRET = "ein-langes-Passwort-0123456789"
FAKE = """#!/bin/sh
echo "$0 $*" | sed 's|.*/||' >> "{log}"
case "$*" in
  *is-enabled*other*|*is-active*other*|*daemon-reload*broken*) exit 1 ;;
  "restart broken.service") echo "Job for broken.service failed." >&2; exit 1 ;;
  encrypt*|decrypt*good*) rev ;;
  decrypt*) echo "can't" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("systemctl", "systemd-creds"):
        program = tmp_path / name
        program.write_text(FAKE.format(log=tmp_path / "log"))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "log"


def test_units(log: Path) -> None:
    systemd = Systemd()
    assert (systemd.is_enabled("a.service"), systemd.is_enabled("other.service")) == (True, False)
    assert (systemd.is_active("a.service"), systemd.is_active("other.service")) == (True, False)
    systemd.reload()
    systemd.enable("a.service")
    systemd.run_again("a.service")
    systemd.forget("a.service")
    assert log.read_text().splitlines()[-5:] == [
        "systemctl daemon-reload",
        "systemctl enable --quiet a.service",
        "systemctl restart a.service",
        "systemctl disable --quiet --now a.service",
        "systemctl reset-failed a.service",
    ]


def test_what_systemd_refuses_is_told(log: Path) -> None:
    with pytest.raises(KitError, match=r"found Job for broken.service failed.*see journalctl -u broken.service"):
        Systemd().run_again("broken.service")


def test_a_secret_is_no_argument(log: Path) -> None:
    systemd = Systemd()
    assert systemd.has_credentials()
    sealed = systemd.encrypt("mtls-good", SECRET.encode(), "host")
    assert sealed != SECRET.encode()
    assert systemd.decrypt("mtls-good", sealed) == SECRET.encode()
    assert systemd.decrypt("mtls-bad", sealed) is None
    assert log.read_text().splitlines() == [
        "systemd-creds encrypt --name=mtls-good --with-key=host - -",
        "systemd-creds decrypt --name=mtls-good - -",
        "systemd-creds decrypt --name=mtls-bad - -",
    ]


def test_a_machine_without_it_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match="command systemctl daemon-reload: found 'No such file or directory'"):
        Systemd().reload()
