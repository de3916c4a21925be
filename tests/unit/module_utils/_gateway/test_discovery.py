"""What is found on a gateway before the kit changes it, and which Nginx is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import discovery
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import Gateway

INFO = {"pid_file": "/run/nginx.pid", "systemd": True, "unit": "nginx.service"}


def settings(**more: Any) -> dict[str, Any]:
    return {"instance": "packaged", "prefix": "/opt/x", "service": "auto", "binary": "nginx", **more}


def test_a_gateway_without_nginx_is_told_as_debian_will_have_it(tmp_path: Path) -> None:
    found = discovery.inspect("no-such-nginx", "", [str(tmp_path)])
    assert found["installed"] is False
    assert (found["config_directory"], found["ours"], found["trust"]) == ("/etc/nginx", [], {})


def test_which_nginx_is_meant() -> None:
    assert discovery.instance(settings(), INFO)["service"] == "systemd"
    assert discovery.instance(settings(), {**INFO, "systemd": False})["service"] == "signals"
    assert discovery.instance(settings(service="signals"), INFO)["service"] == "signals"
    assert discovery.instance(settings(instance="own"), INFO)["pid_file"] == "/opt/x/nginx.pid"
    assert discovery.instance(settings(instance="container"), INFO)["config"] == "/opt/x/nginx.conf"
    with pytest.raises(KitError, match="an instance of its own has no unit"):
        discovery.instance(settings(instance="own", service="systemd"), INFO)


def test_trust_that_somebody_spoilt_is_looked_at_all_the_same(deployed: Gateway) -> None:
    """Or no run would get to put it right."""
    site = deployed.root / "orders"
    whole = discovery.inspect("no-such-nginx", "", [str(site)])
    assert (whole["trust"][str(site)]["crl_days"] is None, whole["chains"][str(site)] == []) == (False, False)
    for name, content in (("client-ca.crt", ""), ("crl.pem", "-----BEGIN X509 CRL-----\n")):
        (site / "trust/current" / name).chmod(0o640)
        (site / "trust/current" / name).write_text(content)
    spoilt = discovery.inspect("no-such-nginx", "", [str(site)])
    assert (spoilt["trust"][str(site)]["crl_days"], spoilt["chains"][str(site)]) == (None, [])


DPKG = """#!/bin/sh
echo "$1" >> "$(dirname "$0")/asked"
case "$1 $3" in
  "--show nginx") printf '1.22.1-9\\n /usr\\n {listed}\\n' ;;
  "--show nginx-of-another") printf '1.28.0-1\\n /usr\\n' ;;
  "--search "*) echo "nginx-of-another: $2" ;;
esac
"""


@pytest.mark.parametrize(
    ("listed", "version", "asked"),
    [("{path}", "1.22.1-9", ["--show"]), ("/usr/x", "1.28.0-1", ["--show", "--search", "--show"])],
)
def test_every_package_is_searched_only_where_none_is_named_as_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, version: str, asked: list[str]
) -> None:
    program, query = tmp_path / "nginx", tmp_path / "dpkg-query"
    query.write_text(DPKG.format(listed=listed.format(path=program)))
    query.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert discovery.nginx.package_version(str(program)) == version
    assert (tmp_path / "asked").read_text().split() == asked
