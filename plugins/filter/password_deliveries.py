"""How the key passwords of a gateway's sites are delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway.password_delivery import ENGINE_UNIT, NONE
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: password_deliveries
short_description: Sites with the delivery of their key's password
version_added: "0.1.0"
description:
  - Gives each site without C(password_delivery) the one of its gateway.
  - Of the same file, the filter C(password_wishes) gives the sites as M(mtls.kit.certificate_password) takes them.
  - The filter C(password_delivery_problems) of the same file tells in one message what is wrong with them,
    and C(nginx_unit) which unit of systemd runs the Nginx of a gateway.
positional: default
options:
  _input:
    description: The sites, each with C(name) and, where it differs, C(password_delivery).
    type: list
    elements: dict
    required: true
  default:
    description: The gateway's delivery, C(certificate_install_password_delivery).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ensure the deliveries are known
  ansible.builtin.set_fact:
    sites: "{{ nginx_mtls_sites | mtls.kit.password_deliveries('file') }}"
"""

RETURN = r"""
_value:
  description: The sites.
  type: list
  elements: dict
"""

Sites = Sequence[Mapping[str, Any]]

NGINX_UNIT = "nginx.service"


def password_deliveries(sites: Sites, default: str) -> list[dict[str, Any]]:
    """The sites, each with its ``password_delivery``."""
    return [{**site, "password_delivery": site.get("password_delivery") or default} for site in sites]


def password_wishes(sites: Sites, default: str) -> list[dict[str, str]]:
    """The ``sites`` of M(mtls.kit.certificate_password)."""
    return [{key: site[key] for key in ("name", "password_delivery")} for site in password_deliveries(sites, default)]


def password_delivery_problems(sites: Sites, default: str, plain_keys_accepted: bool, gateway: str) -> list[str]:
    """One message when a site is to have a key without a password and nobody said that this is accepted, or none."""
    plain = [site["name"] for site in password_deliveries(sites, default) if site["password_delivery"] == NONE]
    if not plain or plain_keys_accepted:
        return []
    error = KitError(
        f"password delivery none of {', '.join(plain)} on {gateway}",
        "no certificate_install_plain_keys_accepted",
        "it set to true, for whoever reads such a key file can pose as the site",
        "choose another password_delivery, or set certificate_install_plain_keys_accepted: true",
    )
    return [str(error)]


def nginx_unit(gateway: Mapping[str, Any]) -> str:
    """The unit of systemd that runs the Nginx of a gateway, from its variables; empty when there is none.

    A container is brought back by its engine, which must not do that before the passwords are there.
    """
    if "certificate_install_unit" in gateway:
        return str(gateway["certificate_install_unit"])
    if gateway.get("nginx_mtls_instance") == "container":
        return ENGINE_UNIT
    alone = gateway.get("nginx_mtls_instance") == "own" or gateway.get("nginx_mtls_service") == "signals"
    return "" if alone else NGINX_UNIT


class FilterModule:
    """The filters on the delivery of passwords."""

    def filters(self) -> dict[str, Any]:
        """Names as roles and playbooks use them."""
        return {
            "password_deliveries": password_deliveries,
            "password_wishes": password_wishes,
            "password_delivery_problems": password_delivery_problems,
            "nginx_unit": nginx_unit,
        }
