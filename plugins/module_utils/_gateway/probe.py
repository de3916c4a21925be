"""Handshakes with known identities against one site: who gets in, who doesn't, and why."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

ACCEPTED = "accepted"
REFUSED = "refused"
UNEXPECTED = "unexpected"
"""Neither: an answer that no site of this kit gives."""


@dataclass(frozen=True)
class Identity:
    """What a client shows; without ``chain`` and ``key`` it shows nothing."""

    name: str
    expect: str
    """``accepted`` or ``refused``."""
    chain: str = ""
    """PEM: leaf, then issuing CAs."""
    key: str = ""
    """PEM, encrypted under the probe password, or plain."""

    def __repr__(self) -> str:
        """Without the key."""
        return f"Identity({self.name!r}, {self.expect!r})"


@dataclass(frozen=True)
class Result:
    """One check."""

    name: str
    expected: str
    found: str
    reason: str

    @property
    def passed(self) -> bool:
        """Whether it went as it should."""
        return self.found == self.expected

    def as_dict(self) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "name": self.name,
            "expected": self.expected,
            "found": self.found,
            "reason": self.reason,
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Target:
    """Where the site is, and what a client knows of it."""

    address: str
    port: int
    server_name: str
    trust_anchor: str
    """PEM; the only certificates that a chain may end in."""


def parse_identities(text: str) -> list[Identity]:
    """The identities of a JSON list of ``{name, expect, chain, key}``; raises KitError, which quotes none of it."""
    expected = "a JSON list of {name, expect, chain, key}, as pki_probe returns it; expect is accepted or refused"
    next_step = "hand over identities of the module pki_probe"
    try:
        entries = json.loads(text)
        found = [
            Identity(str(one["name"]), str(one["expect"]), one.get("chain") or "", one.get("key") or "")
            for one in entries
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise KitError("identities of the probe", f"other data ({type(error).__name__})", expected, next_step) from None
    wrong = [one.name for one in found if one.expect not in (ACCEPTED, REFUSED)]
    if wrong:
        raise KitError("identities of the probe", f"no such expectation for {', '.join(wrong)}", expected, next_step)
    return found


def context_for(target: Target, identity: Identity, password: str) -> ssl.SSLContext:
    """A strict client's context that shows ``identity``; raises KitError when its key doesn't open."""
    try:
        context = tls.verified(target.trust_anchor)
    except ssl.SSLError as error:
        raise KitError(
            "trust anchor of the probe",
            f"no PEM certificate in it ({error.reason})",
            "the PKI's trust-anchor.crt",
            "hand over the file's text",
        ) from error
    if identity.chain:
        try:
            tls.present_certificate(context, identity.chain, identity.key, password)
        except (ssl.SSLError, OSError) as error:
            raise KitError(
                f"identity {identity.name!r} of the probe",
                "a key that doesn't open with probe_password, or doesn't belong to its certificate",
                "chain, key and password of one run of pki_probe",
                "run verify again as a whole",
            ) from error
    return context


def try_identity(target: Target, identity: Identity, password: str, deadline: tls.Deadline) -> Result:
    """One request with that identity; raises tls.NotReachable and KitError."""
    context = context_for(target, identity, password)
    try:
        return judge(identity, tls.ask(target.address, target.port, target.server_name, context, deadline))
    except tls.NoSession as error:
        return without_session(identity, str(error))


def judge(identity: Identity, answer: tls.Answer) -> Result:
    """Whether the answer lets ``identity`` in."""
    told = answer.document
    if answer.status == 200 and told.get("verify") == "SUCCESS" and "site" in told:
        return Result(
            identity.name, identity.expect, ACCEPTED, f"{answer.protocol}, release {told.get('release', '?')}"
        )
    if answer.status in (400, 403) and "error" in told and "site" in told:
        return Result(identity.name, identity.expect, REFUSED, f"{answer.status}: {told['error']}")
    return Result(identity.name, identity.expect, UNEXPECTED, f"status {answer.status}, not an answer of this kit")


def without_session(identity: Identity, cause: str) -> Result:
    """What the end of a handshake says of ``identity``."""
    # Our own refusal of the server, or a server that keeps silent, says nothing about how it judges the client.
    found = REFUSED if "alert" in cause and not _we_refused(cause) else UNEXPECTED
    return Result(identity.name, identity.expect, found, cause)


def _we_refused(cause: str) -> bool:
    return cause.startswith("server certificate refused")


def try_wrong_name(target: Target, deadline: tls.Deadline) -> Result:
    """A client that asks for another name gets no session: the server refuses it, or its certificate is refused."""
    context = tls.verified(target.trust_anchor)
    other = "another-name.mtls-kit.invalid"
    name = "wrong host name"
    try:
        tls.ask(target.address, target.port, other, context, deadline)
    except tls.NoSession as error:
        cause = str(error)
        refused = _we_refused(cause) or "unrecognized name" in cause
        return Result(name, REFUSED, REFUSED if refused else UNEXPECTED, cause)
    return Result(name, REFUSED, ACCEPTED, f"the certificate was taken for {other}")


def try_wrong_anchor(target: Target, deadline: tls.Deadline) -> Result:
    """A client with another trust anchor refuses the server's chain."""
    name = "wrong trust anchor"
    try:
        tls.ask(target.address, target.port, target.server_name, tls.verified(""), deadline)
    except tls.NoSession as error:
        return Result(name, REFUSED, REFUSED if _we_refused(str(error)) else UNEXPECTED, str(error))
    return Result(name, REFUSED, ACCEPTED, "the chain was taken without any trust anchor")


def probe(target: Target, identities: Sequence[Identity], password: str, seconds: float) -> list[Result]:
    """Every identity, one without a certificate, and the two checks a client makes; within ``seconds`` altogether.

    Raises tls.NotReachable when the address can't be reached at all.
    """
    deadline = tls.Deadline(seconds)
    wanted = list(identities)
    if not any(not one.chain for one in wanted):
        wanted.append(Identity("none", REFUSED))
    results = [try_identity(target, one, password, deadline) for one in wanted]
    return [*results, try_wrong_name(target, deadline), try_wrong_anchor(target, deadline)]
