"""From what a person asks revoke.yml for to what the PKI takes, and from what the gateways showed to the verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.mtls.kit.plugins.filter.gateway_share import probe_targets, seen_serving
from ansible_collections.mtls.kit.plugins.filter.trust_scopes import accepted_issuers, site_trust_scope
from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DOCUMENTATION = r"""
name: revocation_of
short_description: What M(mtls.kit.pki) takes for what a person asked to be revoked
version_added: "0.1.0"
description:
  - Each entry is a client's name (C(client/alice)), the serial of a certificate in hexadecimal digits, or a file on the
    controller with a certificate in PEM.
  - A server's certificate is revoked by its serial only, so that its site gets another one in the same run.
positional: reason
options:
  _input:
    description: One entry, several with commas between them, or a list.
    type: raw
    required: true
  reason:
    description: Reason of RFC 5280.
    type: str
    default: unspecified
"""

EXAMPLES = r"""
- name: Ensure Alice is out
  ansible.builtin.import_role:
    name: mtls.kit.pki
  vars:
    pki_revoke: "{{ 'client/alice' | mtls.kit.revocation_of('keyCompromise') }}"
"""

RETURN = r"""
_value:
  description: Entries of C(pki_revoke).
  type: list
  elements: dict
"""

_SERIAL = re.compile(r"(0x)?[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){0,19}")


def revocation_of(asked: str | Sequence[str], reason: str = "unspecified") -> list[dict[str, str]]:
    """Entries of ``pki_revoke``; raises ``AnsibleFilterError`` for what is neither name, serial nor certificate."""
    entries = asked.split(",") if isinstance(asked, str) else [str(entry) for entry in asked]
    try:
        found = [{**_one(entry.strip()), "reason": reason} for entry in entries if entry.strip()]
        if not found:
            raise _wrong("nothing", "name what is to be revoked: -e revoke=client/alice")
    except KitError as error:
        raise AnsibleFilterError(str(error)) from error
    return found


def _wrong(found: str, next_step: str) -> KitError:
    return KitError("revoke", found, "a client's name, a serial, or the file of a certificate", next_step)


def _one(entry: str) -> dict[str, str]:
    if entry.startswith("client/"):
        return {"name": names.check_certificate_name(entry)}
    if entry.startswith("server/"):
        raise _wrong(
            f"the server certificate {entry!r}",
            "revoke it by its serial (status.yml with -e status_json=<file> has it), so that the site gets another one",
        )
    if _SERIAL.fullmatch(entry):
        return {"serial": entry}
    path = Path(entry).expanduser()
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise _wrong(repr(entry), f"correct it; for a client of that name write client/{entry}") from None
    begin = text.find("-----BEGIN CERTIFICATE-----")
    if begin < 0:
        raise _wrong(f"the file {entry}, without a certificate in PEM", "name the file of a certificate")
    # The first is the leaf; what follows is its chain.
    return {"certificate": text[begin : text.find("-----END CERTIFICATE-----", begin)] + "-----END CERTIFICATE-----\n"}


def revocation_targets(
    sites: Sequence[Mapping[str, Any]],
    pki_result: Mapping[str, Any],
    issuing: Sequence[Mapping[str, Any]],
    root: str,
    revocation: str = "map",
) -> list[dict[str, Any]]:
    """The sites of a gateway as M(mtls.kit.mtls_revoked) takes them.

    ``root`` is ``certificate_install_root`` of the gateway, ``revocation`` its ``nginx_mtls_revocation``.
    """
    return [
        {
            **{key: target[key] for key in ("name", "address", "port", "server_name")},
            "root": f"{root}/{target['name']}",
            "number": pki_result["trust"][target["scope"]]["number"],
            "revocation": revocation,
        }
        for target in probe_targets(sites, issuing)
    ]


def served_trust(
    gateways: Iterable[Mapping[str, Any]],
    issuing: Sequence[Mapping[str, Any]],
    recorded: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """What each site was found to serve in this run and is not ``recorded``, as M(mtls.kit.pki_delivered) takes it."""
    known = {(entry["gateway"], entry["site"]): entry for entry in recorded}
    found = [
        {
            "gateway": gateway["inventory_hostname"],
            "site": site["name"],
            "scope": site_trust_scope(site, issuing),
            "accept": accepted_issuers(site, issuing),
            "number": int(served[site["name"]]["trust"]),
        }
        for gateway in gateways
        for served in [seen_serving(gateway)]
        for site in gateway.get("nginx_mtls_sites", [])
        if site["name"] in served
    ]
    return [entry for entry in found if entry != known.get((entry["gateway"], entry["site"]))]


def revocation_foreseen(
    pki_result: Mapping[str, Any], gateways: Iterable[Mapping[str, Any]], issuing: Sequence[Mapping[str, Any]]
) -> list[str]:
    """In check mode: what would be revoked, and which sites would refuse it."""
    revoked = [f"{one['name']}: {one['reason']}" for one in pki_result["changes"] if one["action"] == "revoke"]
    written = {one["name"] for one in pki_result["changes"] if "revoked.map" in one["reason"]}
    places = [
        f"{gateway['inventory_hostname']}/{site['name']} would refuse it"
        for gateway in gateways
        for site in gateway.get("nginx_mtls_sites", [])
        if f"trust/{site_trust_scope(site, issuing)}" in written
    ]
    return [*revoked, *places] if revoked else ["nothing: all of it is revoked already"]


def revocation_proofs(gateways: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each site and certificate that was proven to be refused."""
    return [
        f"{gateway['inventory_hostname']}/{one['site']}: {one['name']} (serial {one['serial']}) refused, "
        f"{one['proof']}: {one['found']}"
        for gateway in gateways
        for one in (gateway.get("revoke_proof") or {}).get("proofs", [])
        if one["passed"]
    ]


