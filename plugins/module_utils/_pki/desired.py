"""The desired state: the module's arguments read once, checked whole, and turned into immutable specs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import (
    adopt,
    constraints,
    csr_policy,
    keys,
    names,
    offline,
    own_profiles,
    place,
    profiles,
    rotation,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import encode_list

REVOCATION_REASONS: Final = (
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
)
"""The reasons of RFC 5280 section 5.3.1 that fit a leaf and can't be taken back."""

PURPOSES: Final = ("server", "client")

LONGEST_IDENTITY: Final = 3500
"""Bytes of a line in a gateway's identity map: Nginx reads parameters of up to 4,096 bytes."""


@dataclass(frozen=True)
class AuthoritySpec:
    """A CA as the inventory wants it; all but its name is what a generation made now gets."""

    name: str
    key_type: str
    days: int
    purposes: frozenset[str] = frozenset()
    name_constraints: constraints.NameConstraints | None = None
    usages: frozenset[x509.ObjectIdentifier] = frozenset()
    """Extended key usages beyond the purposes, of the profiles it signs for."""

    @property
    def path(self) -> str:
        """``ca/issuing``: where its password is found and how changes name it."""
        return f"ca/{self.name}"

    def limits(self) -> list[profiles.Extension]:
        """What bounds its certificate beyond the path length."""
        return profiles.authority_limits(self.purposes, self.name_constraints, self.usages)


@dataclass(frozen=True)
class CertificateSpec:
    """A leaf as the inventory wants it. ``dn``, ``san_list`` and ``groups`` are in the ledger's own form."""

    name: str
    profile: profiles.Profile
    subject: names.Subject
    dn: str
    sans: tuple[names.San, ...]
    san_list: str
    groups: str
    key_type: str
    days: int
    renew_days: int
    renew_jitter_days: int
    issuer: str
    source: str
    csr: csr_policy.CsrPolicy | None = None
    """What of a request that others bring is honoured, where ``source`` is ``csr``."""

    @property
    def key_place(self) -> str:
        """Where a key comes from that the CA does not make, as a reason says it."""
        return "on the gateway" if self.name.startswith("server/") else "in the request"

    @property
    def files(self) -> tuple[str, str | None]:
        """Paths in the store of its certificate and, where the CA makes the key, of that."""
        kind = self.name.partition("/")[0]
        folder = f"certificates/{self.name}"
        return f"{folder}/{kind}.crt", f"{folder}/{kind}.key" if self.source == "key" else None


@dataclass(frozen=True)
class CrlSpec:
    """Validity of a CRL in days, and its age in hours at which it is signed again."""

    days: int
    refresh_hours: int


@dataclass(frozen=True)
class TrustSpec:
    """A scope and the issuing CAs it accepts."""

    scope: str
    accept: tuple[str, ...]


@dataclass(frozen=True)
class RevokeSpec:
    """One of ``name``, ``serial`` and ``certificate``, and a reason."""

    name: str | None
    serial: str | None
    certificate: x509.Certificate | None
    reason: str


@dataclass(frozen=True)
class ReissueSpec:
    """Certificates to be replaced on demand: globs on names, and the moment before which they were made."""

    names: tuple[str, ...]
    before: datetime

    def takes(self, name: str, made: datetime) -> bool:
        """Whether the certificate of ``name``, made at that moment, is to be replaced; globs may leave the kind out."""
        rest = name.partition("/")[2]
        return made < self.before and any(fnmatchcase(name, glob) or fnmatchcase(rest, glob) for glob in self.names)


@dataclass(frozen=True)
class Desired:
    """Everything one call is to bring about."""

    name: str
    subject: names.Subject
    root: AuthoritySpec
    issuing: tuple[AuthoritySpec, ...]
    certificates: tuple[CertificateSpec, ...]
    crl: CrlSpec
    root_crl: CrlSpec
    root_offline: bool
    root_keys: Path | None
    adopt: adopt.Wish | None
    trust: tuple[TrustSpec, ...]
    revoke: tuple[RevokeSpec, ...]
    removed: str
    rotation: rotation.Wish
    reissue: ReissueSpec | None
    backend: str = place.LOCAL
    """Where the keys of CAs that are made now are made, one of ``place.BACKENDS``."""


def _days(value: Any, owner: str, option: str, *, least: int = 1, most: int = 36500) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise KitError(owner, f"{option}={value!r}", f"a whole number from {least} to {most}", f"correct {option}")
    return value


