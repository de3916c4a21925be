"""CSR-first: a site's key is made on the gateway and never leaves it; only the request does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files, password_delivery, release
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.release import StoredKey
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import (
    Change,
    Leftovers,
    SiteFolders,
    check_unique,
    run_alone,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

REQUEST: Final = "request.csr"
_FOLDER_MODE: Final = 0o700
_KEY_MODE: Final = 0o400
_REQUEST_MODE: Final = 0o600


@dataclass(frozen=True)
class Issued:
    """The certificate that the ledger names for the site."""

    serial: str
    public_key_sha256: str

    @classmethod
    def of(cls, result: Mapping[str, Any], what: str) -> Issued:
        """From what ``pki`` returned for the site; KitError for a serial or digest that is none."""
        sha256 = str(result["public_key_sha256"]).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise KitError(
                what, "an issued public_key_sha256 that is none", "64 hex digits", "pass on what pki returns"
            )
        return cls(names.serial_from(str(result["serial"])), sha256)


@dataclass(frozen=True)
class RequestSite:
    """A site as the request sees it. ``wanted`` is the CA's reason to ask for a new CSR, None when it has none.

    The request of one that is ``shown`` goes to another CA, too, and so is told when nothing waits.
    """

    folders: SiteFolders
    key_type: str
    subject: names.Subject
    sans: tuple[names.San, ...]
    wanted: str | None
    issued: Issued | None
    shown: bool
    password_delivery: str
    password: bytes = field(repr=False)

    @classmethod
    def of(cls, root: Path, wish: Mapping[str, Any], passwords: Mapping[str, str]) -> RequestSite:
        """The site of a module's argument, checked; KitError names what is wrong with it."""
        folders = SiteFolders.of(root, wish["name"])
        what = f"site {folders.name!r}"
        issued = wish.get("issued")
        return cls(
            folders=folders,
            key_type=keys.check_key_type(wish["key_type"], what),
            subject=names.subject_from(wish.get("subject") or {}, what),
            sans=names.sans_from(wish.get("san") or {}, what),
            wanted=wish.get("wanted") or None,
            issued=None if not issued else Issued.of(issued, what),
            shown=bool(wish.get("shown")),
            password_delivery=password_delivery.check_delivery(wish["password_delivery"], folders.name),
            password=release.check_password(passwords.get(folders.name), folders.name),
        )


@dataclass(frozen=True)
class RequestPlan:
    """What is to be made for a site, and the CSR that waits for the CA."""

    site: RequestSite
    pending: StoredKey | None
    csr: str | None
    changes: Sequence[Change]
    make: bool

    def apply(self) -> str | None:
        """Make what is due; returns the CSR for the CA, None when it needs none. OSError as the system raises it."""
        if not self.make:
            return self.csr
        site = self.site
        owner = Ownership.current()
        site.folders.make()
        files.make_folder(site.folders.pending, _FOLDER_MODE, owner)
        files.settle_folder(site.folders.pending, _FOLDER_MODE, owner)
        key = self.pending.key if self.pending else keys.generate(site.key_type)
        if self.pending is None:
            plain = site.password_delivery == password_delivery.NONE
            pem = keys.plain_pem(key) if plain else keys.encrypted_pem(key, site.password)
            files.replace(site.folders.pending / release.KEY, pem, _KEY_MODE, owner)
        csr = _signed_request(site, key)
        files.replace(site.folders.pending / REQUEST, csr, _REQUEST_MODE, owner)
        return csr.decode()


def plan(site: RequestSite) -> RequestPlan:
    """Whether ``site`` needs a key and a request, and why.

    A pending key that was signed already is kept with its request, so that the CA issues nothing again and the
    release completes; one that waits for its first signature is used again.
    """
    folder = site.folders.pending
    reason = _reason(site)
    if reason is None:
        return RequestPlan(site, None, None, [], make=False)
    pending = release.stored_key(folder, site.folders.name, site.password)
    if pending is None and files.read(folder / release.KEY) is not None:
        reason += "; the pending key does not open with the site's password"
    signed = pending is not None and site.issued is not None and pending.sha256 == site.issued.public_key_sha256
    completes = signed and site.wanted is None
    if pending is not None and not completes:
        if signed:
            pending = None
        elif keys.key_type_of(pending.key) != site.key_type:
            reason += f"; the pending key is {keys.describe(pending.key)}, not {site.key_type}"
            pending = None
    csr = None if pending is None else _stored_request(folder / REQUEST, pending)
    if csr is not None and (completes or _asks_for(csr, site)):
        return RequestPlan(site, pending, csr.public_bytes(Encoding.PEM).decode(), [], make=False)
    if completes:
        reason = f"{REQUEST} of the pending key missing or altered"
    return RequestPlan(site, pending, None, [Change(site.folders.name, "write", reason)], make=True)


