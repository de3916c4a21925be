"""Headers that tell a backend who the client is, and what they are told about the connection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.values import wrong

FACTS: Mapping[str, tuple[str, Sequence[str]]] = {
    "verify": ("{site}_verified", ("VERIFIED", "X-Client-Verify")),
    "subject": ("ssl_client_s_dn", ("DN", "X-Client-Subject")),
    "issuer": ("ssl_client_i_dn", ("X-Client-Issuer",)),
    "serial": ("{site}_serial", ("X-Client-Serial",)),
    "fingerprint": ("{site}_sha256", ("X-Client-Fingerprint",)),
    "name": ("{site}_name", ("X-Client-Name",)),
    "groups": ("{site}_groups", ("X-Client-Groups",)),
    "san": ("{site}_san", ("X-Client-SAN",)),
    "not_before": ("ssl_client_v_start", ("X-Client-Not-Before",)),
    "not_after": ("ssl_client_v_end", ("X-Client-Not-After",)),
    "certificate": ("ssl_client_escaped_cert", ("X-Client-Cert",)),
    "client_cert": ("mtls_client_cert", ()),
    "client_cert_chain": ("{site}_client_cert_chain", ()),
}
"""By what it tells: the variable it comes from, and the names it has unless a site chooses others.

``client_cert`` and ``client_cert_chain`` are RFC 9440's; a backend that doesn't read them shouldn't have to carry them.
"""

CLIENT_CERT_LINES = 96
"""Lines of 64 characters that a certificate may have for the one pattern that reads it: 4.5 KiB of DER. Nginx takes
parameters of at most 4,096 characters."""

SHOWN_UNVERIFIED = ("certificate", "client_cert")
"""What a backend needs to judge by itself a certificate that ``verify: optional_no_ca`` let through."""

CONNECTION = (
    "Host", "Connection", "Upgrade", "X-Request-ID", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Host", "X-Forwarded-Port",
)  # fmt: skip
"""Headers about the connection: the gateway's own, never an identity's."""

FOREIGN = (
    "Client-Cert",
    "Client-Cert-Chain",
    "Forwarded",
    "Ssl-Client-Cert",
    "Ssl-Client-S-Dn",
    "Ssl-Client-Verify",
    "X-Client-Certificate",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Original-Url",
    "X-Remote-User",
    "X-Rewrite-Url",
    "X-Ssl-Cert",
    "X-Ssl-Client-Cert",
    "X-Ssl-Client-S-Dn",
    "X-Ssl-Client-Verify",
)
"""Names under which backends look for an identity, a path or a scheme: of RFCs, Envoy, Apache and Kubernetes."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_OF_HTTP = ("accept", "authorization", "content-", "cookie", "date", "expect", "grpc-", "keep-alive", "proxy-",
            "range", "te", "trailer", "transfer-encoding", "user-agent", "via")  # fmt: skip


def names(site: str, raw: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The header names of a site by what they tell.

    Raises KitError for an unknown fact, and for a name that is no header's, is HTTP's own or comes twice. Underscores
    are refused: backends take X_Client_Name and X-Client-Name for the same, and Nginx drops a client's.
    """
    found = {fact: tuple(default) for fact, (_, default) in FACTS.items()}
    for fact, headers in raw.items():
        if fact not in FACTS:
            raise wrong(site, f"headers.{fact}", "an unknown fact", ", ".join(FACTS), "correct headers of the site")
        if isinstance(headers, str) or not isinstance(headers, Sequence):
            raise wrong(site, f"headers.{fact}", headers, "a list of header names", "write a list, or [] for none")
        found[fact] = tuple(str(one) for one in headers)
    taken = {one.lower() for one in CONNECTION}
    for fact, headers in found.items():
        for header in headers:
            if not _NAME.fullmatch(header) or len(header) > 64 or header.lower().startswith(_OF_HTTP):
                raise wrong(
                    site,
                    f"headers.{fact}",
                    header,
                    "a header's name of letters, digits and single '-', none of HTTP's own",
                    "choose another name",
                )
            if header.lower() in taken:
                raise wrong(site, f"headers.{fact}", f"{header} again", "each header once", "choose another name")
            taken.add(header.lower())
    return found


def cleared(chosen: Mapping[str, Sequence[str]]) -> list[str]:
    """Every other name under which a backend looks for an identity: sent empty, so that no client sets it."""
    in_use = {header.lower() for headers in chosen.values() for header in headers}
    defaults = [header for _, default in FACTS.values() for header in default]
    return [header for header in (*defaults, *FOREIGN) if header.lower() not in in_use]


def facts(variable: str, chosen: Mapping[str, Sequence[str]], *, gated: bool) -> list[dict[str, Any]]:
    """What is told: ``source`` (a variable), ``variable`` (what the header gets) and ``headers``.

    ``gated``: some requests pass without an accepted certificate, so all but the verdict is emptied for them.
    """
    told = []
    for fact, (source, _) in FACTS.items():
        if not chosen[fact]:
            continue
        source = source.format(site=variable)
        behind_gate = gated and fact != "verify"
        told.append(
            {
                "fact": fact,
                "source": source,
                "gate": f"{variable}_{'shown' if fact in SHOWN_UNVERIFIED else 'refusal'}" if behind_gate else "",
                "variable": f"{variable}_told_{fact}" if behind_gate else source,
                "headers": list(chosen[fact]),
            }
        )
    return told
