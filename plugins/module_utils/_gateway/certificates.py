"""Certificates as a gateway judges them: read from PEM, chained up to an anchor, in date, for the right names.

Nginx serves whatever it can parse. What clients would refuse must therefore be found here, before it is served.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import KEY_TYPES, describe, key_type_of, signed_by

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CRL: Final = re.compile(r"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def load_certificates(pem: str, what: str) -> list[x509.Certificate]:
    """Every certificate in ``pem``, in its order; KitError when there is none or one can't be read."""
    blocks = _CERTIFICATE.findall(pem)
    if not blocks or pem.count("-----BEGIN") != len(blocks):
        raise KitError(
            what,
            "no certificate in it" if not blocks else "something else than certificates in it",
            "certificates in PEM",
            "run again, so that the CA hands it out anew",
        )
    try:
        return [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KitError(
            what,
            f"a certificate that can't be read ({error})",
            "X.509 version 3 in PEM",
            "run again, so that the CA hands it out anew",
        ) from None


def load_crls(pem: str, what: str) -> list[x509.CertificateRevocationList]:
    """Every CRL in ``pem``, in its order; KitError when one can't be read."""
    blocks = _CRL.findall(pem)
    try:
        if pem.count("-----BEGIN") != len(blocks):
            raise ValueError("something else than CRLs in it")
        return [x509.load_pem_x509_crl(block.encode()) for block in blocks]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KitError(
            what, f"a CRL that can't be read ({error})", "X.509 CRLs in PEM", "run again, so that the CA signs it anew"
        ) from None


def name_of(certificate: x509.Certificate) -> str:
    """The subject as people write it, for messages."""
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:X}"


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The extension's value; None when the certificate has none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_dates(certificate: x509.Certificate, now: datetime, what: str) -> None:
    """KitError unless ``now`` (the gateway's clock) lies within the certificate's life."""
    begin, end = clock.not_before(certificate), clock.not_after(certificate)
    if now < begin:
        raise KitError(
            what,
            f"{name_of(certificate)}, not valid before {clock.iso(begin)}",
            f"a certificate valid at {clock.iso(now)}, the gateway's clock",
            "set the gateway's clock (chrony, systemd-timesyncd)",
        )
    if now > end:
        raise KitError(
            what,
            f"{name_of(certificate)}, expired at {clock.iso(end)}",
            f"a certificate valid at {clock.iso(now)}, the gateway's clock",
            "run mtls.kit.site or mtls.kit.rotate, so that the CA issues a new one",
        )


def check_authority(certificate: x509.Certificate, below: int, what: str) -> None:
    """KitError unless it may sign others, with ``below`` CAs under it (RFC 5280 sections 4.2.1.3 and 4.2.1.9)."""
    constraints = extension(certificate, x509.BasicConstraints)
    found = None
    if constraints is None and certificate.version is x509.Version.v1 and signed_by(certificate, certificate):
        # X.509 version 1 can't say that something is a CA; OpenSSL takes a self-signed one for it.
        return
    if constraints is None or not constraints.ca:
        found = "which is not a CA (no CA:TRUE)"
    elif constraints.path_length is not None and constraints.path_length < below:
        found = f"whose pathlen {constraints.path_length} does not allow {below} CA below it"
    else:
        usage = extension(certificate, x509.KeyUsage)
        if usage is not None and not usage.key_cert_sign:
            found = "whose key usage lacks keyCertSign"
    if found:
        raise KitError(
            what, f"{name_of(certificate)}, {found}", "CAs that may sign", "correct the CA, or the trust anchor"
        )


def keeps_to_the_profile(authority: x509.Certificate) -> bool:
    """Whether a CA has what OpenSSL demands of one under X509_V_FLAG_X509_STRICT (RFC 5280 section 4.2.1)."""
    kinds = {found.oid: found.critical for found in authority.extensions}
    wanted = (x509.KeyUsage.oid, x509.SubjectKeyIdentifier.oid)
    return bool(kinds.get(x509.BasicConstraints.oid)) and all(oid in kinds for oid in wanted)


def check_key(certificate: x509.Certificate, what: str) -> None:
    """KitError unless the certificate's key is of a type and size that the kit signs."""
    key = certificate.public_key()
    if key_type_of(key) is None:
        raise KitError(what, f"a key of type {describe(key)}", "one of " + ", ".join(KEY_TYPES), "choose a key type")


