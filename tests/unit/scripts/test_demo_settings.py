"""The demo's options: remembered, checked, and never a folder of someone else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from scripts.lib.demo import inventory, settings
from scripts.lib.demo.settings import Settings


def test_what_was_asked_for_is_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert settings.load(folder) is None
    asked_for = settings.change(Settings(folder), 9443, "api.example.com", "http://127.0.0.1:3000")
    asked_for.save()
    assert settings.load(folder) == asked_for
    assert settings.change(asked_for, None, None, None) == asked_for
    assert settings.change(asked_for, None, None, "").backend == ""
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(KitError, match="did not make"):
        settings.load(tmp_path)
    with pytest.raises(KitError, match="found a file"):
        settings.load(tmp_path / "photo.jpg")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert settings.load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}'])
def test_a_damaged_marker_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(KitError, match="cannot be read"):
        settings.load(tmp_path)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(KitError, match="--port"):
        settings.change(Settings(Path()), port, None, None)


@pytest.mark.parametrize("name", ["", "A.example", "a b", "a..b", "-a.example", "a\n", "a_b", "*.example", "a" * 254])
def test_a_name_that_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(KitError, match="--server-name"):
        settings.change(Settings(Path()), None, name, None)


@pytest.mark.parametrize("url", ["https://a:1", "http://a", "http://a:1/path", "http://a:1;b", "file:///etc", "a"])
def test_a_backend_the_gateway_cannot_take_is_refused(url: str) -> None:
    with pytest.raises(KitError, match="--backend"):
        settings.change(Settings(Path()), None, None, url)


@pytest.mark.parametrize(("port", "url"), [(443, "https://a.example/x"), (8443, "https://a.example:8443/x")])
def test_the_usual_port_is_left_out_of_the_address(port: int, url: str) -> None:
    assert Settings(Path(), port=port, server_name="a.example").url("/x") == url


def test_the_inventory_keeps_its_vault_password(tmp_path: Path) -> None:
    demo = Settings(tmp_path / "it's {{ here }}", echo_port=1234)
    demo.save()
    inventory.write(demo)
    first = demo.vault_password_file.read_text()
    assert demo.vault_password_file.stat().st_mode & 0o777 == 0o600
    inventory.write(demo)
    assert demo.vault_password_file.read_text() == first
    assert len(first.strip()) >= 40
    values = (demo.inventory / "group_vars" / "all" / "demo.yml").read_text()
    assert f"demo_dir: !unsafe '{tmp_path}/it''s {{{{ here }}}}'" in values
    assert "demo_backend: !unsafe 'http://127.0.0.1:1234'" in values
