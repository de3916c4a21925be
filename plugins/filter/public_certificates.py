"""The publicly trusted certificates of the gateways' sites, and who has to answer for which name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.server_certificates import Gateways, sites_by_gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: public_certificates
short_description: The publicly trusted certificates that the gateways' sites need
version_added: "0.1.0"
description:
  - Names the certificate of each site with C(certificate=acme), as M(mtls.kit.public_certificate) takes it.
  - The filters C(public_orders), C(acme_answers), C(acme_missing), C(acme_fault), C(acme_explained), C(dns_records),
    C(public_by_site), C(public_roots), C(public_new) and C(public_faults) of the same file carry orders and their
    results between the CA host and the gateways.
positional: servers
options:
  _input:
    description: The hostvars of the gateways, or a dictionary of C(nginx_mtls_sites) by gateway.
    type: raw
    required: true
  servers:
    description: RV(mtls.kit.pki#module:servers), which knows the newest key of each site.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Ensure it is known which certificates are due
  mtls.kit.public_certificate:
    folder: ~/.local/share/mtls-kit/example-public
    certificates: "{{ gateways | mtls.kit.public_certificates(pki_result.servers) }}"
  vars:
    gateways: "{{ groups['gateways'] | map('extract', hostvars) }}"
"""

RETURN = r"""
_value:
  description: A certificate for each such site, with C(name), C(dns) and C(public_key_sha256), sorted by name.
  type: list
  elements: dict
"""

HTTP = "http-01"
DNS = "dns-01"
CLEANUP = "cleanup"
"""Among the names of faults, the hook that did not remove its records."""


def _public_sites(gateways: Gateways) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for gateway, site in sites_by_gateway(gateways):
        if site.get("certificate") == "acme":
            yield gateway, f"server/{gateway}/{site['name']}", site


def _challenge(site: Mapping[str, Any]) -> str:
    return str(site.get("challenge") or HTTP)