@dataclass(frozen=True)
class Requests:
    """What is to be made for all sites of a gateway."""

    plans: Sequence[RequestPlan]
    leftovers: Sequence[Leftovers]

    @property
    def changes(self) -> list[Change]:
        """In the order they are made."""
        parts: Sequence[Leftovers | RequestPlan] = [*self.leftovers, *self.plans]
        return [change for part in parts for change in part.changes]

    def waiting(self) -> dict[str, str]:
        """The requests that are there already, by site."""
        return {plan.site.folders.name: plan.csr for plan in self.plans if plan.csr is not None}


def converge(root: Path, sites: Sequence[RequestSite], check_mode: bool) -> tuple[dict[str, str], list[Change]]:
    """Make what ``sites`` need, unless in check mode; returns the CSRs by site and the changes.

    Raises KitError; what was made by then is complete and taken up by the next run.
    """
    check_unique([site.folders.name for site in sites])
    made: dict[str, str] = {}

    def planned() -> Requests:
        with files.told_failures("pending keys and requests"):
            return Requests([plan(site) for site in sites], [site.folders.leftovers() for site in sites])

    def apply(requests: Requests) -> None:
        for leftovers in requests.leftovers:
            with files.told_failures(f"site {leftovers.site!r}"):
                leftovers.apply()
        for part in requests.plans:
            with files.told_failures(f"pending key of site {part.site.folders.name!r}"):
                csr = part.apply()
            if csr is not None:
                made[part.site.folders.name] = csr

    requests = run_alone(root, check_mode, planned, apply)
    return {**requests.waiting(), **made}, requests.changes


def shown(sites: Sequence[RequestSite], waiting: Mapping[str, str]) -> dict[str, str]:
    """The request of each site that is shown: the one that waits, or another of the key that its certificate has.

    A site whose key is yet to be made has none.
    """
    with files.told_failures("requests of keys in use"):
        texts = {site.folders.name: waiting.get(site.folders.name) or _again(site) for site in sites if site.shown}
    return {name: text for name, text in texts.items() if text is not None}


def keys_here(sites: Sequence[RequestSite]) -> dict[str, list[str]]:
    """SHA-256 over the public key of each key that a shown site has on this gateway, lower-case hex."""
    with files.told_failures("keys of the sites"):
        return {
            site.folders.name: sorted({key.sha256 for key in release.stored_keys(site.folders, site.password)})
            for site in sites
            if site.shown
        }


def _again(site: RequestSite) -> str | None:
    if site.issued is None:
        in_use = release.in_use(site.folders, site.password)
        key = None if in_use is None else in_use.key
    else:
        key = release.find_key(site.folders, site.password, site.issued.public_key_sha256, site.password_delivery)
    return None if key is None else _signed_request(site, key.key).decode()


def _reason(site: RequestSite) -> str | None:
    """Why the site needs a certificate that no release on the gateway has; None when it needs none."""
    if site.wanted is not None:
        return site.wanted
    in_use = release.in_use(site.folders, site.password)
    if in_use is not None and in_use.is_pair and (site.issued is None or in_use.serial == site.issued.serial):
        return None
    if site.issued is not None:
        kept = release.find_key(site.folders, site.password, site.issued.public_key_sha256, site.password_delivery)
        if kept is not None and kept.folder != site.folders.pending:
            # A kept release holds the key of what the ledger names: certificate_release goes back to it.
            return None
    if in_use is None:
        return "no release on the gateway"
    if not in_use.is_pair:
        return "no usable key in the release on the gateway"
    issued = "none" if site.issued is None else site.issued.serial
    return f"the gateway uses certificate {in_use.serial}, the CA issued {issued}, whose key is not here"


def _stored_request(path: Path, key: StoredKey) -> x509.CertificateSigningRequest | None:
    """The request at ``path``; None when it is none, or not one of ``key``."""
    content = files.read(path)
    if content is None:
        return None
    try:
        csr = x509.load_pem_x509_csr(content)
        sha256 = keys.public_key_sha256(csr.public_key())  # type: ignore[arg-type]  # any type will do
        return csr if csr.is_signature_valid and sha256 == key.sha256 else None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _asks_for(csr: x509.CertificateSigningRequest, site: RequestSite) -> bool:
    try:
        names_asked = list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names_asked = []
    return csr.subject == names.x509_name(site.subject) and names_asked == [san.general_name() for san in site.sans]


def _signed_request(site: RequestSite, key: keys.PrivateKey) -> bytes:
    """The PKCS#10 request in PEM. The CA honours its public key alone; the names are there for people who read it."""
    builder = x509.CertificateSigningRequestBuilder(names.x509_name(site.subject))
    if site.sans:
        wanted = x509.SubjectAlternativeName([san.general_name() for san in site.sans])
        # RFC 5280 section 4.2.1.6: the SAN is critical where the subject is empty.
        builder = builder.add_extension(wanted, critical=not site.subject)
    return builder.sign(key, keys.signature_hash(key)).public_bytes(Encoding.PEM)
