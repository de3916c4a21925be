"""The server certificates that the gateways' sites need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: server_certificates
short_description: The server certificates that the gateways' sites need
version_added: "0.1.0"
description:
  - Turns the sites of all gateways into server certificates as the C(certificates) of M(mtls.kit.pki) list them.
  - Each site has a certificate of its own, named C(server/<gateway>/<site>), for its C(server_names) and C(addresses).
    Its key is made on the gateway.
options:
  _input:
    description:
      - The hostvars of the gateways, or a dictionary of C(nginx_mtls_sites) by gateway.
      - A gateway without C(nginx_mtls_sites) needs no certificate.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Ensure the authorities and the certificates
  ansible.builtin.import_role:
    name: mtls.kit.pki
  vars:
    pki_servers: "{{ groups['gateways'] | map('extract', hostvars) | mtls.kit.server_certificates }}"
"""

RETURN = r"""
_value:
  description: A certificate for each site, with C(name), C(profile), C(source), C(san) and C(key_type), sorted by name.
  type: list
  elements: dict
"""

Gateways = Mapping[str, Sequence[Mapping[str, Any]]] | Iterable[Mapping[str, Any]]

DEFAULT_KEY_TYPE = "ec-p256"
DEFAULT_PROFILE = "server"


def sites_by_gateway(gateways: Gateways) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each site with the name of its gateway, from either form of input."""
    if isinstance(gateways, Mapping):
        pairs: Iterable[tuple[str, Any]] = gateways.items()
    else:
        pairs = ((gateway["inventory_hostname"], gateway.get("nginx_mtls_sites")) for gateway in gateways)
    for gateway_name, sites in pairs:
        for site in sites or []:
            yield gateway_name, site


def server_certificates(gateways: Gateways) -> list[dict[str, Any]]:
    """The desired certificates; names and values are checked where they are used, not here."""
    certificates = [
        {
            "name": f"server/{gateway}/{site['name']}",
            "profile": site.get("profile") or DEFAULT_PROFILE,
            "source": "csr",
            "san": {"dns": list(site.get("server_names") or []), "ip": list(site.get("addresses") or [])},
            "key_type": site.get("key_type") or DEFAULT_KEY_TYPE,
        }
        for gateway, site in sites_by_gateway(gateways)
    ]
    return sorted(certificates, key=lambda certificate: certificate["name"])


class FilterModule:
    """The filter that turns sites into certificates."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"server_certificates": server_certificates}
