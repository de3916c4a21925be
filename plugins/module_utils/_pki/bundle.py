"""What a client is handed: a folder with certificate, key, trust anchor, PKCS#12 and a README of its own.

The store (``certificates/client/<client>/`` and ``trust-anchor.crt``) is read only. Each folder holds a manifest,
``bundle.json``, with the SHA-256 of every file beside it: a PKCS#12 file is salted anew at every writing, so what is
up to date is decided by the manifest and never by building the file again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    bundle_readme,
    clock,
    keys,
    keystores,
    names,
    platforms,
    sealed_zip,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.passwords import Passwords

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12PrivateKeyTypes

TEMPLATE: Final = 2
"""Raised whenever the README's text or the set of files changes, so that bundles already written follow."""

CERTIFICATE: Final = "client.crt"
KEY: Final = "client.key"
ARCHIVE: Final = "client.p12"
TRUST_ANCHOR: Final = "trust-anchor.crt"
README: Final = "README.md"
MANIFEST: Final = "bundle.json"

FOLDER_MODE: Final = 0o700
FILE_MODES: Final = {
    KEY: 0o400,
    CERTIFICATE: 0o644,
    ARCHIVE: 0o400,
    platforms.COMPATIBLE_ARCHIVE: 0o400,
    TRUST_ANCHOR: 0o644,
    platforms.TRUSTSTORE: 0o644,
    **dict.fromkeys(platforms.CODE_FILES, 0o644),
    README: 0o644,
    bundle_readme.SEALED: 0o400,
    MANIFEST: 0o644,
}
"""Every file that a bundle may have, in the order they are written: the manifest last, so that a bundle cut short is
written again."""

EVERYBODYS: Final = frozenset({KEY, CERTIFICATE, ARCHIVE, TRUST_ANCHOR, README, MANIFEST})
SECRETS: Final = frozenset({KEY, ARCHIVE, platforms.COMPATIBLE_ARCHIVE, bundle_readme.SEALED})
"""What a client that has its key already is not handed."""

NEW_CLIENT: Final = "new client"

_URL: Final = re.compile(r"https://[A-Za-z0-9.:\[\]_-]+/[A-Za-z0-9._~/-]*")


@dataclass(frozen=True)
class Settings:
    """What is the same for every client of a run.

    ``urls`` are the ``https://`` addresses the clients may call; ``vault`` is how a person names the vault that keeps
    the passwords (``the Ansible Vault file group_vars/all/vault.yml``), for the README. ``keyless`` are the clients
    that brought a request, ``given`` those whose key was handed over, with the SHA-256 of the trust anchor they were
    handed: their bundle holds no key in any form. ``code`` are texts by file name with a mark where the
    client's name belongs; a client gets those of its ``platforms_of``, or of ``platforms``. ``sealed`` asks for an
    encrypted archive of the folder in it. ``public_roots`` (PEM) are those of sites with a public certificate.
    """

    store: Path
    directory: Path
    urls: tuple[str, ...]
    vault: str
    keyless: frozenset[str] = frozenset()
    given: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    platforms_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sealed: bool = False
    public_roots: str = ""

    def modes(self, client: str) -> dict[str, int]:
        """The files of a client's bundle and their modes, in the order they are written."""
        wanted = EVERYBODYS | platforms.files_of(self.platforms_of.get(client, self.platforms), f"client {client!r}")
        if self.sealed:
            wanted |= {bundle_readme.SEALED}
        if client in self.keyless or client in self.given:
            wanted -= SECRETS
        return {
            name: mode
            for name, mode in FILE_MODES.items()
            if name in wanted and (name in self.code or name not in platforms.CODE_FILES)
        }

    def code_of(self, client: str) -> dict[str, bytes]:
        """The code that a client is handed, with its name in it."""
        return {
            name: self.code[name].replace(platforms.CLIENT, client).encode()
            for name in self.modes(client)
            if name in self.code
        }


@dataclass(frozen=True)
class Bundle:
    """One client's bundle that is due, and why. ``files`` holds what is copied from the store as it is."""

    client: str
    reason: str
    files: Mapping[str, bytes] = field(repr=False)
    key: PKCS12PrivateKeyTypes | None = field(repr=False)
    password: str = field(repr=False)
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    readme_before: str