def renewal_window(entry: Mapping[str, Any], default: Any, profile: profiles.Profile | None = None) -> Any:
    """In days, the window of an entry of ``certificates``: its own, its profile's, the default, or a third of its life.

    The last third where what is not its own does not fit a short life that was asked for.
    """
    given, days = entry.get("renew_days"), entry.get("days")
    if given is not None:
        return given
    if profile is not None:
        days = days or profile.days
        default = default if profile.renew_days is None else profile.renew_days
    return days // 3 if days and default >= days else default


def authority_subject(pki: str, organisation: names.Subject, name: str, generation: int) -> names.Subject:
    """The DN of a generation of a CA key: its own, so that maps, logs and CRLs can tell it from the others."""
    return (*organisation, ("CN", f"{pki} {names.authority_title(name)} G{generation}"))


def _authority(arguments: Mapping[str, Any], name: str, purposes: Iterable[str] = ()) -> AuthoritySpec:
    owner = "root" if name == "root" else f"issuing CA {name!r}"
    return AuthoritySpec(
        name=name,
        key_type=keys.check_key_type(arguments["key_type"], owner),
        days=_days(arguments["days"], owner, "days"),
        purposes=frozenset(purposes),
        name_constraints=constraints.read(arguments.get("name_constraints"), owner),
    )


def _issuing(arguments: Sequence[Mapping[str, Any]]) -> tuple[AuthoritySpec, ...]:
    specs: dict[str, AuthoritySpec] = {}
    for entry in arguments:
        name = names.check_issuing_name(entry["name"])
        purposes = entry["purposes"]
        if name in specs:
            raise KitError(f"issuing CA {name!r}", "two of this name", "one", "rename or remove one of them")
        if not purposes or set(purposes) - set(PURPOSES):
            raise KitError(
                f"issuing CA {name!r}", f"the purposes {list(purposes)}", "server, client or both", "correct purposes"
            )
        specs[name] = _authority(entry, name, purposes)
    if not specs:
        raise KitError("issuing", "no issuing CA", "at least one", "add one to pki_issuing, or leave it at its default")
    return tuple(specs.values())


def check_identity(owner: str, name: str, groups: Sequence[str], sans: Sequence[str]) -> None:
    """Raise KitError for an identity that is too long for a line of the gateways' identity map."""
    length = len(",".join((name, *groups, *map(names.map_encoded, sans))))
    if length > LONGEST_IDENTITY:
        raise KitError(
            owner,
            f"{length} bytes of groups and SANs",
            f"at most {LONGEST_IDENTITY}, for Nginx reads no longer parameter",
            "remove groups or SANs",
        )


