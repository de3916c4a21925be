"""Sites whose certificate comes from a public CA by ACME (RFC 8555): what such a CA signs, and what proves a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway.challenge import FOLDER
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.values import choice, wrong

CERTIFICATES = ("private", "acme")
CHALLENGES = ("http-01", "dns-01")

PORT = 80
"""Where a CA asks for the answer to http-01 (RFC 8555 section 8.3); behind a forwarding it may arrive elsewhere."""


def wanted(site: str, raw: Mapping[str, Any], server_names: Sequence[str], addresses: Sequence[str]) -> dict[str, Any]:
    """Where the certificate of a site comes from, checked.

    ``challenge_folder`` is what Nginx answers http-01 from, empty where it has none to answer; ``plain_port`` is the
    port without TLS that the site needs for it or for its redirect, 0 for none.
    """
    certificate = choice(site, "certificate", raw.get("certificate", "private"), CERTIFICATES)
    challenge = choice(site, "challenge", raw.get("challenge", "http-01"), CHALLENGES)
    redirect_port = int(raw.get("redirect_port") or 0)
    if certificate == "private":
        return {"challenge_folder": "", "plain_port": redirect_port}
    if addresses:
        raise wrong(
            site,
            "addresses",
            ", ".join(addresses),
            "none with certificate: acme, for public CAs sign host names",
            "have clients call a name, or make another site with a private certificate for the addresses",
        )
    wildcard = next((name for name in server_names if name.startswith("*.")), None)
    if wildcard and challenge == "http-01":
        raise wrong(
            site,
            "challenge",
            f"http-01 for {wildcard}",
            "dns-01, for nothing else proves a wildcard (RFC 8555 section 8.3)",
            "set challenge: dns-01 and public_certificate_dns_hook",
        )
    local = next((name for name in server_names if "." not in name), None)
    if local:
        raise wrong(
            site,
            "server_names",
            local,
            "names with a domain, for public CAs sign no others",
            "remove the name from the site, or use certificate: private",
        )
    if raw.get("key_type") == "ed25519":
        raise wrong(site, "key_type", "ed25519", "a type that public CAs sign", "use ec-p256")
    answers = challenge == "http-01"
    return {
        "challenge_folder": str(FOLDER) if answers else "",
        "plain_port": redirect_port or (PORT if answers else 0),
    }
