"""Everybody who may knock at a gateway: how each client is made, and what the gateway answers it.

``CLIENTS`` is what docs/who-gets-in.md shows and what test_identities.py presents to a real site. Pure: keys and
certificates only, made from the CA keys of a store, the clock passed in.
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from tests.unit.module_utils._pki.authority_host import AuthorityHost, client

ACCEPTED = "accepted"
NO_SESSION = "no TLS session"
NO_CERTIFICATE = "no client certificate sent: this site asks every client for one"
EXPIRED = "client certificate expired"
NOT_YET = "client certificate not yet valid"
UNKNOWN = "issuer of the client certificate unknown here"
NOT_HERE = "issuer of the client certificate not accepted here"
PURPOSE = "client certificate not made for client authentication"
TOO_LONG = "chain of the client certificate too long"
WEAK = "key or signature of the client certificate too weak"
ALTERED = "client certificate altered: its signature does not fit"
NAME = "client certificate with a name that its CA may not give"
REVOKED = "client certificate revoked"
LONG_SUBJECT = "subject of the client certificate too long"
SERIAL = "client certificate with a serial that is none (RFC 5280, 4.1.2.2)"
NOT_ACCEPTED = "client certificate not accepted"

SAN = x509.SubjectAlternativeName


def name(common_name: str = "alice", *more: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A subject; an empty one for an empty common name."""
    parts = [(NameOID.COMMON_NAME, common_name)] if common_name else []
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in (*parts, *more)])


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Shown:
    """What a client sends (certificates, the leaf first, as PEM), and the key it signs with."""

    chain: bytes
    key: bytes = field(repr=False)
    spoil: Callable[[bytes], bytes] | None = None
    """What happens to the client's bytes on their way, which only TLS 1.2 leaves readable."""


@dataclass(frozen=True)
class Party:
    """A certificate, its key, and what it may be given along."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()

    def shown(self, *others: x509.Certificate, alone: bool = False) -> Shown:
        """As a client that sends its chain, or nothing but ``others`` along."""
        certificates = [self.certificate, *([] if alone else self.chain), *others]
        return Shown(pems(certificates), key_pem(self.key))


def pems(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def key_pem(key: Any) -> bytes:
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return content


class Issuers:
    """The CAs of a store with their keys, strangers, and everything that they may wrongly sign."""

    def __init__(self, host: AuthorityHost, now: datetime) -> None:
        self.host, self.now = host, now
        self.root = self._of_store("root", "root-g1")
        self.issuing = self._of_store("issuing", "issuing-g1")
        self.stranger_root = self.issue(None, name("Stranger Root"), ca=True)
        self.stranger = self.issue(self.stranger_root, name("Stranger"), ca=True)

    @cached_property
    def limited(self) -> Party:
        """The CA with name constraints."""
        return self._of_store("limited", "limited-g1")

    def _of_store(self, ca: str, label: str) -> Party:
        folder = self.host.store / "authorities" / label
        key = load_pem_private_key((folder / "ca.key").read_bytes(), self.host.passwords[f"ca/{ca}"].encode())
        return Party(x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()), key)

    def issue(
        self, by: Party | None, subject: x509.Name | None = None, *, key: Any = None, ca: bool | None = False,
        usage: Sequence[x509.ObjectIdentifier] = (), critical_usage: bool = False, days: tuple[float, float] = (-1, 30),
        digest: hashes.HashAlgorithm | None = None, serial: int | None = None, issuer: x509.Name | None = None,
        more: Sequence[tuple[x509.ExtensionType, bool]] = (), path_length: int | None = None,
    ) -> Party:  # fmt: skip
        """A certificate signed by ``by``, or by itself; as wrong as asked for."""
        key = key or p256()
        subject = name() if subject is None else subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or (by.certificate.subject if by else subject))
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(self.now + timedelta(days=days[0]))
            .not_valid_after(self.now + timedelta(days=days[1]))
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=critical_usage)
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        signer = by.key if by else key
        chain = (by.certificate, *by.chain) if by else ()
        return Party(builder.sign(signer, digest or hashes.SHA256()), key, chain)

    def good(self, subject: x509.Name | None = None, **more: Any) -> Party:
        """As the issuing CA could have issued it, but not by way of the ledger."""
        return self.issue(self.issuing, subject, **{"usage": [Usage.CLIENT_AUTH], **more})

    def under(self, by: Party, **more: Any) -> Party:
        """A client of another CA."""
        return self.issue(by, usage=[Usage.CLIENT_AUTH], **more)

    def issued(self, client_name: str, kind: str = "client") -> Shown:
        """A certificate of the ledger, as it was handed out."""
        folder = self.host.store / "certificates" / kind / client_name
        password = self.host.passwords[f"{kind}/{client_name}"].encode()
        key = load_pem_private_key((folder / f"{kind}.key").read_bytes(), password)
        return Shown((folder / f"{kind}.crt").read_bytes(), key_pem(key))

    def by_openssl(self, *options: str, key: Any = None, extensions: str = "extendedKeyUsage=clientAuth") -> Shown:
        """What the library refuses to make, as the command makes it."""
        key_text = key if isinstance(key, bytes) else key_pem(key or p256())
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            (folder / "key").write_bytes(key_text)
            (folder / "ca").write_bytes(pems([self.issuing.certificate]) + key_pem(self.issuing.key))
            (folder / "extensions").write_text(extensions + "\n")
            self._openssl(folder, "req", "-new", "-key", "key", "-subj", "/CN=alice", "-out", "csr")
            serial = () if "-set_serial" in options else ("-CAcreateserial",)
            self._openssl(
                folder, "x509", "-req", "-in", "csr", "-days", "9", "-CA", "ca", "-out", "crt",
                *serial, *(("-extfile", "extensions") if extensions else ()), *options,
            )  # fmt: skip
            return Shown((folder / "crt").read_bytes(), key_text)

    @staticmethod
    def _openssl(folder: Path, *arguments: str) -> bytes:
        done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def same_names(self, *, same_key_identifiers: bool) -> Party:
        """A client of CAs that bear the names of ours, and are not."""
        identifiers = [
            [(one.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value, False)]
            if same_key_identifiers
            else []
            for one in (self.root, self.issuing)
        ]
        root = self.issue(None, self.root.certificate.subject, ca=True, more=identifiers[0])
        issuing = self.issue(root, self.issuing.certificate.subject, ca=True, more=identifiers[1])
        return self.issue(issuing, usage=[Usage.CLIENT_AUTH])


def altered(shown: Shown, before: bytes, after: bytes) -> Shown:
    """The same certificate with other bytes in it, which its signature doesn't cover."""
    content = x509.load_pem_x509_certificate(shown.chain).public_bytes(Encoding.DER)
    assert content.count(before) == 1 and len(before) == len(after)
    changed = x509.load_der_x509_certificate(content.replace(before, after))
    return Shown(changed.public_bytes(Encoding.PEM), shown.key)


