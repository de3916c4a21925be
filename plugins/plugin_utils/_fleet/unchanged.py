"""Where what was seen of a gateway differs from what is wished. No difference: no role would change anything there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.gateway_share import gateway_share
from ansible_collections.mtls.kit.plugins.filter.install_sites import install_sites
from ansible_collections.mtls.kit.plugins.filter.nginx_plan import nginx_plan
from ansible_collections.mtls.kit.plugins.module_utils._gateway import release, trust
from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import Instance
from ansible_collections.mtls.kit.plugins.module_utils._gateway.settled import proof
from ansible_collections.mtls.kit.plugins.plugin_utils._fleet.wishes import (
    Variables,
    look_wish,
    nginx_settings,
    systems,
)

Look = Mapping[str, Any]


def from_variables(look: Look | None, variables: Variables) -> tuple[list[str], list[str]]:
    """Differences from what the variables of a gateway wish, and warnings that its role would give.

    Raises KitError or AnsibleFilterError where they wish what can't be.
    """
    if look is None or "faults" not in look:
        return ["it was not looked at"], []
    if look["faults"]:
        return list(look["faults"]), []
    if look["system"] not in systems():
        return [f"its system is {look['system']}"], []
    plan = nginx_plan(variables.of("nginx_mtls", "sites"), nginx_settings(variables), look["nginx"])
    return list(_configuration(look, plan, variables)), [*plan["warnings"], *look["notices"]]


def _configuration(look: Look, plan: Mapping[str, Any], variables: Variables) -> Iterator[str]:
    if not look["nginx"]["installed"]:
        yield "Nginx is not installed"
    if asdict(Instance(**plan["instance"])) != asdict(Instance(**look["instance"])):
        yield "another Nginx was looked at than the one that is meant"
    for folder in set(plan["directories"]) - set(look["directories"]):
        yield f"{folder} is not there"
    for path in plan["absent"]:
        yield f"{path} is to be removed"
    for file in plan["files"]:
        seen = look["files"].get(file["path"])
        wanted = {"sha256": hashlib.sha256(file["content"].encode()).hexdigest(), "mode": file["mode"]}
        if seen != wanted:
            yield f"{file['path']} is not as it is to be"
    places = {site["name"]: site for site in look_wish(variables)["sites"]}
    planned = {site["name"]: site for site in plan["sites"]}
    if set(places) != set(planned):
        yield "not every site is served"
    for name, site in planned.items():
        if name in places and any(site[key] != places[name][key] for key in places[name]):
            yield f"site {name} was looked at elsewhere than where it is to be"
        elif site["config"] != look["sites"].get(name, {}).get("config"):
            yield f"site {name} serves another configuration"


@dataclass
class HandedOut:
    """What the CA hands out in this run, to all gateways."""

    pki: Mapping[str, Any]
    issuing: Sequence[Mapping[str, Any]]
    passwords: Mapping[str, str] = field(repr=False)
    salt: bytes = field(repr=False)
    now: datetime
    _checked: set[tuple[int, str]] = field(default_factory=set)

    def differences(self, gateway: str, look: Look, variables: Variables) -> Iterator[str]:
        """Differences from what ``gateway`` has by ``look``, which is without faults.

        Raises KitError where the roles would refuse to install what the CA hands out.
        """
        share = gateway_share(self.pki, gateway, variables.of("nginx_mtls", "sites"), self.issuing)
        for site, reason in share["wanted"].items():
            yield f"site {site}: {reason}"
        if share["missing"]:
            yield f"no certificate yet: {', '.join(share['missing'])}"
            return
        for wish in install_sites(variables.sites, share["issued"], share["trust"], self.pki["trust_anchor"]):
            serial = share["issued"][wish["name"]]["serial"]
            for difference in self._of_site(wish, serial, f"server/{gateway}/{wish['name']}", look["sites"]):
                yield f"site {wish['name']}: {difference}"

    def _of_site(
        self, wish: Mapping[str, Any], serial: str, path: str, sites: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[str]:
        seen = sites.get(wish["name"], {})
        if seen.get("serial") != serial:
            yield f"certificate {serial} is to be served, {seen.get('serial')} is"
        # The file ends as release writes it.
        if seen.get("chain_sha256") != hashlib.sha256(wish["chain"].strip().encode() + b"\n").hexdigest():
            yield "its chain differs"
        unit = trust.TrustUnit(wish["trust"]["number"], wish["trust"]["sha256"], wish["trust"]["files"])
        if (seen.get("trust_number"), seen.get("trust_sha256")) != (unit.number, unit.sha256):
            yield f"trust {unit.number} is to be installed, {seen.get('trust_number')} is there"
        password = self.passwords.get(path)
        if password is None or seen.get("password_proof") != proof(self.salt, password.encode()):
            yield "the password of its key differs"
        if f"previous/{path}" in self.passwords:
            yield "the rotation of its key's password is not over"
        release.check(wish["chain"], wish["chain_anchor"], wish["server_names"], self.now, wish["name"])
        # A unit is the same for all sites that accept the same issuing CAs, and a long one takes seconds.
        if (unit.number, unit.sha256) not in self._checked:
            trust.check(unit, self.now, wish["name"])
            self._checked.add((unit.number, unit.sha256))
