"""Names: what may be called what, how a subject becomes a DN, what a SAN looks like, and how Nginx prints both."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import spiffe
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SITE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PKI: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_ISSUING: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_SCOPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}")
_PART_RULE: Final = "1 to 64 of A-Z a-z 0-9 . _ @ -, beginning with a letter or digit"
_DISPLAY_NAME: Final = "a display name of any kind belongs into subject.common_name, which takes UTF-8 text"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):((?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)")
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")

PREVIOUS: Final = "previous/"
"""Before a path, in a JSON of passwords: the one that a key may still be encrypted with during a rotation."""

ACME_ACCOUNT: Final = "acme/account"
"""The path of the password of the key that orders public certificates."""

Subject = tuple[tuple[str, str], ...]
"""Attributes as (short name, text), in the order they are encoded: from the country down to the common name."""


@dataclass(frozen=True)
class _Attribute:
    short: str
    oid: x509.ObjectIdentifier
    longest: int


_ATTRIBUTES: Final[Mapping[str, _Attribute]] = {
    "country": _Attribute("C", NameOID.COUNTRY_NAME, 2),
    "state": _Attribute("ST", NameOID.STATE_OR_PROVINCE_NAME, 128),
    "locality": _Attribute("L", NameOID.LOCALITY_NAME, 128),
    "organization": _Attribute("O", NameOID.ORGANIZATION_NAME, 64),
    "organizational_unit": _Attribute("OU", NameOID.ORGANIZATIONAL_UNIT_NAME, 64),
    "common_name": _Attribute("CN", NameOID.COMMON_NAME, 64),
}
"""Subject fields in the order they are encoded; lengths are the upper bounds of RFC 5280, appendix A.1.

They are taken as bytes of UTF-8, as cryptography and some readers count, which is never more than the RFC allows.
"""

SUBJECT_FIELDS: Final = tuple(_ATTRIBUTES)
FIELD_OF_SHORT: Final = {attribute.short: field for field, attribute in _ATTRIBUTES.items()}
_FOREIGN: Final = {
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "DC": NameOID.DOMAIN_COMPONENT,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "SN": NameOID.SURNAME,
    "GN": NameOID.GIVEN_NAME,
    "title": NameOID.TITLE,
    "UID": NameOID.USER_ID,
    "street": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
}
"""What adopted certificates bear and the kit never writes, by OpenSSL's short names."""

_OIDS: Final = {**{attribute.short: attribute.oid for attribute in _ATTRIBUTES.values()}, **_FOREIGN}


def check_pki_name(name: str) -> str:
    """Return ``name``, or raise KitError: it is part of DNs, URNs and a folder's name."""
    if not _PKI.fullmatch(name):
        raise KitError(
            "pki name",
            repr(name),
            "1 to 32 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
            "correct pki_name; the organisation's full name belongs into pki_subject.organization",
        )
    return name


def check_issuing_name(name: str) -> str:
    """Return ``name``, or raise KitError: it is part of labels and, with capitals, of the authority's DN."""
    if not _ISSUING.fullmatch(name) or name == "root":
        raise KitError(
            "issuing CA",
            f"the name {name!r}",
            "1 to 24 of a-z 0-9 -, beginning with a letter or digit, and not 'root'",
            "correct the name in pki_issuing",
        )
    return name


def check_scope(scope: str) -> str:
    """Return ``scope``, or raise KitError: it names a folder of the store."""
    if not _SCOPE.fullmatch(scope):
        raise KitError(
            "trust scope",
            repr(scope),
            "1 to 128 of A-Z a-z 0-9 . _ + @ -, beginning with a letter or digit",
            "correct the scope in trust",
        )
    return scope


def check_group(group: str, owner: str) -> str:
    """Return ``group``, or raise KitError: it is written into a map and into a header."""
    if not _PART.fullmatch(group):
        raise KitError(owner, f"the group {group!r}", _PART_RULE, "correct the group's name")
    return group


def check_certificate_name(name: str) -> str:
    """Return ``name`` (``client/<client>`` or ``server/<gateway>/<site>``), or raise KitError."""
    kind, *parts = name.split("/")
    if kind == "client" and len(parts) == 1:
        if _PART.fullmatch(parts[0]):
            return name
        raise KitError("client", f"the name {parts[0]!r}", _PART_RULE, f"correct the name; {_DISPLAY_NAME}")
    if kind == "server" and len(parts) == 2:
        if not _PART.fullmatch(parts[0]):
            raise KitError("gateway", f"the name {parts[0]!r}", _PART_RULE, "rename the host in the inventory")
        if not _SITE.fullmatch(parts[1]):
            raise KitError(
                f"site of gateway {parts[0]!r}",
                f"the name {parts[1]!r}",
                "1 to 32 of a-z 0-9 -, beginning with a letter or digit",
                "correct the site's name",
            )
        return name
    raise KitError(
        "certificate",
        f"the name {name!r}",
        "client/<client> or server/<gateway>/<site>",
        f"correct the name; {_DISPLAY_NAME}",
    )


