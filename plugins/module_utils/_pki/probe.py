"""Identities of ten minutes for a verification on the wire: one that gets in, and those that must not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    authority,
    clock,
    constraints,
    keys,
    names,
    openbao,
    profiles,
    rotation,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.backend import (
    LocalSigner,
    Request,
    Signer,
    open_signer,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import TrustSpec
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, NewCertificate, encode_list
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.place import places
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import Store, key_path
from ansible_collections.mtls.kit.plugins.module_utils._pki.vault_client import Session

LIFE: Final = timedelta(minutes=10)
LONG_AGO: Final = timedelta(hours=2)
"""How long ago the expired identity ended: no clock of a gateway may be so far behind."""

_KEY_TYPE: Final = "ec-p256"


@dataclass(frozen=True)
class Identity:
    """What a probe shows: a chain and its encrypted key, empty for a client without a certificate."""

    name: str
    expect: str
    chain: str
    key: str

    def as_dict(self) -> dict[str, str]:
        """The form of the module's result."""
        return {"name": self.name, "expect": self.expect, "chain": self.chain, "key": self.key}


@dataclass(frozen=True)
class _Issuer:
    """Who signs a probe; ``number`` is None for a CA that no ledger knows."""

    signer: Signer
    chain: str
    number: int | None


class _Minter:
    def __init__(self, store: Store, password: bytes, now: datetime) -> None:
        self._pki = store.ledger.meta("name") or ""
        self._password = password
        self._now = now
        self.entries: list[NewCertificate] = []

    def leaf(self, name: str, issuer: _Issuer, profile: str, expect: str, ended: timedelta = timedelta(0)) -> Identity:
        end = self._now - ended if ended else self._now + LIFE
        subject, san = constraints.probe_names(issuer.signer.issuer.name_constraints, self._pki, name)
        key = keys.generate(_KEY_TYPE)
        leaf = authority.Leaf(
            name=f"probe/{name}",
            profile=profiles.PROFILES[profile],
            subject=subject,
            sans=(san,),
            not_before=end - LIFE - clock.BACKDATED,
            not_after=end,
        )
        issuer.signer.announce([key.public_key()])
        certificate = issuer.signer.leaf(leaf, Request.of(key))
        if issuer.number is not None:
            self.enter(certificate, leaf.name, issuer.number, profile, subject, encode_list([str(san)]))
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return Identity(name, expect, pem + issuer.chain, keys.encrypted_pem(key, self._password).decode())

    def enter(
        self,
        certificate: x509.Certificate,
        name: str,
        issuer: int,
        profile: str,
        subject: names.Subject,
        sans: str,
    ) -> None:
        der = certificate.public_bytes(Encoding.DER)
        public = certificate.public_key()
        assert isinstance(public, keys.PublicKey)  # noqa: S101  made here
        self.entries.append(
            NewCertificate(
                issuer=issuer,
                serial=names.serial_text(certificate.serial_number),
                name=name,
                probe=True,
                reason="issue: probe",
                profile=profile,
                profile_sha256="",
                for_clients=False,
                subject=names.dn(subject),
                sans=sans,
                groups="[]",
                key_type=_KEY_TYPE,
                public_key_sha256=keys.public_key_sha256(public),
                sha256=hashlib.sha256(der).hexdigest(),
                not_before=clock.seconds(clock.not_before(certificate)),
                not_after=clock.seconds(clock.not_after(certificate)),
                created=clock.seconds(self._now),
                der=der,
                key=None,
            )
        )

    def sibling(self, root: Authority, signer: Signer) -> _Issuer:
        """Another issuing CA under the real root, whose key is forgotten after this run."""
        subject: names.Subject = (("CN", f"{self._pki} Probe Sibling"),)
        key = keys.generate(_KEY_TYPE)
        certificate = signer.issuing(subject, Request.of(key), self._now, self._now + LIFE)
        self.enter(certificate, "probe/sibling-ca", root.number, "issuing", subject, "[]")
        # Its leaf is not entered: what one of the ledger's authorities has signed is the sibling CA alone.
        signs = LocalSigner(authority.Signer.of(certificate, key, "sibling"))
        return _Issuer(signs, certificate.public_bytes(Encoding.PEM).decode(), None)

    def stranger(self, issuing: Authority, root: Authority) -> _Issuer:
        """A CA of one's own making that bears the real one's names."""
        root_key, issuing_key = keys.generate(_KEY_TYPE), keys.generate(_KEY_TYPE)
        root_subject, subject = (
            names.subject_of(x509.load_der_x509_certificate(ca.der).subject) for ca in (root, issuing)
        )
        end = self._now + LIFE
        root_certificate = authority.create_root(root_subject, root_key, self._now, end)
        signer = authority.Signer.of(root_certificate, root_key, "stranger")
        certificate = authority.create_issuing(subject, issuing_key.public_key(), signer, self._now, end)
        signs = LocalSigner(authority.Signer.of(certificate, issuing_key, "stranger"))
        return _Issuer(signs, certificate.public_bytes(Encoding.PEM).decode(), None)


