"""The release of a site: key, chain and password that were proved to belong together before Nginx sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files, password_delivery, units
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import (
    check_chain,
    check_server_leaf,
    load_certificates,
    subject_alternative_names,
)
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import Change, SiteFolders
from ansible_collections.mtls.kit.plugins.module_utils._gateway.units import Unit, UnitFile
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

KEY: Final = "server.key"
CERTIFICATE: Final = "server.crt"
PASSWORD: Final = "password"  # noqa: S105  a file's name
ID_MAP: Final = "id.map"
PREVIOUS: Final = "previous"

SKEW_ALLOWED: Final = timedelta(minutes=2)
"""How far the clocks of CA host and gateway may be apart."""

LONGEST_PASSWORD: Final = 1024
"""Bytes; OpenSSL asks Nginx for no more (PEM_BUFSIZE) and a longer one would be cut."""

_FOLDER_MODE: Final = 0o700
_MODES: Final = {KEY: 0o400, CERTIFICATE: 0o444, PASSWORD: 0o400, ID_MAP: 0o444}


@dataclass(frozen=True)
class StoredKey:
    """A private key found on the gateway.

    ``opens`` says whether the site's password is the one on it, ``delivery`` how its release gets that password; None
    for a pending key, and where it can't be told.
    """

    folder: Path
    pem: bytes = field(repr=False)
    key: keys.PrivateKey = field(repr=False)
    opens: bool
    delivery: str | None

    def fits(self, delivery: str) -> bool:
        """Whether it can be released as it is by ``delivery``."""
        if delivery == password_delivery.NONE:
            return self.delivery == delivery
        return self.opens and self.delivery in (None, delivery)

    @property
    def sha256(self) -> str:
        """SHA-256 over its public key, lower-case hex."""
        return keys.public_key_sha256(self.key.public_key())


@dataclass(frozen=True)
class InUse:
    """The release that ``current`` leads to, with a certificate that can be read."""

    name: str
    leaf: x509.Certificate
    key: StoredKey | None

    @property
    def is_pair(self) -> bool:
        """Whether there is a key that opens and belongs to the certificate."""
        return self.key is not None and self.key.sha256 == leaf_key_sha256(self.leaf)

    @property
    def serial(self) -> str:
        """As Nginx prints it: upper-case hex, even length."""
        return names.serial_text(self.leaf.serial_number)


@dataclass(frozen=True)
class ReleasePlan:
    """What is to be done about a site's release; no changes when it is in use as it should be."""

    site: SiteFolders
    unit: Unit | None
    leaf: x509.Certificate
    before: InUse | None
    previous: str | None
    changes: Sequence[Change]
    install: bool
    outdated: Sequence[Path]

    def apply(self) -> None:
        """Place, keep the way back, switch, and remove what is no longer kept. OSError as the system raises it."""
        if self.install and self.unit is not None:
            units.place(self.site.releases, self.unit)
            in_use = units.current(self.site.releases)
            if in_use is not None and in_use != self.unit.name:
                # Before the switch: a run that is cut off between the two has then lost no way back that it had.
                files.point(self.site.releases / PREVIOUS, in_use)
            if in_use != self.unit.name:
                units.switch(self.site.releases, self.unit.name)
        for path in self.outdated:
            files.remove(path)


def leaf_key_sha256(leaf: x509.Certificate) -> str:
    """SHA-256 over the certificate's public key, lower-case hex."""
    return keys.public_key_sha256(leaf.public_key())  # type: ignore[arg-type]  # checked before


def release_id(leaf: x509.Certificate, key_pem: bytes, chain_pem: bytes) -> str:
    """``<YYYYMMDD of notBefore>-<first 12 hex of SHA-256 over key and chain>``."""
    return f"{clock.not_before(leaf):%Y%m%d}-{hashlib.sha256(key_pem + chain_pem).hexdigest()[:12]}"


