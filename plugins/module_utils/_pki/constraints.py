"""Name constraints: for which names an issuing CA may sign, written into its certificate and kept before it signs.

RFC 5280 section 4.2.1.10, and what OpenSSL, and with it Nginx, makes of it where the RFC leaves room or is not kept:

- with a constraint on URIs it refuses every URI that has no host by name, URNs among them, permitted or not (error 53);
- a URI's host is compared exactly, or with ``.example.com`` as anything below; user and port are no part of a host;
- without a DNS SAN a common name that reads like a host name is held to the DNS constraints.

Where readers differ, this module refuses, so that what is signed is accepted by all of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KINDS: Final = ("dns", "ip", "uri", "email", "subject")

_WORDS: Final = {"dns": "DNS name", "ip": "address", "uri": "URI", "email": "e-mail address", "subject": "subject"}
_KIND_OF_SAN: Final = {"DNS": "dns", "IP": "ip", "URI": "uri", "email": "email"}
_LIKE_A_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)+\.?")


@dataclass(frozen=True)
class Subtrees:
    """Names by kind; ``subject`` holds beginnings of DNs."""

    dns: tuple[str, ...] = ()
    ip: tuple[Network, ...] = ()
    uri: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    subject: tuple[names.Subject, ...] = ()

    def texts(self) -> list[str]:
        """``dns:example.com``, sorted, for messages."""
        return sorted(f"{kind}:{_text(entry)}" for kind in KINDS for entry in getattr(self, kind))


@dataclass(frozen=True)
class NameConstraints:
    """Of each kind that ``permitted`` names, a name must be within one of them; none may be within ``excluded``."""

    permitted: Subtrees
    excluded: Subtrees

    def __str__(self) -> str:
        """What is permitted and what is excluded, in one line."""
        parts = (("permitted", self.permitted.texts()), ("excluded", self.excluded.texts()))
        return "; ".join(f"{word} {', '.join(texts)}" for word, texts in parts if texts)

    def extension(self) -> x509.NameConstraints:
        """As a CA certificate carries it, always critical."""
        return x509.NameConstraints(_general(self.permitted) or None, _general(self.excluded) or None)

    def broken_by(self, subject: names.Subject, sans: Iterable[names.San]) -> str | None:
        """What of a leaf these constraints don't allow, as a clause for a message; None when all of it is allowed."""
        found = list(sans)
        held: list[tuple[str, Any]] = [(_KIND_OF_SAN[san.kind], san.value) for san in found]
        held.append(("subject", subject))
        for kind, value in held:
            if (fault := self._fault(kind, value)) is not None:
                return f"the {_WORDS[kind]} {_text(value)!r}, which {fault}"
        if not any(san.kind == "DNS" for san in found):
            for short, text in subject:
                if short == "CN" and _LIKE_A_HOST.fullmatch(text) and (fault := self._fault("dns", text.lower())):
                    return f"the common name {text!r}, which OpenSSL takes for a DNS name here, and which {fault}"
        return None

    def _fault(self, kind: str, value: Any) -> str | None:
        permitted, excluded = getattr(self.permitted, kind), getattr(self.excluded, kind)
        if not permitted and not excluded:
            return None
        if kind == "uri":
            host = _uri_host(value)
            if host is None:
                return "has no host by name, so that OpenSSL refuses it wherever URIs are constrained"
            value = host
        within = _WITHIN[kind]
        if permitted and not any(within(value, entry) for entry in permitted):
            return f"is not within {' or '.join(map(_text, permitted))}"
        for entry in excluded:
            if within(value, entry) or (kind == "dns" and _wildcard_reaches(value, entry)):
                return f"is within {_text(entry)}, which is excluded"
        return None


def _text(entry: Any) -> str:
    return names.dn(entry) if isinstance(entry, tuple) else str(entry)


# ---------------------------------------------------------------------- whether a name is within a subtree


def _host_within(value: str, entry: str) -> bool:
    return value == entry or value.endswith(f".{entry}")


def _wildcard_reaches(value: str, entry: str) -> bool:
    """``*.example.com`` stands for ``a.example.com``, too, which OpenSSL doesn't see."""
    return value.startswith("*.") and entry.partition(".")[2] == value[2:]


def _address_within(value: str, entry: Network) -> bool:
    address = ipaddress.ip_address(value)
    return address.version == entry.version and address in entry


def _exact_or_below(value: str, entry: str) -> bool:
    return value.endswith(entry) if entry.startswith(".") else value == entry


def _mailbox_within(value: str, entry: str) -> bool:
    return value == entry if "@" in entry else _exact_or_below(value.rpartition("@")[2], entry)


def _subject_within(value: names.Subject, entry: names.Subject) -> bool:
    return len(value) >= len(entry) and names.canonical_dn(value[: len(entry)]) == names.canonical_dn(entry)


_WITHIN: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "dns": _host_within,
    "ip": _address_within,
    "uri": _exact_or_below,
    "email": _mailbox_within,
    "subject": _subject_within,
}


def _uri_host(uri: str) -> str | None:
    """The host of a URI as OpenSSL cuts it out, in lower case; None where it is no plain host name."""
    _, slashes, rest = uri.partition("://")
    host = re.split(r"[:/]", rest, maxsplit=1)[0]
    try:
        return str(names.sans_from({"dns": [host]}, "uri")[0].value) if slashes and "*" not in host else None
    except KitError:
        return None


