"""What of a revoked certificate can be handed out; tests/unit/modules/test_pki_revoked.py has the rest."""

from __future__ import annotations

import sqlite3

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import desired, names, revoked, store
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from tests.unit.module_utils._pki.authority_host import AuthorityHost


@pytest.mark.parametrize("known", [True, False])
def test_a_certificate_that_this_ledger_has_lost_is_told_by_its_serial(host: AuthorityHost, known: bool) -> None:
    host.run()
    leaf = host.leaf("client/alice")
    certificate = {"certificate": leaf.public_bytes(Encoding.PEM).decode()}
    host.run(revoke=[certificate])
    if not known:
        # As after a restore from an archive that is older than the certificate.
        with sqlite3.connect(host.store / "ledger.sqlite") as ledger:
            ledger.execute("DELETE FROM certificates WHERE serial = ?", (names.serial_text(leaf.serial_number),))
    with store.opened(host.store, None, host.now, dry=True) as opened:
        specs = desired.revocations_from([certificate])
        (found,) = revoked.of(opened, specs, Passwords(host.passwords), "made for this run only", host.now)
    assert found.serial == names.serial_text(leaf.serial_number)
    assert (found.name, found.untried, bool(found.key)) == (
        ("client/alice", "", True) if known else (f"serial {found.serial}", "this CA does not know it", False)
    )
    assert "PRIVATE" not in repr(found)