class _CertificateReader:
    """Turns entries of ``certificates`` into specs; what is the same for all is worked out once."""

    def __init__(
        self,
        pki: str,
        organisation: Mapping[str, Any],
        leaf: Mapping[str, Any],
        issuing: Sequence[AuthoritySpec],
        known_profiles: Mapping[str, profiles.Profile],
    ) -> None:
        self._pki = pki
        self._organisation = {field: text for field, text in organisation.items() if text is not None}
        self._leaf = leaf
        self._profiles = known_profiles
        self._jitter = _days(leaf.get("renew_jitter_days") or 0, "leaf", "renew_jitter_days", least=0)
        self._issuing = {spec.name: spec for spec in issuing}

    def read(self, entry: Mapping[str, Any]) -> CertificateSpec:
        name = names.check_certificate_name(entry["name"])
        owner = f"certificate {name!r}"
        profile = self._profile(entry, owner)
        sans = names.sans_from(entry.get("san") or {}, owner) or self._default_sans(name, profile, owner)
        subject = self._subject(entry, name, sans, profile, owner)
        days, renew_days = self._lives(entry, profile, owner)
        key_type = keys.check_key_type(entry.get("key_type") or self._key_type(profile), owner)
        profiles.check_wish(name, profile, subject, sans, key_type)
        source = entry.get("source") or "key"
        if source not in ("key", "csr"):
            raise KitError(owner, f"source={source!r}", "key or csr", "correct source")
        groups = sorted({names.check_group(group, owner) for group in entry.get("groups") or ()})
        san_list = names.san_texts(sans)
        check_identity(owner, name, groups, san_list)
        return CertificateSpec(
            name=name,
            profile=profile,
            subject=subject,
            dn=names.dn(subject),
            sans=sans,
            san_list=encode_list(san_list),
            groups=encode_list(groups),
            key_type=key_type,
            days=days,
            renew_days=renew_days,
            renew_jitter_days=self._jitter,
            issuer=self._issuer(entry, profile, owner),
            source=source,
            csr=self._csr(entry, source, profile, owner),
        )

    @staticmethod
    def _csr(
        entry: Mapping[str, Any], source: str, profile: profiles.Profile, owner: str
    ) -> csr_policy.CsrPolicy | None:
        given = entry.get("csr")
        if source != "csr":
            if given:
                raise KitError(owner, "csr beside a key that the CA makes", "source: csr beside it", "add or remove it")
            return None
        asked = entry.get("key_type")
        return csr_policy.read(given or profile.csr, owner, (asked,) if asked else profile.key_types)

    def _profile(self, entry: Mapping[str, Any], owner: str) -> profiles.Profile:
        profile = self._profiles.get(entry.get("profile") or entry["name"].partition("/")[0])
        if profile is None:
            expected = "one of " + ", ".join(self._profiles)
            next_step = "correct profile, or add it to pki_profiles"
            raise KitError(owner, f"the profile {entry.get('profile')!r}", expected, next_step)
        if entry["name"].startswith("server/") and "server" not in profile.purposes:
            raise KitError(owner, f"the profile {profile.name!r}", "a profile with serverAuth", "choose another")
        return profile

    def _key_type(self, profile: profiles.Profile) -> str:
        default = str(self._leaf["key_type"])
        return default if default in profile.key_types else profile.key_types[0]

    def _default_sans(self, name: str, profile: profiles.Profile, owner: str) -> tuple[names.San, ...]:
        if not profile.built_in and "URI" not in profile.san_allowed - profile.san_required:
            return ()
        if "server" in profile.purposes:
            raise KitError(
                owner,
                "no SAN",
                "at least one DNS name or IP address, by which clients verify the server",
                "add it to san.dns or san.ip (of a site: to its server_names)",
            )
        return (names.San("URI", f"urn:mtls:{self._pki}:{name.rpartition('/')[2]}"),)

    def _subject(
        self, entry: Mapping[str, Any], name: str, sans: Sequence[names.San], profile: profiles.Profile, owner: str
    ) -> names.Subject:
        given = {field: text for field, text in (entry.get("subject") or {}).items() if text is not None}
        fields = {**self._organisation, **dict(profile.subject_defaults), **given}
        if "common_name" not in fields:
            hosts = (san.value for san in sans if san.kind in ("DNS", "IP") and len(san.value) <= 64)
            default = name.rpartition("/")[2]
            fields["common_name"] = next(hosts, default) if name.startswith("server/") else default
        return names.subject_from(fields, owner)

    def _lives(self, entry: Mapping[str, Any], profile: profiles.Profile, owner: str) -> tuple[int, int]:
        days = _days(entry.get("days") or profile.days or self._leaf["days"], owner, "days")
        window = renewal_window(entry, self._leaf["renew_days"], profile)
        renew_days = _days(window, owner, "renew_days", least=0)
        if renew_days >= days:
            raise KitError(
                owner, f"renew_days={renew_days} for {days} days of life", "fewer renew_days than days", "correct one"
            )
        return days, renew_days

    def _issuer(self, entry: Mapping[str, Any], profile: profiles.Profile, owner: str) -> str:
        asked = entry.get("issuer")
        if asked is not None and asked not in self._issuing:
            expected = "one of " + ", ".join(self._issuing)
            raise KitError(owner, f"the issuer {asked!r}", expected, "correct issuer, or add it to pki_issuing")
        candidates = [self._issuing[asked]] if asked else list(self._issuing.values())
        found_spec = _signing_for(profile, candidates)
        if found_spec is not None:
            return found_spec.name
        needed = " and ".join(sorted(profile.purposes))
        found = f"no such purpose of the issuing CA {asked!r}" if asked else "no issuing CA with that purpose"
        raise KitError(owner, found, f"an issuing CA for {needed}", "correct purposes in pki_issuing")


def _signing_for(profile: profiles.Profile, issuing: Iterable[AuthoritySpec]) -> AuthoritySpec | None:
    """The first issuing CA that is there for the purposes of ``profile``."""
    return next((spec for spec in issuing if profile.purposes <= spec.purposes), None)


