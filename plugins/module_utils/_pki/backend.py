"""Where the keys of authorities are, and what a run may ask of them: one protocol, whoever holds the keys.

``LocalBackend`` keeps them encrypted in the store, or on a medium (``offline``); ``openbao.OpenBaoBackend`` has them
made in OpenBao, which they never leave. Which of the two an authority has is a fact of the ledger, so a store may hold
authorities of both: the one is left for the other by a rotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._pki import adopt, authority, crl, keys, names, offline, profiles
from ansible_collections.mtls.kit.plugins.module_utils._pki.desired import Desired
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Authority, Crl, Listed
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords
from ansible_collections.mtls.kit.plugins.module_utils._pki.plan import PlannedAuthority
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import KEY_MODE, Store, key_path


@dataclass(frozen=True)
class Request:
    """The key that a certificate is asked for: its private half where it is made here, else its owner's CSR."""

    public_key: keys.PublicKey
    private_key: keys.PrivateKey | None = field(default=None, repr=False)
    csr: str = ""

    @classmethod
    def of(cls, private_key: keys.PrivateKey) -> Request:
        """The request for a key that was made here."""
        return cls(private_key.public_key(), private_key)


class Signer(Protocol):
    """An authority that signs. Raises KitError for what would break its profile, or can't be signed now."""

    remote: bool
    """Whether each signature is a call to somewhere else."""

    @property
    def issuer(self) -> authority.Issuer:
        """What its certificate tells."""
        ...

    def announce(self, public_keys: Iterable[keys.PublicKey]) -> None:
        """Say before, for which keys certificates are asked: a run may be cut off before it can enter them."""
        ...

    def leaf(self, leaf: authority.Leaf, request: Request) -> x509.Certificate:
        """A leaf, cut to its issuer's life."""
        ...

    def issuing(
        self,
        subject: names.Subject,
        request: Request,
        now: datetime,
        not_after: datetime,
        limits: Iterable[profiles.Extension] = (),
    ) -> x509.Certificate:
        """An issuing CA below this root, cut to its life."""
        ...

    def cross(self, successor: x509.Certificate, csr: str, now: datetime) -> x509.Certificate:
        """The root after this one once more, signed by this one; ``csr`` is what ``Backend.request`` gives of it,
        for a signer that is remote."""
        ...

    def crl(self, number_of: int, listed: Iterable[Listed], number: int, now: datetime, days: int, extent: str) -> Crl:
        """A CRL, as ``crl.sign`` makes it."""
        ...


class Backend(Protocol):
    """Makes authorities and opens those there are."""

    def prepare(self, planned: PlannedAuthority) -> None:
        """Look whether this authority can be made; KitError before anything is changed."""
        ...

    def make(
        self, planned: PlannedAuthority, subject: names.Subject, parent: Signer | None, now: datetime
    ) -> tuple[x509.Certificate, Signer]:
        """Make a key and have ``parent``, None for a root, sign its certificate. ``enter`` tells the ledger."""
        ...

    def enter(self, planned: PlannedAuthority) -> None:
        """Write down where the key of what was made is, in the transaction that enters its certificate."""
        ...

    def signer(self, ca: Authority) -> Signer:
        """The signer of an authority; KitError when its key can't be used."""
        ...

    def request(self, ca: Authority) -> str:
        """A CSR in PEM for the key of an authority, where another signer needs one."""
        ...


# ---------------------------------------------------------------------- in the store


def open_signer(
    store: Store, ca: Authority, passwords: Passwords, medium: offline.Medium | None = None
) -> authority.Signer:
    """The signer of an authority; KitError when its key is not there, damaged, or another password's.

    ``medium`` holds the keys of roots that are kept offline.
    """
    pem = (medium.read(ca.label) if medium is not None else None) or store.read(key_path(ca.label))
    what = f"key of {ca.label}"
    if pem is None:
        raise KitError(
            what,
            f"no {key_path(ca.label)} in the store",
            "the key, to sign with",
            "bring the key to this host or restore the store from a backup",
        )
    key = passwords.open(pem, ca.path, what)
    return authority.Signer.of(x509.load_der_x509_certificate(ca.der), key, what)


