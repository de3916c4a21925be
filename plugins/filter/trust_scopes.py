"""Which issuing CAs each site accepts clients of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.server_certificates import Gateways, sites_by_gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: trust_scopes
short_description: Which issuing CAs the gateways' sites accept clients of
version_added: "0.1.0"
description:
  - Sites that accept the same issuing CAs share one trust scope, so that the CA renders each set of maps once.
  - A site whose C(accept_issuers) is absent or empty accepts every issuing CA with the purpose C(client).
positional: issuing
options:
  _input:
    description: The hostvars of the gateways, or a dictionary of C(nginx_mtls_sites) by gateway.
    type: raw
    required: true
  issuing:
    description: The issuing CAs, C(pki_issuing). An empty list stands for the default of the role M(mtls.kit.pki).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Ensure the trust of every site
  ansible.builtin.import_role:
    name: mtls.kit.pki
  vars:
    pki_trust: "{{ groups['gateways'] | map('extract', hostvars) | mtls.kit.trust_scopes(pki_issuing) }}"

- name: Verify the trust scope of the first site
  ansible.builtin.assert:
    that: nginx_mtls_sites[0] | mtls.kit.site_trust_scope(pki_issuing) == 'issuing'
"""

RETURN = r"""
_value:
  description: The scopes in use, each with C(scope), its name, and C(accept), the sorted names of its issuing CAs.
  type: list
  elements: dict
"""

DEFAULT_ISSUING: list[dict[str, Any]] = [{"name": "issuing", "purposes": ["server", "client"]}]
"""The issuing CA of a PKI that names none; equal to the default of ``pki_issuing``."""

Issuing = Sequence[Mapping[str, Any]]


def accepted_issuers(site: Mapping[str, Any], issuing: Issuing) -> list[str]:
    """Sorted names of the issuing CAs whose clients ``site`` accepts. Raises ``KitError`` when there are none."""
    known = issuing or DEFAULT_ISSUING
    for_clients = {authority["name"] for authority in known if "client" in authority.get("purposes", ["client"])}
    accepted = set(site.get("accept_issuers") or for_clients)
    what = f"accept_issuers of site {site['name']!r}"
    unknown = sorted(accepted - for_clients)
    if unknown:
        raise KitError(
            what,
            f"{', '.join(unknown)}",
            f"issuing CAs with the purpose client: {', '.join(sorted(for_clients)) or 'there are none'}",
            "correct accept_issuers, or add the issuing CA to pki_issuing",
        )
    if not accepted:
        raise KitError(
            what,
            "no issuing CA",
            "at least one, for a site that accepts none turns every client away",
            "name one in accept_issuers, or give one in pki_issuing the purpose client",
        )
    return sorted(accepted)


def site_trust_scope(site: Mapping[str, Any], issuing: Issuing) -> str:
    """Name of the trust scope of ``site``: the names of its issuing CAs, sorted, joined by ``+``."""
    return "+".join(accepted_issuers(site, issuing))


def trust_scopes(gateways: Gateways, issuing: Issuing) -> list[dict[str, Any]]:
    """The trust scopes of all sites, each once, sorted."""
    accepted = {tuple(accepted_issuers(site, issuing)) for _, site in sites_by_gateway(gateways)}
    return [{"scope": "+".join(names), "accept": list(names)} for names in sorted(accepted)]


class FilterModule:
    """The filters that turn sites into trust scopes."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"trust_scopes": trust_scopes, "site_trust_scope": site_trust_scope}
