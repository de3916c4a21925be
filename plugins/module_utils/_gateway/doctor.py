"""Looks at a client's bundle, at a site from outside, and at the Nginx of this machine; names every known cause."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.mtls.kit.plugins.module_utils._gateway import diagnosis, nginx, tls
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import load_certificates
from ansible_collections.mtls.kit.plugins.module_utils._gateway.diagnosis import Finding, Shown, finding
from ansible_collections.mtls.kit.plugins.module_utils._pki import keys
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

SECONDS: Final = 10.0
_LOG_TAIL: Final = 256 * 1024
_ENDS_WELL: Final = "="
"""``error_page 495 =200 …`` answers with success."""

_SSL_FILES: Final = ("ssl_certificate", "ssl_client_certificate", "ssl_crl")


@dataclass(frozen=True)
class Bundle:
    """What a client has. ``shown`` is None where its key can't be used."""

    chain: tuple[x509.Certificate, ...] = ()
    shown: Shown | None = None
    trust_anchor: str = ""
    findings: tuple[Finding, ...] = field(default=())


@dataclass(frozen=True)
class Site:
    """An address as a client calls it."""

    host: str
    port: int
    address: str
    plain: bool = False
    """Called by ``http://``."""

    @classmethod
    def of(cls, url: str, address: str) -> Site:
        """From ``https://host[:port]/``; raises KitError for another form."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise KitError("doctor_url", repr(url), "https://<name>[:<port>]/", "correct the address")
        plain = parts.scheme == "http"
        return cls(parts.hostname, parts.port or (80 if plain else 443), address or parts.hostname, plain)

    @property
    def name(self) -> str:
        """``orders.example.com:8443``."""
        return f"{self.host}:{self.port}"


# --- A bundle ---------------------------------------------------------------------------------------------------


def read_bundle(path: Path, password: str, now: datetime) -> Bundle:
    """A folder as the kit writes it, or one PEM or PKCS#12 file; raises KitError when there is nothing to look at."""
    try:
        if path.is_dir():
            certificate, key, archive = path / "client.crt", path / "client.key", path / "client.p12"
            if not certificate.exists() and archive.exists():
                return _of_archive(archive, password, now)
            anchor = path / "trust-anchor.crt"
            pem = certificate.read_text(encoding="ascii")
            return _of_pem(
                pem, key.read_bytes(), password, anchor.read_text(encoding="ascii") if anchor.exists() else "", now
            )
        if path.suffix in (".p12", ".pfx"):
            return _of_archive(path, password, now)
        text = path.read_text(encoding="ascii")
        return _of_pem(text[: _end_of_certificates(text)], text.encode(), password, "", now)
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(
            f"bundle {path}",
            str(error),
            "a folder with client.crt and client.key, a PEM file, or a PKCS#12 file",
            "correct doctor_bundle",
        ) from error


def _end_of_certificates(text: str) -> int:
    marker = "-----END CERTIFICATE-----"
    return text.rfind(marker) + len(marker)


def _of_archive(path: Path, password: str, now: datetime) -> Bundle:
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(path.read_bytes(), password.encode() or None)
    except ValueError:
        return Bundle(findings=(finding("wrong-password" if password else "no-password", f"{path} doesn't open"),))
    if key is None or leaf is None:
        return Bundle(findings=(finding("unreadable", f"{path} holds no key with its certificate"),))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in (leaf, *others))
    return _of_pem(chain, pem, "", "", now)


def _of_pem(certificates: str, key: bytes, password: str, anchor: str, now: datetime) -> Bundle:
    try:
        chain = tuple(load_certificates(certificates, "client certificate"))
    except KitError as error:
        return Bundle(trust_anchor=anchor, findings=(finding("unreadable", str(error)),))
    found = list(diagnosis.of_certificate(chain, now, "the bundle"))
    shown = Shown(certificates, key.decode(errors="replace"), password)
    if (fault := _fault_of_key(key, password, chain[0])) is not None:
        return Bundle(chain, None, anchor, (*found, fault))
    return Bundle(chain, shown, anchor, tuple(found))


def _fault_of_key(pem: bytes, password: str, leaf: x509.Certificate) -> Finding | None:
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not password:
        return finding("no-password", "the key of the bundle is encrypted")
    try:
        key: Any = serialization.load_pem_private_key(pem, password.encode() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            return finding("wrong-password", "the key of the bundle doesn't open with it")
        return finding("unreadable", "the key of the bundle is no private key in PEM")
    if keys.public_key_der(key.public_key()) != keys.public_key_der(leaf.public_key()):  # type: ignore[arg-type]
        return finding("key-mismatch", "the bundle's key has another public key than its certificate")
    return None


# --- A site, seen from outside -----------------------------------------------------------------------------------


def of_site(site: Site, bundle: Bundle, trust_anchor: str, now: datetime) -> Iterator[Finding]:
    """What a client of this bundle meets at the site; without a trust anchor the server's chain is not judged."""
    anchor = trust_anchor or bundle.trust_anchor
    who = site.name
    try:
        answer = _ask_plainly(site) if site.plain else _ask(site, bundle, anchor)
    except tls.NotReachable as error:
        yield finding("not-reachable", str(error))
        return
    except tls.NoSession as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            yield diagnosis.of_verify_error(cause.verify_code, cause.verify_message, f"the certificate of {who}")
        else:
            yield diagnosis.of_no_session(str(error), who)
        return
    if (refused := diagnosis.of_answer(answer, bundle.shown is not None, who)) is not None:
        yield refused
    if answer.date and (skewed := _skew(answer.date, now, who)) is not None:
        yield skewed


def _ask(site: Site, bundle: Bundle, anchor: str) -> tls.Answer:
    context = tls.unverified()
    if anchor:
        # Not strict: what a usual client refuses is looked for.
        context = tls.client()
        context.load_verify_locations(cadata=anchor)
    if bundle.shown is not None:
        # A client's own library may refuse to load what the gateway would refuse; let the gateway say so.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        tls.present_certificate(context, bundle.shown.chain, bundle.shown.key, bundle.shown.password)
    return tls.ask(site.address, site.port, site.host, context, tls.Deadline(SECONDS), path="/")


def _ask_plainly(site: Site) -> tls.Answer:
    """As somebody who forgot the ``s`` of https."""
    connection = http.client.HTTPConnection(site.address, site.port, timeout=SECONDS)
    try:
        connection.request("GET", "/", headers={"Host": site.name})
        response = connection.getresponse()
        return tls.Answer(response.status, response.read(tls.LARGEST_ANSWER), b"", "", date=response.headers["date"])
    except http.client.HTTPException as error:
        raise tls.NoSession(f"no answer in HTTP ({type(error).__name__})") from error
    except OSError as error:
        raise tls.NotReachable(f"{site.address} port {site.port}: {error.strerror or error}") from error
    finally:
        connection.close()


def _skew(date: str, now: datetime, who: str) -> Finding | None:
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return None
    return diagnosis.of_clock(theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC), now, who)