class LocalSigner:
    """Signs with a key that is open in this process."""

    remote = False

    def __init__(self, signer: authority.Signer) -> None:
        self._signer = signer

    @property
    def issuer(self) -> authority.Issuer:
        """What its certificate tells."""
        return self._signer

    def announce(self, public_keys: Iterable[keys.PublicKey]) -> None:
        """Nothing: what was signed here and not entered has left no trace."""

    def leaf(self, leaf: authority.Leaf, request: Request) -> x509.Certificate:
        """A leaf, cut to its issuer's life."""
        return authority.sign_leaf(leaf, request.public_key, self._signer)

    def issuing(
        self,
        subject: names.Subject,
        request: Request,
        now: datetime,
        not_after: datetime,
        limits: Iterable[profiles.Extension] = (),
    ) -> x509.Certificate:
        """An issuing CA below this root, cut to its life."""
        return authority.create_issuing(subject, request.public_key, self._signer, now, not_after, limits)

    def cross(self, successor: x509.Certificate, csr: str, now: datetime) -> x509.Certificate:
        """The root after this one once more, signed by this one; its certificate is all that takes."""
        return authority.create_cross(successor, self._signer, now)

    def crl(self, number_of: int, listed: Iterable[Listed], number: int, now: datetime, days: int, extent: str) -> Crl:
        """A CRL, as ``crl.sign`` makes it."""
        return crl.sign(self._signer, number_of, listed, number, now, days, extent)


class LocalBackend:
    """Keys in the store, encrypted under the passwords of the run; those of offline roots on their medium."""

    def __init__(
        self, store: Store, desired: Desired, passwords: Passwords, adopt_password: str, warnings: list[str]
    ) -> None:
        """``warnings`` gets what is weak about a CA that is adopted."""
        self._store = store
        self._passwords = passwords
        self._adopt_password = adopt_password
        self._medium = offline.Medium(desired.name, desired.root_keys)
        self._warnings = warnings
        self._adopted: dict[str, keys.PrivateKey] = {}
        self._unfinished: dict[str, keys.PrivateKey] = {}

    def prepare(self, planned: PlannedAuthority) -> None:
        """Open what the authority is made of, and see that there is a password for it."""
        self._passwords.of(planned.spec.path)
        if planned.spec.name == offline.ROOT and (pem := self._medium.read(planned.label)) is not None:
            self._unfinished[planned.label] = self._unfinished_key(planned, pem)
        if planned.adopted is not None:
            self._adopted[planned.label] = planned.adopted.open_key(self._adopt_password)
            weak = adopt.password_weaknesses(self._adopt_password)
            self._warnings.extend(f"{planned.label}: {weakness}" for weakness in weak)

    def _unfinished_key(self, planned: PlannedAuthority, pem: bytes) -> keys.PrivateKey:
        """The key that a run which was cut off wrote to the medium, before the ledger knew its root.

        It is our own by its password, which the vault has; KitError for any other file of that name.
        """
        try:
            key = self._passwords.open(pem, planned.spec.path, f"key of {planned.label}")
        except KitError:
            raise self._medium.not_free(planned.label) from None
        if keys.key_type_of(key) != planned.spec.key_type:
            raise self._medium.not_free(planned.label)
        return key

    def make(
        self, planned: PlannedAuthority, subject: names.Subject, parent: Signer | None, now: datetime
    ) -> tuple[x509.Certificate, Signer]:
        """A key reaches the disk before the ledger knows its certificate."""
        adopted = planned.adopted
        unfinished = self._unfinished.get(planned.label)
        key = self._adopted[planned.label] if adopted else unfinished or keys.generate(planned.spec.key_type)
        end = now + timedelta(days=planned.spec.days)
        if adopted is not None:
            certificate = adopted.certificate
        elif parent is None:
            certificate = authority.create_root(subject, key, now, end)
        else:
            certificate = parent.issuing(subject, Request.of(key), now, end, planned.spec.limits())
        pem = keys.encrypted_pem(key, self._passwords.of(planned.spec.path))
        if planned.spec.name == offline.ROOT and self._medium.folder is not None:
            # One that is there already stays, unless its password was rotated since.
            if unfinished is None or not self._has_present_password(planned):
                self._medium.write(planned.label, pem)
        else:
            self._store.write([(key_path(planned.label), pem, KEY_MODE)])
        return certificate, LocalSigner(authority.Signer.of(certificate, key, planned.label))

    def _has_present_password(self, planned: PlannedAuthority) -> bool:
        path = planned.spec.path
        try:
            keys.load_encrypted(self._medium.read(planned.label) or b"", self._passwords.of(path), planned.label)
        except KitError:
            return False
        return True

    def enter(self, planned: PlannedAuthority) -> None:
        """Nothing: the file that is there tells it."""

    def signer(self, ca: Authority) -> Signer:
        """The signer of an authority, by its key in the store or on the medium."""
        return LocalSigner(open_signer(self._store, ca, self._passwords, self._medium))

    def request(self, ca: Authority) -> str:
        """A CSR for the key of a root that was made here, for one before it that OpenBao has."""
        signer = open_signer(self._store, ca, self._passwords, self._medium)
        builder = x509.CertificateSigningRequestBuilder(signer.certificate.subject)
        return builder.sign(signer.key, keys.signature_hash(signer.key)).public_bytes(Encoding.PEM).decode()
