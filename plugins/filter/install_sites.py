"""The sites of a gateway as its two modules take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: install_sites
short_description: The sites of a gateway as M(mtls.kit.certificate_release) takes them
version_added: "0.1.0"
description:
  - Joins each site with what the CA handed out for it.
  - The filter C(request_sites) of the same file does so for M(mtls.kit.certificate_request).
positional: issued, trust, trust_anchor
options:
  _input:
    description: The sites, each with C(name), C(server_names) and C(addresses).
    type: list
    elements: dict
    required: true
  issued:
    description: The certificates that were issued, by site.
    type: dict
    required: true
  trust:
    description: The trust units, by site.
    type: dict
    required: true
  trust_anchor:
    description: The roots in PEM that clients trust.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ensure the release and the trust of every site
  mtls.kit.certificate_release:
    sites: "{{ nginx_mtls_sites | mtls.kit.install_sites(issued, trust, pki_result.trust_anchor) }}"
    now: "{{ now(utc=true, fmt='%Y-%m-%dT%H:%M:%SZ') }}"
    passwords: "{{ passwords }}"
"""

RETURN = r"""
_value:
  description: A dictionary for each site, as the option C(sites) of the module takes it.
  type: list
  elements: dict
"""

Sites = Sequence[Mapping[str, Any]]


def request_sites(
    sites: Sites, wanted: Mapping[str, str], issued: Mapping[str, Any], subjects: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The ``sites`` of certificate_request.

    ``wanted`` are the CA's reasons, ``issued`` its certificates, ``subjects`` what they are to be named, by site.
    """
    return [
        {
            "name": site["name"],
            "key_type": site.get("key_type") or "ec-p256",
            "subject": subjects.get(site["name"]) or {},
            "san": {"dns": list(site.get("server_names") or []), "ip": list(site.get("addresses") or [])},
            "password_delivery": site.get("password_delivery") or "file",
            "wanted": wanted.get(site["name"], ""),
            "shown": site.get("certificate") == "acme",
            "issued": {key: issued[site["name"]][key] for key in ("serial", "public_key_sha256")}
            if site["name"] in issued
            else None,
        }
        for site in sites
    ]


def install_sites(
    sites: Sites, issued: Mapping[str, Any], trust: Mapping[str, Any], trust_anchor: str
) -> list[dict[str, Any]]:
    """The ``sites`` of certificate_release. Raises KitError for a site that the CA handed nothing out for."""
    for site in sites:
        for what, handed_out in (("certificate", issued), ("trust unit", trust)):
            if site["name"] not in handed_out:
                raise KitError(
                    f"site {site['name']!r}",
                    f"no {what} for it",
                    "one that the CA handed out",
                    "run mtls.kit.site, which asks the CA for it before it installs anything",
                )
    return [
        {
            "name": site["name"],
            "chain": issued[site["name"]]["chain"],
            "trust_anchor": trust_anchor,
            "chain_anchor": issued[site["name"]].get("trust_anchor", trust_anchor),
            "server_names": issued[site["name"]].get("names")
            or [*(site.get("server_names") or []), *(site.get("addresses") or [])],
            "password_delivery": site.get("password_delivery") or "file",
            "trust": {key: trust[site["name"]][key] for key in ("number", "sha256", "files")},
        }
        for site in sites
    ]


class FilterModule:
    """The filters that join sites with what the CA handed out."""

    def filters(self) -> dict[str, Any]:
        """Names as roles use them."""
        return {"request_sites": request_sites, "install_sites": install_sites}