def public_certificates(gateways: Gateways, servers: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The wished certificates; what is wrong with a site is told where its variables are checked."""
    wishes = [
        {
            "name": name,
            "dns": list(site["server_names"]),
            "public_key_sha256": (servers or {}).get(name, {}).get("public_key_sha256", ""),
        }
        for _, name, site in _public_sites(gateways)
    ]
    return sorted(wishes, key=lambda wish: wish["name"])


def public_orders(gateways: Iterable[Mapping[str, Any]], due: Mapping[str, str]) -> list[dict[str, Any]]:
    """What can be ordered now: of ``due``, the certificates whose gateway answered with its request."""
    orders = []
    hosts = {gateway["inventory_hostname"]: gateway for gateway in gateways}
    for gateway, name, site in _public_sites(hosts.values()):
        csr = hosts[gateway].get("certificate_install_requests", {}).get("requests", {}).get(site["name"])
        if name in due and csr:
            orders.append({"name": name, "csr": csr, "challenge": _challenge(site), "reason": due[name]})
    return sorted(orders, key=lambda order: str(order["name"]))


def _http_answers(order: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, token and answer of each challenge that a gateway has to answer."""
    if order["challenge"] == HTTP:
        for entry in order["challenge_data"]:
            found = entry["challenges"][HTTP]
            yield entry["identifier"].lower(), found["resource"].rpartition("/")[2], found["resource_value"]


def _answering(gateways: Gateways) -> dict[str, set[str]]:
    """The gateways of each name that is proven by http-01: the CA asks whichever the DNS leads it to."""
    found: dict[str, set[str]] = {}
    for gateway, _, site in _public_sites(gateways):
        if _challenge(site) == HTTP:
            for name in site["server_names"]:
                found.setdefault(str(name).lower(), set()).add(gateway)
    return found


def acme_answers(orders: Mapping[str, Mapping[str, Any]], gateways: Gateways, gateway: str) -> dict[str, str]:
    """The answers by token that ``gateway`` has to give, for its own certificates and those of others of its names."""
    answering = _answering(gateways)
    return {
        token: answer
        for order in orders.values()
        for name, token, answer in _http_answers(order)
        if gateway in answering.get(name, ())
    }


def acme_missing(
    order: Mapping[str, Any], gateways: Iterable[Mapping[str, Any]], fault: str | None = None
) -> list[str]:
    """Why the server must not look yet: ``fault`` of the hook, and gateways that have not got the answer."""
    hosts = list(gateways)
    answering = _answering(hosts)
    asked = {gateway for name, _, _ in _http_answers(order) for gateway in answering.get(name, ())}
    ready = {
        host["inventory_hostname"] for host in hosts if "changes" in host.get("public_certificate_answers_placed", {})
    }
    unready = [f"gateway {name} has not got the answer that it may be asked for" for name in sorted(asked - ready)]
    return [fault, *unready] if fault else unready


def dns_records(order: Mapping[str, Any]) -> list[list[str]]:
    """What the hook is told of each record: domain, name of the record, value."""
    if order["challenge"] != DNS:
        return []
    found = [(entry["identifier"], entry["challenges"][DNS]) for entry in order["challenge_data"]]
    return [[identifier, challenge["record"], challenge["resource_value"]] for identifier, challenge in found]


def acme_fault(result: Mapping[str, Any]) -> str:
    """What a failed task says of itself; of one with a loop, the first item that failed."""
    failed = next((one for one in result.get("results", []) if one.get("failed")), result)
    texts = (failed.get("stderr"), failed.get("msg"), "no reason given")
    return next(" ".join(str(text).split()) for text in texts if text)


def acme_explained(faults: Mapping[str, str], name: str, ended: Mapping[str, Any]) -> dict[str, str]:
    """``faults`` with what the server says of each proof of the order of ``name``, by its own account at the end."""
    proofs = [
        (identifier, challenge.get("error", {}).get("detail"))
        for identifier, authorization in ended.get("authorizations_by_identifier", {}).items()
        for challenge in authorization.get("challenges", [])
    ]
    words = [f"{identifier}: {' '.join(str(detail).split())}" for identifier, detail in proofs if detail]
    return {**faults, name: "; ".join(words)} if words else {**faults}


def public_by_site(certificates: Mapping[str, Any], gateway: str) -> dict[str, Any]:
    """The publicly trusted certificates of ``gateway``, by site."""
    prefix = f"server/{gateway}/"
    return {name.removeprefix(prefix): one for name, one in certificates.items() if name.startswith(prefix)}


def public_roots(certificates: Mapping[str, Mapping[str, Any]]) -> str:
    """The public roots that the certificates lead up to, in PEM, each once."""
    return "".join(sorted({str(one["trust_anchor"]) for one in certificates.values()}))


def public_faults(faults: Mapping[str, str], certificates: Mapping[str, Any]) -> list[str]:
    """A message for each certificate that could not be had, and for the hook; ``certificates`` are those at hand."""
    return [str(_fault(name, fault, certificates.get(name))) for name, fault in sorted(faults.items())]


def _fault(name: str, fault: str, at_hand: Mapping[str, Any] | None) -> KitError:
    if name == CLEANUP:
        return KitError(
            "public_certificate_dns_hook, cleanup", fault, "exit status 0", "mend it, and remove the records by hand"
        )
    served = f"the one that ends {at_hand['not_after']}" if at_hand else "this PKI's certificate"
    return KitError(
        f"public certificate {name}",
        fault,
        "one from the ACME server",
        f"cure the cause and run mtls.kit.site again; until then {served} is served",
    )


def public_new(variables: Mapping[str, Any], gateways: Iterable[str]) -> list[str]:
    """Those of ``gateways`` for a site of which a certificate came in this run, by the CA host's ``variables``."""
    before = variables.get("public_at_hand_before", {})
    after = variables.get("public_certificate_result", {}).get("certificates", {})
    new = {name for name, one in after.items() if before.get(name, {}).get("serial") != one["serial"]}
    return [gateway for gateway in gateways if public_by_site(dict.fromkeys(new), gateway)]


class FilterModule:
    """The filters of publicly trusted certificates."""

    def filters(self) -> dict[str, Any]:
        """Names as roles and playbooks use them."""
        return {
            "public_certificates": public_certificates,
            "public_orders": public_orders,
            "acme_answers": acme_answers,
            "acme_missing": acme_missing,
            "acme_fault": acme_fault,
            "acme_explained": acme_explained,
            "dns_records": dns_records,
            "public_by_site": public_by_site,
            "public_roots": public_roots,
            "public_faults": public_faults,
            "public_new": public_new,
        }
