"""The trust unit of a site: which clients it lets in. Its number only ever grows.

A unit is checked here against everything that Nginx would load and then refuse everyone with, or let somebody in
with: a bundle without its root, an expired or missing CRL (``nginx -t`` accepts both), a map line that is more than
a map line.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files, units
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import (
    check_authority,
    check_dates,
    crl_life,
    load_certificates,
    load_crls,
    name_of,
)
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import Change, SiteFolders
from ansible_collections.mtls.kit.plugins.module_utils._gateway.units import Unit, UnitFile
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import signed_by
from ansible_collections.mtls.kit.plugins.module_utils._pki.trust import FILES, digest, number_map

BUNDLE: Final = "client-ca.crt"
ISSUERS: Final = "issuers.map"
REVOKED: Final = "revoked.map"
IDENTITIES: Final = "identities.map"
CRLS: Final = "crl.pem"
NUMBER: Final = "number.map"

DIGEST: Final = "sha256"
"""Written beside the files on the gateway: tells a file altered there from a CA that gave one number out twice."""

# Personal names stand in identities.map: the owner's group may read it, others may not.
_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640

_Item = TypeVar("_Item")

_AUTHORITY: Final = r"[1-9][0-9]{0,4}"
_SERIAL: Final = r"(?:[0-9A-F]{2}){1,20}"
# Between double quotes Nginx reads \\ and \" as one character each and ends at the next bare quote. Values of a map
# may hold variables, so no '$' there; keys of a regex may, it is their end.
_VALUE_TEXT: Final = r'[^"\\$|;\x00-\x1f\x7f-\U0010ffff]*'
_GRAMMAR: Final[Mapping[str, re.Pattern[str]]] = {
    ISSUERS: re.compile(
        rf'(?P<key>"~\^(?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\\\|\\")+\$") "{_AUTHORITY}";',
    ),
    REVOKED: re.compile(rf'(?P<key>"{_AUTHORITY}:{_SERIAL}") 1;'),
    IDENTITIES: re.compile(
        rf'(?P<key>"{_AUTHORITY}:{_SERIAL}") "{_VALUE_TEXT}\|{_VALUE_TEXT}\|{_VALUE_TEXT}\|[0-9A-Fa-f]{{64}}";'
    ),
}


@dataclass(frozen=True)
class TrustUnit:
    """What the CA hands out for a site's trust scope: a number, the digest of the files, and the files' text."""

    number: int
    sha256: str
    files: Mapping[str, str]

    def count(self, name: str) -> int:
        """Lines of a map."""
        return self.files[name].count("\n")


@dataclass(frozen=True)
class TrustPlan:
    """What is to be done about a site's trust; no changes when it is in use as it should be."""

    site: SiteFolders
    unit: Unit
    changes: Sequence[Change]
    install: bool
    outdated: Sequence[str]

    def apply(self) -> None:
        """Place, switch, and remove what is no longer kept. OSError as the system raises it."""
        if self.install:
            units.place(self.site.trust, self.unit)
            units.switch(self.site.trust, self.unit.name)
        for number in self.outdated:
            files.remove(self.site.trust / number)


def current_number(site: SiteFolders) -> int | None:
    """The trust number in use; None when there is none."""
    name = units.current(site.trust)
    return int(name) if name is not None and name.isdecimal() else None


def current_files(site: SiteFolders) -> dict[str, str]:
    """Text of the files of the trust in use, those that are there."""
    name = units.current(site.trust)
    if name is None:
        return {}
    found = {file: files.read(site.trust / name / file) for file in FILES}
    return {file: content.decode(errors="replace") for file, content in found.items() if content is not None}


def chains(root: Path) -> list[dict[str, str]]:
    """For each issuing CA of the trust in use below ``root`` its ``issuer`` DN as Nginx prints it, and ``value``.

    The value is that of RFC 9440's Client-Cert-Chain: the CA and those above it, their root left out, as byte sequences
    (RFC 8941 section 3.3.5) with commas between. Empty without a trust unit.
    """
    authorities = _readable(load_certificates, root, BUNDLE)
    found = []
    for authority in authorities:
        if _is_root(authority):
            continue
        chain = [authority]
        while above := [one for one in authorities if not _is_root(one) and signed_by(chain[-1], one)]:
            if above[0] in chain:
                break
            chain.append(above[0])
        value = ", ".join(f":{base64.b64encode(one.public_bytes(Encoding.DER)).decode()}:" for one in chain)
        found.append({"issuer": _dn_of(authority, f"{root}, {BUNDLE}"), "value": value})
    return found


