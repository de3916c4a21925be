"""TLS of a site: Mozilla's presets (guideline 6.0), and overrides that can't weaken it silently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.values import choice, wrong

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
PRESETS = {"intermediate": ("TLSv1.2", "TLSv1.3"), "modern": ("TLSv1.3",)}
GROUPS = ("X25519", "prime256v1", "secp384r1")
POST_QUANTUM_GROUP = "X25519MLKEM768"
POST_QUANTUM_SINCE = (3, 5)
"""OpenSSL that knows X25519MLKEM768; an older one refuses the whole list of groups."""
KNOWN_GROUPS = ("X448", "secp521r1", *GROUPS, POST_QUANTUM_GROUP)

SECURITY_LEVEL = "@SECLEVEL=2"
"""Refuses RSA and DH below 2048 bits, elliptic curves below 224, and signatures over SHA-1 or MD5."""

_CIPHER = re.compile(r"[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)+")
_FORWARD_SECRET_AEAD = re.compile(
    r"(?:ECDHE|DHE)-(?:ECDSA|RSA)-(?:AES(?:128|256)-GCM-SHA(?:256|384)|CHACHA20-POLY1305)"
)
_BROKEN = re.compile(
    r"(?:^|-)(?:NULL|ANULL|ENULL|ADH|AECDH|ANON|EXP|EXPORT|RC2|RC4|DES|3DES|CBC3|IDEA|SEED|MD5|PSK|SRP)(?:-|$)"
)


def wanted(site: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Preset and overrides of a site, checked.

    Raises KitError for a protocol below TLS 1.2, a suite without authentication or encryption or with a broken cipher,
    and an unknown group. Suites that are merely old get ``tls_warnings``.
    """
    preset = choice(site, "tls", raw.get("tls", "intermediate"), PRESETS)
    overrides = {
        key: [str(one) for one in raw.get(key) or []] for key in ("tls_protocols", "tls_ciphers", "tls_groups")
    }
    for protocol in overrides["tls_protocols"]:
        choice(site, "tls_protocols", protocol, PRESETS["intermediate"])
    warnings = []
    for cipher in overrides["tls_ciphers"]:
        if not _CIPHER.fullmatch(cipher) or _BROKEN.search(cipher):
            raise wrong(
                site,
                "tls_ciphers",
                cipher,
                "names of single suites of TLS 1.2 that authenticate and encrypt, as `openssl ciphers` prints them",
                "name suites such as ECDHE-ECDSA-AES128-GCM-SHA256, or leave tls_ciphers to the preset",
            )
        if not _FORWARD_SECRET_AEAD.fullmatch(cipher):
            warnings.append(
                f"site {site}: tls_ciphers has {cipher}, which lacks forward secrecy or authenticated encryption; "
                "Mozilla's guideline 6.0 has it for old clients only"
            )
    for group in overrides["tls_groups"]:
        choice(site, "tls_groups", group, KNOWN_GROUPS)
    return {"tls": preset, **overrides, "tls_warnings": warnings}


def settings(site: Mapping[str, Any], openssl: tuple[int, ...]) -> dict[str, str]:
    """What the templates write for a site, with the OpenSSL that its Nginx runs with."""
    post_quantum = openssl >= POST_QUANTUM_SINCE
    groups = [one for one in site["tls_groups"] if post_quantum or one != POST_QUANTUM_GROUP]
    if not groups:
        groups = [POST_QUANTUM_GROUP, *GROUPS] if post_quantum else list(GROUPS)
    overridden = any(site[key] for key in ("tls_protocols", "tls_ciphers", "tls_groups"))
    return {
        "name": site["tls"] + (", with overrides of its own" if overridden else ""),
        "protocols": " ".join(site["tls_protocols"] or PRESETS[site["tls"]]),
        "ciphers": ":".join([*(site["tls_ciphers"] or CIPHERS), SECURITY_LEVEL]),
        "curves": ":".join(groups),
    }