def broken_signature(shown: Shown) -> Shown:
    """Another last byte of the signature."""
    content = x509.load_pem_x509_certificate(shown.chain).public_bytes(Encoding.DER)
    return altered(shown, content[-20:], content[-20:-1] + bytes([content[-1] ^ 1]))


def another_key(party: Party) -> Shown:
    """A certificate, and another key that says of itself that it belongs to it."""
    mine, other = p256(), party.key
    content = mine.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    lie = content.replace(*(one.public_key().public_bytes(*_POINT) for one in (mine, other)))
    text = base64.encodebytes(lie)
    title = b"EC PRIVATE KEY-----\n"
    return Shown(party.shown().chain, b"-----BEGIN " + title + text + b"-----END " + title)


_POINT = (Encoding.X962, PublicFormat.UncompressedPoint)


def garbled_on_the_wire(party: Party) -> Shown:
    """Nonsense in place of a certificate."""
    content = party.certificate.public_bytes(Encoding.DER)
    shown = party.shown(alone=True)
    return Shown(shown.chain, shown.key, lambda sent: sent.replace(content, b"\xff" * len(content)))


def twice(party: Party) -> Shown:
    return party.shown(party.certificate, *party.chain, alone=True)


def leaf(ca: Issuers, client_name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ca.issued(client_name).chain)


def dns(*texts: str) -> tuple[x509.ExtensionType, bool]:
    return SAN([x509.DNSName(text) for text in texts]), False


def key_usage(*usages: str) -> tuple[x509.ExtensionType, bool]:
    fields = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{one: one in usages for one in fields}), True


