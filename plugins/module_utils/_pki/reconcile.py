"""What OpenBao has signed and revoked, compared with the ledger: no certificate is to go unknown.

A run that was cut off between OpenBao's signature and its own entry leaves a certificate that nobody was handed. The
ledger knows for which keys certificates were asked (``OpenBaoSigner.announce``): such a stray is revoked. What anybody
else had signed from a mount of this PKI is entered as ``unknown/<serial>``, so that it can be seen and revoked; what
was revoked in OpenBao itself is revoked in the ledger, and the other way round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, keys, names, openbao
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import (
    Authority,
    Ledger,
    NewCertificate,
    Revocation,
    encode_list,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import UNKNOWN, Differences, Found, places
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Client


@dataclass
class _Mount:
    """The engine of one CA, and the authorities of this PKI in it."""

    path: str
    authorities: list[Authority] = field(default_factory=list)


def differences(client: Client, ledger: Ledger, now: datetime) -> Differences:
    """Ask OpenBao for its lists; a request for each mount and list, and one for each certificate the ledger lacks."""
    mounts: dict[str, _Mount] = {}
    known_places = places(ledger)
    authorities = ledger.authorities()
    for ca in authorities:
        if ca.label in known_places and ca.not_after > now:
            path = known_places[ca.label].mount
            mounts.setdefault(path, _Mount(path)).authorities.append(ca)
    own = {ca.serial for ca in authorities} | {cross.serial for cross in ledger.cross_certificates().values()}
    revoked: list[Found] = []
    unknown: list[NewCertificate] = []
    untold: list[tuple[str, str, str]] = []
    for mount in mounts.values():
        signed = _serials(client, f"{mount.path}/certs")
        revoked_there = _serials(client, f"{mount.path}/certs/revoked")
        known = set(own)
        for ca in mount.authorities:
            known |= ledger.serials_of(ca.number)
            known |= {listed.serial for listed in ledger.revocations(ca.number, clock.moment(0))}
            untold += [
                (_name(ledger, ca, listed.serial), mount.path, listed.serial)
                for listed in ledger.revocations(ca.number, now)
                if listed.serial in signed and listed.serial not in revoked_there
            ]
        revoked += _revoked_there(ledger, mount, authorities, revoked_there, now)
        for certificate in _read(client, mount, signed - known):
            signer = next((ca for ca in mount.authorities if _is_of(certificate, ca)), None)
            if signer is None or clock.not_after(certificate) < now:
                continue
            if _was_asked_for(ledger, certificate):
                revoked.append(_stray(certificate, signer, now))
            else:
                unknown.append(_stranger(certificate, signer, now))
    return Differences(revoked, unknown, untold)


def _serials(client: Client, path: str) -> set[str]:
    listed = client.list("certificates that were signed", path).get("keys") or []
    return {openbao.serial_of(serial) for serial in listed}


def _read(client: Client, mount: _Mount, serials: Iterable[str]) -> Iterator[x509.Certificate]:
    def read(serial: str) -> dict[str, Any] | None:
        return client.find(f"certificate with serial {serial}", f"{mount.path}/cert/{openbao.colons(serial)}")

    for found in client.in_parallel(read, sorted(serials)):
        if found is not None:
            yield x509.load_pem_x509_certificate(str(found.get("certificate")).encode())


def _is_of(certificate: x509.Certificate, ca: Authority) -> bool:
    return keys.signed_by(certificate, x509.load_der_x509_certificate(ca.der))


def _was_asked_for(ledger: Ledger, certificate: x509.Certificate) -> bool:
    public_key = certificate.public_key()
    if not isinstance(public_key, keys.PublicKey):
        return False
    digest = keys.public_key_sha256(public_key)
    return digest in openbao.announced(ledger) or ledger.knows_key(digest)


def _name(ledger: Ledger, ca: Authority, serial: str) -> str:
    return next((issued.name for issued in ledger.by_serial(serial) if issued.issuer == ca.number), f"serial {serial}")


def _revoked_there(
    ledger: Ledger, mount: _Mount, authorities: Iterable[Authority], serials: Iterable[str], now: datetime
) -> Iterator[Found]:
    """Leaves and issuing CAs of the ledger that somebody revoked in OpenBao."""
    numbers = {ca.number for ca in mount.authorities}
    below = {ca.serial: ca for ca in authorities if ca.issuer in numbers and ca.not_after > now}
    for serial in sorted(serials):
        for issued in ledger.by_serial(serial):
            if issued.issuer in numbers and issued.revoked is None and issued.not_after >= now:
                yield _found_revoked(issued.name, issued.issuer, serial, issued.not_after, now)
        ca = below.get(serial)
        if ca is not None and ca.issuer is not None and not ledger.is_revoked(ca.issuer, serial):
            yield _found_revoked(ca.path, ca.issuer, serial, ca.not_after, now)


def _found_revoked(name: str, issuer: int, serial: str, not_after: datetime, now: datetime) -> Found:
    words = f"revoke: revoked in OpenBao, serial {serial}"
    return Found(name, words, Revocation(issuer, serial, "unspecified", now, not_after))


def _stray(certificate: x509.Certificate, ca: Authority, now: datetime) -> Found:
    serial = names.serial_text(certificate.serial_number)
    words = f"revoke: signed for a run that was cut off, serial {serial}"
    end = clock.not_after(certificate)
    return Found(f"serial {serial}", words, Revocation(ca.number, serial, "superseded", now, end))


def _stranger(certificate: x509.Certificate, ca: Authority, now: datetime) -> NewCertificate:
    """Entered as a probe is: nobody's newest certificate, in no list of what is handed out."""
    der = certificate.public_bytes(Encoding.DER)
    serial = names.serial_text(certificate.serial_number)
    public_key = certificate.public_key()
    known = isinstance(public_key, keys.PublicKey)
    return NewCertificate(
        issuer=ca.number,
        serial=serial,
        name=f"{UNKNOWN}{serial}",
        probe=True,
        reason=f"adopt: signed by {ca.label} for somebody else",
        profile="",
        profile_sha256="",
        for_clients=False,
        subject=certificate.subject.rfc4514_string(),
        sans=encode_list([]),
        groups="[]",
        key_type=keys.describe(public_key),
        public_key_sha256=keys.public_key_sha256(public_key) if known else "",  # type: ignore[arg-type]
        sha256=hashlib.sha256(der).hexdigest(),
        not_before=clock.seconds(clock.not_before(certificate)),
        not_after=clock.seconds(clock.not_after(certificate)),
        created=clock.seconds(now),
        der=der,
        key=None,
    )