def _with_usages(
    issuing: Iterable[AuthoritySpec],
    known_profiles: Mapping[str, profiles.Profile],
    certificates: Iterable[CertificateSpec],
) -> tuple[AuthoritySpec, ...]:
    """The issuing CAs with the usages of one's own profiles that they sign for, or would by default."""
    specs = tuple(issuing)
    signing = {(spec.issuer, spec.profile.name) for spec in certificates}
    for profile in known_profiles.values():
        default = _signing_for(profile, specs)
        if default is not None:
            signing.add((default.name, profile.name))
            longest = max(spec.days for spec in specs if profile.purposes <= spec.purposes)
            if profile.days is not None and profile.days > longest:
                raise KitError(
                    f"profile {profile.name!r}",
                    f"days={profile.days}",
                    f"at most {longest}, the life of its issuing CA, which no certificate outlives",
                    "correct days in pki_profiles",
                )
    known = profiles.usages_made(PURPOSES, ())
    return tuple(
        replace(
            spec,
            usages=frozenset(
                usage
                for issuer, profile in signing
                if issuer == spec.name
                for usage in known_profiles[profile].extended_key_usage
                if usage not in known
            ),
        )
        for spec in specs
    )


def _certificates(arguments: Iterable[Mapping[str, Any]], reader: _CertificateReader) -> tuple[CertificateSpec, ...]:
    specs: dict[str, CertificateSpec] = {}
    for entry in arguments:
        spec = reader.read(entry)
        if spec.name in specs:
            raise KitError(f"certificate {spec.name!r}", "two of this name", "one", "rename or remove one of them")
        specs[spec.name] = spec
    return tuple(specs.values())


def _trust(arguments: Iterable[Mapping[str, Any]], issuing: Iterable[AuthoritySpec]) -> tuple[TrustSpec, ...]:
    known = {spec.name: spec for spec in issuing}
    specs: dict[str, TrustSpec] = {}
    for entry in arguments:
        scope = names.check_scope(entry["scope"])
        accept = tuple(dict.fromkeys(entry["accept"]))
        unknown = [name for name in accept if name not in known]
        if unknown or not accept:
            raise KitError(
                f"trust scope {scope!r}",
                f"the issuing CA {unknown[0]!r}" if unknown else "no issuing CA to accept",
                "one or more of " + ", ".join(known),
                "correct what the site accepts, or add it to pki_issuing",
            )
        spec = TrustSpec(scope, accept)
        if specs.setdefault(scope, spec) != spec:
            raise KitError(
                f"trust scope {scope!r}", "two scopes of this name that accept different CAs", "one", "rename one"
            )
    return tuple(specs.values())


def revocations_from(arguments: Iterable[Mapping[str, Any]]) -> tuple[RevokeSpec, ...]:
    """Entries of ``revoke``; KitError for one that names none or several certificates, or no reason of ours."""
    specs = []
    for entry in arguments:
        given = {key: entry[key] for key in ("name", "serial", "certificate") if entry.get(key)}
        reason = entry.get("reason") or "unspecified"
        if len(given) != 1:
            raise KitError(
                "revoke",
                f"an entry with {sorted(given) or 'nothing'}",
                "one of name, serial, certificate",
                "correct it",
            )
        if reason not in REVOCATION_REASONS:
            raise KitError("revoke", f"the reason {reason!r}", "one of " + ", ".join(REVOCATION_REASONS), "correct it")
        certificate = None
        if "certificate" in given:
            try:
                certificate = x509.load_pem_x509_certificate(given["certificate"].encode())
            except ValueError as error:
                raise KitError(
                    "revoke", f"no readable certificate ({error})", "a certificate in PEM", "hand in the file's text"
                ) from None
        serial = names.serial_from(given["serial"]) if "serial" in given else None
        specs.append(RevokeSpec(given.get("name"), serial, certificate, reason))
    return tuple(specs)


def _reissue(given: Mapping[str, Any] | None) -> ReissueSpec | None:
    if not given or not given.get("names"):
        return None
    try:
        before = datetime.fromisoformat(given["before"])
    except (TypeError, ValueError):
        before = None
    if before is None or before.tzinfo is None:
        raise KitError(
            "reissue",
            f"before={given.get('before')!r}",
            "a moment in ISO 8601 with its offset, 2026-11-24T12:00:00Z",
            "give the moment before which the certificates were made, so that a second run changes nothing",
        )
    return ReissueSpec(tuple(given["names"]), before)


