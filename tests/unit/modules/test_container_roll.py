"""The module container_roll as Ansible calls it, and nginx_info's look into an image; the engine is a fake."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._container import kernel
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Image
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.modules import container_roll, nginx_info
from tests.unit.module_utils._container.fake_engine import FakeEngine
from tests.unit.modules.test_nginx_site import _catch_the_end as _catch_the_end
from tests.unit.modules.test_nginx_site import run


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    found = FakeEngine(present={"kept": Image("sha256:kept", ("kept",), "2026")})
    for module in (container_roll, nginx_info):
        monkeypatch.setattr(module, "Engine", lambda: found)
    setting = tmp_path / "tcp_migrate_req"
    setting.write_text("0\n")
    monkeypatch.setattr(container_roll.roll, "Migration", lambda: kernel.Migration(setting, tmp_path / "60-kit.conf"))
    return found


def site(root: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        # Nobody has them: a port that is taken stands in the way of a new gateway.
        port, *probe_ports = [listener.getsockname()[1] for listener in listeners]
    return {
        "name": "orders",
        "root": str(root),
        "listens": [{"address": "127.0.0.1", "port": port}],
        "address": "127.0.0.1",
        "port": port,
        "server_name": "orders.test",
        "backends": [],
        "config": "c0ffee",
        "probe_ports": probe_ports,
    }


def test_a_dry_run_of_a_new_gateway_tells_and_writes_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    arguments = {"name": "gw", "folder": str(tmp_path / "gw"), "image": "new", "sites": [site(tmp_path / "orders")]}
    result = run(container_roll, arguments, _ansible_check_mode=True)
    assert [one["reason"] for one in result["changes"]][-1] == "roll: no container serves"
    assert (engine.steps, (tmp_path / "gw").exists(), (tmp_path / "60-kit.conf").exists()) == ([], False, False)


def test_what_stands_in_the_way_is_told_in_words(tmp_path: Path, engine: FakeEngine) -> None:
    arguments = {"name": "gw", "folder": str(tmp_path / "gw"), "image": "new"}
    assert "no site" in run(container_roll, arguments)["msg"]
    assert "no container to go back from" in run(container_roll, arguments, state="back")["msg"]
    missing = run(container_roll, arguments, sites=[site(tmp_path / "orders")])["msg"]
    assert "no usable release and trust unit" in missing


def test_the_links_are_mounted_with_their_folders_and_memory_where_a_password_is_in_it(tmp_path: Path) -> None:
    release = tmp_path / "orders" / "releases" / "one"
    release.mkdir(parents=True)
    (release.parent / "current").symlink_to("one")
    sites = [container_roll._site(site(tmp_path / "orders"))]
    units = [str(tmp_path / "orders" / name) for name in ("releases", "trust")]
    assert container_roll.units_of(sites) == units
    (release / "password").symlink_to("/run/mtls/orders/password")
    assert container_roll.units_of(sites) == [*units, "/run/mtls/orders"]


def test_nginx_is_asked_inside_an_image(engine: FakeEngine) -> None:
    found = run(nginx_info, {"image": "kept"})
    assert (found["installed"], found["version"], found["openssl"]) == (True, [1, 26, 3], [3, 5, 4])
    assert run(nginx_info, {"image": "gone"})["installed"] is False


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.mtls.kit.plugins.module_utils._container import engine

    monkeypatch.setattr(engine, "docker", None)
    with pytest.raises(KitError, match="python3-docker"):
        engine.Engine()