def moment_from(text: str) -> datetime:
    """An ISO 8601 moment with a time zone, such as ``2026-11-24T12:00:00Z``; KitError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise KitError(
            "certificate_install_now", repr(text[:60]), "ISO 8601 with a time zone: 2026-11-24T12:00:00Z", "correct it"
        )
    return moment


def check_clock(now: datetime, authority_now: datetime) -> None:
    """KitError when the gateway's clock ``now`` and the CA host's are more than SKEW_ALLOWED apart."""
    skew = abs(now - authority_now)
    if skew > SKEW_ALLOWED:
        raise KitError(
            "clock of the gateway",
            f"{clock.iso(now)} here and {clock.iso(authority_now)} on the CA host, {skew.total_seconds():.0f} s apart",
            f"at most {SKEW_ALLOWED.total_seconds():.0f} s",
            "set both clocks (chrony, systemd-timesyncd); the old release stays in use",
        )


def check_password(password: str | None, site: str) -> bytes:
    """The password's bytes; KitError when there is none or Nginx could not read it from a file of one line."""
    what = f"site {site!r}"
    if password is None:
        raise KitError(
            f"password of {what}",
            "none",
            "one for each site",
            f"give it in certificate_install_passwords under {site!r}",
        )
    content = keys.check_password(password, what)
    if len(content) > LONGEST_PASSWORD:
        raise KitError(
            f"password of {what}", f"{len(content)} bytes", f"at most {LONGEST_PASSWORD}", "replace it in the vault"
        )
    return content


def _open(pem: bytes, password: bytes) -> keys.PrivateKey | None:
    try:
        return keys.load_encrypted(pem, password, "key")
    except KitError:
        return None


def stored_key(folder: Path, site: str, password: bytes) -> StoredKey | None:
    """The key in ``folder``: plain, opened by ``password``, or by one that its release has; None when none opens it."""
    pem = files.read(folder / KEY)
    if pem is None:
        return None
    delivery = password_delivery.delivered_by(folder / PASSWORD, site, pem)
    if (key := keys.load_plain(pem)) is not None:
        return StoredKey(folder, pem, key, False, delivery)
    if (key := _open(pem, password)) is not None:
        return StoredKey(folder, pem, key, True, delivery)
    for other in password_delivery.passwords_of(folder / PASSWORD, site):
        if (key := _open(pem, other)) is not None:
            return StoredKey(folder, pem, key, False, delivery)
    return None


def delivery_of(folder: Path, site: str) -> str | None:
    """How the password of the release in ``folder`` reaches Nginx; None when it can't be told."""
    return password_delivery.delivered_by(folder / PASSWORD, site, files.read(folder / KEY))


def stored_keys(site: SiteFolders, password: bytes) -> Iterator[StoredKey]:
    """Every key of the site on this gateway: the pending one, the one in use, then those kept, newest first."""
    releases = units.names(site.releases)
    in_use = units.current(site.releases)
    kept = units.newest_first(site.releases, (name for name in releases if name != in_use))
    first = [] if in_use is None else [in_use]
    for folder in (site.pending, *(site.releases / name for name in (*first, *kept))):
        found = stored_key(folder, site.name, password)
        if found is not None:
            yield found


def find_key(site: SiteFolders, password: bytes, sha256: str, delivery: str) -> StoredKey | None:
    """The key on this gateway with that public key; one that can be released as it is comes first."""
    found = [key for key in stored_keys(site, password) if key.sha256 == sha256]
    return min(found, key=lambda key: not key.fits(delivery), default=None)


def in_use(site: SiteFolders, password: bytes) -> InUse | None:
    """The release in use; None when there is none or its certificate can't be read."""
    name = units.current(site.releases)
    if name is None:
        return None
    content = files.read(site.releases / name / CERTIFICATE)
    try:
        leaf = load_certificates((content or b"").decode(errors="replace"), CERTIFICATE)[0]
    except KitError:
        return None
    return InUse(name, leaf, stored_key(site.releases / name, site.name, password))


def previous(site: SiteFolders) -> str | None:
    """The release that a rollback would go to; None when there is none but the one in use."""
    name = files.target_of(site.releases / PREVIOUS)
    return None if name == units.current(site.releases) else name