def authority_title(name: str) -> str:
    """``client-apps`` as it stands in a DN: ``Client Apps``."""
    return " ".join(word.capitalize() for word in name.split("-") if word)


def subject_from(fields: Mapping[str, Any], owner: str) -> Subject:
    """The subject of ``fields`` (``common_name``, ``organization`` …; None and absent are the same), checked.

    Raises KitError for an unknown field, an empty or too long text, or a control character.
    """
    unknown = sorted(set(fields) - set(_ATTRIBUTES))
    if unknown:
        raise KitError(
            owner,
            f"the subject field {unknown[0]!r}",
            "one of " + ", ".join(_ATTRIBUTES),
            "correct or remove the field",
        )
    subject = []
    for field, attribute in _ATTRIBUTES.items():
        text = fields.get(field)
        if text is None:
            continue
        _check_text(text, field, attribute, owner)
        subject.append((attribute.short, text))
    return tuple(subject)


def _check_text(text: Any, field: str, attribute: _Attribute, owner: str) -> None:
    what = f"{owner}, subject.{field}"
    if not isinstance(text, str) or not text.strip():
        raise KitError(what, repr(text), f"text of 1 to {attribute.longest} characters", "give a text or remove it")
    if _CONTROL.search(text) or any("\ud800" <= character <= "\udfff" for character in text):
        raise KitError(what, repr(text), "text without control characters", "remove the newline, NUL or the like")
    length = len(text.encode())
    if length > attribute.longest:
        raise KitError(what, f"{length} bytes in UTF-8", f"at most {attribute.longest}", "shorten the text")
    if attribute.short == "C" and not re.fullmatch(r"[A-Z]{2}", text):
        raise KitError(what, repr(text), "two capital letters (ISO 3166)", "write the country's code, such as DE")


def x509_name(subject: Subject) -> x509.Name:
    """``subject`` as X.509 encodes it: one attribute in each RDN."""
    return x509.Name([x509.NameAttribute(_OIDS[short], text) for short, text in subject])


def subject_of(name: x509.Name) -> Subject:
    """The subject that a certificate carries; KeyError, with its OID, for an attribute that has no short name here."""
    shorts = {oid.dotted_string: short for short, oid in _OIDS.items()}
    return tuple((shorts[attribute.oid.dotted_string], str(attribute.value)) for attribute in name)


_PLAIN: Final = re.compile(r"[A-Za-z0-9._@:/()'*=-](?:[A-Za-z0-9 ._@:/()'*=-]*[A-Za-z0-9._@:/()'*=-])?")


