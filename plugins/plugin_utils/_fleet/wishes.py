"""What the variables of a gateway wish, as far as it decides whether anything is to be done there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from ansible_collections.mtls.kit.plugins.filter.nginx_plan import look_address, look_name
from ansible_collections.mtls.kit.plugins.filter.password_deliveries import password_deliveries
from ansible_collections.mtls.kit.plugins.module_utils._gateway.password_delivery import FILE
from ansible_collections.mtls.kit.plugins.plugin_utils._variables.specs import KIT_ROLES

ROLES: Final = Path(__file__).resolve().parents[3] / "roles"

_SETTINGS: Final = (
    "root",
    "instance",
    "prefix",
    "service",
    "binary",
    "revocation",
    "crl_renewed",
    "resumption",
    "removed",
)
_SEEN_BY_THE_LOOK: Final = ("instance", "prefix", "service", "binary")


@cache
def systems() -> frozenset[str]:
    """The systems that role certificate_install takes."""
    known = yaml.safe_load((ROLES / "certificate_install" / "vars" / "main.yml").read_text(encoding="utf-8"))
    return frozenset(known["__certificate_install_supported"]) | frozenset(known["__certificate_install_untested"])


class Variables:
    """The variables of a host, with the defaults of the roles."""

    def __init__(self, variables: Mapping[str, Any], template: Callable[[Any], Any] = lambda value: value) -> None:
        """``template`` resolves a value of ``variables``; those of hostvars are resolved already."""
        self._variables = variables
        self._template = template

    def of(self, role: str, name: str) -> Any:
        """The value of ``<role>_<name>``."""
        variable = f"{role}_{name}"
        if variable in self._variables:
            return self._template(self._variables[variable])
        return KIT_ROLES[role].options[variable].get("default")

    @property
    def sites(self) -> list[dict[str, Any]]:
        """The sites, each with the delivery of its password."""
        default = self.of("certificate_install", "password_delivery")
        return password_deliveries(self.of("nginx_mtls", "sites"), default)


def nginx_settings(variables: Variables) -> dict[str, Any]:
    """The settings of the filter ``nginx_plan``, as role nginx_mtls has them."""
    values = {name: variables.of("nginx_mtls", name) for name in _SETTINGS}
    return {**values, "templates": str(ROLES / "nginx_mtls" / "templates")}


def not_judged(variables: Variables) -> str:
    """Why one look can't tell whether anything is due; empty where it can."""
    sites = variables.sites
    if not sites:
        return "it has no sites"
    if variables.of("nginx_mtls", "instance") == "container":
        return "its Nginx is a container"
    if variables.of("nginx_mtls", "root") != variables.of("certificate_install", "root"):
        return "nginx_mtls_root is not certificate_install_root"
    for site in sites:
        if site["password_delivery"] != FILE:
            return f"site {site['name']}: its password is delivered by {site['password_delivery']}"
        if site.get("certificate") == "acme":
            return f"site {site['name']}: a public CA certifies it"
    return ""


def look_wish(variables: Variables) -> dict[str, Any]:
    """The arguments of module ``gateway_look``, all but the moment and the salt."""
    settings = nginx_settings(variables)
    return {
        "root": settings["root"],
        **{name: variables.of("certificate_install", name) for name in ("owner", "group", "keep")},
        "settings": {name: settings[name] for name in _SEEN_BY_THE_LOOK},
        "sites": [
            {
                "name": site["name"],
                "address": look_address(list(site.get("listen_addresses") or ["0.0.0.0"])),  # noqa: S104  compared
                "port": site.get("port") or 443,
                "server_name": look_name(site),
            }
            for site in variables.sites
        ],
    }