@dataclass(frozen=True)
class Plan:
    """The bundles that are due, and the folders of clients that are no longer listed (left as they are).

    ``foreseen`` are clients that a dry run cannot read, because the run proper would issue them first; ``adopted``
    those whose key is theirs alone, as before the adoption of their CA; ``at_hand`` all that have a bundle once this is
    carried out, with the trust anchor of that SHA-256.
    """

    due: list[Bundle]
    foreseen: list[str]
    unlisted: list[str]
    adopted: list[str]
    at_hand: list[str]
    anchor_sha256: str

    @property
    def changes(self) -> list[dict[str, str]]:
        """The changes in the form that every module of the kit returns."""
        reasons = [(bundle.client, bundle.reason) for bundle in self.due]
        reasons += [(client, NEW_CLIENT) for client in self.foreseen]
        return [
            {"name": f"client/{client}", "action": "write", "reason": f"write: {reason}"} for client, reason in reasons
        ]


def plan(settings: Settings, clients: Sequence[str], passwords: Mapping[str, str], *, dry: bool = False) -> Plan:
    """Compare every client's folder with the store; read everything that is due and open its key. Writes nothing.

    ``passwords`` are by path: ``client/<client>``, and ``previous/client/<client>`` what a dry run may find the key to
    have still, for the run proper would give it the new one before. A ``dry`` run takes a client the store does not
    have for one that the run proper would issue before.
    Raises KitError for bad input, for a client the store does not have, and for a password that does not open its key.
    """
    check_input(settings, clients)
    folder = settings.store / "certificates" / "client"
    missing = {client for client in clients if not (folder / client / CERTIFICATE).exists()}
    foreseen = [client for client in clients if dry and client in missing and client not in settings.keyless]
    # Without its request there is nothing yet to hand to a client that makes its own key.
    waiting = missing & settings.keyless
    adopted = [
        client
        for client in clients
        if client not in settings.keyless and client not in settings.given and _has_own_key(folder / client)
    ]
    at_hand = [client for client in clients if client not in {*waiting, *foreseen, *adopted}]
    anchor = _read(settings.store / TRUST_ANCHOR, "the PKI's trust anchor") if at_hand else b""
    anchor += settings.public_roots.encode()
    due = []
    for client in at_hand:
        source = folder / client
        handed_out = [name for name in (KEY, CERTIFICATE) if name in settings.modes(client)]
        files: dict[str, bytes] = {name: _read(source / name, f"client {client!r}") for name in handed_out}
        files |= {TRUST_ANCHOR: anchor, **settings.code_of(client)}
        reason = _reason(settings.directory / client, client, files, settings)
        if reason:
            due.append(_bundle(settings, client, reason, files, passwords, dry=dry))
    return Plan(
        due=due,
        foreseen=foreseen,
        unlisted=_unlisted(settings.directory, clients),
        adopted=adopted,
        at_hand=at_hand,
        anchor_sha256=_sha256(anchor),
    )


def _has_own_key(source: Path) -> bool:
    return (source / CERTIFICATE).exists() and not (source / KEY).exists()


def write(settings: Settings, bundle: Bundle) -> None:
    """Write one client's folder, the manifest last.

    Nothing is forced to the disk: everything here can be made again, and what a power cut damaged no longer has the
    checksum in the manifest, so the next run writes it again.
    """
    folder = settings.directory / bundle.client
    settings.directory.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    modes = settings.modes(bundle.client)
    files = _contents(settings, bundle, modes)
    for name in FILE_MODES:
        if name not in modes:
            (folder / name).unlink(missing_ok=True)
    for name, mode in modes.items():
        write_atomically(folder / name, files[name], mode)


