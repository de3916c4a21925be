"""Whether a site refuses a revoked certificate: shown to it, new and resumed, or else by what it has loaded."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import probe, tls
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import load_crls
from ansible_collections.mtls.kit.plugins.module_utils._gateway.trust import CRLS, ISSUERS, REVOKED
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

BY_HANDSHAKE: Final = "shown to the site"
BY_MAP: Final = "in the revocation map that the site serves"
BY_CRL: Final = "in the CRL that the site serves"

_VERSIONS: Final = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
_NOT_OFFERED: Final = ("protocol version", "unsupported protocol", "no protocols available")


@dataclass(frozen=True)
class Certificate:
    """A revoked certificate; ``chain`` and ``key`` are empty where it can't be shown, and ``untried`` says why."""

    name: str
    serial: str
    issuer: int
    untried: str
    chain: str
    key: str

    def __repr__(self) -> str:
        """Without the key."""
        return f"Certificate({self.name!r}, {self.serial!r})"


@dataclass(frozen=True)
class Site:
    """Where a site is, where its units lie, the trust unit it is to serve at least, and what of it refuses."""

    name: str
    root: Path
    target: probe.Target
    number: int
    revocation: str = "map"
    """``map``, ``crl`` or ``both``."""

    @property
    def listed(self) -> str:
        """How it is proven without a handshake."""
        return BY_CRL if self.revocation == "crl" else BY_MAP


@dataclass(frozen=True)
class Proof:
    """What was found for one certificate at one site."""

    site: str
    name: str
    serial: str
    proof: str
    passed: bool
    found: str

    def as_dict(self) -> dict[str, Any]:
        """The form of the module's result."""
        return {**vars(self)}


def prove(site: Site, certificates: Sequence[Certificate], password: str, deadline: tls.Deadline) -> Iterator[Proof]:
    """One proof for each certificate; ``password`` opens the keys.

    Raises tls.NotReachable, and tls.NoSession where something else than the site answers.
    """
    served = _served(site, deadline)
    for one in certificates:
        if served < site.number:
            found = f"the site serves trust {served}; {site.number} is to refuse it"
            yield Proof(site.name, one.name, one.serial, site.listed, False, found)
        elif one.key:
            results = list(_shown(site, one, password, deadline))
            # A site that offers neither version has shown nothing.
            passed = bool(results) and all(result.passed for result in results)
            found = "; ".join(f"{result.name} {result.found} ({result.reason})" for result in results)
            yield Proof(site.name, one.name, one.serial, BY_HANDSHAKE, passed, found or "no TLS version to try it with")
        else:
            passed, found = _in_unit(site, one, served)
            yield Proof(site.name, one.name, one.serial, site.listed, passed, f"{found}; not shown, for {one.untried}")


def _served(site: Site, deadline: tls.Deadline) -> int:
    """The number of the trust unit that is loaded, as the probe tells the gateway itself."""
    target = site.target
    answer = tls.ask(target.address, target.port, target.server_name, tls.verified(target.trust_anchor), deadline)
    number = str(answer.document.get("trust", ""))
    if answer.document.get("site") != site.name or not number.isdecimal():
        raise tls.NoSession(f"another server answers there (status {answer.status})")
    return int(number)


def _shown(site: Site, one: Certificate, password: str, deadline: tls.Deadline) -> Iterator[probe.Result]:
    """Each TLS version the site offers, new and with the session of that connection."""
    target = site.target
    for version in _VERSIONS:
        protocol = version.name.replace("TLSv", "TLS ").replace("_", ".")
        identity = probe.Identity(protocol, probe.REFUSED, one.chain, one.key)
        context = probe.context_for(target, identity, password)
        context.minimum_version = context.maximum_version = version
        try:
            answer = tls.ask(target.address, target.port, target.server_name, context, deadline)
            yield probe.judge(identity, answer)
            again = probe.Identity(f"{protocol} resumed", probe.REFUSED)
            if answer.session is not None:
                answer = tls.ask(
                    target.address, target.port, target.server_name, context, deadline, resume=answer.session
                )
            result = probe.judge(again, answer)
            told = result.reason if answer.resumed else "the site resumes no session"
            yield probe.Result(again.name, again.expect, result.found, told)
        except tls.NoSession as error:
            if not any(words in str(error) for words in _NOT_OFFERED):
                yield probe.without_session(identity, str(error))


def _in_unit(site: Site, one: Certificate, served: int) -> tuple[bool, str]:
    """Whether the unit that is served refuses it: by its serial, or because the site doesn't accept its issuer."""
    unit = site.root / "trust" / str(served)
    try:
        if _in_crl(unit / CRLS, one) if site.listed == BY_CRL else _in_map(unit / REVOKED, one):
            return True, f"trust {served} refuses its serial"
        if not _has_line(unit / ISSUERS, f' "{one.issuer}";'):
            return True, f"trust {served} accepts no client of its issuer"
    except OSError as error:
        return False, f"trust {served} is served, and {error.filename} can't be read ({error.strerror})"
    except KitError as error:
        return False, f"trust {served} is served, and its {CRLS} holds {error.found}"
    return False, f"trust {served} doesn't list its serial"


def _in_map(path: Path, one: Certificate) -> bool:
    return _has_line(path, f'"{one.issuer}:{one.serial}" 1;')


def _in_crl(path: Path, one: Certificate) -> bool:
    """Whether a CRL lists the serial; whose it is makes no difference, for no two CAs of a kit give out one number."""
    crls = load_crls(path.read_text(), str(path))
    return any(crl.get_revoked_certificate_by_serial_number(int(one.serial, 16)) is not None for crl in crls)


def _has_line(path: Path, end: str) -> bool:
    """Whether a line ends so; read by lines, for a map may have a million of them."""
    with path.open("rb") as lines:
        return any(line.rstrip(b"\n").endswith(end.encode()) for line in lines)
