"""What a public CA issued for the sites, as the CA host keeps it: which certificates are at hand, and which are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import (
    check_chain,
    check_server_leaf,
    covers,
    load_certificates,
    subject_alternative_names,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.inspection import counted, days_left, some
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import signed_by
from ansible_collections.mtls.kit.plugins.module_utils._pki.store import guarded

CERTIFICATE: Final = "server.crt"
STATES: Final = ("expired", "missing", "due", "valid")
"""How a wished certificate may stand, the most urgent first."""
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o644


@dataclass(frozen=True)
class Wish:
    """A certificate that a site is to have; ``public_key_sha256`` is its newest key's, empty where none is known."""

    name: str
    dns: tuple[str, ...]
    public_key_sha256: str

    @classmethod
    def of(cls, argument: Mapping[str, Any]) -> Wish:
        """The wish of a module's argument; KitError for a name that is no server certificate's."""
        name = names.check_certificate_name(argument["name"])
        if not name.startswith("server/"):
            raise KitError("public certificate", f"the name {name!r}", "server/<gateway>/<site>", "correct the name")
        return cls(name, tuple(dict.fromkeys(argument["dns"])), argument.get("public_key_sha256") or "")

    def file(self, folder: Path) -> Path:
        """Where its chain lies."""
        return folder / self.name.removeprefix("server/") / CERTIFICATE


@dataclass(frozen=True)
class Held:
    """A certificate that was issued, its chain in PEM, and the roots that the chain leads up to."""

    chain: str
    leaf: x509.Certificate
    anchors: Sequence[x509.Certificate]

    @property
    def public_key_sha256(self) -> str:
        """SHA-256 over its public key, lower-case hex."""
        return keys.public_key_sha256(self.leaf.public_key())  # type: ignore[arg-type]  # checked before

    def as_result(self, wish: Wish) -> dict[str, Any]:
        """As the module returns it; ``names`` are those of the wished that it covers."""
        return {
            "chain": self.chain,
            "serial": names.serial_text(self.leaf.serial_number),
            "not_after": clock.iso(clock.not_after(self.leaf)),
            "public_key_sha256": self.public_key_sha256,
            "trust_anchor": "".join(anchor.public_bytes(Encoding.PEM).decode() for anchor in self.anchors),
            "names": [name for name in wish.dns if covers(self.leaf, name)],
        }


def load_roots(file: Path) -> list[x509.Certificate]:
    """The public roots in ``file``; KitError when it can't be read."""
    what = f"public_certificate_roots_file {file}"
    try:
        content = file.read_text(errors="replace")
    except OSError as error:
        raise KitError(
            what,
            f"'{error.strerror}'",
            "the roots that clients trust, in PEM",
            "install ca-certificates, or correct it",
        ) from error
    return load_certificates(content, what)


def checked(chain_pem: str, dns: Sequence[str], roots: Sequence[x509.Certificate], now: datetime, what: str) -> Held:
    """The chain; KitError unless clients who trust ``roots`` take it for all of ``dns`` at ``now``."""
    chain = load_certificates(chain_pem, what)
    check_server_leaf(chain[0], dns, what)
    anchors = [root for root in roots if root.subject == chain[-1].issuer and signed_by(chain[-1], root)]
    if not anchors:
        raise KitError(
            what,
            f"a chain that ends with the issuer {chain[-1].issuer.rfc4514_string()}",
            "one that leads to a root in public_certificate_roots_file",
            "add that root to the file if the clients trust it; a CA's staging directory has roots that nobody trusts",
        )
    check_chain(chain, anchors, now, what)
    return Held(chain_pem.strip() + "\n", chain[0], anchors)


def held(folder: Path, wish: Wish, roots: Sequence[x509.Certificate], now: datetime) -> Held | None:
    """What is at hand for ``wish`` and serves at least one of its names at ``now``; None when there is nothing."""
    with guarded(folder):
        content = files.read(wish.file(folder))
    if content is None:
        return None
    try:
        found = checked(content.decode(errors="replace"), (), roots, now, f"public certificate {wish.name}")
    except KitError:
        return None
    return found if any(covers(found.leaf, name) for name in wish.dns) else None


