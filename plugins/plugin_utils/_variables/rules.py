"""What an argument spec can't say: names, and things that exclude each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki import constraints, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

Item = Mapping[str, Any]


def _raised(check: Callable[..., object], *arguments: Any) -> Iterator[KitError]:
    try:
        check(*arguments)
    except KitError as error:
        yield error


def _twice(what: str, keys: Iterable[str], of: str) -> Iterator[KitError]:
    for key, number in Counter(keys).items():
        if number > 1:
            yield KitError(
                f"{what} {key!r}", f"{number} of that name in {of}", "one", f"rename or remove the others in {of}"
            )


def pki_name_faults(name: Any, host: str) -> Iterator[KitError]:
    """The name of the PKI."""
    yield from _raised(names.check_pki_name, str(name))


def issuing_faults(issuing: Sequence[Item], host: str) -> Iterator[KitError]:
    """Names of issuing CAs, and the names they may sign for."""
    for authority in issuing:
        yield from _raised(names.check_issuing_name, str(authority["name"]))
        yield from _raised(
            constraints.read, authority.get("name_constraints"), f"issuing CA {str(authority['name'])!r}"
        )
    yield from _twice("issuing CA", (str(authority["name"]) for authority in issuing), "pki_issuing")


def client_faults(clients: Sequence[Item], host: str) -> Iterator[KitError]:
    """Names, subjects, SANs and groups of clients."""
    for client in clients:
        name = str(client["name"])
        owner = f"client {name!r}"
        yield from _raised(names.check_certificate_name, f"client/{name}")
        yield from _raised(names.sans_from, client.get("san") or {}, owner)
        yield from _raised(names.subject_from, client.get("subject") or {}, owner)
        for group in client.get("groups") or []:
            yield from _raised(names.check_group, str(group), owner)
    yield from _twice("client", (str(client["name"]) for client in clients), "pki_clients")


def server_faults(servers: Sequence[Item], host: str) -> Iterator[KitError]:
    """Names and SANs of server certificates."""
    for server in servers:
        name = str(server["name"])
        yield from _raised(names.check_certificate_name, name)
        yield from _san_faults(f"server certificate {name!r}", server.get("san") or {})
    yield from _twice("server certificate", (str(server["name"]) for server in servers), "pki_servers")


def site_faults(sites: Sequence[Item], host: str) -> Iterator[KitError]:
    """Names and SANs of a gateway's sites, and sites that Nginx couldn't tell apart."""
    for site in sites:
        name = str(site["name"])
        yield from _raised(names.check_certificate_name, f"server/{host}/{name}")
        san = {"dns": site.get("server_names") or [], "ip": site.get("addresses") or []}
        yield from _san_faults(f"site {name!r} of {host}", san)
    yield from _twice("site", (str(site["name"]) for site in sites), f"nginx_mtls_sites of {host}")
    yield from _shared_listeners(sites, host)


def _shared_listeners(sites: Sequence[Item], host: str) -> Iterator[KitError]:
    first: dict[str, str] = {}
    for site in sites:
        for listener in sorted(_listeners(site)):
            other = first.setdefault(listener, str(site["name"]))
            if other != str(site["name"]):
                yield KitError(
                    f"site {str(site['name'])!r} of {host}",
                    f"the listener {listener}, which site {other!r} has already",
                    "an address, port or server name of its own",
                    "change its server_names, port or listen_addresses",
                )


def _san_faults(owner: str, san: Item) -> Iterator[KitError]:
    if not any(san.values()):
        yield KitError(
            owner,
            "neither a DNS name nor an address",
            "at least one, for clients compare it with what they call",
            "add server_names or addresses",
        )
    yield from _raised(names.sans_from, san, owner)


def _listeners(site: Item) -> set[str]:
    """What Nginx tells sites apart by: address, port and server name."""
    port = site.get("port") or 443
    return {
        f"{address}:{port} {str(name).lower()}"
        for address in site.get("listen_addresses") or ["*"]
        for name in site.get("server_names") or site.get("addresses") or []
    }


def missing_faults(variables: Mapping[str, Any], host: str) -> Iterator[KitError]:
    """What a host of the inventory's groups can't do without."""
    if host in variables["groups"].get("ca", []) and "pki_name" not in variables:
        yield KitError(
            f"pki_name of {host}",
            "no value",
            "the name of the PKI that the hosts of group ca keep",
            "set pki_name in the inventory, for all hosts",
        )


def authority_faults(variables: Mapping[str, Any]) -> Iterator[KitError]:
    """Clients under the name of a CA: OpenSSL takes a leaf whose DN is its issuer's for self-signed (error 18)."""
    pki = str(variables.get("pki_name", ""))
    issuing = variables.get("pki_issuing") or [{"name": "issuing"}]
    titles = [names.authority_title(name) for name in ("root", *(str(authority["name"]) for authority in issuing))]
    a_ca = re.compile(rf"{re.escape(pki)} ({'|'.join(map(re.escape, titles))}) G[0-9]+", re.IGNORECASE)
    for client in variables.get("pki_clients") or []:
        common_name = str((client.get("subject") or {}).get("common_name") or "")
        if a_ca.fullmatch(common_name):
            yield KitError(
                f"client {str(client['name'])!r}",
                f"the common name {common_name!r}, which is that of a CA of this PKI",
                "one of its own, for OpenSSL takes a certificate with its issuer's DN for self-signed (error 18)",
                "change subject.common_name",
            )


RULES: Mapping[str, Callable[[Any, str], Iterator[KitError]]] = {
    "pki_name": pki_name_faults,
    "pki_issuing": issuing_faults,
    "pki_clients": client_faults,
    "pki_servers": server_faults,
    "nginx_mtls_sites": site_faults,
}
"""The rules by the variable they are for; they get its value, which fits the argument spec, and the host's name."""
