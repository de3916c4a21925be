"""The folder of all sites, who its files belong to, and the units under it."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import units
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import SiteFolders, check_root, run_alone
from ansible_collections.mtls.kit.plugins.module_utils._gateway.units import Unit, UnitFile
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away or become another user")
CURRENT_USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.parametrize("path", ["etc/mtls", "/", "/etc", "/etc/../mtls", ""])
def test_a_root_that_is_no_place_of_its_own(path: str) -> None:
    with pytest.raises(KitError, match="at least two folders deep"):
        check_root(path)


@only_root
def test_a_root_that_others_write_to(tmp_path: Path) -> None:
    root = tmp_path / "mtls"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(KitError, match=r"root:root with mode 0777.*chmod 0755"):
        check_root(str(root))
    root.chmod(0o755)
    os.chown(root, 1, 1)
    with pytest.raises(KitError, match="daemon:daemon"):
        check_root(str(root))
    os.chown(root, 0, 0)
    assert check_root(str(root)) == root


def test_owners_and_groups_that_are_not_there() -> None:
    with pytest.raises(KitError, match="no user 'nobody-of-that-name'"):
        Ownership.of("nobody-of-that-name", None)
    with pytest.raises(KitError, match="no group 'no-such-group'"):
        Ownership.of(CURRENT_USER, "no-such-group")


def test_an_ordinary_user_gives_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = pwd.getpwnam("daemon")
    monkeypatch.setattr(os, "geteuid", lambda: daemon.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: daemon.pw_gid)
    monkeypatch.setattr(os, "getgroups", lambda: [])
    assert Ownership.of("daemon", None) == Ownership(daemon.pw_uid, daemon.pw_gid)
    with pytest.raises(KitError, match=r"'root', while the module runs as uid .*become: true"):
        Ownership.of("root", None)
    with pytest.raises(KitError, match="'adm', which uid"):
        Ownership.of("daemon", "adm")


def test_a_plan_alone_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "mtls"
    applied: list[str] = []
    assert run_alone(root, True, lambda: "plan", applied.append) == "plan"
    assert not root.exists()
    assert run_alone(root, False, lambda: "plan", applied.append) == "plan"
    assert applied == ["plan"]
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_a_plan_that_fails_writes_nothing(tmp_path: Path) -> None:
    def refuse() -> str:
        raise KitError("it", "this", "that", "try again")

    with pytest.raises(KitError):
        run_alone(tmp_path / "mtls", False, refuse, lambda _: None)
    assert not (tmp_path / "mtls").exists()


def unit(name: str = "one", **contents: str) -> Unit:
    contents = contents or {"key": "secret"}
    made = {file: UnitFile(content.encode(), 0o400) for file, content in contents.items()}
    return Unit(name, made, 0o700, Ownership.current())


def test_a_unit_is_placed_and_then_switched_to(tmp_path: Path) -> None:
    units.place(tmp_path, unit())
    assert units.current(tmp_path) is None
    units.switch(tmp_path, "one")
    assert units.current(tmp_path) == "one"
    assert units.drift(tmp_path, unit()) == []


def test_drift_is_named_and_mended(tmp_path: Path) -> None:
    good = unit(key="a", crt="b", map="c")
    units.place(tmp_path, good)
    folder = tmp_path / "one"
    (folder / "key").chmod(0o640)
    (folder / "crt").unlink()
    (folder / "map").unlink()
    (folder / "map").mkdir()
    (folder / ".tmp-left").write_text("")
    assert units.drift(tmp_path, good) == [
        "key had mode 0640, not 0400",
        "crt missing on the gateway",
        "map missing on the gateway",
        "unfinished .tmp-left left behind",
    ]
    units.place(tmp_path, good)
    assert units.drift(tmp_path, good) == []


def test_a_second_name_of_a_key_is_drift(tmp_path: Path) -> None:
    units.place(tmp_path, unit())
    os.link(tmp_path / "one" / "key", tmp_path / "copy")
    assert units.drift(tmp_path, unit()) == ["key had a second name (hard link)"]
    units.place(tmp_path, unit())
    assert units.drift(tmp_path, unit()) == []


@pytest.mark.parametrize("target", ["missing", "../one", "/etc", "."])
def test_a_link_that_leads_elsewhere_is_none(tmp_path: Path, target: str) -> None:
    units.place(tmp_path, unit())
    (tmp_path / "current").symlink_to(target)
    assert units.current(tmp_path) is None


def test_names_that_climb_are_no_sites(tmp_path: Path) -> None:
    for name in ("..", "a/b", "", "A", "a" * 33):
        with pytest.raises(KitError):
            SiteFolders.of(tmp_path, name)