def of_client_at(bundle: Bundle, client_ca: str, crls: str, depth: int) -> Iterator[Finding]:
    """What a gateway with these client CAs says of the bundle."""
    if bundle.shown is None:
        return
    refused = diagnosis.verify_client(bundle.shown, client_ca, crls)
    if refused is not None:
        # Nginx looks on after error 20, and finds 21 where the certificate came alone.
        alone = refused.cause == "error-20" and len(bundle.chain) == 1
        yield finding("error-21", refused.proof) if alone else refused
    elif (too_long := diagnosis.of_depth(bundle.chain, load_certificates(client_ca, "client CAs"), depth)) is not None:
        yield too_long


# --- The Nginx of this machine -----------------------------------------------------------------------------------


def of_nginx(instance: nginx.Instance, now: datetime, log: str) -> Iterator[Finding]:
    """Its configuration, the files that it names, what it serves, and what its error log tells."""
    program = nginx.Nginx(instance)
    main = Path(instance.config or nginx.compiled_path(nginx.run([program.binary, "-V"]).stderr, "--conf-path"))
    configuration = nginx.Configuration(main, lambda _: False)
    yield from of_instance(program.test(), configuration, now, _tail(Path(log)) if log else ())


def of_instance(
    verdict: nginx.Verdict, configuration: nginx.Configuration, now: datetime, log: Sequence[str]
) -> Iterator[Finding]:
    """What ``nginx -t`` said, the files that the configuration names, what it serves, and lines of the error log."""
    yield from diagnosis.of_nginx_test(verdict.lines)
    for server in configuration.servers:
        yield from _of_server(server, now)
    yield from diagnosis.of_error_log(log)


def _of_server(server: Sequence[tuple[str, ...]], now: datetime) -> Iterator[Finding]:
    said = {words[0]: words[1:] for words in server if len(words) > 1}
    texts = {}
    for directive in _SSL_FILES:
        if directive in said:
            path = Path(said[directive][0])
            try:
                texts[directive] = path.read_text(encoding="ascii", errors="replace")
            except OSError as error:
                yield finding("unreadable", f"{directive} {path}: {error.strerror}")
    try:
        if authorities := texts.get("ssl_client_certificate"):
            yield from diagnosis.of_client_cas(authorities, now, said["ssl_client_certificate"][0])
            if crls := texts.get("ssl_crl"):
                yield from diagnosis.of_crls(crls, authorities, now, said["ssl_crl"][0])
        if certificate := texts.get("ssl_certificate"):
            leaf = load_certificates(certificate, said["ssl_certificate"][0])[0]
            yield from diagnosis.of_dates(leaf, now, said["ssl_certificate"][0])
            yield from diagnosis.of_renewal(leaf, now, said["ssl_certificate"][0])
            yield from _of_served(server, said, leaf)
    except KitError as error:
        yield finding("unreadable", str(error))
    for words in server:
        caught = words[0] == "error_page" and {"495", "496", "497"} & set(words)
        if caught and any(word.startswith(_ENDS_WELL) for word in words):
            yield finding("error-page", " ".join(words))


def _of_served(
    server: Sequence[tuple[str, ...]], said: dict[str, tuple[str, ...]], leaf: x509.Certificate
) -> Iterator[Finding]:
    """Whether the certificate of the file is the one that is served, at the server's first listener and name."""
    listens = [found for words in server if words[0] == "listen" and (found := nginx.parse_listen(words[1:]))]
    tls_listens = [listen for listen in listens if listen["ssl"]]
    name = (said.get("server_name") or ("",))[0]
    if not tls_listens or name in ("", "_") or "*" in name or name.startswith(("~", ".")):
        return
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(tls_listens[0]["address"], tls_listens[0]["address"])  # noqa: S104
    try:
        answer = tls.ask(address, tls_listens[0]["port"], name, tls.unverified(), tls.Deadline(SECONDS))
    except (tls.NotReachable, tls.NoSession) as error:
        yield finding("not-reachable", f"{name} at {address} port {tls_listens[0]['port']}: {error}")
        return
    if answer.leaf != leaf.public_bytes(serialization.Encoding.DER):
        served = nginx.serial_of(answer.leaf)
        yield finding("stale", f"{name}: serial {served} is served, {said['ssl_certificate'][0]} has another")


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return log.read().decode(errors="replace").splitlines()
    except OSError:
        return []
