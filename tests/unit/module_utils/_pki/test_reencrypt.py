"""Keys of the store take a new password, one by one and never half; the next run finishes one that was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, ledger, reencrypt, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import AuthorityHost, Passwords, server

CHANGED = "re-encrypt: password rotated"
ROTATED = ("ca/root", "ca/issuing", "client/alice")


def rotate(host: AuthorityHost, *paths: str) -> None:
    """New passwords for ``paths``, as key_password hands them out while the vault keeps the ones before."""
    before = {path: host.passwords[path] for path in paths}
    host.passwords = Passwords(None, host.passwords)
    for path, password in before.items():
        host.passwords[f"previous/{path}"] = password
        host.passwords[path] = f"rotated password of {path}"


def opens(host: AuthorityHost, file: str, password: str) -> bool:
    try:
        keys.load_encrypted((host.store / file).read_bytes(), password.encode(), file)
    except KitError:
        return False
    return True


FILES = {
    "ca/root": "authorities/root-g1/ca.key",
    "ca/issuing": "authorities/issuing-g1/ca.key",
    "client/alice": "certificates/client/alice/client.key",
}


@pytest.fixture
def host(tmp_path: Path) -> AuthorityHost:
    made = AuthorityHost(tmp_path)
    made.run()
    return made


def test_every_key_gets_its_new_password_and_keeps_its_certificate(host: AuthorityHost) -> None:
    before = host.leaf("client/alice")
    rotate(host, *ROTATED)
    assert host.reasons() == {f"{path} re-encrypt": CHANGED for path in ROTATED}
    for path, file in FILES.items():
        assert opens(host, file, host.passwords[path])
        assert not opens(host, file, host.passwords[f"previous/{path}"])
        assert (host.store / file).stat().st_mode & 0o777 == 0o400
    assert host.leaf("client/alice") == before
    again = host.run()
    assert again.changes == []
    assert again.taken == sorted(ROTATED)


def test_without_a_rotation_no_key_is_opened(host: AuthorityHost) -> None:
    (host.store / FILES["ca/root"]).chmod(0o600)
    (host.store / FILES["ca/root"]).write_text("not looked at")
    assert host.run().changes == []


def test_what_signs_meanwhile_opens_by_either(host: AuthorityHost) -> None:
    rotate(host, "ca/issuing")
    changes = host.reasons(certificates=[*host.arguments["certificates"], {"name": "client/carol"}])
    assert changes["client/carol issue"] == "issue: new"
    assert changes["ca/issuing re-encrypt"] == CHANGED
    assert host.verify("client/carol", "sslclient") == "OK"


@pytest.mark.parametrize("left", range(5))
def test_a_run_that_was_cut_off_is_finished_by_the_next(
    host: AuthorityHost, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at each of the writes: the two CA keys, the ledger, and the client's file."""
    rotate(host, *ROTATED)
    steps = iter(range(100))

    def cut_off(original: object) -> object:
        def step(*arguments: object) -> object:
            if next(steps) == left:
                raise KeyboardInterrupt
            return original(*arguments)  # type: ignore[operator]

        return step

    with monkeypatch.context() as patched:
        patched.setattr(store.Store, "write", cut_off(store.Store.write))
        patched.setattr(ledger.Ledger, "replace_keys", cut_off(ledger.Ledger.replace_keys))
        patched.setattr(ledger.Ledger, "put_files", cut_off(ledger.Ledger.put_files))
        with pytest.raises(KeyboardInterrupt):
            host.run()
    for path, file in FILES.items():
        # One of the two that the vault has opens each key at every instant.
        assert opens(host, file, host.passwords[path]) or opens(host, file, host.passwords[f"previous/{path}"])
    assert host.run().taken == sorted(ROTATED)
    assert all(opens(host, file, host.passwords[path]) for path, file in FILES.items())
    assert host.run().changes == []


def test_a_key_that_neither_opens_stops_the_run_before_anything_changes(host: AuthorityHost) -> None:
    rotate(host, *ROTATED)
    host.passwords = Passwords(None, host.passwords)
    host.passwords["previous/client/alice"] = "neither of the two"
    root = (host.store / FILES["ca/root"]).read_bytes()
    with pytest.raises(KitError, match=r"key of client/alice.*the password does not open the key"):
        host.run()
    assert (host.store / FILES["ca/root"]).read_bytes() == root


def test_a_root_key_that_is_elsewhere_keeps_the_password_before(host: AuthorityHost, tmp_path: Path) -> None:
    (host.store / FILES["ca/root"]).rename(tmp_path / "root.key")
    rotate(host, "ca/root")
    result = host.run()
    assert (result.changes, result.taken) == ([], [])
    assert "root-g1: its key is not on this host and keeps the password before" in result.warnings
    (tmp_path / "root.key").rename(host.store / FILES["ca/root"])
    assert host.run().taken == ["ca/root"]


def test_a_key_of_a_gateway_is_the_gateways_matter(host: AuthorityHost) -> None:
    host.passwords["server/gw1/orders"]  # the defaultdict makes it
    rotate(host, "server/gw1/orders")
    assert host.run(certificates=[server()]).taken == []


def test_many_keys_are_shared_by_the_cores(host: AuthorityHost) -> None:
    names = [f"c{number}" for number in range(2 * reencrypt._SHARE)]
    host.run(certificates=[{"name": f"client/{name}"} for name in names])
    rotate(host, *(f"client/{name}" for name in names))
    assert len(host.run().changes) == len(names)
    assert host.run().changes == []
