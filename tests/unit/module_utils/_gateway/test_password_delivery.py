"""A release says by itself how its password is delivered, and a switch of the delivery is a release of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import password_delivery, release
from ansible_collections.mtls.kit.plugins.module_utils._gateway.password_delivery import (
    CREDENTIAL,
    FILE,
    MEMORY,
    NONE,
    check_delivery,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import PASSWORD, Gateway

ANOTHER = "ein-anderes-Passwort-0123456789"


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /run/mtls, with the site's password in both of its files."""
    folder = tmp_path / "run" / "mtls"
    monkeypatch.setattr(password_delivery, "RUNTIME", folder)
    (folder / "orders").mkdir(parents=True)
    for name in ("credential", "password"):
        (folder / "orders" / name).write_text(f"{PASSWORD}\n")
    return folder


def reasons(result: dict[str, Any]) -> list[str]:
    return [change["reason"] for change in result["changes"]]


def key_of(gateway: Gateway) -> bytes:
    return (gateway.current() / "server.key").read_bytes()


@pytest.mark.parametrize(("delivery", "name"), [(CREDENTIAL, "credential"), (MEMORY, "password")])
def test_a_password_in_memory_is_only_linked(gateway: Gateway, runtime: Path, delivery: str, name: str) -> None:
    gateway.password_delivery = delivery
    gateway.deploy()
    folder = gateway.current()
    assert (folder / "password").readlink() == runtime / "orders" / name
    assert release.delivery_of(folder, "orders") == delivery
    keys.load_encrypted(key_of(gateway), PASSWORD.encode(), "key")
    assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in gateway.root.rglob("*.*") if path.is_file())
    before = gateway.tree()
    assert gateway.request()["changed"] is False
    assert gateway.release()["changed"] is False
    assert gateway.tree() == before


def test_a_key_without_a_password_is_made_so_and_only_root_reads_it(gateway: Gateway) -> None:
    gateway.password_delivery = NONE
    gateway.request()
    pending = gateway.root / "orders" / "pending" / "server.key"
    assert keys.load_plain(pending.read_bytes()) is not None
    assert pending.stat().st_mode & 0o7777 == 0o400
    gateway.deploy()
    assert keys.load_plain(key_of(gateway)) is not None
    assert (gateway.current() / "server.key").stat().st_mode & 0o7777 == 0o400
    assert (gateway.current() / "password").read_bytes() == b""
    assert gateway.release()["changed"] is False


@pytest.mark.parametrize("before", password_delivery.DELIVERIES)
@pytest.mark.parametrize("after", password_delivery.DELIVERIES)
def test_a_switch_is_a_release_of_its_own_and_the_way_back_is_whole(gateway: Gateway, before: str, after: str) -> None:
    gateway.password_delivery = before
    gateway.deploy()
    first, key = gateway.current().name, key_of(gateway)
    gateway.password_delivery = after
    foreseen = gateway.release(check_mode=True)
    result = gateway.release()
    assert reasons(foreseen) == reasons(result)
    if before == after:
        assert result["changed"] is False
        return
    assert reasons(result) == [f"install: the password is delivered by {after}, not {before}: the key is written anew"]
    assert result["unfinished"] is True
    assert key_of(gateway) != key
    assert gateway.request()["changed"] is False
    assert gateway.release()["changed"] is False
    second = gateway.current().name
    assert release.rollback(gateway.root / "orders") == (second, first)
    assert (key_of(gateway), release.delivery_of(gateway.current(), "orders")) == (key, before)
    assert reasons(gateway.release()) == [f"switch: release {second} was installed but not in use"]


def test_a_renewal_says_that_the_delivery_changes_too(deployed: Gateway) -> None:
    deployed.password_delivery = MEMORY
    deployed.certify(deployed.request(wanted="renew: 29 of 90 days left")["csrs"])
    [reason] = reasons(deployed.release())
    assert reason.startswith("install: certificate ")
    assert reason.endswith("; the password is delivered by memory, not file: the key is written anew")


def test_no_release_without_its_password_in_memory(deployed: Gateway, runtime: Path) -> None:
    (runtime / "orders" / "password").write_text(f"{ANOTHER}\n")
    deployed.password_delivery = MEMORY
    before = deployed.tree()
    with pytest.raises(KitError, match=r"another one in .*/orders/password, or none") as caught:
        deployed.release()
    assert ANOTHER not in str(caught.value)
    assert deployed.tree() == before
    # What fills the memory did not run yet.
    assert deployed.release(check_mode=True)["changed"] is True


def test_two_passwords_in_memory_hold_the_old_and_the_new_release(gateway: Gateway, runtime: Path) -> None:
    gateway.password_delivery = MEMORY
    gateway.deploy()
    gateway.password = ANOTHER
    (runtime / "orders" / "password").write_text(f"{ANOTHER}\n{PASSWORD}\n")
    assert reasons(gateway.release()) == ["install: the password of the key changed"]
    keys.load_encrypted(key_of(gateway), ANOTHER.encode(), "key")
    release.rollback(gateway.root / "orders")
    keys.load_encrypted(key_of(gateway), PASSWORD.encode(), "key")


def test_a_link_that_was_bent_is_put_right(gateway: Gateway, runtime: Path) -> None:
    gateway.password_delivery = MEMORY
    gateway.deploy()
    link = gateway.current() / "password"
    link.unlink()
    link.mkdir()
    [reason] = reasons(gateway.release())
    assert reason == f"install: password is no link to {runtime}/orders/password"
    assert link.readlink() == runtime / "orders" / "password"


def test_no_rollback_to_a_release_whose_password_is_gone(deployed: Gateway, runtime: Path) -> None:
    deployed.password_delivery = MEMORY
    deployed.release()
    deployed.password_delivery = FILE
    deployed.release()
    (runtime / "orders" / "password").unlink()
    with pytest.raises(KitError, match=r"release .* without password"):
        release.rollback(deployed.root / "orders")


def test_a_link_to_somewhere_else_is_no_delivery(deployed: Gateway, tmp_path: Path) -> None:
    entry = deployed.current() / "password"
    entry.unlink()
    (tmp_path / "elsewhere").write_text(PASSWORD)
    entry.symlink_to(tmp_path / "elsewhere")
    assert release.delivery_of(deployed.current(), "orders") is None
    assert password_delivery.passwords_of(entry, "orders") == []
    assert deployed.release()["changed"] is True
    assert not entry.is_symlink()


def test_a_plain_key_that_somebody_left_is_encrypted_again(deployed: Gateway) -> None:
    path = deployed.current() / "server.key"
    plain = keys.plain_pem(keys.load_encrypted(path.read_bytes(), PASSWORD.encode(), "key"))
    path.unlink()
    path.write_bytes(plain)
    os.chmod(path, 0o400)  # noqa: PTH101
    [reason] = reasons(deployed.release())
    assert reason == "install: the password is delivered by file, not none: the key is written anew"
    keys.load_encrypted(key_of(deployed), PASSWORD.encode(), "key")


def test_an_unknown_delivery_is_refused() -> None:
    with pytest.raises(KitError, match="'tpm'; expected one of file, systemd_credential, memory, none"):
        check_delivery("tpm", "orders")
