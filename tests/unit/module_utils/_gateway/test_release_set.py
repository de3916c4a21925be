"""What a release must be before it is switched to, what it looks like afterwards, and the way back."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.mtls.kit.plugins.module_utils._gateway import release
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import NOW, PASSWORD, Authority, Gateway, pem


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


def reasons(result: dict[str, Any]) -> list[str]:
    return [change["reason"] for change in result["changes"]]


def test_first_release_is_whole_and_nobody_else_reads_it(deployed: Gateway) -> None:
    folder = deployed.current()
    assert sorted(path.name for path in folder.iterdir()) == ["id.map", "password", "server.crt", "server.key"]
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "server.key": "0400",
        "password": "0400",
        "server.crt": "0444",
        "id.map": "0444",
    }
    assert mode(folder) == "0700"
    assert (folder / "password").read_text() == PASSWORD + "\n"
    assert (folder / "id.map").read_text() == f'default "{folder.name}";\n'
    assert folder.name.startswith("20260531-")
    assert os.readlink(folder.parent / "current") == folder.name  # noqa: PTH115
    keys.load_encrypted((folder / "server.key").read_bytes(), PASSWORD.encode(), "key")
    assert not (deployed.root / "orders" / "pending").exists()


def test_second_run_changes_nothing_and_writes_nothing(deployed: Gateway) -> None:
    before = deployed.tree()
    assert deployed.request()["changed"] is False
    assert deployed.release()["changed"] is False
    assert deployed.tree() == before


def test_renewal_keeps_the_way_back(deployed: Gateway) -> None:
    first = deployed.current().name
    result = deployed.deploy(wanted="renew: 29 of 90 days left")
    second = deployed.current().name
    assert result["sites"]["orders"] == {"release": second, "previous": first, "trust": 1}
    assert first != second
    assert "follows" in reasons(result)[0]


def test_check_mode_names_the_same_changes_and_writes_nothing(deployed: Gateway) -> None:
    deployed.certify(deployed.request(wanted="renew: 29 of 90 days left")["csrs"])
    deployed.pki.next_trust("0A1B")
    before = deployed.tree()
    foreseen = deployed.release(check_mode=True)
    assert deployed.tree() == before
    done = deployed.release()
    assert foreseen == done
    assert done["changed"] is True


def test_check_mode_on_an_empty_gateway(gateway: Gateway) -> None:
    foreseen = gateway.request(check_mode=True)
    assert reasons(foreseen) == ["write: no release on the gateway"]
    assert foreseen["csrs"] == {}
    gateway.certify({"orders": gateway.request()["csrs"]["orders"]})
    for path in (gateway.root / "orders" / "pending").iterdir():
        path.unlink()
    result = gateway.release(check_mode=True)
    assert "still to be issued" in " ".join(reasons(result))
    assert result["sites"]["orders"]["release"] is None


def test_diff_says_what_changes_and_holds_no_secret(deployed: Gateway) -> None:
    deployed.certify(deployed.request(wanted="renew: 29 of 90 days left")["csrs"])
    deployed.pki.next_trust("0A1B", "0A1C")
    result = deployed.release()
    before, after = (json.loads(result["diff"][side])["orders"] for side in ("before", "after"))
    assert (before["trust"], before["revoked"], after["trust"], after["revoked"]) == (1, 0, 2, 2)
    assert before["serial"] != after["serial"]
    assert after["san"] == ["orders.example.test"]
    assert PASSWORD not in json.dumps(result)
    assert "PRIVATE" not in json.dumps(result)


# ---------------------------------------------------------------- refused before anything is changed


def foreign_root(gateway: Gateway) -> dict[str, Any]:
    return {"trust_anchor": pem(Authority.create("acme Root G1", path_length=1).certificate)}


def chain_from(gateway: Gateway, *above: Authority, signer: Authority | None = None, **wish: Any) -> dict[str, Any]:
    key = release.find_key(
        release.SiteFolders.of(gateway.root, "orders"),
        PASSWORD.encode(),
        release.leaf_key_sha256(release.load_certificates(gateway.chains["orders"], "chain")[0]),
        "file",
    )
    assert key is not None
    leaf = (signer or gateway.pki.issuing).sign(key.key.public_key(), **wish)
    members = above or (gateway.pki.issuing,)
    return {"chain": "".join(pem(certificate) for certificate in (leaf, *(one.certificate for one in members)))}


def forged_issuing(gateway: Gateway) -> dict[str, Any]:
    forged = Authority.create("acme Issuing G1")
    forged.certificate = gateway.pki.issuing.certificate
    return chain_from(gateway, signer=forged)


def deeper(gateway: Gateway) -> dict[str, Any]:
    lower = Authority.create("acme Lower G1", gateway.pki.issuing)
    return chain_from(gateway, lower, gateway.pki.issuing, signer=lower)


def no_ca(gateway: Gateway) -> dict[str, Any]:
    fake = Authority.create("not a CA", gateway.pki.root, ca=False)
    return chain_from(gateway, fake, signer=fake)


def expired_issuing(gateway: Gateway) -> dict[str, Any]:
    old = Authority.create("acme Old G1", gateway.pki.root, end=NOW - timedelta(days=1))
    return chain_from(gateway, old, signer=old)


def other_key(make: Callable[[], Any]) -> Callable[[Gateway], dict[str, Any]]:
    def chain(gateway: Gateway) -> dict[str, Any]:
        leaf = gateway.pki.issuing.sign(make().public_key())
        return {"chain": pem(leaf) + pem(gateway.pki.issuing.certificate)}

    return chain


REFUSED = {
    "key of another pair": (other_key(lambda: ec.generate_private_key(ec.SECP256R1())), "no key on the gateway"),
    "weak key": (other_key(lambda: rsa.generate_private_key(65537, 1024)), "rsa-1024"),  # noqa: S505  refused
    "unknown curve": (other_key(lambda: ec.generate_private_key(ec.SECP521R1())), "secp521r1"),
    "foreign anchor of the same name": (foreign_root, "is not signed by"),
    "forged signature": (forged_issuing, "is not signed by"),
    "issuing CA missing": (lambda g: {"chain": g.chains["orders"].partition("\n-----BEGIN")[0]}, "is not signed by"),
    "pathlen exceeded": (deeper, "pathlen 0"),
    "issuer that is no CA": (no_ca, "no CA:TRUE"),
    "expired issuing CA": (expired_issuing, "expired at"),
    "expired leaf": (lambda g: chain_from(g, begin=NOW - timedelta(9), end=NOW - timedelta(1)), "expired at"),
    "leaf of tomorrow": (lambda g: chain_from(g, begin=NOW + timedelta(1)), "not valid before"),
    "client's leaf": (lambda g: chain_from(g, server=False), "without the EKU serverAuth"),
    "CA as leaf": (lambda g: chain_from(g, ca=True), "CA:TRUE"),
    "name not covered": (lambda g: {"server_names": ["orders.example.test", "shop.example.test"]}, "shop.example.test"),
    "no server names": (lambda g: {"server_names": []}, "no server names"),
    "no certificate": (lambda g: {"chain": "nothing"}, "no certificate in it"),
    "broken certificate": (
        lambda g: {"chain": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "can't be read",
    ),
    "key in the chain": (
        lambda g: {"chain": g.chains["orders"] + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        "something else than certificates",
    ),
    "no anchor": (lambda g: {"trust_anchor": ""}, "trust anchor of site 'orders'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_nginx_would_serve_wrongly_is_refused(deployed: Gateway, case: str) -> None:
    alter, message = REFUSED[case]
    before = deployed.tree()
    with pytest.raises(KitError, match=message):
        deployed.release(**alter(deployed))
    assert deployed.tree() == before


def test_one_bad_site_stops_all_before_anything_is_changed(gateway: Gateway) -> None:
    gateway.sites = ("orders", "shop")
    gateway.certify(gateway.request()["csrs"])
    gateway.trusts["shop"] = {**gateway.pki.trust(), "sha256": "0" * 64}
    before = gateway.tree()
    with pytest.raises(KitError, match="trust 1 of site 'shop'"):
        gateway.release()
    assert gateway.tree() == before


@pytest.mark.parametrize("skew", [timedelta(minutes=3), timedelta(minutes=-3)])
def test_clocks_that_are_apart_leave_the_old_release(deployed: Gateway, skew: timedelta) -> None:
    with pytest.raises(KitError, match=r"2026-06-01T1\d:\d\d:00Z here and 2026-06-01T12:00:30Z on the CA host"):
        deployed.release(now=NOW + skew)


@pytest.mark.parametrize("now", ["yesterday", "2026-06-01T12:00:30", ""])
def test_a_clock_that_is_none(deployed: Gateway, now: str) -> None:
    with pytest.raises(KitError, match="ISO 8601 with a time zone"):
        release.moment_from(now)


@pytest.mark.parametrize(
    ("password", "message"), [("", "an empty one"), ("two\nlines", "line break"), ("x" * 1025, "1025 bytes")]
)
def test_passwords_that_nginx_could_not_read(gateway: Gateway, password: str, message: str) -> None:
    gateway.password = password
    with pytest.raises(KitError, match=message) as refusal:
        gateway.request()
    assert not password or password not in str(refusal.value)
    assert not gateway.root.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"orders": 1}', '{"orders": "geheim"'])
def test_passwords_of_another_form_are_not_quoted(gateway: Gateway, text: str) -> None:
    with pytest.raises(KitError, match="JSON object") as refusal:
        release_module = gateway.common() | {"passwords": text, "sites": []}
        from ansible_collections.mtls.kit.plugins.modules import certificate_request

        certificate_request.run(release_module, False)
    assert "geheim" not in str(refusal.value)


# ---------------------------------------------------------------- drift


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def test_altered_certificate_is_written_again(deployed: Gateway) -> None:
    rewrite(deployed.current() / "server.crt", b"nothing\n")
    result = deployed.release()
    assert reasons(result) == ["install: server.crt altered on the gateway"]
    assert (deployed.current() / "server.crt").read_text() == deployed.chains["orders"]
    assert deployed.release()["changed"] is False


def test_drifted_modes_are_repaired(deployed: Gateway) -> None:
    folder = deployed.current()
    (folder / "server.key").chmod(0o644)
    folder.chmod(0o755)
    result = deployed.release()
    assert reasons(result) == [
        f"install: folder {folder.name} had mode 0755, not 0700; server.key had mode 0644, not 0400"
    ]
    assert (mode(folder), mode(folder / "server.key")) == ("0700", "0400")
    assert deployed.release()["changed"] is False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_foreign_owner_is_repaired(deployed: Gateway) -> None:
    os.chown(deployed.current() / "password", 1, 1)
    assert reasons(deployed.release()) == ["install: password owned by daemon:daemon, not root:root"]
    assert (deployed.current() / "password").stat().st_uid == 0
    assert deployed.release()["changed"] is False


def test_a_link_in_place_of_a_file_is_replaced_not_followed(deployed: Gateway, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (deployed.current() / "id.map").unlink()
    (deployed.current() / "id.map").symlink_to(elsewhere)
    assert reasons(deployed.release()) == ["install: id.map missing on the gateway"]
    assert elsewhere.read_text() == "untouched"
    assert not (deployed.current() / "id.map").is_symlink()


def test_a_key_that_was_lost_is_made_and_certified_again(deployed: Gateway) -> None:
    lost = deployed.current()
    rewrite(lost / "server.key", b"nothing\n")
    wanted = deployed.request()
    assert reasons(wanted) == ["write: no usable key in the release on the gateway"]
    deployed.certify(wanted["csrs"])
    assert "install" in reasons(deployed.release())[0]
    assert deployed.current() != lost
    assert deployed.request()["changed"] is deployed.release()["changed"] is False


def test_a_key_altered_without_losing_it_becomes_a_release_of_its_own(deployed: Gateway) -> None:
    key = deployed.current() / "server.key"
    rewrite(key, key.read_bytes() + b"\n")
    assert reasons(deployed.release()) == ["install: server.key altered on the gateway"]
    assert deployed.release()["changed"] is False


def test_a_new_password_is_put_on_the_key_there_is(deployed: Gateway) -> None:
    old = deployed.current()
    deployed.password = "another-password-0123456789"
    assert deployed.request()["changed"] is False
    assert reasons(deployed.release()) == ["install: the password of the key changed"]
    folder = deployed.current()
    assert folder != old
    key = keys.load_encrypted((folder / "server.key").read_bytes(), deployed.password.encode(), "key")
    old_key = keys.load_encrypted((old / "server.key").read_bytes(), PASSWORD.encode(), "key")
    assert keys.public_key_sha256(key.public_key()) == keys.public_key_sha256(old_key.public_key())
    assert deployed.release()["changed"] is False


def test_a_lost_link_is_put_back(deployed: Gateway) -> None:
    current = deployed.current()
    (current.parent / "current").unlink()
    assert deployed.request()["csrs"] == {}
    assert reasons(deployed.release()) == [f"switch: release {current.name} was installed but not in use"]
    assert deployed.release()["changed"] is False


# ---------------------------------------------------------------- what is kept, and the way back


def test_older_releases_and_trust_units_go(deployed: Gateway) -> None:
    seen = [deployed.current().name]
    for days in range(1, 5):
        deployed.pki.next_trust()
        deployed.deploy(wanted=f"renew: {days} of 90 days left")
        seen.append(deployed.current().name)
    folder = deployed.root / "orders"
    assert {path.name for path in (folder / "releases").iterdir()} == {*seen[-3:], "current", "previous"}
    assert {path.name for path in (folder / "trust").iterdir()} == {"3", "4", "5", "current"}


def test_a_run_that_keeps_one_still_keeps_the_way_back(deployed: Gateway) -> None:
    first = deployed.current().name
    deployed.keep = 1
    deployed.deploy(wanted="renew: 1 of 90 days left")
    assert release.rollback(deployed.root / "orders")[1] == first


def test_rollback_goes_back_once_and_leaves_the_trust(deployed: Gateway) -> None:
    first = deployed.current().name
    deployed.pki.next_trust("0A1B")
    deployed.deploy(wanted="renew: 1 of 90 days left")
    second = deployed.current().name
    assert release.rollback(deployed.root / "orders") == (second, first)
    assert deployed.current().name == first
    assert (deployed.root / "orders" / "trust" / "current").resolve().name == "2"
    with pytest.raises(KitError, match="no previous release"):
        release.rollback(deployed.root / "orders")
    assert deployed.current().name == first


def test_after_a_rollback_the_next_run_goes_forward_with_the_certificate_there_is(deployed: Gateway) -> None:
    deployed.deploy(wanted="renew: 1 of 90 days left")
    second, _ = release.rollback(deployed.root / "orders")
    wanted = deployed.request()
    assert (wanted["csrs"], wanted["changed"]) == ({}, False)
    assert reasons(deployed.release()) == [f"switch: release {second} was installed but not in use"]
    assert deployed.current().name == second


def test_rollback_refuses_without_a_way_or_to_altered_files(deployed: Gateway) -> None:
    with pytest.raises(KitError, match="no previous release"):
        release.rollback(deployed.root / "orders")
    first = deployed.current()
    deployed.deploy(wanted="renew: 1 of 90 days left")
    second = deployed.current()
    rewrite(first / "server.crt", (second / "server.crt").read_bytes())
    with pytest.raises(KitError, match="altered"):
        release.rollback(deployed.root / "orders")
    (first / "password").unlink()
    with pytest.raises(KitError, match="without password"):
        release.rollback(deployed.root / "orders")
    assert deployed.current() == second


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_no_umask_makes_a_difference(gateway: Gateway, umask: int) -> None:
    before = os.umask(umask)
    try:
        gateway.deploy()
    finally:
        os.umask(before)
    assert mode(gateway.current()) == "0700"
    found = {path.name: mode(path) for path in gateway.current().iterdir()}
    assert found == {"server.key": "0400", "server.crt": "0444", "password": "0400", "id.map": "0444"}
    assert gateway.request()["changed"] is False
    assert gateway.release()["changed"] is False
