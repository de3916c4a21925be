"""Known causes of refusals, each with what proves it and what to do. OpenSSL itself is asked wherever it can be.

A client's chain is shown, in memory, to a TLS server that trusts what the gateway trusts, at the gateway's security
level: what that server says is what Nginx says. ``docs/when-it-does-not-work.md`` is the table of :data:`CAUSES`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.mtls.kit.plugins.module_utils._gateway import tls
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import (
    crl_life,
    extension,
    load_certificates,
    load_crls,
    name_of,
)
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.keys import signed_by

SKEW: Final = timedelta(minutes=2)
"""Beyond this, a certificate made a moment ago may not be valid yet elsewhere."""

LAST_DAYS: Final = timedelta(days=14)
LAST_PART: Final = 6
"""A renewal comes at a third of a certificate's life: with 14 days left, or a sixth of a shorter life, none came."""


@dataclass(frozen=True)
class Cause:
    """A known cause: what it is, and what to do."""

    text: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """A cause that was found; ``proof`` is what shows it."""

    cause: str
    text: str
    proof: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """The form of the module's result."""
        return {**vars(self)}


CAUSES: Final[dict[str, Cause]] = {
    "error-2": Cause(
        "an issuing CA is there and the CA above it is not",
        "put the whole path up to the root into the bundle of CAs (ssl_client_certificate: issuing CA and root); for a "
        "chain that is too long Nginx says this, too: raise ssl_verify_depth",
    ),
    "error-3": Cause(
        "CRLs are enforced and one CA of the chain has none",
        "give ssl_crl a CRL of every CA, the root's too, or leave ssl_crl out and revoke by the map",
    ),
    "error-9": Cause("the certificate is not valid yet", "set the clocks right; else wait, or have it issued again"),
    "error-10": Cause(
        "the certificate has expired", "issue it again (clients.yml for a client, site.yml for a server)"
    ),
    "error-12": Cause(
        "a CRL has expired, which refuses every client",
        "sign the CRLs (site.yml) and reload; run it daily, or leave ssl_crl out and revoke by the map",
    ),
    "error-18": Cause(
        "the certificate is self-signed, or its whole subject is its issuer's",
        "use one that a CA signed, with a subject of its own",
    ),
    "error-19": Cause(
        "the chain ends in a root that the other side does not trust",
        "use a certificate of the CA that the other side trusts, or give it this root",
    ),
    "error-20": Cause(
        "the certificate's issuer is unknown to the other side",
        "use a certificate of a CA it trusts; or give it that CA, or the chain that leads to it",
    ),
    "error-21": Cause(
        "the certificate came without its issuing CA, which the other side doesn't have",
        "send the chain: client.crt holds the certificate and its issuing CA, under a root that the other side trusts",
    ),
    "error-22": Cause("the chain is longer than ssl_verify_depth allows", "raise ssl_verify_depth by the missing CAs"),
    "error-23": Cause("the certificate was revoked", "if that was not meant, issue another (clients.yml)"),
    "error-26": Cause(
        "the certificate was not made for this use",
        "use a certificate with the EKU clientAuth for clients, serverAuth for servers",
    ),
    "error-47": Cause(
        "a CA of the chain may not sign for that name (name constraints)",
        "have it issued by a CA that may, or with another name",
    ),
    "error-62": Cause(
        "the server's certificate does not bear the name it was called by",
        "call it by a name in its certificate, or add the name to server_names and run site.yml",
    ),
    "error-66": Cause("the certificate's key is too small", "make a new key: P-256, or RSA of 2048 bits or more"),
    "error-67": Cause("a CA's key is too small", "have it issued by a CA with P-256, or RSA of 2048 bits or more"),
    "error-68": Cause(
        "a signature in the chain is made with SHA-1 or MD5",
        "have it issued again with SHA-256; never lower the security level",
    ),
    "key-mismatch": Cause(
        "key and certificate do not belong together", "put the key beside the certificate it was made for"
    ),
    "wrong-password": Cause("the password does not open the key", "use the password of this very key (in the vault)"),
    "no-password": Cause("the key is encrypted and no password was given", "hand in the password"),
    "400-no-certificate": Cause("no client certificate was sent (496)", "send one: --cert and --key"),
    "400-certificate": Cause(
        "the gateway refuses the client certificate (495)",
        "look at the gateway's error log at level info, or run the doctor with -e doctor_client_ca=<its CA file>",
    ),
    "400-plain-http": Cause("plain HTTP was spoken to a TLS port (497)", "call it with https://"),
    "error-page": Cause(
        "an error_page answers certificate errors with success, which opens the site",
        "remove the '=200' and every proxied page from error_page 495 496 497",
    ),
    "tls-version": Cause("client and server share no TLS version", "allow TLS 1.2 or 1.3 on both sides; nothing older"),
    "clock-skew": Cause("the clocks are apart", "set them right (timedatectl; chrony or systemd-timesyncd)"),
    "crl-expired": Cause(
        "a CRL has expired: every client is refused (12)",
        "sign the CRLs (site.yml) and reload; run it daily, or leave ssl_crl out and revoke by the map",
    ),
    "no-root": Cause(
        "the bundle of client CAs lacks a root: every client is refused (2)",
        "append the root to the file that ssl_client_certificate names, and reload",
    ),
    "ends-soon": Cause(
        "the server's certificate ends soon, and nothing has replaced it",
        "run site.yml, which renews it; of a publicly trusted one, the run tells what the ACME server says",
    ),
    "stale": Cause("Nginx serves another certificate than its file holds", "reload Nginx (nginx -s reload)"),
    "nginx-test": Cause("nginx -t refuses the configuration", "repair what it names; don't restart Nginx before"),
    "not-reachable": Cause("no connection comes about", "is Nginx running; name, port and firewall right?"),
    "no-answer": Cause("the connection ends without an answer", "look at the gateway's error log"),
    "unreadable": Cause("a file can't be read as what it should be", "replace it by the one that was handed out"),
}
"""Every cause the doctor knows. ``error-<n>`` is OpenSSL's verification error n."""