def _readable(load: Callable[[str, str], list[_Item]], root: Path, name: str) -> list[_Item]:
    """What a file of the trust in use holds: nothing where somebody spoilt it, so that a run gets to put it right."""
    content = files.read(root / "trust" / "current" / name)
    try:
        return load((content or b"").decode(errors="replace"), f"{root}, {name}")
    except KitError:
        return []


def state_of(root: Path, now: datetime) -> dict[str, Any] | None:
    """Of the trust in use below ``root``: ``number``, ``revoked`` (certificates), and ``crl_days`` that its CRLs live.

    None without a trust unit; ``crl_days`` is None without a CRL.
    """
    current = root / "trust" / "current"
    number, revoked = (files.read(current / name) for name in (NUMBER, REVOKED))
    match = re.search(rb'"(\d+)"', number or b"")
    if match is None:
        return None
    ends = [end for crl in _readable(load_crls, root, CRLS) if (end := crl_life(crl)[1]) is not None]
    return {
        "number": int(match[1]),
        "revoked": (revoked or b"").count(b"\n"),
        "crl_days": (min(ends) - now).days if ends else None,
    }


def check(trust: TrustUnit, now: datetime, site: str) -> None:
    """KitError unless the unit is whole and Nginx will let the right clients in with it at ``now``."""
    what = f"trust {trust.number} of site {site!r}"
    again = "run mtls.kit.site again, so that the CA hands it out anew"
    if trust.number < 1:
        raise KitError(what, f"the number {trust.number}", "1 or more", again)
    if set(trust.files) != set(FILES):
        found = ", ".join(sorted(trust.files)) or "no files"
        raise KitError(what, found, ", ".join(FILES), again)
    if digest(trust.files) != trust.sha256:
        raise KitError(what, "files of another SHA-256 than the CA names", f"SHA-256 {trust.sha256}", again)
    if trust.files[NUMBER] != number_map(trust.number):
        raise KitError(f"{what}, {NUMBER}", repr(trust.files[NUMBER][:60]), number_map(trust.number).strip(), again)
    authorities = _check_bundle(trust.files[BUNDLE], now, f"{what}, {BUNDLE}")
    _check_issuers(trust.files[ISSUERS], authorities, f"{what}, {ISSUERS}")
    for name in (REVOKED, IDENTITIES):
        for _ in _keys(name, trust.files[name], f"{what}, {name}"):
            pass
    _check_crls(trust.files[CRLS], authorities, now, f"{what}, {CRLS}")


def _check_bundle(pem: str, now: datetime, what: str) -> list[x509.Certificate]:
    authorities = load_certificates(pem, what)
    for authority in authorities:
        check_authority(authority, 0, what)
        check_dates(authority, now, what)
        if not any(signed_by(authority, issuer) for issuer in authorities):
            # OpenSSL builds a chain up to a self-signed root; without it every client is refused (error 2).
            raise KitError(
                what,
                f"{name_of(authority)} without the CA that signed it",
                "the issuing CAs and their roots, for an intermediate alone refuses every client",
                "run mtls.kit.site again, so that the CA hands it out anew",
            )
    return authorities


def _is_root(authority: x509.Certificate) -> bool:
    return signed_by(authority, authority)


def _keys(name: str, text: str, what: str) -> Iterator[str]:
    """The keys of a map, each of its lines checked against the grammar; KitError for any other or repeated line."""
    grammar = _GRAMMAR[name]
    if text and not text.endswith("\n"):
        raise KitError(what, "a last line without an end", "whole lines", "run mtls.kit.site again")
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = grammar.fullmatch(line)
        if match is None or match["key"] in seen:
            raise KitError(
                f"{what}, line {number}",
                f"{'a repeated key' if match else 'text that is no line of this map'}: {line[:80]!r}",
                "one key and one value between quotes, each key once (Nginx would read it as configuration)",
                "don't install it; find out who altered the CA's store, and run mtls.kit.site again",
            )
        seen.add(match["key"])
        yield match["key"]


def _check_issuers(text: str, authorities: Sequence[x509.Certificate], what: str) -> None:
    found = set(_keys(ISSUERS, text, what))
    issuing = {_issuer_key(authority, what) for authority in authorities if not _is_root(authority)}
    # A root may sign clients itself: that of an adopted CA does.
    roots = {_issuer_key(authority, what) for authority in authorities if _is_root(authority)}
    odd = sorted((issuing - found) | (found - issuing - roots))
    if odd or not found:
        raise KitError(
            what,
            f"issuing CAs other than those in {BUNDLE} ({odd[0] if odd else 'none at all'})",
            f"a line for each issuing CA in {BUNDLE}, and for no other",
            "run mtls.kit.site again, so that the CA hands it out anew",
        )