def check(
    chain_pem: str, anchor_pem: str, server_names: Sequence[str], now: datetime, site: str
) -> list[x509.Certificate]:
    """The chain, leaf first; KitError unless clients will accept it for every one of ``server_names`` at ``now``."""
    what = f"certificate of site {site!r}"
    if not server_names:
        raise KitError(f"site {site!r}", "no server names", "at least one", "give the site its server_names")
    chain = load_certificates(chain_pem, what)
    check_server_leaf(chain[0], server_names, what)
    check_chain(chain, load_certificates(anchor_pem, f"trust anchor of site {site!r}"), now, what)
    return chain


def plan(
    site: SiteFolders,
    chain: Sequence[x509.Certificate],
    chain_pem: str,
    password: bytes,
    delivery: str,
    owner: Ownership,
    keep: int,
    check_mode: bool,
) -> ReleasePlan:
    """What is to be done so that the checked ``chain`` is in use with its key, and ``keep`` releases are kept.

    Another ``delivery`` of the password is another release, with the key written anew: the way back to the delivery
    before is then whole.
    Raises KitError when no key on the gateway belongs to the chain; in check mode the key may still have to be made.
    """
    leaf, before = chain[0], in_use(site, password)
    key = find_key(site, password, leaf_key_sha256(leaf), delivery)
    if key is None:
        if check_mode:
            change = Change(site.name, "install", "the certificate that is still to be issued for a new key")
            return ReleasePlan(site, None, leaf, before, previous(site), [change], False, [])
        raise KitError(
            f"key of site {site.name!r}",
            f"no key on the gateway for the certificate {names.serial_text(leaf.serial_number)}",
            f"it in {site.pending} or in a release that is kept",
            "run mtls.kit.site again: it makes a new key and the CA signs it",
        )
    if not check_mode:
        password_delivery.check_in_memory(site.name, delivery, password)
    unit = _unit(site, leaf, chain_pem, key, password, delivery, owner)
    reason, action = _due(site, unit, leaf, before, key, delivery)
    follows = units.current(site.releases)
    way_back = previous(site) if follows in (None, unit.name) else follows
    outdated = _outdated(site, unit.name, way_back, keep)
    changes = [] if reason is None else [Change(site.name, action, reason)]
    changes += [
        Change(site.name, "remove", f"release {name}, older than the {keep} that are kept") for name in outdated
    ]
    remove = [site.releases / name for name in outdated]
    if (pending := stored_key(site.pending, site.name, password)) is not None and pending.sha256 == key.sha256:
        remove.append(site.pending)
        if reason is None:
            changes.append(Change(site.name, "remove", "the pending key, whose release is in use"))
    return ReleasePlan(site, unit, leaf, before, way_back, changes, reason is not None, remove)


def _unit(
    site: SiteFolders,
    leaf: x509.Certificate,
    chain_pem: str,
    key: StoredKey,
    password: bytes,
    delivery: str,
    owner: Ownership,
) -> Unit:
    chain = chain_pem.strip().encode() + b"\n"
    if key.fits(delivery):
        pem = key.pem
    elif delivery == password_delivery.NONE:
        pem = keys.plain_pem(key.key)
    else:
        pem = keys.encrypted_pem(key.key, password)
    name = release_id(leaf, pem, chain)
    contents = {
        KEY: pem,
        CERTIFICATE: chain,
        ID_MAP: f'default "{name}";\n'.encode(),
    }
    links = {}
    if (in_memory := password_delivery.runtime_file(site.name, delivery)) is not None:
        links[PASSWORD] = str(in_memory)
    else:
        # Empty where the key is plain: Nginx's configuration names the file whatever the delivery is.
        contents[PASSWORD] = b"" if delivery == password_delivery.NONE else password + b"\n"
    modes = {file: UnitFile(content, _MODES[file]) for file, content in contents.items()}
    return Unit(name, modes, _FOLDER_MODE, owner, links)