def revocation_incomplete(gateways: Iterable[Mapping[str, Any]]) -> list[str]:
    """The gateways where it was not proven, each with the reason."""
    lines = []
    for gateway in gateways:
        proof = gateway.get("revoke_proof") or {}
        if not gateway.get("nginx_mtls_sites") or ("proofs" in proof and not proof.get("failed")):
            continue
        if not gateway.get("revoke_reached"):
            cause = "not reached"
        elif proof.get("failed"):
            cause = str(proof.get("msg", "the proof failed"))
        else:
            cause = "not delivered, see the error above"
        lines.append(f"{gateway['inventory_hostname']} ({cause})")
    return lines


def revocation_advice(
    certificates: Iterable[Mapping[str, Any]], clients: Iterable[Mapping[str, Any]], held: Iterable[Mapping[str, Any]]
) -> list[str]:
    """What becomes of each revoked client: ``clients`` is ``pki_clients``, ``held`` the inventory's ``pki_revoke``."""
    listed = {f"client/{client['name']}" for client in clients}
    kept_out = {entry.get("name") for entry in held}
    lines = []
    for name in sorted({str(one["name"]) for one in certificates if str(one["name"]).startswith("client/")}):
        if name in kept_out:
            lines.append(f"{name} gets no certificate as long as pki_revoke names it.")
        elif name in listed:
            lines.append(
                f"{name} is still listed in pki_clients: clients.yml gives it a new key and certificate. "
                "If it is to stay out, remove it from pki_clients."
            )
        else:
            lines.append(f"{name} is not in pki_clients any more: it stays out.")
    return lines


class FilterModule:
    """The filters of revoke.yml."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {
            "revocation_of": revocation_of,
            "revocation_targets": revocation_targets,
            "served_trust": served_trust,
            "revocation_foreseen": revocation_foreseen,
            "revocation_proofs": revocation_proofs,
            "revocation_incomplete": revocation_incomplete,
            "revocation_advice": revocation_advice,
        }