def _adopt(given: Mapping[str, Any] | None, issuing: Iterable[AuthoritySpec]) -> adopt.Wish | None:
    if not given:
        return None
    missing = [option for option in ("certificate", "key") if not given.get(option)]
    if missing:
        raise KitError("adopt", f"no {missing[0]}", "the files of the CA to adopt", f"add {missing[0]} to pki_adopt")
    known = ["root", *(spec.name for spec in issuing)]
    if given["name"] not in known:
        raise KitError(
            "adopt", f"the name {given['name']!r}", "one of " + ", ".join(known), "correct name in pki_adopt"
        )
    folder = given.get("certificates_folder")
    return adopt.Wish(given["name"], Path(given["certificate"]), Path(given["key"]), Path(folder) if folder else None)


def _crl(days: Any, refresh_hours: Any, owner: str) -> CrlSpec:
    spec = CrlSpec(
        _days(days, owner, "days", most=400),
        _days(refresh_hours, owner, "refresh_hours", most=9600),
    )
    if spec.refresh_hours >= spec.days * 24:
        raise KitError(
            owner, f"refresh_hours={spec.refresh_hours} for {spec.days} days", "a refresh before its end", "correct one"
        )
    return spec


def read(arguments: Mapping[str, Any]) -> Desired:
    """The desired state in the arguments of module ``pki``; KitError for the first thing that is wrong in them."""
    pki = names.check_pki_name(arguments["name"])
    organisation_fields = arguments.get("subject") or {}
    if organisation_fields.get("common_name"):
        raise KitError(
            "subject of the PKI", "a common_name", "organization and the like", "remove it: CAs are named by pki_name"
        )
    organisation = names.subject_from(organisation_fields, "subject of the PKI")
    root = _authority(arguments["root"], "root")
    issuing = _issuing(arguments["issuing"])
    for spec in issuing:
        names.subject_from({"common_name": f"{pki} {names.authority_title(spec.name)} G1"}, f"issuing CA {spec.name!r}")
    known_profiles = own_profiles.read(arguments.get("profiles") or ())
    reader = _CertificateReader(pki, organisation_fields, arguments["leaf"], issuing, known_profiles)
    certificates = _certificates(arguments.get("certificates") or (), reader)
    crl = _crl(arguments["crl"]["days"], arguments["crl"]["refresh_hours"], "crl")
    root_offline = bool(arguments["root"].get("offline"))
    root_keys = arguments.get("root_keys")
    if root_keys and not root_offline:
        raise KitError(
            "root_keys",
            "a folder for the root's key, and a root that is not said to be offline",
            "root.offline=true beside it, for that moves the root's key out of the store",
            "set offline: true in pki_root, or leave pki_root_keys out",
        )
    root_crl_days = arguments["root"].get("crl_days") or (offline.CRL_DAYS if root_offline else crl.days)
    backend = arguments.get("backend", place.LOCAL)
    if backend not in place.BACKENDS:
        raise KitError("backend", repr(backend), "one of " + ", ".join(place.BACKENDS), "correct pki_backend")
    if backend == place.OPENBAO and arguments.get("adopt"):
        raise KitError(
            "backend openbao",
            "a CA to adopt, whose key is a file",
            "keys that are made in OpenBao",
            "adopt it with pki_backend local, and leave it for OpenBao by a rotation",
        )
    if arguments["removed"] not in ("report", "revoke"):
        raise KitError("removed", repr(arguments["removed"]), "report or revoke", "correct it")
    return Desired(
        name=pki,
        subject=organisation,
        root=root,
        issuing=_with_usages(issuing, known_profiles, certificates),
        certificates=certificates,
        crl=crl,
        root_crl=_crl(root_crl_days, crl.refresh_hours, "crl of the root"),
        root_offline=root_offline,
        root_keys=Path(root_keys) if root_keys else None,
        adopt=_adopt(arguments.get("adopt"), issuing),
        trust=_trust(arguments.get("trust") or (), issuing),
        revoke=revocations_from(arguments.get("revoke") or ()),
        removed=arguments["removed"],
        rotation=rotation.read(arguments.get("rotation"), [spec.name for spec in issuing]),
        reissue=_reissue(arguments.get("reissue")),
        backend=backend,
    )