_KIT_REASONS: Final = {
    "no client certificate sent": "400-no-certificate",
    "client certificate expired": "error-10",
    "client certificate not yet valid": "error-9",
    "client certificate revoked": "error-23",
    "not made for client authentication": "error-26",
    "chain of the client certificate too long": "error-22",
    "TLS expected": "400-plain-http",
}
_NGINX_PAGES: Final = {
    b"No required SSL certificate was sent": "400-no-certificate",
    b"The plain HTTP request was sent to HTTPS port": "400-plain-http",
    b"The SSL certificate error": "400-certificate",
}
_NGINX_TEST: Final = {
    "key values mismatch": "key-mismatch",
    "bad decrypt": "wrong-password",
    "bad password read": "no-password",
    "ee key too small": "error-66",
    "ca key too small": "error-67",
    "ca md too weak": "error-68",
    "ee md too weak": "error-68",
}


def finding(cause: str, proof: str) -> Finding:
    """A finding of a known cause."""
    known = CAUSES[cause]
    return Finding(cause, known.text, proof, known.fix)


def of_verify_error(code: int, message: str, who: str) -> Finding:
    """What OpenSSL's verification error means; an unknown one is told as it is."""
    proof = f"{who}: OpenSSL's error {code}: {message}"
    # 64 is 62 for addresses.
    cause = f"error-{62 if code == 64 else code}"
    if cause in CAUSES:
        return finding(cause, proof)
    return Finding(cause, f"OpenSSL refuses the chain: {message}", proof, f"see verify(1) of OpenSSL for {code}")


def of_dates(certificate: x509.Certificate, now: datetime, who: str) -> Iterator[Finding]:
    """Whether ``now`` lies within the certificate's life."""
    begin, end = clock.not_before(certificate), clock.not_after(certificate)
    if now > end:
        yield finding("error-10", f"{who}: {name_of(certificate)} ended at {clock.iso(end)}")
    elif now < begin:
        yield finding("error-9", f"{who}: {name_of(certificate)} begins at {clock.iso(begin)}")


def of_renewal(certificate: x509.Certificate, now: datetime, who: str) -> Iterator[Finding]:
    """Whether so little of its life is left at ``now`` that every renewal must have failed."""
    begin, end = clock.not_before(certificate), clock.not_after(certificate)
    left = end - now
    if timedelta() <= left < min(LAST_DAYS, (end - begin) / LAST_PART):
        issuer = certificate.issuer.rfc4514_string()
        yield finding("ends-soon", f"{who}: {name_of(certificate)} of {issuer} ends at {clock.iso(end)}")


def of_certificate(chain: Sequence[x509.Certificate], now: datetime, who: str) -> Iterator[Finding]:
    """What the client's certificates tell by themselves."""
    leaf = chain[0]
    for certificate in chain:
        yield from of_dates(certificate, now, who)
    if leaf.subject == leaf.issuer:
        yield finding("error-18", f"{who}: subject and issuer are both {name_of(leaf)}")
    usage = extension(leaf, x509.ExtendedKeyUsage)
    if usage is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        yield finding("error-26", f"{who}: its EKU lacks clientAuth")


@dataclass(frozen=True)
class Shown:
    """What a client shows: PEM chain and PEM key with its password."""

    chain: str
    key: str
    password: str

    def __repr__(self) -> str:
        """Without the key."""
        return "Shown()"