def due(wish: Wish, found: Held | None, now: datetime, renew_percent: int) -> str | None:
    """Why ``wish`` is to be ordered at ``now``; None when what is at hand will do.

    ``renew_percent`` is the part of its life that a certificate has left when it is renewed.
    """
    if found is None:
        return "issue: no public certificate at hand"
    if {name.lower() for name in subject_alternative_names(found.leaf)} != {name.lower() for name in wish.dns}:
        return "re-issue: names changed"
    if wish.public_key_sha256 and found.public_key_sha256 != wish.public_key_sha256:
        return "re-issue: the site has a new key"
    end = clock.not_after(found.leaf)
    # A certificate ends within its last second (RFC 5280 section 4.1.2.5).
    life = end - clock.not_before(found.leaf) + timedelta(seconds=1)
    if end - now < life * renew_percent / 100:
        return f"renew: {max(end - now, timedelta()).days} of {life.days} days left"
    return None


def state_of(wish: Wish, folder: Path, found: Held | None, reason: str | None, now: datetime) -> dict[str, Any]:
    """How the certificate of ``wish`` stands, in the words of a status report: what lies there, usable or not.

    ``found`` and ``reason`` are what :func:`held` and :func:`due` say of it.
    """
    leaf = found.leaf if found else _any_leaf(folder, wish)
    if leaf is None:
        told: dict[str, Any] = {"state": "missing", "days_left": None, "not_after": None, "issuer": "", "serial": ""}
    else:
        end = clock.not_after(leaf)
        told = {
            "state": "expired" if end < now else "due" if reason else "valid",
            "days_left": days_left(end, now),
            "not_after": clock.iso(end),
            "issuer": leaf.issuer.rfc4514_string(),
            "serial": names.serial_text(leaf.serial_number),
        }
    return {"name": wish.name, "reason": reason or "", "dns": list(wish.dns), **told}


def urgency(entry: Mapping[str, Any]) -> tuple[int, str]:
    """Sorts what :func:`state_of` says, the most urgent first."""
    return STATES.index(entry["state"]), entry["name"]


def _any_leaf(folder: Path, wish: Wish) -> x509.Certificate | None:
    with guarded(folder):
        content = files.read(wish.file(folder))
    try:
        return load_certificates((content or b"").decode(errors="replace"), wish.name)[0]
    except KitError:
        return None


def attention(states: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """What of :func:`state_of` needs somebody, as a status report has it."""
    found: dict[str, list[str]] = {}
    for entry in states:
        found.setdefault(entry["state"], []).append(entry["name"])
    if expired := found.get("expired"):
        yield {"level": "wrong", "text": f"{counted(len(expired), 'public certificate')} expired: {some(expired)}"}
    if due_now := sorted([*found.get("due", []), *found.get("missing", [])]):
        yield {"level": "due", "text": f"{counted(len(due_now), 'public certificate')} to be ordered: {some(due_now)}"}


def store(
    folder: Path, wish: Wish, chain_pem: str, roots: Sequence[x509.Certificate], now: datetime, check_mode: bool
) -> bool:
    """Keep what was issued for ``wish``, unless in check mode; whether it is new.

    Raises KitError when clients would refuse it, or it is for another key than the site's.
    """
    what = f"public certificate {wish.name}"
    found = checked(chain_pem, wish.dns, roots, now, what)
    if found.public_key_sha256 != wish.public_key_sha256:
        raise KitError(what, "one for another key", "one for the site's newest key", "run mtls.kit.site again")
    file = wish.file(folder)
    content = found.chain.encode()
    with guarded(folder):
        if files.read(file) == content:
            return False
        if not check_mode:
            for place in (folder, file.parent.parent, file.parent):
                files.make_folder(place, _FOLDER_MODE, files.Ownership.current())
            files.replace(file, content, _FILE_MODE, files.Ownership.current())
    return True
