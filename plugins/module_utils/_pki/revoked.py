"""What is revoked, as it is to be proven on the gateways: the certificates, and where the CA made them, their keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import authority, keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import RevokeSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Issued
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import Store


@dataclass(frozen=True)
class Revoked:
    """A revoked certificate that has not expired. ``issuer`` is the number of its authority.

    ``chain`` and ``key`` (PEM, encrypted under the password of the run) are empty where it can't be shown; ``untried``
    then says why.
    """

    name: str
    serial: str
    issuer: int
    reason: str
    untried: str
    chain: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The form of the module's result."""
        return {**vars(self)}


def of(
    store: Store, specs: Iterable[RevokeSpec], passwords: Passwords, run_password: str, now: datetime
) -> list[Revoked]:
    """Every revoked certificate in force that ``specs`` name, each once, the newest of a name first.

    A key is opened with its own password and handed on under ``run_password``, so that the client's stays here.
    """
    if len(run_password) < 16:
        raise KitError("probe_password", "fewer than 16 characters", "a random one made for this run", "generate it")
    authorities = {ca.number: ca for ca in store.ledger.authorities()}
    found: dict[tuple[int, str], Revoked] = {}
    for spec in specs:
        for issued in _issued(store, spec, now):
            found.setdefault(
                (issued.issuer, issued.serial), _shown(store, issued, authorities, passwords, run_password.encode())
            )
        if spec.certificate is not None:
            found.update(_unknown(store, spec.certificate, authorities.values(), found))
    return list(found.values())


def _issued(store: Store, spec: RevokeSpec, now: datetime) -> list[Issued]:
    if spec.name is not None:
        return store.ledger.revoked_of([spec.name], now)
    serial = spec.serial or names.serial_text(spec.certificate.serial_number if spec.certificate else 0)
    return [
        issued for issued in store.ledger.by_serial(serial) if issued.revoked is not None and issued.not_after >= now
    ]


def _shown(
    store: Store, issued: Issued, authorities: dict[int, Authority], passwords: Passwords, run_password: bytes
) -> Revoked:
    chain, key, untried = "", "", ""
    if not issued.for_clients:
        untried = "it is no client's certificate"
    elif issued.handed_over:
        untried = "its key was handed over to the client and is not here"
    elif not issued.has_key:
        untried = "its key was not made by this CA"
    elif issued.name not in passwords:
        untried = "no vault has the password of its key"
    else:
        ((_, der, pem),) = store.ledger.contents([issued.id])
        try:
            opened = passwords.open(pem or b"", issued.name, f"key of {issued.name}")
        except KitError:
            untried = "the vault's password doesn't open its key"
        else:
            issuing = authorities[issued.issuer]
            chain = authority.pem(der) + authority.pem(issuing.der)
            key = keys.encrypted_pem(opened, run_password).decode()
    return Revoked(issued.name, issued.serial, issued.issuer, issued.revoked or "", untried, chain, key)


def _unknown(
    store: Store,
    certificate: x509.Certificate,
    authorities: Iterable[Authority],
    found: dict[tuple[int, str], Revoked],
) -> Iterator[tuple[tuple[int, str], Revoked]]:
    """A revoked certificate of this PKI that the ledger does not know."""
    serial = names.serial_text(certificate.serial_number)
    for ca in authorities:
        place = (ca.number, serial)
        signed = keys.signed_by(certificate, x509.load_der_x509_certificate(ca.der))
        if signed and place not in found and store.ledger.is_revoked(ca.number, serial):
            yield place, Revoked(f"serial {serial}", serial, ca.number, "", "this CA does not know it")