def check_chain(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime, what: str
) -> None:
    """KitError unless the leaf ``chain[0]`` is signed, link by link, up to one of ``anchors`` (RFC 5280 section 6).

    Checked: every signature, CA flags and key usage, path lengths, and the dates of all members, anchor included.
    """
    above = list(chain[1:])
    if above and any(above[-1] == anchor for anchor in anchors):
        above.pop()
    for certificate, issuer in zip([chain[0], *above], above):  # noqa: B905  the last one is signed by the anchor
        _check_signature(certificate, [issuer], "the next certificate of the chain", what)
    last = above[-1] if above else chain[0]
    anchor = _check_signature(last, anchors, "a trust anchor of this PKI", what)
    for below, authority in enumerate([*above, anchor]):
        check_authority(authority, below, what)
    for certificate in [chain[0], *above, anchor]:
        check_dates(certificate, now, what)


def _check_signature(
    certificate: x509.Certificate, issuers: Sequence[x509.Certificate], expected: str, what: str
) -> x509.Certificate:
    for issuer in issuers:
        if signed_by(certificate, issuer):
            return issuer
    raise KitError(
        what,
        f"that {name_of(certificate)} is not signed by {' or '.join(name_of(issuer) for issuer in issuers)}",
        f"a signature by {expected}",
        "check that certificate_install_trust_anchor is this PKI's, and run mtls.kit.site again",
    )


def check_server_leaf(leaf: x509.Certificate, server_names: Iterable[str], what: str) -> None:
    """KitError unless the leaf is a server's (no CA, EKU serverAuth) and covers each of ``server_names``."""
    constraints = extension(leaf, x509.BasicConstraints)
    usage = extension(leaf, x509.ExtendedKeyUsage)
    if constraints is not None and constraints.ca:
        raise KitError(what, "a CA certificate (CA:TRUE)", "a server's certificate", "use the profile server")
    if usage is None or ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise KitError(
            what, "a certificate without the EKU serverAuth", "a server's certificate", "use the profile server"
        )
    check_key(leaf, what)
    for name in server_names:
        if not covers(leaf, name):
            names = ", ".join(subject_alternative_names(leaf)) or "no names at all"
            raise KitError(
                what,
                f"a certificate for {names}",
                f"one that covers the server name {name!r}",
                "add the name to the site's server_names in the inventory and run mtls.kit.site",
            )


def subject_alternative_names(certificate: x509.Certificate) -> list[str]:
    """DNS names and IP addresses of the certificate, as texts."""
    names = extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses)]


def covers(leaf: x509.Certificate, server_name: str) -> bool:
    """Whether clients take ``leaf`` for ``server_name`` (RFC 9525 section 6); the subject's CN never counts.

    An IP address is covered by an IP SAN alone. ``*`` in a SAN stands for one whole leftmost label. A name in
    Nginx's wildcard form ``*.example.com`` is covered by the same wildcard only, and ``.example.com`` also needs
    ``example.com``. Regular expressions are covered by nothing, for nobody can tell which names they match.
    """
    names = extension(leaf, x509.SubjectAlternativeName)
    if names is None:
        return False
    try:
        address = ipaddress.ip_address(server_name)
    except ValueError:
        pass
    else:
        return address in names.get_values_for_type(x509.IPAddress)
    if server_name.startswith("."):
        return covers(leaf, server_name[1:]) and covers(leaf, f"*{server_name}")
    patterns = [pattern.lower().removesuffix(".") for pattern in names.get_values_for_type(x509.DNSName)]
    return any(_matches(pattern, server_name.lower().removesuffix(".")) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    labels = name.split(".")
    is_wildcard = labels[0] == "*" and len(labels) > 1
    if not all(_LABEL.fullmatch(label) for label in labels[is_wildcard:]):
        return False
    if pattern == name:
        return True
    wildcard, _, rest = pattern.partition(".")
    return wildcard == "*" and not is_wildcard and "." in rest and rest == ".".join(labels[1:])


def crl_life(crl: x509.CertificateRevocationList) -> tuple[datetime, datetime | None]:
    """Begin and end of the CRL's life, aware; the end is None when it names none."""
    return clock.last_update(crl), clock.next_update(crl)
