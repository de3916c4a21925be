"""Profiles of one's own: ``pki_profiles`` read once and checked whole, beside those that are built in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import csr_policy, names, profiles, spiffe
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import KEY_TYPES, check_key_type

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,17})){1,30}")
_KINDS: Final = {kind.lower(): kind for kind in profiles.SAN_KINDS}

_NEVER: Final[Mapping[x509.ObjectIdentifier, str]] = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage, with which it could stand for anything",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning, with which it could call revoked certificates good (RFC 6960)",
    ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping, which must be critical and alone (RFC 3161 section 2.3)",
}
_NEVER_NAMED: Final = {
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
}
_NEVER_A_LEAF: Final = ("keyCertSign", "cRLSign")

_TLS: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def read(entries: Iterable[Mapping[str, Any]]) -> dict[str, profiles.Profile]:
    """The built-in profiles and those of ``entries``, by name.

    Raises KitError for a profile that could become a CA, speak for others or contradicts itself, for an unknown
    usage, kind of SAN, subject field or key type, and for a life shorter than its renewal window.
    """
    found = dict(profiles.PROFILES)
    for entry in entries:
        profile = _Reader(entry).read()
        if profile.name in found:
            taken = "built in" if found[profile.name].built_in else "there twice"
            raise KitError(f"profile {profile.name!r}", f"that it is {taken}", "a name of its own", "rename it")
        found[profile.name] = profile
    return found


def _usage(text: str) -> x509.ObjectIdentifier | None:
    """An extended key usage by its name or as a dotted OID; None for neither."""
    named = profiles.EXTENDED_KEY_USAGES.get(text) or _NEVER_NAMED.get(text)
    if named is not None or not _OID.fullmatch(text):
        return named
    try:
        return x509.ObjectIdentifier(text)
    except ValueError:
        return None


class _Reader:
    """Reads one entry of ``pki_profiles``."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = {option: value for option, value in entry.items() if value is not None}
        self._owner = f"profile {entry.get('name')!r}"

    def read(self) -> profiles.Profile:
        name = str(self._entry.get("name"))
        if not _NAME.fullmatch(name):
            raise self._wrong(f"the name {name!r}", "1 to 32 of a-z 0-9 -, beginning with a letter or digit")
        extended = self._extended_key_usage()
        key_usage = self._key_usage(extended)
        san = self._part("san")
        subject = self._part("subject")
        allowed = self._kinds(san.get("allowed"), "san.allowed") or frozenset(profiles.SAN_KINDS)
        required = self._kinds(san.get("required"), "san.required")
        if missing := sorted(required - allowed):
            raise self._wrong(f"san.required {missing[0].lower()}, which san.allowed leaves out", "an allowed kind")
        profile = profiles.Profile(
            name=name,
            extended_key_usage=extended,
            key_usage=key_usage,
            san_allowed=allowed,
            san_required=required,
            spiffe_trust_domain=self._trust_domain(san, allowed),
            subject_required=frozenset(self._fields(subject.get("required") or (), "subject.required")),
            subject_defaults=tuple(sorted(self._defaults(subject).items())),
            days=self._days("days", 1),
            renew_days=self._days("renew_days", 0),
            csr=self._csr(),
        )
        if profile.days is not None and profile.renew_days is not None and profile.renew_days >= profile.days:
            raise self._wrong(f"renew_days={profile.renew_days} for {profile.days} days", "fewer renew_days than days")
        return self._with_key_types(profile)

    def _wrong(self, found: str, expected: str) -> KitError:
        return KitError(self._owner, found, expected, "correct it in pki_profiles")

    def _part(self, option: str) -> Mapping[str, Any]:
        given = self._entry.get(option) or {}
        if not isinstance(given, Mapping):
            raise self._wrong(f"{option}={given!r}", "a dictionary")
        return given

    def _list(self, values: Any, option: str) -> Sequence[str]:
        if isinstance(values, str) or not isinstance(values, Sequence) or not all(isinstance(v, str) for v in values):
            raise self._wrong(f"{option}={values!r}", "a list of texts; quote an OID")
        return values

    def _each(self, values: Any, option: str, known: Callable[[str], Any], expected: str) -> list[Any]:
        found = []
        for value in self._list(values, option):
            read_value = known(value)
            if read_value is None:
                raise self._wrong(f"{option} {value!r}", expected)
            found.append(read_value)
        return list(dict.fromkeys(found))

    def _extended_key_usage(self) -> tuple[x509.ObjectIdentifier, ...]:
        expected = f"one of {', '.join(profiles.EXTENDED_KEY_USAGES)}, or an OID in dotted form"
        given = self._entry.get("extended_key_usage") or ()
        found = self._each(given, "extended_key_usage", _usage, expected)
        if not found:
            raise self._wrong("no extended_key_usage", "one at least: plain Nginx lets a certificate without one in")
        for usage in found:
            if usage in _NEVER:
                raise self._wrong(_NEVER[usage], "usages that a leaf may have")
        return tuple(found)

    def _key_usage(self, extended: Iterable[x509.ObjectIdentifier]) -> frozenset[str]:
        given = self._list(self._entry.get("key_usage", ["digitalSignature"]), "key_usage")
        for usage in given:
            if usage in _NEVER_A_LEAF:
                raise self._wrong(f"key_usage {usage}", "usages of a leaf: who may sign certificates or CRLs is a CA")
            if usage not in profiles.KEY_USAGES:
                raise self._wrong(f"key_usage {usage!r}", "one of " + ", ".join(profiles.KEY_USAGES))
        if not given:
            raise self._wrong("an empty key_usage", "one usage at least, or leave it out")
        if "digitalSignature" not in given and any(usage in _TLS for usage in extended):
            raise self._wrong("key_usage without digitalSignature", "it beside serverAuth and clientAuth: TLS signs")
        return frozenset(given)

    def _kinds(self, given: Any, option: str) -> frozenset[str]:
        return frozenset(self._each(given or (), option, _KINDS.get, "one of " + ", ".join(_KINDS)))

    def _trust_domain(self, san: Mapping[str, Any], allowed: frozenset[str]) -> str | None:
        domain = san.get("spiffe_trust_domain")
        if domain is None:
            return None
        if not isinstance(domain, str) or not spiffe.is_trust_domain(domain):
            raise self._wrong(f"san.spiffe_trust_domain {domain!r}", "1 to 255 of a-z 0-9 . _ -, without spiffe://")
        if "URI" not in allowed:
            raise self._wrong("san.spiffe_trust_domain, and san.allowed without uri", "uri in san.allowed")
        return domain

    def _fields(self, given: Any, option: str) -> list[str]:
        known = {field: field for field in names.SUBJECT_FIELDS}
        return self._each(given, option, known.get, "one of " + ", ".join(known))

    def _defaults(self, subject: Mapping[str, Any]) -> dict[str, str]:
        given = {field: text for field, text in (subject.get("defaults") or {}).items() if text is not None}
        names.subject_from(given, f"{self._owner}, subject.defaults")
        return given

    def _csr(self) -> Mapping[str, Any] | None:
        given = self._part("csr")
        csr_policy.read(given, self._owner, ())
        return given or None

    def _days(self, option: str, least: int) -> int | None:
        value = self._entry.get(option)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 36500):
            raise self._wrong(f"{option}={value!r}", f"a whole number from {least} to 36500")
        return value

    def _with_key_types(self, profile: profiles.Profile) -> profiles.Profile:
        """``profile`` for the key types it names, or for all that can do something of its key usage."""
        given = self._entry.get("key_types")
        able = [key_type for key_type in KEY_TYPES if profiles.usage_of_key(profile.key_usage, key_type)]
        asked = self._list(given, "key_types") if given else able
        for key_type in asked:
            check_key_type(key_type, self._owner)
            if key_type not in able:
                wanted = ", ".join(sorted(profile.key_usage))
                raise self._wrong(f"the key type {key_type}, which can do nothing of {wanted}", " or ".join(able))
        return replace(profile, key_types=tuple(dict.fromkeys(asked)))