# ---------------------------------------------------------------------- reading


def _host(value: Any, owner: str) -> str:
    bare = value[1:] if isinstance(value, str) and value.startswith(".") else value
    found = names.sans_from({"dns": [bare]}, owner)[0].value
    if found.startswith("*"):
        raise KitError(owner, repr(value), "a name without '*', for it stands for all below it", "remove the '*.'")
    return f".{found}" if bare != value else found


def _dns(value: Any, owner: str) -> str:
    if isinstance(value, str) and value.startswith("."):
        raise KitError(
            owner,
            repr(value),
            "a name without a leading dot: 'example.com' stands for itself and all below it",
            "remove the dot",
        )
    return _host(value, owner)


def _ip(value: Any, owner: str) -> Network:
    try:
        return ipaddress.ip_network(str(value))
    except ValueError as error:
        raise KitError(
            owner, repr(value), "a network such as 10.0.0.0/8 or 2001:db8::/32", f"correct it ({error})"
        ) from None


def _email(value: Any, owner: str) -> str:
    if isinstance(value, str) and "@" in value:
        return names.sans_from({"email": [value]}, owner)[0].value
    return _host(value, owner)


def _subject(value: Any, owner: str) -> names.Subject:
    if not isinstance(value, Mapping) or value.get("common_name"):
        raise KitError(
            owner,
            repr(value),
            "fields that a subject begins with, such as {organization: Example Ltd}, without common_name",
            "correct it",
        )
    subject = names.subject_from(value, owner)
    if not subject:
        raise KitError(owner, "no field", "one at least", "remove the entry")
    return subject


_READERS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "dns": _dns,
    "ip": _ip,
    "uri": _host,
    "email": _email,
    "subject": _subject,
}


def _subtrees(given: Any, owner: str) -> Subtrees:
    fields: dict[str, tuple[Any, ...]] = {}
    for kind, entries in (given or {}).items():
        if kind not in _READERS:
            raise KitError(owner, repr(kind), "one of " + ", ".join(KINDS), "correct it")
        read_entry = _READERS[kind]
        fields[kind] = tuple(dict.fromkeys(read_entry(entry, f"{owner}.{kind}") for entry in entries or ()))
    return Subtrees(**fields)


def read(given: Mapping[str, Any] | None, owner: str) -> NameConstraints | None:
    """The constraints in ``{"permitted": {"dns": [...], …}, "excluded": {…}}``; None where none are given.

    Raises KitError for another kind, and for an entry that no certificate can hold.
    """
    read_sides = {
        side: _subtrees((given or {}).get(side), f"{owner}, name_constraints.{side}")
        for side in ("permitted", "excluded")
    }
    found = NameConstraints(**read_sides)
    return found if str(found) else None


def of_certificate(certificate: x509.Certificate) -> NameConstraints | None:
    """The constraints that a CA certificate carries; KitError for a kind of name that the kit can't compare."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    return NameConstraints(_of_general(extension.permitted_subtrees), _of_general(extension.excluded_subtrees))


def _general(subtrees: Subtrees) -> list[x509.GeneralName]:
    return [
        *(x509.DNSName(entry) for entry in subtrees.dns),
        *(x509.IPAddress(entry) for entry in subtrees.ip),
        *(x509.UniformResourceIdentifier(entry) for entry in subtrees.uri),
        *(x509.RFC822Name(entry) for entry in subtrees.email),
        *(x509.DirectoryName(names.x509_name(entry)) for entry in subtrees.subject),
    ]


def _of_general(found: Sequence[x509.GeneralName] | None) -> Subtrees:
    fields: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind, entry in map(_entry, found or ()):
        fields[kind].append(entry)
    return Subtrees(**{kind: tuple(entries) for kind, entries in fields.items()})


def _entry(name: x509.GeneralName) -> tuple[str, Any]:
    if isinstance(name, x509.DNSName):
        return "dns", name.value.lower().removeprefix(".")
    if isinstance(name, x509.IPAddress):
        return "ip", name.value
    if isinstance(name, x509.UniformResourceIdentifier):
        return "uri", name.value.lower()
    if isinstance(name, x509.RFC822Name):
        return "email", name.value
    if isinstance(name, x509.DirectoryName):
        return "subject", names.subject_of(name.value)
    raise KitError(
        "name constraints of a CA",
        f"the kind {type(name).__name__}",
        "DNS names, networks, URIs, e-mail addresses and subjects",
        "use a CA with other constraints",
    )


def probe_names(allowed: NameConstraints | None, pki: str, name: str) -> tuple[names.Subject, names.San]:
    """Subject and SAN within ``allowed`` for an identity that the kit makes for itself."""
    common_name = ("CN", f"probe {name}")
    if allowed is None:
        return (common_name,), names.San("URI", f"urn:mtls:{pki}:probe:{name}")
    beginning = allowed.permitted.subject[0] if allowed.permitted.subject else ()
    subject = (*beginning, common_name)
    hosts = [f"probe{host}" if host.startswith(".") else host for host in allowed.permitted.uri]
    sans = [names.San("URI", f"https://{host}/probe/{name}") for host in (*hosts, "probe.mtls-kit.invalid")]
    sans.insert(0, names.San("URI", f"urn:mtls:{pki}:probe:{name}"))
    return subject, next((san for san in sans if allowed.broken_by(subject, [san]) is None), sans[0])