def _contents(settings: Settings, bundle: Bundle, modes: Mapping[str, int]) -> dict[str, bytes]:
    """Every file of a bundle."""
    files = dict(bundle.files)
    if bundle.key is not None:
        identity = (bundle.client, bundle.key, bundle.leaf, bundle.chain, bundle.password)
        files[ARCHIVE] = keystores.modern(*identity)
        if platforms.COMPATIBLE_ARCHIVE in modes:
            files[platforms.COMPATIBLE_ARCHIVE] = keystores.compatible(*identity)
    if platforms.TRUSTSTORE in modes:
        files[platforms.TRUSTSTORE] = keystores.truststore(_certificates(files[TRUST_ANCHOR], "trust-anchor.crt"))
    files[README] = readme(settings, bundle).encode()
    if bundle_readme.SEALED in modes:
        # Without the manifest, which holds the archive's own checksum.
        held = {name: (files[name], mode) for name, mode in modes.items() if name in files}
        files[bundle_readme.SEALED] = sealed_zip.sealed(bundle.client, held, bundle.password)
    files[MANIFEST] = _manifest(settings, bundle, files)
    return files


def readme(settings: Settings, bundle: Bundle) -> str:
    """The page for this client alone. It says where the password is and never holds it."""
    return bundle_readme.Page(
        client=bundle.client,
        leaf=bundle.leaf,
        chain=bundle.chain,
        urls=settings.urls,
        vault=settings.vault,
        key=_key_place(settings, bundle),
        files=settings.modes(bundle.client),
    ).text()


def _key_place(settings: Settings, bundle: Bundle) -> str:
    if bundle.key is not None:
        return bundle_readme.MADE_HERE
    return bundle_readme.HANDED_OVER if bundle.client in settings.given else bundle_readme.BROUGHT


def check_input(settings: Settings, clients: Sequence[str]) -> None:
    """Raise KitError for a client's name, a client named twice, or an address that does not fit."""
    for name in clients:
        names.check_certificate_name(f"client/{name}")
    platforms.files_of(settings.platforms, "client_bundle_platforms")
    for name, wanted in settings.platforms_of.items():
        platforms.files_of(wanted, f"client {name!r}")
    twice = sorted(name for name, count in Counter(clients).items() if count > 1)
    if twice:
        raise KitError(
            "client_bundle_clients",
            f"{', '.join(twice)} more than once",
            "each client once",
            "remove or rename the second entry in the inventory",
        )
    for url in settings.urls:
        if not _URL.fullmatch(url):
            raise KitError(
                "client_bundle_urls",
                f"{url!r}",
                "an address such as https://api.example.com/ with an optional port and path",
                "correct the address, or the site's server_names and port it is made from",
            )


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Put ``content`` in place of ``path`` by a rename; the file has its final mode from its first byte on."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    temporary.rename(path)


def _reason(folder: Path, client: str, files: Mapping[str, bytes], settings: Settings) -> str:
    """Why the folder must be written, empty when it is as it should be."""
    if not folder.exists():
        if client not in settings.given:
            return NEW_CLIENT
        # Taken away as a whole, which is as good a way to hand it over as any.
        return "" if settings.given[client] == _sha256(files[TRUST_ANCHOR]) else "trust anchor changed"
    manifest = _read_manifest(folder / MANIFEST)
    if manifest is None:
        return f"{MANIFEST} missing or altered"
    recorded: Mapping[str, str] = manifest["files"]
    reasons = []
    if recorded.get(CERTIFICATE) != _sha256(files[CERTIFICATE]):
        reasons.append("new certificate")
    elif KEY in files and recorded.get(KEY) != _sha256(files[KEY]):
        reasons.append("new password")
    if recorded.get(TRUST_ANCHOR) != _sha256(files[TRUST_ANCHOR]):
        reasons.append("trust anchor changed")
    if manifest.get("urls") != list(settings.urls):
        reasons.append("address changed")
    if manifest.get("vault") != settings.vault:
        reasons.append("vault changed")
    if manifest.get("template") != TEMPLATE:
        reasons.append("new form of the bundle")
    modes = settings.modes(client)
    changed = [
        name for name in settings.code if name in files and recorded.get(name) not in (None, _sha256(files[name]))
    ]
    reasons.extend(f"{name} changed" for name in changed if "address changed" not in reasons)
    unwanted = [name for name in FILE_MODES if name not in modes and (folder / name).exists()]
    if client in settings.given and SECRETS & set(unwanted):
        reasons.append("key handed over")
    for name in unwanted:
        if client not in settings.given or name not in SECRETS:
            reasons.append(f"{name} of an earlier key" if client in settings.keyless else f"{name} no longer asked for")
    # What the folder never had comes with a new certificate, and needs no reason of its own.
    had = {
        name: mode for name, mode in modes.items() if name in {*recorded, MANIFEST} or "new certificate" not in reasons
    }
    reasons.extend(_damage(folder, recorded, had))
    return ", ".join(reasons)