def _escape_rfc2253(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = []
    last = len(text) - 1
    for position, character in enumerate(text):
        if (
            character in ',+"\\<>;'
            or (character == " " and position in (0, last))
            or (character == "#" and position == 0)
        ):
            escaped.append("\\" + character)
        elif " " <= character <= "~":
            escaped.append(character)
        else:
            escaped.extend(f"\\{byte:02X}" for byte in character.encode())
    return "".join(escaped)


def dn(subject: Subject) -> str:
    """``subject`` as Nginx prints it in ``$ssl_client_s_dn`` and ``$ssl_client_i_dn``.

    That is OpenSSL's XN_FLAG_RFC2253: last attribute first, escapes of RFC 2253 section 2.4, and every byte outside
    ASCII as ``\\XX``.
    """
    return ",".join(f"{short}={_escape_rfc2253(text)}" for short, text in reversed(subject))


def canonical_dn(subject: Subject) -> str:
    """``subject`` as OpenSSL compares DNs (RFC 5280 section 7.1): case and runs of spaces don't matter."""
    return "\n".join(f"{short}={' '.join(text.split()).casefold()}" for short, text in subject)


def regex_escaped(text: str) -> str:
    """``text`` as a PCRE pattern that matches just it."""
    return re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\1", text)


def nginx_quoted(text: str) -> str:
    """``text`` as a double-quoted parameter of an Nginx configuration, which reads ``\\\\`` and ``\\"`` as one each."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_UNSAFE_IN_MAP: Final = re.compile(r"[^\x20-\x7e]|[\"\\$,|;]")


def map_encoded(text: str) -> str:
    """``text`` with everything percent-encoded that a value of ``identities.map`` gives a meaning to."""
    return _UNSAFE_IN_MAP.sub(lambda hit: "".join(f"%{byte:02X}" for byte in hit.group().encode()), text)


@dataclass(frozen=True)
class San:
    """One subject alternative name, normalised; ``kind`` is ``DNS``, ``IP``, ``URI`` or ``email``."""

    kind: str
    value: str

    def __str__(self) -> str:
        """``DNS:gw1.example.com``."""
        return f"{self.kind}:{self.value}"

    def general_name(self) -> x509.GeneralName:
        """The name as the extension holds it."""
        if self.kind == "DNS":
            return x509.DNSName(self.value)
        if self.kind == "IP":
            return x509.IPAddress(ipaddress.ip_address(self.value))
        if self.kind == "URI":
            return x509.UniformResourceIdentifier(self.value)
        return x509.RFC822Name(self.value)


def _host(value: str) -> str | None:
    """``value`` as a host name in lower case, a leading ``*.`` allowed; None when it is none."""
    name = value.lower().removesuffix(".")
    labels = name.split(".")
    plain = labels[1:] if labels[0] == "*" and len(labels) > 2 else labels
    valid = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in plain)
    return name if valid and not labels[-1].isdigit() else None


def _dns(value: str, owner: str) -> str:
    name = _host(value)
    if name is None:
        raise KitError(
            f"{owner}, san.dns",
            repr(value),
            "a DNS name of a-z 0-9 - and dots, at most a leading '*.' before two labels or more",
            "correct the name, write an international one in its xn-- form, or move an address to san.ip",
        )
    return name


def _ip(value: str, owner: str) -> str:
    try:
        # A zone (fe80::1%eth0) means something on one host only, and no certificate can hold it.
        return str(ipaddress.ip_address(value.replace("%", " ")))
    except ValueError:
        raise KitError(
            f"{owner}, san.ip", repr(value), "an IPv4 or IPv6 address without a prefix length", "correct the address"
        ) from None


def _uri(value: str, owner: str) -> str:
    match = _URI.fullmatch(value)
    if not match or len(value) > 1024:
        raise KitError(
            f"{owner}, san.uri",
            repr(value),
            "an absolute URI in ASCII of at most 1,024 characters, such as spiffe://example.com/orders",
            "correct the URI and percent-encode what RFC 3986 does not allow",
        )
    uri = f"{match[1].lower()}:{match[2]}"
    if uri.startswith("spiffe:") and (fault := spiffe.fault(uri)) is not None:
        raise KitError(
            f"{owner}, san.uri", f"{value!r} with {fault}", "a SPIFFE ID, spiffe://<trust domain>/<path>", "correct it"
        )
    return uri


def _email(value: str, owner: str) -> str:
    local, at, domain = value.rpartition("@")
    host = _host(domain)
    if not at or len(local) > 64 or not _LOCAL_PART.fullmatch(local) or host is None or "*" in host:
        raise KitError(
            f"{owner}, san.email", repr(value), "an e-mail address in ASCII", "correct the address, or use san.uri"
        )
    return f"{local}@{host}"


_SAN_KINDS: Final = {"dns": ("DNS", _dns), "ip": ("IP", _ip), "uri": ("URI", _uri), "email": ("email", _email)}


def sans_from(san: Mapping[str, Any], owner: str) -> tuple[San, ...]:
    """The SANs of ``{"dns": [...], "ip": [...], "uri": [...], "email": [...]}``, normalised, each once.

    Raises KitError for another key, or for a value that RFC 5280 section 4.2.1.6 or RFC 3986 does not allow.
    """
    unknown = sorted(set(san) - set(_SAN_KINDS))
    if unknown:
        raise KitError(owner, f"the SAN kind {unknown[0]!r}", "dns, ip, uri or email", "correct or remove it")
    found: dict[San, None] = {}
    for key, (kind, normalise) in _SAN_KINDS.items():
        for value in san.get(key) or ():
            if not isinstance(value, str):
                raise KitError(f"{owner}, san.{key}", repr(value), "a list of texts", "quote the value")
            found[San(kind, normalise(value, owner))] = None
    return tuple(found)


def sans_of(extension: x509.ExtensionType) -> tuple[San, ...]:
    """The SANs in an extension as they stand there; KitError for a kind that no profile allows."""
    if not isinstance(extension, x509.SubjectAlternativeName):
        return ()
    found = []
    for name in extension:
        kind = _KIND_OF_GENERAL_NAME.get(type(name))
        if kind is None:
            raise KitError("SAN", f"the kind {type(name).__name__}", "DNS, IP, URI or email", "leave it out")
        found.append(San(kind, str(name.value)))
    return tuple(found)


_KIND_OF_GENERAL_NAME: Final[Mapping[type[x509.GeneralName], str]] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.UniformResourceIdentifier: "URI",
    x509.RFC822Name: "email",
}


def san_texts(sans: Iterable[San]) -> tuple[str, ...]:
    """SANs as texts in an order of their own, so that two sets of SANs compare equal however they were listed."""
    return tuple(sorted(str(san) for san in sans))


def serial_text(serial: int) -> str:
    """``serial`` as Nginx prints ``$ssl_client_serial``: upper-case hex, two digits for each byte."""
    text = f"{serial:X}"
    return text if len(text) % 2 == 0 else "0" + text


def serial_from(text: str) -> str:
    """A serial as people write it (``0x``, colons, spaces, lower case) in the form of serial_text; or KitError."""
    digits = re.sub(r"[:\s]", "", text).upper().removeprefix("0X")
    if not re.fullmatch(r"[0-9A-F]{1,40}", digits) or int(digits, 16) == 0:
        raise KitError("serial", repr(text), "1 to 40 hexadecimal digits", "copy the serial from the certificate")
    return serial_text(int(digits, 16))
