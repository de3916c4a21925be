"""What of a request is honoured beside its key: nothing, or names within limits that the client's entry gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from cryptography import x509

from ansible_collections.mtls.kit.plugins.module_utils._pki import constraints, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

HONOUR: Final = ("san", "common_name")

_KINDS: Final = {"DNS": "dns", "IP": "ip", "URI": "uri", "email": "email"}


@dataclass(frozen=True)
class CsrPolicy:
    """``honour`` is of HONOUR; a kind of SAN that ``permitted`` says nothing of is not allowed.

    ``common_names`` are globs, ``key_types`` those a request may come with.
    """

    honour: frozenset[str] = frozenset()
    permitted: constraints.NameConstraints | None = None
    common_names: tuple[str, ...] = ()
    key_types: tuple[str, ...] = ()

    def honoured(
        self,
        asked: x509.CertificateSigningRequest | x509.Certificate,
        subject: names.Subject,
        sans: tuple[names.San, ...],
        what: str,
    ) -> tuple[names.Subject, tuple[names.San, ...]]:
        """(subject, SANs): those of the inventory, with what of ``asked`` is honoured in their place.

        Raises KitError for a name beyond the limits; a request is signed as it asks, or not at all.
        """
        if "common_name" in self.honour and (text := _common_name(asked)) is not None:
            if not any(fnmatchcase(text, glob) for glob in self.common_names):
                raise _beyond(what, f"the common name {text!r}", ", ".join(self.common_names))
            owner = f"{what}, subject"
            fields = {names.FIELD_OF_SHORT[short]: value for short, value in subject}
            subject = names.subject_from({**fields, "common_name": text}, owner)
        if "san" in self.honour and (found := _sans(asked, what)):
            self._check(found, what)
            sans = found
        return subject, sans

    def _check(self, sans: tuple[names.San, ...], what: str) -> None:
        for san in sans:
            kind = _KINDS[san.kind]
            if self.permitted is None or not getattr(self.permitted.permitted, kind):
                raise _beyond(what, f"the name {san}", f"no {kind} at all")
        broken = self.permitted.broken_by((), sans) if self.permitted is not None else None
        if broken is not None:
            raise _beyond(what, broken, str(self.permitted))


NOTHING: Final = CsrPolicy()


def read(given: Mapping[str, Any] | None, owner: str, key_types: tuple[str, ...]) -> CsrPolicy:
    """The policy in ``{"honour": [...], "permitted": {"dns": [...], …, "common_name": [globs]}}``.

    Raises KitError for something else to honour, and for names that are honoured without a limit.
    """
    entry = given or {}
    honour = frozenset(entry.get("honour") or ())
    if unknown := sorted(honour - set(HONOUR)):
        raise KitError(f"{owner}, csr.honour", repr(unknown[0]), "san or common_name", "correct it")
    permitted = {kind: values for kind, values in (entry.get("permitted") or {}).items() if values}
    common_names = tuple(permitted.pop("common_name", ()))
    limits = constraints.read({"permitted": permitted}, f"{owner}, csr")
    if ("san" in honour and limits is None) or ("common_name" in honour and not common_names):
        raise KitError(
            f"{owner}, csr",
            "names of requests that are honoured without a limit",
            "csr.permitted, such as {dns: [partner.example.com]}, with common_name where that is honoured",
            "add it: without one, whoever makes a request chooses who to be",
        )
    return CsrPolicy(honour, limits, common_names, key_types)


def _beyond(what: str, found: str, expected: str) -> KitError:
    return KitError(
        what, found, f"names within csr.permitted ({expected})", "have it made again, or widen csr.permitted"
    )


def _common_name(asked: x509.CertificateSigningRequest | x509.Certificate) -> str | None:
    found = asked.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if not found:
        return None
    # Two of them can only be meant to deceive: joined, no glob is likely to fit them.
    return "\n".join(str(attribute.value) for attribute in found)


def _sans(asked: x509.CertificateSigningRequest | x509.Certificate, what: str) -> tuple[names.San, ...]:
    try:
        extension = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    except ValueError as error:
        raise KitError(what, f"an unreadable SAN ({error})", "names in ASCII", "make the request again") from None
    by_kind: dict[str, list[str]] = {}
    for san in names.sans_of(extension.value):
        by_kind.setdefault(_KINDS[san.kind], []).append(san.value)
    return names.sans_from(by_kind, what)
