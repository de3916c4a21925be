"""What one gateway gets of the CA's result, and what the gateways ask of the CA."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.nginx_plan import look_address, look_name
from ansible_collections.mtls.kit.plugins.filter.trust_scopes import site_trust_scope

DOCUMENTATION = r"""
name: gateway_share
short_description: What one gateway gets of the CA's result
version_added: "0.1.0"
description:
  - Takes from the result of M(mtls.kit.pki) what concerns the sites of one gateway,
    so that a gateway is handed its own share only.
  - Sites without a certificate yet are named under C(missing) and appear nowhere else.
positional: gateway, sites, issuing, public, requests
options:
  _input:
    description: The result of M(mtls.kit.pki).
    type: dict
    required: true
  gateway:
    description: Inventory name of the gateway.
    type: str
    required: true
  sites:
    description: Its C(nginx_mtls_sites).
    type: list
    elements: dict
    required: true
  issuing:
    description: The issuing CAs of the PKI, C(pki_issuing).
    type: list
    elements: dict
    required: true
  public:
    description: The publicly trusted certificates at hand, of RV(mtls.kit.public_certificate#module:certificates).
    type: dict
    default: {}
  requests:
    description: What M(mtls.kit.certificate_request) returned on the gateway, where this run asked it.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Ensure the release of every site
  ansible.builtin.import_role:
    name: mtls.kit.certificate_install
  vars:
    certificate_install_issued: "{{ __share.issued }}"
    __share: "{{ pki_result | mtls.kit.gateway_share('gw1', nginx_mtls_sites, pki_issuing) }}"
"""

RETURN = r"""
_value:
  description:
    - C(wanted) (reason by site), C(subjects) (by site, for a request to name), C(issued) and C(trust) (by site),
      C(served) (what C(issued) says, but of the publicly trusted certificate where there is one),
      and C(missing) (names of sites without a certificate).
  type: dict
"""


def gateway_share(
    pki_result: Mapping[str, Any],
    gateway: str,
    sites: Sequence[Mapping[str, Any]],
    issuing: Sequence[Mapping[str, Any]],
    public: Mapping[str, Mapping[str, Any]] | None = None,
    requests: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Split the CA's result by the sites of ``gateway``.

    A publicly trusted certificate is served unless ``requests`` tell that its key is not on the gateway any more.
    """
    share: dict[str, Any] = {"wanted": {}, "subjects": {}, "issued": {}, "served": {}, "trust": {}, "missing": []}
    keys = (requests or {}).get("keys", {})
    for site in sites:
        site_name = site["name"]
        certificate = f"server/{gateway}/{site_name}"
        if certificate in pki_result["csr_wanted"]:
            share["wanted"][site_name] = pki_result["csr_wanted"][certificate]
        if certificate in pki_result["csr_subjects"]:
            share["subjects"][site_name] = pki_result["csr_subjects"][certificate]
        if certificate in pki_result["servers"]:
            share["issued"][site_name] = share["served"][site_name] = pki_result["servers"][certificate]
            ours = (public or {}).get(certificate)
            if ours and ours["public_key_sha256"] in keys.get(site_name, [ours["public_key_sha256"]]):
                share["served"][site_name] = ours
            share["trust"][site_name] = pki_result["trust"][site_trust_scope(site, issuing)]
        else:
            share["missing"].append(site_name)
    return share


def gateway_result(gateway: Mapping[str, Any], what: str = "result") -> Mapping[str, Any]:
    """What the role that serves the sites of a gateway has left, nginx_container's or nginx_mtls's."""
    found = gateway.get(f"nginx_container_{what}") or gateway.get(f"nginx_mtls_{what}") or {}
    return dict(found)


def seen_serving(gateway: Mapping[str, Any], what: str = "result") -> Mapping[str, Any]:
    """What each site of a gateway was found to serve, by its roles or, where they had nothing to do, by the look."""
    found = gateway_result(gateway, what) or gateway.get("gateway_look") or {}
    return dict(found.get("served") or {})


def gateway_passwords(passwords_json: str, gateway: str) -> str:
    """The JSON ``{site: password}`` of one gateway, from the JSON ``{path: password}`` of the whole play."""
    prefix = f"server/{gateway}/"
    passwords: dict[str, str] = json.loads(passwords_json)
    return json.dumps({path[len(prefix) :]: secret for path, secret in passwords.items() if path.startswith(prefix)})


def passwords_taken(
    pending: Iterable[str],
    pki_result: Mapping[str, Any],
    gateways: Iterable[Mapping[str, Any]],
    account: Mapping[str, Any] | None = None,
) -> list[str]:
    """Which of the ``pending`` passwords their keys have now: those of the store, and those that are served.

    ``account`` is what M(mtls.kit.acme_account_key) returned. A gateway that this run didn't reach, or whose Nginx
    didn't take up the release, may still have the one before.
    """
    taken = {*pki_result.get("taken", []), *(account or {}).get("taken", [])}
    for gateway in gateways:
        installed = gateway.get("certificate_install_result", {}).get("sites", {})
        served = gateway_result(gateway)
        if "served" in served and not served.get("failed"):
            taken.update(f"server/{gateway['inventory_hostname']}/{site}" for site in installed)
    return [path for path in pending if path in taken]


def gateway_csrs(gateways: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The CSRs that the gateways returned, by certificate name; unreachable gateways returned none."""
    return {
        f"server/{gateway['inventory_hostname']}/{site}": csr
        for gateway in gateways
        for site, csr in gateway.get("certificate_install_requests", {}).get("csrs", {}).items()
    }


def preflight_faults(gateways: Iterable[Mapping[str, Any]]) -> list[str]:
    """What playbooks/parts/preflight.yml found wrong, a line for each gateway."""
    return [
        f"gateway {gateway['inventory_hostname']}: {gateway['preflight_fault']}"
        for gateway in gateways
        if "preflight_fault" in gateway
    ]


def revocation_maps(gateways: Iterable[Mapping[str, Any]]) -> list[str]:
    """The texts of the revocation maps that playbooks/restore.yml read on the gateways that answered, each once."""
    texts = {
        base64.b64decode(read["content"]).decode()
        for gateway in gateways
        for read in gateway.get("restore_maps", {}).get("results", [])
    }
    return sorted(texts)


def probe_targets(
    sites: Iterable[Mapping[str, Any]],
    issuing: Sequence[Mapping[str, Any]],
    gateway: Mapping[str, Any] | None = None,
    public: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Where each site is looked at, the trust scope whose identities it is shown, and the public roots of its own.

    On the gateway itself, or, with its hostvars as ``gateway``, from elsewhere. ``issuing`` is ``pki_issuing``,
    ``public`` are the publicly trusted certificates of the gateway by site; other sites have no ``trust_anchor``.
    """
    targets = []
    for site in sites:
        addresses = list(site.get("listen_addresses") or ["0.0.0.0"])  # noqa: S104  compared, not bound
        local = look_address(addresses)
        elsewhere = (gateway or {}).get("ansible_host") or (gateway or {}).get("inventory_hostname")
        targets.append(
            {
                "name": site["name"],
                "address": local if gateway is None else elsewhere,
                "port": site.get("port", 443),
                "server_name": look_name(site),
                "scope": site_trust_scope(site, issuing),
                "trust_anchor": (public or {}).get(site["name"], {}).get("trust_anchor", ""),
            }
        )
    return targets


def probe_summary(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each check of each site, from the looped results of M(mtls.kit.mtls_probe)."""
    lines = []
    for result in results:
        site = result["item"]["name"]
        if not result.get("reachable", True):
            lines.append(f"{site}: {result['reason']}")
        lines += [f"{site}: {check['name']} {check['found']} - {check['reason']}" for check in result["results"]]
    return lines


def site_urls(gateways: Iterable[Mapping[str, Any]]) -> list[str]:
    """The address of each site as a client calls it, each once, sorted."""
    urls = set()
    for gateway in gateways:
        for site in gateway.get("nginx_mtls_sites", []):
            port = int(site.get("port", 443))
            host = site["server_names"][0]
            authority = host if port == 443 else f"{host}:{port}"
            urls.add(f"https://{authority}/")
    return sorted(urls)


class FilterModule:
    """The filters that carry results between the CA and the gateways."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {
            "gateway_share": gateway_share,
            "gateway_passwords": gateway_passwords,
            "passwords_taken": passwords_taken,
            "gateway_csrs": gateway_csrs,
            "preflight_faults": preflight_faults,
            "revocation_maps": revocation_maps,
            "probe_targets": probe_targets,
            "probe_summary": probe_summary,
            "site_urls": site_urls,
        }