def verify_client(shown: Shown, authorities: str, crls: str = "") -> Finding | None:
    """What a gateway with these PEM CAs, and CRLs where it enforces them, says of a client; None when it lets it in.

    Raises KitError for CAs that can't be loaded, ``ssl.SSLError`` for a key that does not fit the chain.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_ciphers("DEFAULT:@SECLEVEL=2")
    server.verify_mode = ssl.CERT_REQUIRED
    try:
        server.load_verify_locations(cadata=authorities)
        if crls:
            with tls.file_in_memory(crls.encode()) as path:
                server.load_verify_locations(path)
            server.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except ssl.SSLError as error:
        raise KitError(
            "client CAs", f"a file that OpenSSL can't load ({error.reason})", "certificates in PEM", "correct it"
        ) from error
    client = tls.unverified()
    # The client has to be able to show what the gateway then judges.
    client.set_ciphers("ALL:@SECLEVEL=0")
    tls.present_certificate(client, shown.chain, shown.key, shown.password)
    _present_some_server(server)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    us, them = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for end in (us, them, us, them):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return of_verify_error(error.verify_code, error.verify_message, "the client's certificate")
    return None


def _present_some_server(context: ssl.SSLContext) -> None:
    """A certificate of the moment for the server's side, which nobody looks at."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "doctor")])
    now = datetime.now(UTC).replace(tzinfo=None)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    tls.present_certificate(
        context,
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        "",
    )


def of_depth(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], depth: int) -> Finding | None:
    """Whether ``ssl_verify_depth`` allows the CAs between leaf and root."""
    known, between, certificate = [*chain[1:], *authorities], 0, chain[0]
    while True:
        issuer = next((ca for ca in known if ca != certificate and signed_by(certificate, ca)), None)
        if issuer is None or issuer.subject == issuer.issuer:
            break
        between, certificate = between + 1, issuer
    if between <= depth:
        return None
    return finding("error-22", f"{between} CAs between certificate and root, ssl_verify_depth is {depth}")


def of_client_cas(pem: str, now: datetime, who: str) -> Iterator[Finding]:
    """What the file of ``ssl_client_certificate`` tells."""
    authorities = load_certificates(pem, who)
    for authority in authorities:
        yield from of_dates(authority, now, who)
        if not any(signed_by(authority, other) for other in authorities):
            yield finding(
                "no-root", f"{who}: {name_of(authority)} is there, {authority.issuer.rfc4514_string()} is not"
            )


def of_crls(pem: str, authorities: str, now: datetime, who: str) -> Iterator[Finding]:
    """What the file of ``ssl_crl`` tells, beside the CAs of the same server."""
    crls = load_crls(pem, who)
    for crl in crls:
        end = crl_life(crl)[1]
        if end is not None and end < now:
            yield finding("crl-expired", f"{who}: that of {crl.issuer.rfc4514_string()} ended at {clock.iso(end)}")
    for authority in load_certificates(authorities, who):
        if not any(crl.issuer == authority.subject for crl in crls):
            yield finding("error-3", f"{who}: none of {name_of(authority)}")


def of_answer(answer: tls.Answer, client_sent: bool, who: str) -> Finding | None:
    """Why a request was answered with an error about the client's certificate; None when it was not."""
    if answer.status not in (400, 403):
        return None
    reason = str(answer.document.get("error", ""))
    for words, cause in _KIT_REASONS.items():
        if words in reason:
            return finding(cause, f"{who} answers {answer.status}: {reason}")
    for page, cause in _NGINX_PAGES.items():
        if page in answer.content:
            return finding(cause, f"{who} answers {answer.status}: {page.decode()}")
    if "issuer of the client certificate" in reason:
        return finding("error-20", f"{who} answers {answer.status}: {reason}")
    if "client certificate" in reason and client_sent:
        return finding("400-certificate", f"{who} answers {answer.status}: {reason}")
    return None


def of_no_session(cause: str, who: str) -> Finding:
    """Why a handshake failed, from the text of tls.NoSession."""
    if "protocol version" in cause or "unsupported protocol" in cause or "no protocols available" in cause:
        return finding("tls-version", f"{who}: {cause}")
    if "wrong version number" in cause or "http request" in cause:
        return finding("tls-version", f"{who}: {cause}; does it speak TLS on this port at all?")
    return finding("no-answer", f"{who}: {cause}")


def of_nginx_test(lines: Sequence[str]) -> list[Finding]:
    """What ``nginx -t`` refuses; a line without a known cause is told as it is."""
    found = []
    for line in lines:
        if not re.search(r"\[(emerg|alert|crit|error)\]", line):
            continue
        cause = next((cause for words, cause in _NGINX_TEST.items() if words in line), "nginx-test")
        found.append(finding(cause, f"nginx -t: {line}"))
    return found


def of_error_log(lines: Sequence[str]) -> list[Finding]:
    """The last verification error of each kind in Nginx's error log (written at level info)."""
    found: dict[int, Finding] = {}
    for line in lines:
        match = re.search(r"client SSL certificate verify error: \((\d+):([^)]*)\)", line)
        if match:
            found[int(match[1])] = of_verify_error(int(match[1]), match[2], f"error log, {line[:19]}")
    return list(found.values())


def of_clock(theirs: datetime, ours: datetime, who: str) -> Finding | None:
    """Whether two clocks are too far apart."""
    apart = abs(theirs - ours)
    if apart <= SKEW:
        return None
    return finding("clock-skew", f"{who} says {clock.iso(theirs)}, here it is {clock.iso(ours)}")
