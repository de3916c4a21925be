"""A gateway that serves under a PKI is never taken over by another one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import NOW, Authority, Gateway, Pki, current_user, pem


def test_another_pki_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    ours = Gateway(tmp_path / "mtls", Pki(number=7), current_user())
    ours.deploy()
    before = ours.tree()

    accident = Gateway(tmp_path / "mtls", Pki(Authority.create("other Root G1", path_length=1)), current_user())
    with pytest.raises(KitError) as refused:
        accident.deploy(wanted="issue: new")
    assert "site 'orders': found clients of another PKI trusted there, of CN=acme Root G1" in str(refused.value)
    assert "expected the PKI that hands this out, of CN=other Root G1" in str(refused.value)
    assert "remove the site with playbooks/remove.yml first" in str(refused.value)
    waiting = str(tmp_path / "mtls" / "orders" / "pending")
    assert {path: what for path, what in ours.tree().items() if not path.startswith(waiting)} == before
    assert ours.release()["changed"] is False


def test_a_new_root_beside_the_old_one_is_the_same_pki(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "mtls", Pki(), current_user())
    gateway.deploy()
    new_root = Authority.create("acme Root G2", path_length=1)
    both = gateway.arguments()["sites"][0]["trust_anchor"] + pem(new_root.certificate)
    assert gateway.release(trust_anchor=both)["changed"] is False


def test_what_has_ended_gives_way_to_a_root_of_its_own(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "mtls", Pki(), current_user())
    gateway.deploy()
    ended = Authority.create("acme Root G1", path_length=1, end=NOW - timedelta(days=1))
    bundle = tmp_path / "mtls/orders/trust/current/client-ca.crt"
    bundle.chmod(0o644)
    bundle.write_text(pem(ended.certificate))

    successor = Pki(Authority.create("acme Root G2", path_length=1), number=2)
    assert Gateway(gateway.root, successor, gateway.owner).deploy(wanted="re-issue: root replaced")["changed"] is True
    assert bundle.read_text() == successor.files()["client-ca.crt"]
