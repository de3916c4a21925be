"""Who may go where on a site: locations, what each of them asks for, and the patterns that decide it.

A pattern is a PCRE that begins at the start of its subject. Patterns, for keys of a map that are no patterns ignore
case: ``alice`` would be ``ALICE``, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway.tls import PROBE_PATH
from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.backends import Group, group
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.values import (
    choice,
    known_keys,
    size,
    whole_number,
    wrong,
)

VERIFY = ("on", "optional", "optional_no_ca")
CERTIFICATE = ("required", "optional", "none")
MATCHES = ("prefix", "exact")
RULE_KEYS = ("names", "groups", "sans", "sha256", "subjects", "issuers")
LOCATION_KEYS = (
    "path", "match", "certificate", "allow", "deny", "backend", "more_backends", "balance", "backend_timeout",
    "client_max_body_size",
)  # fmt: skip

LONGEST_DN = 1024
"""Characters of a subject that a site takes, as Nginx prints it; RFC 5280's upper bounds stay far below."""

_PATH = re.compile(
    r"(?:/[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)*/?|/(?:\.well-known)(?:/[A-Za-z0-9_~-]+)*/?"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ATTRIBUTE = r"(?:[^\\,+]|\\.)*"
_FIRST_ATTRIBUTES = rf"^(?:{_ATTRIBUTE}[,+])*"
"""Whole attributes of a DN, each up to a separator that isn't escaped: what follows is an attribute of its own."""


@dataclass
class Rule:
    """Patterns by what they are matched with; any of them is enough."""

    identity: list[str] = field(default_factory=list)
    """With a value of ``identities.map``: ``name|groups|SANs|SHA-256``."""
    subject: list[str] = field(default_factory=list)
    issuer: list[str] = field(default_factory=list)

    def steps(self, site: str, variable: str) -> list[dict[str, Any]]:
        """The maps that lead to ``variable``: each asks one source, and leaves the rest to the one before."""
        sources = (
            (f"{site}_identity", self.identity, "_identity"),
            ("ssl_client_s_dn", self.subject, "_subject"),
            ("ssl_client_i_dn", self.issuer, "_issuer"),
        )
        asked = [one for one in sources if one[1]] or [sources[0]]
        found: list[dict[str, Any]] = []
        for number, (source, patterns, suffix) in enumerate(asked, start=1):
            found.append(
                {
                    "source": source,
                    "result": variable if number == len(asked) else variable + suffix,
                    "otherwise": f"${found[-1]['result']}" if found else '""',
                    "patterns": patterns,
                }
            )
        return found


@dataclass
class Location:
    """One path of a site."""

    path: str
    match: str
    certificate: str
    variable: str
    """What the names of its variables begin with."""
    backend: Group
    allow: Rule | None
    """None: everybody whose certificate the site accepts. Without any pattern: nobody."""
    deny: Rule | None
    backend_timeout: int
    client_max_body_size: str

    @property
    def spellings(self) -> list[str]:
        """Nginx's locations: a path stands for itself and for what is below it, never for ``/administrator``."""
        if self.path == "/":
            return ["/"] if self.match == "prefix" else ["= /"]
        if self.match == "prefix":
            return [f"= {self.path}", f"{self.path}/"]
        # To a backend, the path with a slash behind may be the same: what is protected, is so in both spellings.
        return [f"= {self.path}", f"= {self.path}/"] if self.certificate == "required" else [f"= {self.path}"]

    @property
    def authorizes(self) -> bool:
        """Whether more is asked than an accepted certificate."""
        return self.allow is not None or self.deny is not None

    @property
    def asks_ledger(self) -> bool:
        """Whether a rule asks for what only the ledger knows: a certificate it doesn't know is refused there."""
        return any(rule is not None and rule.identity for rule in (self.allow, self.deny))

    @property
    def refusal(self) -> str:
        """The variable that tells why a request is refused; empty for a location that asks for nothing."""
        site = self.variable.rpartition("_at_")[0]
        if self.certificate == "none":
            return ""
        if self.certificate == "optional":
            return f"{site}_shown"
        return f"{self.variable}_refusal" if self.authorizes else f"{site}_refusal"


def _texts(owner: str, key: str, value: Any) -> list[str]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise KitError(f"{owner}, {key}", repr(value), "a list", f"write a list for {key}")
    return [str(one) for one in value]


def _in_list(field_number: int, text: str) -> str:
    """An entry of a comma-separated field of an identity, counted from 0."""
    escaped = names.regex_escaped(text)
    return rf"^(?:[^|]*\|){{{field_number}}}(?:[^|]*,)?{escaped}(?:,[^|]*)?\|"


def _attribute(short: str, text: str) -> str:
    escaped = names.regex_escaped(names.dn(((short, text),)))
    return rf"{_FIRST_ATTRIBUTES}{escaped}(?:[,+]|$)"


def subject_pattern(owner: str, subject: Any) -> str:
    """A whole DN as Nginx prints it, or all of some attributes; raises KitError."""
    if isinstance(subject, Mapping):
        parts = names.subject_from(subject, owner)
        if not parts:
            raise KitError(owner, "a subject without any attribute", "at least one, such as common_name", "add one")
        if len(parts) == 1:
            return _attribute(*parts[0])
        return "^" + "".join(f"(?={_attribute(*part)[1:]})" for part in parts)
    text = str(subject)
    if not re.fullmatch(r"[ -~]+", text) or "=" not in text or len(text) > LONGEST_DN:
        raise KitError(
            owner,
            f"the subject {text[:80]!r}",
            "a DN as Nginx logs it, such as CN=alice,O=Example, or attributes such as {common_name: alice}",
            "copy the subject from the site's log, or give attributes",
        )
    return f"^{names.regex_escaped(text)}$"


def issuer_pattern(owner: str, issuer: str) -> str:
    """An issuing CA by its name in the PKI, all its generations; or by its whole DN."""
    if "=" in issuer:
        return subject_pattern(owner, issuer)
    title = names.authority_title(names.check_issuing_name(issuer))
    return rf"{_FIRST_ATTRIBUTES}CN=[A-Za-z0-9._-]+ {title} G[0-9]+(?:[,+]|$)"


def _sha256(owner: str, text: str) -> str:
    digest = text.replace(":", "").lower()
    if not _SHA256.fullmatch(digest):
        raise KitError(owner, f"the fingerprint {text[:80]!r}", "a SHA-256 as 64 hexadecimal digits", "correct it")
    return rf"^(?:[^|]*\|){{3}}{digest}$"


def _san(owner: str, text: str) -> str:
    kind, separator, value = text.partition(":")
    key = {"DNS": "dns", "IP": "ip", "URI": "uri", "email": "email"}.get(kind)
    if not separator or key is None:
        raise KitError(owner, f"the SAN {text[:80]!r}", "DNS:…, IP:…, URI:… or email:…", "write its kind before it")
    (san,) = names.sans_from({key: [value]}, owner)
    return _in_list(2, names.map_encoded(str(san)))


def rule(owner: str, raw: Any) -> Rule | None:
    """``allow`` or ``deny`` of a location; None when it isn't there. Raises KitError."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or set(raw) - set(RULE_KEYS):
        raise KitError(owner, repr(raw)[:80], f"a dictionary of lists: {', '.join(RULE_KEYS)}", "correct the rule")
    given = {key: raw.get(key) or [] for key in RULE_KEYS}
    found = Rule()
    for name in _texts(owner, "names", given["names"]):
        names.check_certificate_name(f"client/{name}")
        found.identity.append(rf"^{names.regex_escaped(name)}\|")
    for one in _texts(owner, "groups", given["groups"]):
        found.identity.append(_in_list(1, names.check_group(one, owner)))
    found.identity += [_san(owner, one) for one in _texts(owner, "sans", given["sans"])]
    found.identity += [_sha256(owner, one) for one in _texts(owner, "sha256", given["sha256"])]
    subjects = given["subjects"]
    _texts(owner, "subjects", subjects)
    found.subject = [subject_pattern(owner, one) for one in subjects]
    found.issuer = [issuer_pattern(owner, one) for one in _texts(owner, "issuers", given["issuers"])]
    return found


def _location(site: str, variable: str, number: int, raw: Mapping[str, Any], of_site: Mapping[str, Any]) -> Location:
    known_keys(site, f"locations[{number}]", raw, LOCATION_KEYS)
    path = str(raw.get("path") or "")
    if not path or not _PATH.fullmatch(path) or len(path) > 200:
        raise wrong(
            site,
            "locations.path",
            path,
            "'/' or a path such as /admin, of A-Z a-z 0-9 . _ ~ -, without '..' and without dots at the end of a part",
            "correct the path",
        )
    path = path.rstrip("/") or "/"
    if PROBE_PATH.startswith(path) and path != "/":
        raise wrong(site, "locations.path", path, "a path beside the kit's own probe", "choose another path")
    owner = f"site {site!r}, location {path}"
    certificate = choice(site, f"certificate of location {path}", raw.get("certificate", "required"), CERTIFICATE)
    for key in ("allow", "deny"):
        if key in raw and raw[key] is None:
            raise KitError(
                f"{owner}, {key}", "nothing", "a rule; {} allows or denies nobody", "write a rule or remove it"
            )
    rules = {key: rule(f"{owner}, {key}", raw.get(key)) for key in ("allow", "deny")}
    if certificate != "required" and any(one is not None for one in rules.values()):
        raise KitError(
            owner,
            f"allow or deny with certificate: {certificate}",
            "certificate: required, for a rule asks who the client is",
            "remove the rule, or require a certificate",
        )
    begin = f"{variable}_at_{number}"
    return Location(
        path=path,
        match=choice(site, f"match of location {path}", raw.get("match", "prefix"), MATCHES),
        certificate=certificate,
        variable=begin,
        backend=group(site, begin, raw) if raw.get("backend") else of_site["backend"],
        allow=rules["allow"],
        deny=rules["deny"],
        backend_timeout=whole_number(site, "backend_timeout", raw.get("backend_timeout") or of_site["backend_timeout"]),
        client_max_body_size=size(
            site, "client_max_body_size", raw.get("client_max_body_size") or of_site["client_max_body_size"]
        ),
    )


def locations(
    site: str, variable: str, verify: str, raw: Iterable[Mapping[str, Any]], of_site: Mapping[str, Any]
) -> list[Location]:
    """The locations of a site, ``/`` always among them. ``of_site`` has what they inherit. Raises KitError."""
    found = [_location(site, variable, number, one, of_site) for number, one in enumerate(raw, start=1)]
    if not any(one.path == "/" and one.match == "prefix" for one in found):
        found.append(_location(site, variable, 0, {"path": "/"}, of_site))
    seen: dict[str, str] = {}
    for one in found:
        for spelling in one.spellings:
            if spelling in seen:
                raise wrong(site, "locations", f"{one.path} twice", "each path once", "merge the two")
            seen[spelling] = one.path
    opened = [one for one in found if one.certificate != "required"]
    if opened and verify == "on":
        raise wrong(
            site,
            "verify",
            f"on, while location {opened[0].path} has certificate: {opened[0].certificate}",
            "optional, for with 'on' TLS asks every client for a certificate before any path is known",
            "set verify: optional, or require a certificate there",
        )
    if not opened and verify != "on":
        raise wrong(
            site,
            "verify",
            f"{verify}, while every location requires a certificate",
            "on, or a location with certificate: optional or none",
            "remove verify, or open a location",
        )
    return found


def spelling_patterns(found: Sequence[Location]) -> list[tuple[str, str]]:
    """(literal, any case) of each path, the most specific first: what matches only the second is a trick."""
    paths = sorted(
        {one.path for one in found if one.path != "/"}, key=lambda path: (-path.count("/"), -len(path), path)
    )
    escaped = [names.regex_escaped(path) for path in paths]
    return [(rf"~^{one}(?:/|$)", rf"~*^{one}(?:/|$)") for one in escaped]