def _damage(folder: Path, recorded: Mapping[str, str], modes: Mapping[str, int]) -> list[str]:
    """Files that are missing, altered or of the wrong mode."""
    found = []
    if stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE:
        found.append(f"folder mode was {stat.S_IMODE(folder.stat().st_mode):04o}")
    for name, mode in modes.items():
        path = folder / name
        try:
            actual_mode = stat.S_IMODE(path.stat().st_mode)
            intact = name == MANIFEST or _sha256(path.read_bytes()) == recorded.get(name)
        except FileNotFoundError:
            found.append(f"{name} missing")
            continue
        if not intact:
            found.append(f"{name} altered")
        elif actual_mode != mode:
            found.append(f"mode of {name} was {actual_mode:04o}")
    return found


def _bundle(
    settings: Settings, client: str, reason: str, files: Mapping[str, bytes], passwords: Mapping[str, str], *, dry: bool
) -> Bundle:
    leaf, *chain = _certificates(files[CERTIFICATE], f"client {client!r}")
    path = f"client/{client}"
    password = passwords.get(path, "")
    earlier = passwords.get(names.PREVIOUS + path) if dry else None
    known = {path: password} if earlier is None else {path: password, names.PREVIOUS + path: earlier}
    return Bundle(
        client=client,
        reason=reason,
        files=files,
        key=_open_key(files[KEY], Passwords(known), leaf, path) if KEY in files else None,
        password=password,
        leaf=leaf,
        chain=tuple(chain),
        readme_before=_text(settings.directory / client / README),
    )


def _open_key(pem: bytes, passwords: Passwords, leaf: x509.Certificate, path: str) -> PKCS12PrivateKeyTypes:
    key = passwords.open(pem, path, f"key of {path}")
    # Compared as bytes: in cryptography 38 public keys are equal only to themselves.
    if keys.public_key_der(key.public_key()) != keys.public_key_der(cast("keys.PublicKey", leaf.public_key())):
        raise KitError(
            f"key of {path}",
            "a key of another certificate",
            "the key that belongs to client.crt beside it in the store",
            "run playbooks/site.yml: the pki role writes again what was altered",
        )
    return key


def _manifest(settings: Settings, bundle: Bundle, files: Mapping[str, bytes]) -> bytes:
    manifest = {
        "template": TEMPLATE,
        "client": bundle.client,
        "serial": names.serial_text(bundle.leaf.serial_number),
        "not_after": clock.iso(clock.not_after(bundle.leaf)),
        "urls": list(settings.urls),
        "vault": settings.vault,
        "files": {name: _sha256(content) for name, content in files.items()},
    }
    return (json.dumps(manifest, indent=2) + "\n").encode()


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def _certificates(pem: bytes, owner: str) -> list[x509.Certificate]:
    """The certificates in a file of the store: a leaf and its chain, or trust anchors."""
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", pem, re.DOTALL)
    try:
        certificates = [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError:
        certificates = []
    if not certificates:
        raise KitError(
            f"certificate of {owner}",
            "a file that holds no certificate",
            "certificates in PEM",
            "run playbooks/site.yml: the pki role writes again what was altered",
        )
    return certificates


def _unlisted(directory: Path, clients: Sequence[str]) -> list[str]:
    listed = set(clients)
    return sorted(path.parent.name for path in directory.glob(f"*/{MANIFEST}") if path.parent.name not in listed)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KitError(
            what,
            f"no file {path}",
            "a client that the PKI has issued",
            "run playbooks/clients.yml, which issues before it writes bundles, or correct client_bundle_store",
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