def _issuer_key(authority: x509.Certificate, what: str) -> str:
    return names.nginx_quoted("~^" + names.regex_escaped(_dn_of(authority, what)) + "$")


def _dn_of(authority: x509.Certificate, what: str) -> str:
    try:
        return names.dn(names.subject_of(authority.subject))
    except (KeyError, ValueError):
        raise KitError(
            what,
            f"the issuing CA {name_of(authority)} with attributes in its DN that the kit can't compare",
            "C, ST, L, O, OU and CN",
            "leave this issuing CA out of accept_issuers",
        ) from None


def _check_crls(pem: str, authorities: Sequence[x509.Certificate], now: datetime, what: str) -> None:
    again = "run mtls.kit.site again, so that the CA signs its CRLs anew"
    crls = load_crls(pem, what)
    for crl in crls:
        begin, end = crl_life(crl)
        issuer = crl.issuer.rfc4514_string()
        if not any(crl.issuer == authority.subject and _signed_crl(crl, authority) for authority in authorities):
            raise KitError(what, f"a CRL of {issuer} that no CA in {BUNDLE} signed", "CRLs of these CAs", again)
        if end is None or now > end or now < begin:
            raise KitError(
                what,
                f"a CRL of {issuer}, valid from {clock.iso(begin)} until {clock.iso(end) if end else 'no named time'}",
                f"one that is valid at {clock.iso(now)}, the gateway's clock, for Nginx refuses every client otherwise",
                again,
            )
    for authority in authorities:
        count = sum(crl.issuer == authority.subject and _signed_crl(crl, authority) for crl in crls)
        if count != 1:
            raise KitError(what, f"{count} CRLs of {name_of(authority)}", f"one for each CA in {BUNDLE}", again)


def _signed_crl(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # it signed its certificate


def plan(site: SiteFolders, trust: TrustUnit, owner: Ownership, keep: int) -> TrustPlan:
    """What is to be done so that ``trust`` is in use and the newest ``keep`` units are kept.

    Raises KitError for a number below one that the gateway has had, and for a number it has with other content.
    """
    unit = Unit(
        name=str(trust.number),
        files={
            **{name: UnitFile(text.encode(), _FILE_MODE) for name, text in trust.files.items()},
            DIGEST: UnitFile(f"{trust.sha256}\n".encode(), _FILE_MODE),
        },
        mode=_FOLDER_MODE,
        owner=owner,
    )
    there = sorted((int(name) for name in units.names(site.trust) if name.isdecimal()), reverse=True)
    in_use = current_number(site)
    if there and trust.number < there[0]:
        raise KitError(
            f"trust of site {site.name!r}",
            f"number {trust.number}, while the gateway has had {there[0]}",
            "a number that only grows, for an older one brings revoked clients back",
            "if the CA's store was restored by hand from an old backup, restore it with mtls.kit.restore, "
            "which goes forward in numbers",
        )
    reason, action = None, "install"
    if trust.number not in there:
        reason = f"trust {trust.number}, the first" if in_use is None else f"trust {trust.number} follows {in_use}"
    else:
        recorded = files.read(site.trust / unit.name / DIGEST)
        if recorded is not None and recorded.decode(errors="replace").strip() != trust.sha256:
            raise KitError(
                f"trust {trust.number} of site {site.name!r}",
                f"other content (SHA-256 {trust.sha256[:12]}…) than the gateway has under this number",
                "one content for each number",
                "find out whether two stores are in use or one was restored by hand, then restore it with "
                "mtls.kit.restore, which goes forward in numbers",
            )
        if drifted := units.drift(site.trust, unit):
            reason = "trust: " + "; ".join(drifted)
        elif in_use != trust.number:
            reason, action = f"trust {trust.number} was installed but not in use", "switch"
    kept = sorted({*there, trust.number}, reverse=True)[: max(keep, 1)]
    outdated = [str(number) for number in there if number not in kept]
    changes = [] if reason is None else [Change(site.name, action, reason)]
    changes += [Change(site.name, "remove", f"trust {number}, older than the newest {keep}") for number in outdated]
    return TrustPlan(site, unit, changes, reason is not None, outdated)