def mint(
    store: Store,
    trust: Iterable[TrustSpec],
    passwords: Mapping[str, str],
    probe_password: str,
    now: datetime,
    session: Session | None = None,
) -> tuple[dict[str, list[Identity]], list[str]]:
    """(identities by scope, warnings): what the sites of each trust scope must let in and turn away.

    An issuing CA that the scope accepts signs: the first one that is made already. Scopes that share it share its
    identities. What the PKI's own authorities sign is entered in the ledger as a probe.
    Raises KitError for no scope, an unknown issuing CA, a weak password, or a key that can't be opened.
    """
    now = now.replace(microsecond=0)
    if len(probe_password) < 16:
        raise KitError("probe_password", "fewer than 16 characters", "a random one made for this run", "generate it")
    password = keys.check_password(probe_password, "the probes")
    authorities = {ca.number: ca for ca in store.ledger.authorities()}
    signing = {spec.scope: _accepted(authorities.values(), spec) for spec in trust}
    if not signing:
        raise KitError("trust", "no scope", "the trust scope of a site at least", "add a site to nginx_mtls_sites")
    minter = _Minter(store, password, now)
    with openbao.OpenBaoBackend.opened(session, store.ledger.meta("name") or "", store.ledger, now) as backend:
        round_ = _Round(store, minter, authorities, Passwords(passwords), backend)
        minted = {number: list(round_.identities_of(authorities[number])) for number in sorted(_numbers(signing))}
    with store.ledger.transaction():
        store.ledger.add_certificates(minter.entries)
        openbao.forget_announced(store.ledger)
    return {scope: minted[ca.number] for scope, ca in signing.items()}, round_.warnings


def _numbers(signing: Mapping[str, Authority]) -> set[int]:
    return {ca.number for ca in signing.values()}


class _Round:
    """The identities of one run, with what issuing CAs of one root share."""

    def __init__(
        self,
        store: Store,
        minter: _Minter,
        authorities: Mapping[int, Authority],
        passwords: Passwords,
        backend: openbao.OpenBaoBackend | None,
    ) -> None:
        self._store = store
        self._minter = minter
        self._authorities = authorities
        self._passwords = passwords
        self._backend = backend
        self._in_openbao = places(store.ledger)
        self._siblings: dict[int, list[Identity]] = {}
        self.warnings: list[str] = []

    def _signer(self, ca: Authority) -> Signer:
        if ca.label in self._in_openbao:
            return openbao.required(self._backend).signer(ca)
        return LocalSigner(open_signer(self._store, ca, self._passwords))

    def _sibling_under(self, root: Authority) -> list[Identity]:
        if root.label not in self._in_openbao and not self._store.exists(key_path(root.label)):
            self.warnings.append(f"the identity 'sibling' is left out: the key of {root.label} is not on this host")
            return []
        return [self._minter.leaf("sibling", self._minter.sibling(root, self._signer(root)), "client", "refused")]

    def identities_of(self, issuing: Authority) -> Iterator[Identity]:
        """What a site that accepts this CA is shown."""
        minter = self._minter
        root = self._authorities[issuing.issuer or issuing.number]
        real = _Issuer(self._signer(issuing), authority.pem(issuing.der), issuing.number)
        yield minter.leaf("good", real, "client", "accepted")
        yield Identity("none", "refused", "", "")
        yield minter.leaf("stranger", minter.stranger(issuing, root), "client", "refused")
        yield minter.leaf("expired", real, "client", "refused", ended=LONG_AGO)
        if root.number not in self._siblings:
            self._siblings[root.number] = self._sibling_under(root)
        yield from self._siblings[root.number]
        yield minter.leaf("server-cert", real, "server", "refused")


def _accepted(authorities: Collection[Authority], spec: TrustSpec) -> Authority:
    for name in spec.accept:
        if (found := rotation.signing(authorities, name)) is not None and found.name != "root":
            return found
    known = ", ".join(sorted({ca.name for ca in authorities if ca.issuer is not None})) or "none yet"
    raise KitError(
        f"trust scope {spec.scope!r}",
        f"{', '.join(spec.accept) or 'no issuing CA'}",
        f"an issuing CA of this store ({known})",
        "run site.yml first, or correct what the sites accept",
    )
