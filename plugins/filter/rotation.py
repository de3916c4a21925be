"""What ``playbooks/rotate.yml`` asks of the PKI, from its variables and what the gateways were seen to serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.gateway_share import seen_serving
from ansible_collections.mtls.kit.plugins.filter.trust_scopes import site_trust_scope
from ansible_collections.mtls.kit.plugins.filter.words import words
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: rotation_wish
short_description: What a run of rotate.yml asks of the PKI
version_added: "0.1.0"
description:
  - Turns the variables of C(playbooks/rotate.yml) into O(mtls.kit.pki#module:rotation), with what every gateway that
    answered was seen to serve, and whom its access logs show.
positional: variables, gateways, hold
options:
  _input:
    description: What is to be rotated, C(rotate), as a text of words or a list.
    type: raw
    required: true
  variables:
    description: The CA host's variables; C(pki_rotate) is the base, and C(rotate_<option>) goes before it.
    type: dict
    required: true
  gateways:
    description: The hostvars of the gateways.
    type: list
    elements: dict
    required: true
  hold:
    description: Whether the phase stays, for a run's second call of the PKI.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Ensure the authorities
  ansible.builtin.import_role:
    name: mtls.kit.pki
  vars:
    pki_rotate: "{{ rotate | mtls.kit.rotation_wish(vars, groups['gateways'] | map('extract', hostvars)) }}"
"""

RETURN = r"""
_value:
  description: A dictionary for the option C(rotation) of module C(pki).
  type: dict
"""

WORDS = ("leaf", "password", "issuing", "root")
"""What can be rotated; a word that is not here is refused."""

ALL = "all"
"""Stands for all of them."""

_OPTIONS = ("step", "overlap_days", "confirmed", "again", "cross_sign", "remove_keys", "servers", "clients", "without")
_FLAGS = ("confirmed", "again", "cross_sign", "remove_keys")


def rotate_words(rotate: Any) -> list[str]:
    """The words in ``rotate``, each checked, ``all`` as what it stands for; KitError for one that is none."""
    asked = words(rotate or [])
    for word in asked:
        if word not in (*WORDS, ALL):
            raise KitError("rotate", repr(word), "some of " + ", ".join((*WORDS, ALL)), "correct -e rotate=")
    return list(WORDS) if ALL in asked else asked


def _flag(value: Any) -> bool:
    """-e hands over texts."""
    return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)


def observed_sites(gateways: Iterable[Mapping[str, Any]], issuing: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the sites of the gateways that answered serve, as their preflight saw it."""
    found = []
    for gateway in gateways:
        served = seen_serving(gateway, "checked")
        for site in gateway.get("nginx_mtls_sites", []):
            seen = served.get(site["name"], {})
            if str(seen.get("trust", "")).isdigit():
                found.append(
                    {
                        "gateway": gateway["inventory_hostname"],
                        "site": site["name"],
                        "scope": site_trust_scope(site, issuing),
                        "trust": int(seen["trust"]),
                        "serial": seen["serial"],
                    }
                )
    return found


def presented_certificates(gateways: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The client certificates in the access logs of the gateways that could be read."""
    return [
        {"gateway": gateway["inventory_hostname"], **{key: one[key] for key in ("issuer", "serial", "last_seen")}}
        for gateway in gateways
        for look in gateway.get("nginx_mtls_presented", {}).get("sites", {}).values()
        for one in look["certificates"]
    ]


def rotation_view(rotation: Mapping[str, Any], gateways: Iterable[Mapping[str, Any]]) -> list[str]:
    """Who would be cut off and who does not trust the new CA yet, a line each; ``rotation`` is C(pki_result.rotation).

    Last comes what is not known: gateways whose logs were not read, or not to the end.
    """
    until = "is refused from now on" if rotation["phase"] in ("retired", "withdrawn") else "would be cut off by the end"
    lines = [
        f"{one['name']} at {one['gateway']} {until}: last seen {one['last_seen'][:16].replace('T', ' ')} UTC with its "
        f"certificate of {one['issuer']}, "
        + (f"and it got a new one {one['replaced'][:10]}" if one["replaced"] else "and it has no new one yet")
        for one in rotation["cut_off"]
    ]
    lines += [f"the new CA is not trusted yet at {place}" for place in rotation["distrusting"]]
    for gateway in gateways:
        looks = gateway.get("nginx_mtls_presented", {}).get("sites")
        if gateway.get("nginx_mtls_sites") and looks is None:
            lines.append(f"not known of {gateway['inventory_hostname']}: its access logs were not read")
        for site, look in (looks or {}).items():
            if not look["complete"]:
                lines.append(f"not all known of {gateway['inventory_hostname']}/{site}: its access log is too long")
    return lines or ["nobody who was seen in the access logs, and every gateway that was seen trusts what is new"]


def rotation_wish(
    rotate: Any, variables: Mapping[str, Any], gateways: Iterable[Mapping[str, Any]], hold: bool = False
) -> dict[str, Any]:
    """The option ``rotation`` of module ``pki``; KitError for an unknown word in ``rotate``."""
    gateways = list(gateways)
    asked = rotate_words(rotate)
    wish = dict(variables.get("pki_rotate") or {})
    for option in _OPTIONS:
        if f"rotate_{option}" in variables:
            value = variables[f"rotate_{option}"]
            wish[option] = _flag(value) if option in _FLAGS else value
    # A new root brings new issuing CAs.
    kind = "root" if "root" in asked else "issuing" if "issuing" in asked else "none"
    names = words(variables.get("rotate_names") or []) if asked == ["issuing"] else []
    wish["without"] = words(wish.get("without") or [])
    observed = observed_sites(gateways, variables.get("pki_issuing") or [])
    step = "hold" if hold else wish.get("step", "auto")
    return {
        **wish,
        "step": step,
        "kind": kind,
        "names": names,
        "observed": observed,
        "presented": presented_certificates(gateways),
    }


def reissue_wish(rotate: Any, names: Any, before: str) -> dict[str, Any]:
    """The option ``reissue`` of module ``pki``: what ``rotate=leaf`` replaces, by globs; empty without that word."""
    if "leaf" not in rotate_words(rotate):
        return {}
    return {"names": words(names or []) or ["*"], "before": before}


class FilterModule:
    """The filters of rotate.yml."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {
            "rotate_words": rotate_words,
            "rotation_wish": rotation_wish,
            "reissue_wish": reissue_wish,
            "observed_sites": observed_sites,
            "rotation_view": rotation_view,
        }