def _due(
    site: SiteFolders, unit: Unit, leaf: x509.Certificate, before: InUse | None, key: StoredKey, delivery: str
) -> tuple[str | None, str]:
    """Why the unit has to be installed or switched to, and which of both; no reason when nothing is to be done."""
    current = units.current(site.releases)
    if unit.name in units.names(site.releases):
        if drifted := units.drift(site.releases, unit):
            return "; ".join(drifted), "install"
        if current == unit.name:
            return None, "install"
        return f"release {unit.name} was installed but not in use", "switch"
    switched = []
    if before is not None and before.key is not None and before.key.delivery not in (None, delivery):
        switched = [f"the password is delivered by {delivery}, not {before.key.delivery}: the key is written anew"]
    ends = f"until {clock.iso(clock.not_after(leaf))}"
    if current is None:
        return f"the first release, {ends}", "install"
    if before is None:
        return f"{CERTIFICATE} altered on the gateway", "install"
    if before.leaf != leaf:
        serial = names.serial_text(leaf.serial_number)
        return "; ".join([f"certificate {serial} {ends} follows {before.serial}", *switched]), "install"
    if before.key is None or not before.is_pair:
        return f"{KEY} altered on the gateway", "install"
    if switched:
        return switched[0], "install"
    if not key.fits(delivery):
        return "the password of the key changed", "install"
    if files.read(site.releases / current / CERTIFICATE) != unit.files[CERTIFICATE].content:
        return "the chain of the same certificate changed", "install"
    return f"{KEY} altered on the gateway", "install"


def _outdated(site: SiteFolders, name: str, way_back: str | None, keep: int) -> list[str]:
    needed = {name, way_back}
    others = units.newest_first(site.releases, (other for other in units.names(site.releases) if other not in needed))
    return sorted(others[max(0, keep - len(needed - {None})) :])


def rollback(site_dir: Path) -> tuple[str, str]:
    """Go back to the previous release by one swap of ``current``; returns the names (from, to).

    The trust unit is never touched. ``previous`` stays as it is, so that a second rollback is refused instead of
    going forward again. Raises KitError when there is no way back or its files are not whole, and for what the file
    system refuses; ``current`` is then as it was. Whoever calls it reloads Nginx.
    """
    site = SiteFolders(site_dir, site_dir.name)
    what = f"rollback of site {site.name!r}"
    with files.told_failures(what), files.locked(site_dir.parent):
        current, target = units.current(site.releases), previous(site)
        if current is None or target is None:
            raise KitError(
                what,
                "no previous release",
                f"one that {site.releases / PREVIOUS} leads to",
                "cure the cause that Nginx names and run mtls.kit.site again",
            )
        _check_whole(site.releases / target, what)
        units.switch(site.releases, target)
    return current, target


def _check_whole(folder: Path, what: str) -> None:
    found = {name: files.read(folder / name) for name in _MODES}
    entry = folder / PASSWORD
    if entry.is_symlink() and (in_memory := password_delivery.passwords_of(entry, folder.parents[1].name)):
        found[PASSWORD] = in_memory[0]
    key, chain = found[KEY], found[CERTIFICATE]
    missing = sorted(name for name, content in found.items() if content is None)
    if missing or key is None or chain is None:
        raise KitError(
            what, f"release {folder.name} without {', '.join(missing)}", "a whole release", "run mtls.kit.site again"
        )
    leaf = load_certificates(chain.decode(errors="replace"), f"{what}, {CERTIFICATE}")[0]
    if release_id(leaf, key, chain) != folder.name:
        raise KitError(
            what,
            f"release {folder.name} with a key or certificate that were altered",
            "the files that were released under this name",
            "run mtls.kit.site again",
        )


def describe(leaf: x509.Certificate) -> dict[str, str | list[str]]:
    """Serial, end and names of a certificate, as results and diffs show them."""
    return {
        "serial": names.serial_text(leaf.serial_number),
        "not_after": clock.iso(clock.not_after(leaf)),
        "san": subject_alternative_names(leaf),
    }