def raw(oid: str, content: bytes, *, critical: bool) -> tuple[x509.ExtensionType, bool]:
    """An extension of any content."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content), critical


LEDGER = (
    *(client(kind, key_type=kind, groups=["buyers"]) for kind in (
        "ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")),
    client("both", profile="both", groups=["buyers"], san={"dns": ["both.example.test"]}),
    client("names", groups=["buyers"], san={
        "dns": ["alice.example.test"], "ip": ["192.0.2.1", "2001:db8::1"], "uri": ["urn:example:alice"],
        "email": ["alice@example.test"]}),
    client("odd", groups=["buyers"], subject={
        "common_name": 'Bob, the=builder+\\ "x" é 日本', "organization": "<b>#; $host \'"}),
    client("limited", issuer="limited", groups=["buyers"], san={"dns": ["a.example.test"]}),
    client("renewed", groups=["buyers"]),
    client("pam", issuer="partners", groups=["buyers"]),
    client("carol", groups=["buyers"]),
)  # fmt: skip
"""Clients of the ledger; carol gets revoked."""


@dataclass(frozen=True)
class Knocking:
    """A client, and what it is answered."""

    who: str
    answer: str
    make: Callable[[Issuers], Shown | None]
    modern: str = ""
    """The answer of preset modern where it is another one."""
    known: bool = False
    """Whether the ledger knows it: only then a rule lets it in."""

    presets: tuple[str, ...] = ("intermediate", "modern")
    """Where it can be presented: TLS 1.3 encrypts what is to be spoilt on its way."""

    def answer_of(self, preset: str) -> str:
        return self.modern or self.answer if preset == "modern" else self.answer


def from_ledger(who: str, client_name: str, answer: str = ACCEPTED) -> Knocking:
    return Knocking(who, answer, lambda ca: ca.issued(client_name), known=answer == ACCEPTED)


GROUPS: dict[str, tuple[Knocking, ...]] = {
    "Issued by the kit": (
        from_ledger("P-256", "ec-p256"),
        from_ledger("P-384", "ec-p384"),
        from_ledger("RSA, 2,048 bits", "rsa-2048"),
        from_ledger("RSA, 3,072 bits", "rsa-3072"),
        from_ledger("RSA, 4,096 bits", "rsa-4096"),
        from_ledger("Ed25519", "ed25519"),
        from_ledger("profile `both`: for servers, too", "both"),
        from_ledger("SANs of every kind", "names"),
        from_ledger("subject with commas, quotes, `$`, `<`, and letters beyond ASCII", "odd"),
        from_ledger("a name inside its CA's name constraints", "limited"),
        from_ledger("revoked", "carol", REVOKED),
        from_ledger("issued by a sibling CA that the site doesn't accept", "pam", NOT_HERE),
        Knocking("the gateway's own server certificate", PURPOSE, lambda ca: ca.issued("gw1/orders", "server")),
        Knocking("none at all", NO_CERTIFICATE, lambda ca: None),
    ),
    "Dates": (
        Knocking("expires in five minutes", ACCEPTED, lambda ca: ca.good(days=(-1, 300 / 86400)).shown()),
        Knocking("valid since a minute", ACCEPTED, lambda ca: ca.good(days=(-60 / 86400, 1)).shown()),
        Knocking("expired a second ago", EXPIRED, lambda ca: ca.good(days=(-1, -1 / 86400)).shown()),
        Knocking("expired yesterday", EXPIRED, lambda ca: ca.good(days=(-9, -1)).shown()),
        Knocking("expired ten years ago", EXPIRED, lambda ca: ca.good(days=(-3660, -3650)).shown()),
        Knocking("valid from tomorrow on", NOT_YET, lambda ca: ca.good(days=(1, 9)).shown()),
        Knocking("valid in an hour", NOT_YET, lambda ca: ca.good(days=(1 / 24, 9)).shown()),
        Knocking("expired, of a stranger", EXPIRED, lambda ca: ca.under(ca.stranger, days=(-9, -1)).shown()),
    ),
    "Of the issuing CA, but not by way of the ledger": (
        Knocking("such as the CA would have issued itself", ACCEPTED, lambda ca: ca.good().shown()),
        Knocking("P-521", NO_SESSION, lambda ca: ca.good(
            key=ec.generate_private_key(ec.SECP521R1())).shown(), ACCEPTED),
        Knocking("secp256k1", NO_SESSION, lambda ca: ca.good(
            key=ec.generate_private_key(ec.SECP256K1())).shown(), NO_CERTIFICATE),
        Knocking("P-224", NO_SESSION, lambda ca: ca.good(
            key=ec.generate_private_key(ec.SECP224R1())).shown(), NO_CERTIFICATE),
        Knocking("Ed448", ACCEPTED, lambda ca: ca.good(key=ed448.Ed448PrivateKey.generate()).shown()),
        Knocking("RSA with the exponent 3", ACCEPTED, lambda ca: ca.good(
            key=rsa.generate_private_key(3, 2048)).shown()),
        Knocking("RSA, 1,024 bits", WEAK, lambda ca: ca.good(
            key=rsa.generate_private_key(65537, 1024)).shown()),  # noqa: S505
        Knocking("RSA, 1,536 bits", WEAK, lambda ca: ca.good(
            key=rsa.generate_private_key(65537, 1536)).shown()),  # noqa: S505
        Knocking("signed with SHA-1", WEAK, lambda ca: ca.by_openssl("-sha1")),
        Knocking("signed with SHA-224", ACCEPTED, lambda ca: ca.good(digest=hashes.SHA224()).shown()),
        Knocking("signed with SHA-512", ACCEPTED, lambda ca: ca.good(digest=hashes.SHA512()).shown()),
        Knocking("serial 1", ACCEPTED, lambda ca: ca.good(serial=1).shown()),
        Knocking("serial of 20 octets", ACCEPTED, lambda ca: ca.good(serial=(1 << 159) - 1).shown()),
        Knocking("serial of 21 octets", SERIAL, lambda ca: ca.by_openssl("-set_serial", "0x" + "7f" * 21)),
        Knocking("negative serial", SERIAL, lambda ca: ca.by_openssl("-set_serial", "-5")),
        Knocking("empty subject", ACCEPTED, lambda ca: ca.good(name(""), more=[
            (SAN([x509.DNSName("alice.example.test")]), True)]).shown()),
        Knocking("subject of line breaks", ACCEPTED, lambda ca: ca.good(
            name("alice\r\nVERIFIED: SUCCESS\r\n\r\nGET / HTTP/1.1")).shown()),
        Knocking("subject of more than 1,024 characters", LONG_SUBJECT, lambda ca: ca.good(
            name("alice", *((NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 64) for _ in range(16)))).shown()),
        Knocking("its subject is the subject of its CA", UNKNOWN, lambda ca: ca.good(
            ca.issuing.certificate.subject).shown()),
        Knocking("16 KiB of SANs", ACCEPTED, lambda ca: ca.good(more=[
            dns(*(f"{number:0>60}.example.test" for number in range(200)))]).shown()),
        Knocking("130 KiB of SANs", NO_SESSION, lambda ca: ca.good(more=[
            dns(*(f"{number:0>60}.example.test" for number in range(1700)))]).shown()),
    ),
    "What it is made for": (
        Knocking("EKU for servers", PURPOSE, lambda ca: ca.good(usage=[Usage.SERVER_AUTH]).shown()),
        Knocking("EKU for signing code", PURPOSE, lambda ca: ca.good(usage=[Usage.CODE_SIGNING]).shown()),
        Knocking("EKU for anything (2.5.29.37.0)", PURPOSE, lambda ca: ca.good(
            usage=[Usage.ANY_EXTENDED_KEY_USAGE]).shown()),
        Knocking("EKU for clients and servers", ACCEPTED, lambda ca: ca.good(
            usage=[Usage.CLIENT_AUTH, Usage.SERVER_AUTH]).shown()),
        Knocking("EKU for clients, critical", ACCEPTED, lambda ca: ca.good(critical_usage=True).shown()),
        Knocking("no EKU", ACCEPTED, lambda ca: ca.good(usage=[]).shown()),
        Knocking("no extension at all", ACCEPTED, lambda ca: ca.good(usage=[], ca=None).shown()),
        Knocking("X.509 version 1", ACCEPTED, lambda ca: ca.by_openssl(extensions="")),
        Knocking("key usage for signatures", ACCEPTED, lambda ca: ca.good(
            more=[key_usage("digital_signature")]).shown()),
        Knocking("key usage for enciphering only", PURPOSE, lambda ca: ca.good(
            more=[key_usage("key_encipherment")]).shown()),
        Knocking("an unknown extension", ACCEPTED, lambda ca: ca.good(more=[
            raw("1.3.6.1.4.1.32473.1", b"\x05\x00", critical=False)]).shown()),
        Knocking("an unknown critical extension", NOT_ACCEPTED, lambda ca: ca.good(more=[
            raw("1.3.6.1.4.1.32473.1", b"\x05\x00", critical=True)]).shown()),
        Knocking("CA and client in one: CA:TRUE on a leaf", ACCEPTED, lambda ca: ca.good(ca=True).shown()),
        Knocking("the issuing CA itself", PURPOSE, lambda ca: ca.issuing.shown()),
        Knocking("the root itself", PURPOSE, lambda ca: ca.root.shown()),
        Knocking("issued by the root itself", NOT_HERE, lambda ca: ca.under(ca.root).shown()),
    ),
    "Its chain": (
        Knocking("alone: the gateway has its CA", ACCEPTED, lambda ca: ca.good().shown(alone=True)),
        Knocking("with its CA and the root", ACCEPTED, lambda ca: ca.good().shown(ca.root.certificate)),
        Knocking("root first, its CA last", ACCEPTED, lambda ca: ca.good().shown(
            ca.root.certificate, ca.issuing.certificate, alone=True)),
        Knocking("strangers' certificates between", ACCEPTED, lambda ca: ca.good().shown(
            ca.stranger.certificate, ca.stranger_root.certificate, *ca.under(ca.stranger).chain)),
        Knocking("itself twice", ACCEPTED, lambda ca: twice(ca.good())),
        Knocking("with an expired copy of its CA", ACCEPTED, lambda ca: ca.good().shown(ca.issue(
            ca.root, ca.issuing.certificate.subject, key=ca.issuing.key, ca=True, days=(-9, -1)).certificate,
            alone=True)),
        Knocking("a CA of ours between that the gateway doesn't have, sent along", NOT_HERE, lambda ca: ca.under(
            ca.issue(ca.root, name("Other"), ca=True)).shown()),
        Knocking("a CA of ours between that nobody sends", UNKNOWN, lambda ca: ca.under(
            ca.issue(ca.root, name("Other"), ca=True)).shown(alone=True)),
        Knocking("a CA too many", TOO_LONG, lambda ca: ca.under(
            ca.issue(ca.issuing, name("Below"), ca=True)).shown()),
        Knocking("issued by a client of ours", TOO_LONG, lambda ca: ca.under(
            ca.good(name("eve"))).shown()),
        Knocking("issued by a leaf of the root", PURPOSE, lambda ca: ca.under(
            ca.under(ca.root, subject=name("eve"))).shown()),
        Knocking("two CAs of ours between that the gateway doesn't have", UNKNOWN, lambda ca: ca.under(ca.issue(
            ca.issue(ca.root, name("Other"), ca=True), name("Below"), ca=True)).shown()),
    ),
    "Strangers": (
        Knocking("of another CA, chain and root sent along", UNKNOWN, lambda ca: ca.under(ca.stranger).shown()),
        Knocking("of another CA, alone", UNKNOWN, lambda ca: ca.under(ca.stranger).shown(alone=True)),
        Knocking("self-signed", UNKNOWN, lambda ca: ca.issue(None, usage=[Usage.CLIENT_AUTH]).shown()),
        Knocking("self-signed, with the subject and serial of a client of ours", UNKNOWN, lambda ca: ca.issue(
            None, leaf(ca, "ec-p256").subject, serial=leaf(ca, "ec-p256").serial_number).shown()),
        Knocking("self-signed, with the subject of our root", UNKNOWN, lambda ca: ca.issue(
            None, ca.root.certificate.subject).shown()),
        Knocking("signed by itself in the name of our issuing CA", ALTERED, lambda ca: ca.issue(
            None, issuer=ca.issuing.certificate.subject, usage=[Usage.CLIENT_AUTH]).shown()),
        Knocking("of a CA that bears the names of ours", ALTERED, lambda ca: ca.same_names(
            same_key_identifiers=False).shown(alone=True)),
        Knocking("the same, its chain sent along", ALTERED, lambda ca: ca.same_names(
            same_key_identifiers=False).shown()),
        Knocking("the same, with our key identifiers", ALTERED, lambda ca: ca.same_names(
            same_key_identifiers=True).shown()),
    ),
    "Name constraints": (
        Knocking("a DNS name inside", ACCEPTED, lambda ca: ca.under(ca.limited, more=[
            dns("b.example.test")]).shown()),
        Knocking("a DNS name outside", NAME, lambda ca: ca.under(ca.limited, more=[dns("example.org")]).shown()),
        Knocking("one inside, one outside", NAME, lambda ca: ca.under(ca.limited, more=[
            dns("b.example.test", "example.org")]).shown()),
        Knocking("an address that is excluded", NAME, lambda ca: ca.under(ca.limited, more=[
            dns("secret.example.test")]).shown()),
    ),
    "Tampered with": (
        Knocking("one bit of the signature", ALTERED, lambda ca: broken_signature(ca.good().shown(alone=True))),
        Knocking("the subject, after it was signed", ALTERED, lambda ca: altered(
            ca.good(name("user-4711")).shown(alone=True), b"user-4711", b"admin-001")),
        Knocking("somebody else's certificate, without its key", NO_SESSION, lambda ca: another_key(ca.good())),
        Knocking("nonsense in place of a certificate", NO_SESSION, lambda ca: garbled_on_the_wire(ca.good()),
                 presets=("intermediate",)),
    ),
}  # fmt: skip
"""By what they have in common."""

CLIENTS = tuple(one for group in GROUPS.values() for one in group)
