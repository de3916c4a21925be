"""From the variables of a gateway and what was found on it to the files that Nginx is to have."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
from ansible.errors import AnsibleFilterError

from ansible_collections.mtls.kit.plugins.module_utils._gateway import discovery
from ansible_collections.mtls.kit.plugins.module_utils._gateway.fixes import missing
from ansible_collections.mtls.kit.plugins.module_utils._gateway.nginx import DEBUG_UNIT
from ansible_collections.mtls.kit.plugins.module_utils._gateway.tls import PROBE_PATH
from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx import access, backends, encryption, headers, public
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.values import (
    HOST_NAME,
    SITE_NAME,
    choice,
    ip_addresses,
    networks,
    size,
    whole_number,
    wrong,
)

DOCUMENTATION = r"""
name: nginx_plan
short_description: The files of Nginx, and what each site is to answer
version_added: "0.1.0"
description:
  - Takes C(nginx_mtls_sites) and what M(mtls.kit.nginx_info) found on the gateway, and returns what
    M(mtls.kit.nginx_site) takes.
  - A listener or a default server of somebody else's is never replaced; what follows from that is a warning.
positional: settings, info
options:
  _input:
    description: The sites, C(nginx_mtls_sites).
    type: list
    elements: dict
    required: true
  settings:
    description:
      - C(root) (where releases and trust units are), C(instance) (V(packaged), V(own) or V(container)), C(prefix) (of
        an own instance, or inside the container), C(service) (V(auto), V(systemd) or V(signals)), C(binary),
        C(removed) (V(report) or V(remove)), C(revocation) (V(map), V(crl) or V(both)), C(crl_renewed), C(resumption)
        and C(templates) (folder of the templates).
      - For a container also C(user) (of the workers), C(debug) (whether it logs all there is) and C(probe_port), the
        first of the loopback ports at which its two slots are looked at.
    type: dict
    required: true
  info:
    description: What M(mtls.kit.nginx_info) found.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ensure the sites
  mtls.kit.nginx_site:
    files: "{{ plan.files }}"
    sites: "{{ plan.sites }}"
  vars:
    plan: "{{ nginx_mtls_sites | mtls.kit.nginx_plan(settings, nginx_info) }}"
"""

RETURN = r"""
_value:
  description:
    - C(instance), C(files), C(directories), C(absent), C(sites) and C(warnings).
    - For a container C(listeners), too, the C(listen) directives of each server, apart from its file. C(public) are
      those that clients use, C(probe) for each slot those at which it is looked at before. Each site has its
      C(probe_ports).
  type: dict
"""

MANAGED = "Written by mtls.kit; the next run overwrites changes. Variables: roles/nginx_mtls/README.md"

HTTP2_DIRECTIVE_SINCE = (1, 25, 1)
"""Nginx in which HTTP/2 belongs to a server; before, it belongs to a listener."""

LONG_LIVED_CRL_DAYS = 30
MANY_REVOKED = 2000
"""Below, a CRL is free; each entry costs 48 ns on every handshake."""
DEFAULT_MAP_HASH = 2048
SLOTS = (0, 1)
"""A container beside the one that it is to replace."""

MANY_VARIABLES = 40
"""From here on Nginx's default hash of variables (1,024 for all of them, its own included) gets too small."""

CONTAINER_STATE = "/run/nginx"
"""In memory, inside the container."""

RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]")


def _site(raw: Mapping[str, Any]) -> dict[str, Any]:
    """One site with its defaults, checked: what is here ends in a configuration file."""
    name = str(raw.get("name", ""))
    if not SITE_NAME.fullmatch(name):
        raise wrong(
            name, "name", name, "1 to 32 characters of a-z, 0-9 and '-', a letter or digit first", "rename the site"
        )
    server_names = [str(entry) for entry in raw.get("server_names") or []]
    if not server_names:
        raise wrong(name, "server_names", [], "at least one host name", "add the names its clients use")
    for server_name in server_names:
        if len(server_name) > 253 or not HOST_NAME.fullmatch(server_name):
            raise wrong(name, "server_names", server_name, "a host name (or *.<domain>)", "correct server_names")
    addresses = ip_addresses(name, "addresses", raw.get("addresses") or [])
    variable = f"mtls_{name.replace('-', '_')}"
    site = {
        "name": name,
        "variable": variable,
        "server_names": server_names,
        "addresses": addresses,
        "nginx_names": [*server_names, *(f"[{ip}]" if ":" in ip else ip for ip in addresses)],
        "listen_addresses": ip_addresses(name, "listen_addresses", raw.get("listen_addresses") or []),
        "port": _port(name, "port", raw.get("port", 443)),
        "redirect_port": _port(name, "redirect_port", raw["redirect_port"]) if raw.get("redirect_port") else 0,
        "verify_depth": whole_number(name, "verify_depth", raw.get("verify_depth", 1)),
        "backend_timeout": whole_number(name, "backend_timeout", raw.get("backend_timeout", 60)),
        "client_max_body_size": size(name, "client_max_body_size", raw.get("client_max_body_size", "1m")),
        **encryption.wanted(name, raw),
        **public.wanted(name, raw, server_names, addresses),
        **_requests(name, raw),
    }
    site["backend"] = backends.group(name, variable, raw)
    return site | _paths(name, variable, raw, site)


def _port(site: str, key: str, value: Any) -> int:
    if not str(value).isdigit() or not 0 < int(value) < 65536:
        raise wrong(site, key, value, "a number from 1 to 65535", f"correct {key} in nginx_mtls_sites")
    return int(value)


def _requests(name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a site does with requests, wherever they go."""
    rate = str(raw.get("rate_limit") or "")
    if rate and not RATE.fullmatch(rate):
        raise wrong(name, "rate_limit", rate, "requests a second or minute, such as 20r/s", "correct rate_limit")
    forwarded_for = choice(name, "forwarded_for", raw.get("forwarded_for", "replace"), ("replace", "append"))
    trusted = networks(name, "trusted_proxies", raw.get("trusted_proxies") or [])
    if forwarded_for == "append" and not trusted:
        raise wrong(
            name,
            "forwarded_for",
            "append without trusted_proxies",
            "the proxies whose X-Forwarded-For counts, for everybody else's is an invention",
            "name them in trusted_proxies, or use replace",
        )
    return {
        "rate_limit": rate,
        "rate_burst": whole_number(name, "rate_burst", raw.get("rate_burst", 0), least=0),
        "forwarded_for": forwarded_for,
        "trusted_proxies": trusted,
        "websocket": bool(raw.get("websocket", False)),
        "debug": bool(raw.get("debug", False)),
        "answers": choice(name, "answers", raw.get("answers", "json"), ("json", "html")),
        # PCRE takes names of at most 32 characters, a site's name has as many: a number tells them apart.
        "forwarded_capture": f"mtls_f{zlib.crc32(name.encode()):08x}",
    }


def _paths(name: str, variable: str, raw: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """Who may go where, and what the backends are told of them."""
    # YAML reads a bare on as true.
    verify = "on" if raw.get("verify") is True else choice(name, "verify", raw.get("verify", "on"), access.VERIFY)
    found = access.locations(name, variable, verify, raw.get("locations") or [], site)
    chosen = headers.names(name, raw.get("headers") or {})
    gated = any(one.certificate != "required" for one in found)
    groups = list({one.backend.variable: one.backend for one in [*found]}.values())
    return {
        "verify": verify,
        "locations": found,
        "gated": gated,
        "authorizes": any(one.authorizes for one in found),
        "spelling_patterns": access.spelling_patterns(found),
        "groups": groups,
        "backend_tls": backends.tls(name, raw.get("backend_tls"), groups),
        "facts": headers.facts(variable, chosen, gated=gated),
        "cleared_headers": headers.cleared(chosen),
    }


_AGREED_ON_FIRST = ("tls", "tls_protocols", "tls_ciphers", "tls_groups")


def _sites(raw_sites: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    sites = [_site(raw) for raw in raw_sites]
    seen: set[str] = set()
    for site in sites:
        if site["name"] in seen:
            raise wrong(site["name"], "name", "two sites of that name", "each name once", "rename one of them")
        seen.add(site["name"])
    claimed: dict[tuple[str, int], str] = {}
    for site in sites:
        for name in site["nginx_names"]:
            other = claimed.setdefault((name.lower(), site["port"]), site["name"])
            if other != site["name"]:
                raise wrong(
                    site["name"],
                    "server_names and addresses",
                    f"{name} on port {site['port']}, which site {other!r} has",
                    "each name or address once a port",
                    "give it to one of the two, or another port",
                )
    presets: dict[int, dict[str, Any]] = {}
    for site in sites:
        first = presets.setdefault(site["port"], site)
        if any(first[key] != site[key] for key in _AGREED_ON_FIRST):
            raise wrong(
                site["name"],
                "tls",
                f"{site['tls']}, while site {first['name']!r} on the same port {site['port']} has {first['tls']}"
                + (" and other overrides" if first["tls"] == site["tls"] else ""),
                "one preset a port, for the TLS version is agreed on before the site is known",
                "use one preset for both, or another port",
            )
    return sites


def nginx_site_problems(raw_sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with ``nginx_mtls_sites``, before any host is looked at: a list of one message, or empty."""
    try:
        _sites(raw_sites)
    except KitError as error:
        return [str(error)]
    return []


class _Host:
    """What of the gateway decides about listeners and TLS."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self.ipv6: bool = bool(info["ipv6"])
        self.http2_directive = tuple(info["version"]) >= HTTP2_DIRECTIVE_SINCE
        self.openssl = tuple(info["openssl"])
        self.foreign: list[Mapping[str, Any]] = list(info["listeners"])

    def tls(self, site: Mapping[str, Any]) -> dict[str, str]:
        return encryption.settings(site, self.openssl)

    def foreign_at(self, address: str, port: int) -> list[Mapping[str, Any]]:
        return [one for one in self.foreign if one["address"] == address and one["port"] == port]

    def wildcards(self) -> list[str]:
        return ["0.0.0.0", "::"] if self.ipv6 else ["0.0.0.0"]  # noqa: S104 - a gateway listens for everybody


def _listen(address: str, port: int, *, http2: bool, default: bool) -> str:
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{place} ssl{' http2' if http2 else ''}{' default_server' if default else ''}"


def _wildcard_of(address: str) -> str:
    return "::" if ":" in address else "0.0.0.0"  # noqa: S104 - a gateway listens for everybody


class _Port:
    """The sites of one port, placed beside the listeners that others have there."""

    def __init__(self, port: int, sites: list[dict[str, Any]], host: _Host) -> None:
        self.port = port
        self.sites = sites
        self.host = host
        self.warnings: list[str] = []
        self.listening: dict[str, list[dict[str, Any]]] = {}
        for site in sites:
            for address in site["listen_addresses"] or host.wildcards():
                self.listening.setdefault(address, []).append(site)
        self.owners = self._owners_of_addresses()
        self._name_everywhere()

    def warn(self, text: str) -> None:
        """Once, however many listeners it is true of."""
        if text not in self.warnings:
            self.warnings.append(text)

    def _is_reached(self, site: dict[str, Any], address: str) -> bool:
        its_sites = self.listening.get(address, self.listening.get(_wildcard_of(address), []))
        return site in its_sites

    def _owners_of_addresses(self) -> dict[str, dict[str, Any]]:
        """Which site answers a client that calls an address, and so sends no server name."""
        owners: dict[str, dict[str, Any]] = {}
        for site in self.sites:
            for address in site["addresses"]:
                # A listener of that address's own would take the address away from whoever has the wildcard.
                in_the_way = self.host.foreign_at(address, self.port) or (
                    [] if address in self.listening else self.host.foreign_at(_wildcard_of(address), self.port)
                )
                if in_the_way:
                    default = _default_of(in_the_way)
                    self.warn(
                        f"site {site['name']}: clients that call {address} send no server name and reach the default "
                        f"server in {default['file']}, not this site"
                    )
                elif self._is_reached(site, address):
                    owners[address] = site
        return owners

    def _name_everywhere(self) -> None:
        """Nginx serves an address that is named anywhere from that listener alone, never from the wildcard too."""
        of_others = [one["address"] for one in self.host.foreign if one["port"] == self.port]
        for address in [*self.listening, *self.owners, *of_others]:
            its_sites = self.listening.setdefault(address, [])
            its_sites += [site for site in self.listening.get(_wildcard_of(address), []) if site not in its_sites]

    def place(self, defaults: dict[str, dict[str, Any]]) -> None:
        """Give each site its ``listens``, and ``defaults`` (by TLS preset) the listeners that nobody answers for."""
        for address, its_sites in self.listening.items():
            if its_sites:
                self._place_at(address, its_sites, defaults)

    def _place_at(self, address: str, its_sites: list[dict[str, Any]], defaults: dict[str, dict[str, Any]]) -> None:
        foreign = self.host.foreign_at(address, self.port)
        plain = [one for one in foreign if not one["ssl"]]
        if plain:
            raise wrong(
                its_sites[0]["name"],
                "port",
                f"{address}:{self.port} without TLS in {plain[0]['file']}",
                "a port of its own, or one that others use with TLS, too",
                "choose another port, or listen_addresses that nobody else has",
            )
        if foreign:
            self.warn(
                f"port {self.port} has its default server in {_default_of(foreign)['file']}, which stays: unknown "
                "names reach that one, and its TLS versions and sessions hold until a site's name is known; where it "
                "keeps sessions (ssl_session_cache), a client whose certificate has expired may resume them here"
            )
            for site in its_sites:
                site["default_elsewhere"] = _default_of(foreign)["file"]
        # On a listener shared with others, HTTP/2 before Nginx 1.25.1 would be switched on for them, too.
        http2 = not self.host.http2_directive and (not foreign or any(one["http2"] for one in foreign))
        owner = self.owners.get(address)
        for site in its_sites:
            site["listens"].append(_listen(address, self.port, http2=http2, default=site is owner))
            site["places"].append({"address": address, "port": self.port})
        if owner:
            owner["answers_addresses"] = True
        elif not foreign:
            tls = self.host.tls(its_sites[0])
            server = defaults.setdefault(
                repr((tls, its_sites[0]["session_zone"])),
                {"listens": [], "tls": tls, "session_zone": its_sites[0]["session_zone"]},
            )
            server["listens"].append(_listen(address, self.port, http2=http2, default=True))


def _place_listeners(sites: list[dict[str, Any]], host: _Host) -> tuple[list[dict[str, Any]], list[str]]:
    """Give each site its ``listens``; return the default servers that are ours to make, and warnings."""
    defaults: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    for number in sorted({site["port"] for site in sites}):
        port = _Port(number, [site for site in sites if site["port"] == number], host)
        port.place(defaults)
        warnings += port.warnings
    return list(defaults.values()), warnings


def _place_nothing(sites: Sequence[dict[str, Any]], host: _Host, layout: _Layout, info: Mapping[str, Any]) -> list[str]:
    """Servers are somebody else's: where to look at each site, and a warning for each that nobody includes yet."""
    warnings = []
    for site in sites:
        for key in ("redirect_port", "addresses"):
            if site[key]:
                raise wrong(
                    site["name"],
                    key,
                    f"{site[key]}, with nginx_mtls_instance: includes",
                    "nothing, for listeners and names are your own servers'",
                    f"remove {key}, and write it into your server",
                )
        if site["challenge_folder"]:
            raise wrong(
                site["name"],
                "challenge",
                "http-01, with nginx_mtls_instance: includes",
                "dns-01, for the port without TLS is your own servers'",
                "set challenge: dns-01 and public_certificate_dns_hook",
            )
        addresses = site["listen_addresses"] or host.wildcards()
        site["places"] = [{"address": address, "port": site["port"]} for address in addresses]
        file = f"{site['includes']}-server.conf"
        if file not in info["included"]:
            warnings.append(
                f"site {site['name']} is not served yet: write 'include {layout.base}/mtls/*-mtls-*.conf;' into the "
                f"http block and 'include {file};' into your server for {' '.join(site['nginx_names'])}, then run again"
            )
    return warnings


def _place_plain(sites: list[dict[str, Any]], host: _Host) -> list[str]:
    """Give each site its ``plain_listens``; return those of the default server that is ours to make."""
    defaults: list[str] = []
    tls_ports = {site["port"]: site["name"] for site in sites}
    for site in sites:
        port = site["plain_port"]
        if not port:
            continue
        key = "redirect_port" if site["redirect_port"] else "challenge"
        if port in tls_ports:
            raise wrong(
                site["name"],
                key,
                f"port {port}, on which site {tls_ports[port]!r} speaks TLS",
                "a port without TLS, such as 80",
                "choose another redirect_port",
            )
        for address in site["listen_addresses"] or host.wildcards():
            foreign = host.foreign_at(address, port)
            if any(one["ssl"] for one in foreign):
                raise wrong(
                    site["name"],
                    key,
                    f"{address}:{port} with TLS in {foreign[0]['file']}",
                    "a port without TLS, such as 80",
                    "choose another redirect_port",
                )
            place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            site["plain_listens"].append(place)
            site["places"].append({"address": address, "port": port})
            listen = f"{place} default_server"
            if not foreign and listen not in defaults:
                defaults.append(listen)
    return defaults


def _container_listeners(
    sites: Sequence[Mapping[str, Any]],
    default_servers: Sequence[Mapping[str, Any]],
    plain_defaults: Sequence[str],
    probe_port: int,
) -> tuple[dict[str, dict[str, Any]], dict[int, list[int]]]:
    """The listeners of each server of a container by their file's name, and the probe ports of each port, by slot."""
    servers = {
        **{f"default-{number}": list(server["listens"]) for number, server in enumerate(default_servers)},
        "default-plain": list(plain_defaults),
        **{f"site-{site['name']}": list(site["listens"]) for site in sites},
        **{f"redirect-{site['name']}": list(site["plain_listens"]) for site in sites},
    }
    ports = sorted({_port_of(listen) for listens in servers.values() for listen in listens})
    probes = {port: [probe_port + 2 * number + slot for slot in SLOTS] for number, port in enumerate(ports)}
    taken = [port for port in ports if any(port in pair for pair in probes.values())]
    if taken:
        raise KitError(
            "nginx_container_probe_port",
            f"{probe_port}, from which on {2 * len(ports)} ports are used, port {taken[0]} of a site among them",
            "two ports for each port of the sites, none of them a site's own",
            "correct nginx_container_probe_port",
        )
    shared: set[str] = set()
    listeners = {}
    for name, listens in servers.items():
        public = []
        for listen in listens:
            # Nginx takes the options of a socket once.
            first = listen.split()[0] not in shared
            shared.add(listen.split()[0])
            public.append(f"{listen} reuseport" if first else listen)
        options = {_port_of(listen): listen.split()[1:] for listen in reversed(listens)}
        default = ["default_server"] if name.startswith("default-") else []
        probe = [
            [
                " ".join(
                    [f"127.0.0.1:{probes[port][slot]}", *(word for word in ("ssl", "http2") if word in words), *default]
                )
                for port, words in sorted(options.items())
            ]
            for slot in SLOTS
        ]
        if listens:
            listeners[name] = {"public": public, "probe": probe}
    return listeners, probes


def _as_text(listeners: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, repr(server)) for name, server in listeners.items()]


def _port_of(listen: str) -> int:
    return int(listen.split()[0].rpartition(":")[2])


def _default_of(listeners: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((one for one in listeners if one["default"]), listeners[0])


def _map_hash_wanted(info: Mapping[str, Any]) -> int:
    entries = int(info["map_entries"])
    return 0 if entries <= DEFAULT_MAP_HASH else 1 << (2 * entries - 1).bit_length()


def _map_hash_warnings(info: Mapping[str, Any]) -> list[str]:
    wanted = _map_hash_wanted(info)
    if not wanted or not info["map_hash_set_in"]:
        return []
    return [
        f"map_hash_max_size is settled by {info['map_hash_set_in']}, which is loaded first: {info['map_entries']} "
        f"entries want {wanted}; write 'map_hash_max_size {wanted};' there, or lookups get slower"
    ]


def _debug_warnings(sites: Sequence[Mapping[str, Any]], info: Mapping[str, Any]) -> list[str]:
    wanted = [site["name"] for site in sites if site["debug"]]
    if not wanted or info["debugs"] or info["unit"] == DEBUG_UNIT:
        return []
    other = info["debug_binary"]
    return [
        f"site {', '.join(wanted)}: debug has no effect, for this Nginx was built without --with-debug; "
        + (
            f"{other} has it: 'systemctl stop nginx' and 'systemctl start {DEBUG_UNIT}' while you look"
            if other
            else "Debian's nginx and nginx.org's nginx-debug have it"
        )
    ]


def _shutdown_warnings(sites: Sequence[Mapping[str, Any]], layout: _Layout, info: Mapping[str, Any]) -> list[str]:
    """Where the main configuration is somebody else's, what it leaves to us to say."""
    lasting = [site["name"] for site in sites if site["websocket"] or any(group.grpc for group in site["groups"])]
    if layout.main or not lasting or info["shutdown_timeout"]:
        return []
    return [
        f"site {', '.join(lasting)}: WebSockets and gRPC streams of a revoked client last as long as they are open,"
        " for no worker_shutdown_timeout is set; write 'worker_shutdown_timeout 300s;' into the main configuration, "
        "which ends what is older than that, on all of its sites, after each reload"
    ]


def _hash_sizes(info: Mapping[str, Any], contents: Iterable[str]) -> dict[str, int]:
    """What is ours to set of Nginx's hashes; 0 leaves it at Nginx's default, or at what others have set."""
    variables = len({variable for content in contents for variable in re.findall(r"\$(mtls_\w+)", content)})
    return {
        "variables": variables,
        "variables_hash_max_size": (
            32 << variables.bit_length() if variables > MANY_VARIABLES and not info["variables_hash_set_in"] else 0
        ),
        "map_hash_max_size": 0 if info["map_hash_set_in"] else _map_hash_wanted(info),
    }


@dataclass(frozen=True)
class _Layout:
    """Where an Nginx has its files."""

    base: str
    """The folder that holds ``mtls/``."""
    site_directory: str
    http_directory: str
    main: str
    """The main configuration where it is ours, else empty."""
    directories: list[str]
    state: str
    """Where an Nginx of ours has its process id and what it keeps for a while."""
    error_log: str
    logs: str
    """A folder; empty where logs go to the container's output."""
    listeners: str = ""
    """A folder with the listeners of each server, where they are apart from its file."""
    user: str = ""
    includes_only: bool = False
    """Whether servers and their listeners are somebody else's, who includes what is written here."""

    @classmethod
    def of(cls, settings: Mapping[str, Any], info: Mapping[str, Any]) -> _Layout:
        """As the kind of instance has it."""
        prefix = str(settings["prefix"])
        ours = (prefix, f"{prefix}/conf.d", f"{prefix}/conf.d", f"{prefix}/nginx.conf")
        if settings["instance"] == "own":
            return cls(*ours, [prefix, f"{prefix}/logs"], prefix, f"{prefix}/logs/error.log", f"{prefix}/logs")
        if settings["instance"] == "container":
            error_log = "stderr debug" if settings["debug"] else "stderr"
            return cls(*ours, [], CONTAINER_STATE, error_log, "", f"{prefix}/listeners", str(settings["user"]))
        if settings["instance"] == "includes":
            base = str(info["config_directory"])
            folders = (base, f"{base}/mtls", f"{base}/mtls")
            return cls(*folders, "", [], "", "", "/var/log/nginx", includes_only=True)
        base, site_directory, http_directory = (
            str(info[key]) for key in ("config_directory", "site_directory", "http_directory")
        )
        return cls(base, site_directory, http_directory, "", [], "", "", "/var/log/nginx")

    def access_log(self, site: str) -> str:
        """The log of requests."""
        return f"{self.logs}/mtls-{site}.access.log" if self.logs else "/dev/stdout"

    def debug_log(self, site: str) -> str:
        """The log of errors where a site is debugged."""
        return f"{self.logs}/mtls-{site}.error.log" if self.logs else "stderr"


@cache
def _environment(templates: str) -> jinja2.Environment:
    """The templates in a folder; what renders for many gateways compiles each of them once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,  # noqa: S701 - Nginx's configuration, not HTML; every value is checked above
    )
    environment.filters["nginx_quoted"] = names.nginx_quoted
    return environment


def nginx_plan(
    raw_sites: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], info: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything :mod:`nginx_site` takes but the instance itself. Pure: equal input, equal files."""
    try:
        return _plan(raw_sites, settings, info)
    except KitError as error:
        raise AnsibleFilterError(str(error)) from error


def _plan(
    raw_sites: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], info: Mapping[str, Any]
) -> dict[str, Any]:
    sites = _sites(raw_sites)
    host = _Host(info)
    layout = _Layout.of(settings, info)
    for site in sites:
        site.update(
            root=f"{settings['root']}/{site['name']}",
            listens=[],
            places=[],
            plain_listens=[],
            answers_addresses=False,
            default_elsewhere="",
            includes=f"{layout.base}/mtls/{site['name']}",
            page=f"${site['variable']}_page" if site["answers"] == "html" else "",
            tls_settings=host.tls(site),
            tells_chain=any(fact["fact"] == "client_cert_chain" for fact in site["facts"]),
            chains=[
                {"issuer": names.regex_escaped(chain["issuer"]), "value": chain["value"]}
                for chain in info["chains"].get(f"{settings['root']}/{site['name']}", [])
            ],
        )
    for site in sites:
        site["session_zone"] = _session_zone(site["port"], sites, info) if settings["resumption"] else ""
    default_servers: list[dict[str, Any]] = []
    if layout.includes_only:
        warnings = _place_nothing(sites, host, layout, info)
    else:
        default_servers, warnings = _place_listeners(sites, host)
    look_addresses = {site["name"]: look_address([one["address"] for one in site["places"]]) for site in sites}
    plain_defaults = [] if layout.includes_only else _place_plain(sites, host)
    listeners: dict[str, dict[str, Any]] = {}
    probe_ports: dict[int, list[int]] = {}
    if layout.listeners:
        probe_port = int(settings["probe_port"])
        listeners, probe_ports = _container_listeners(sites, default_servers, plain_defaults, probe_port)
    warnings += [*_map_hash_warnings(info), *missing(info["package"]), *_debug_warnings(sites, info)]
    warnings += _shutdown_warnings(sites, layout, info)
    if settings["revocation"] != "map":
        warnings += _check_lists(sites, settings, info)
    if layout.includes_only and settings["revocation"] == "crl":
        warnings.append(
            "nginx_mtls_revocation: crl holds in your own servers only where the default server of their port keeps no "
            "sessions (ssl_session_cache off, ssl_session_tickets off), for a resumed one skips the list; use both"
        )
    for site in sites:
        warnings += site["tls_warnings"]

    environment = _environment(str(settings["templates"]))
    shared = {
        "managed": MANAGED,
        "http2_directive": host.http2_directive,
        "probe_path": PROBE_PATH,
        "client_cert_lines": headers.CLIENT_CERT_LINES,
        "longest_dn": access.LONGEST_DN,
        "tells_client_cert": any(fact["fact"] == "client_cert" for site in sites for fact in site["facts"]),
        "layout": layout,
        "default_servers": default_servers,
        "plain_defaults": plain_defaults,
        "revocation": settings["revocation"],
        "map_entries": info["map_entries"],
        "shutdown_seconds": max([300, *(2 * one.backend_timeout for site in sites for one in site["locations"])]),
    }

    def render(template: str, **values: Any) -> str:
        return environment.get_template(template).render(shared | values).rstrip() + "\n"

    files: dict[str, str] = {}
    if layout.main:
        files[layout.main] = render("nginx.conf.j2")
    for site in sites:
        files |= {
            f"{site['includes']}-{name}.conf": render(template, site=site, **more)
            for name, template, more in _includes(site)
        }
        if layout.includes_only:
            files[f"{site['includes']}-server.conf"] = f"# {MANAGED}\n" + render("server.conf.j2", site=site)
        files[f"{layout.site_directory}/zz-mtls-site-{site['name']}.conf"] = render("site.conf.j2", site=site)
    gateway = f"{layout.site_directory}/zz-mtls-gateway.conf"
    fingerprint = ""
    if sites:
        files[gateway] = render("gateway.conf.j2", config="")
    hashes = _hash_sizes(info, files.values())
    if hashes["variables_hash_max_size"] or hashes["map_hash_max_size"]:
        files[f"{layout.http_directory}/00-mtls-http.conf"] = render("http.conf.j2", **hashes)
    if sites:
        digest = hashlib.sha256(repr(sorted([*files.items(), *_as_text(listeners)])).encode())
        fingerprint = digest.hexdigest()[:12]
        files[gateway] = render("gateway.conf.j2", config=fingerprint)

    # A file that every run may do without is not a site's: it goes when it isn't needed any more.
    dispensable = {f"{layout.http_directory}/00-mtls-http.conf"}
    leftover = sorted(set(info["ours"]) - set(files) - dispensable)
    remove = settings["removed"] == "remove"
    if leftover and not remove:
        warnings.append(
            f"files of sites that are not in nginx_mtls_sites any more still serve: {', '.join(leftover)}; "
            "nginx_mtls_removed: remove takes them away"
        )
    absent = [path for path in info["ours"] if path not in files and (remove or path in dispensable)]
    return {
        "instance": discovery.instance(settings, info),
        "files": [{"path": path, "content": content, "mode": "0644"} for path, content in files.items()],
        "directories": layout.directories,
        "absent": absent,
        "warnings": warnings,
        "sites": [
            {
                "name": site["name"],
                "root": site["root"],
                "listens": site["places"],
                "address": look_addresses[site["name"]],
                "port": site["port"],
                "server_name": look_name(site),
                "backends": [server for group in site["groups"] for server in group.servers],
                "config": fingerprint,
                **({"probe_ports": probe_ports[site["port"]]} if probe_ports else {}),
            }
            for site in sites
            if not layout.includes_only or f"{site['includes']}-server.conf" in info["included"]
        ],
        **({"listeners": listeners} if layout.listeners else {}),
    }


def _session_zone(port: int, sites: Sequence[Mapping[str, Any]], info: Mapping[str, Any]) -> str:
    """A name that a new trust unit of any site of the port changes, for their numbers only grow."""
    there = [site for site in sites if site["port"] == port]
    return f"mtls_{port}_{len(there)}_{sum(_unit(site, info)['number'] for site in there)}"


def _unit(site: Mapping[str, Any], info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of the trust unit of a site; before the first there is none."""
    found: Mapping[str, Any] = info["trust"].get(site["root"]) or {"number": 0, "revoked": 0, "crl_days": None}
    return found


def _check_lists(sites: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    """Warnings for CRLs that Nginx is to enforce; KitError for such that may expire, for then nobody gets in."""
    warnings = []
    for site in sites:
        if settings["revocation"] == "crl" and site["default_elsewhere"]:
            raise wrong(
                site["name"],
                "nginx_mtls_revocation",
                f"crl on port {site['port']}, whose default server is in {site['default_elsewhere']}: sessions that it "
                "keeps are resumed without a look at a CRL",
                "map or both, which ask on every request; or a port of its own",
                "use both, or give the site another port",
            )
        unit = _unit(site, info)
        days = unit["crl_days"]
        if not settings["crl_renewed"] and days is not None and days < LONG_LIVED_CRL_DAYS:
            raise wrong(
                site["name"],
                "nginx_mtls_revocation",
                f"{settings['revocation']}, with a CRL that expires in {days} days and nothing that renews it",
                f"CRLs that live {LONG_LIVED_CRL_DAYS} days and more, or a timer that runs site.yml every day",
                "use map, or set up the timer and say so with nginx_mtls_crl_renewed: true",
            )
        if unit["revoked"] > MANY_REVOKED:
            warnings.append(
                f"site {site['name']}: {unit['revoked']} revoked certificates make each handshake dearer by about "
                f"{unit['revoked'] * 48 // 1000} microseconds with nginx_mtls_revocation: {settings['revocation']}; "
                "map costs nothing"
            )
    return warnings


def _includes(site: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """The files that a site's own includes: name, template and what else the template takes."""
    found: list[tuple[str, str, dict[str, Any]]] = [("clients", "clients.conf.j2", {})]
    if site["authorizes"] or site["spelling_patterns"]:
        found.append(("access", "access.conf.j2", {}))
    modules = {group.module for group in site["groups"]}
    if "proxy" in modules:
        found.append(("identity", "identity.conf.j2", {"module": "proxy"}))
    if "grpc" in modules:
        found.append(("grpc", "identity.conf.j2", {"module": "grpc"}))
    return found


def look_name(site: Mapping[str, Any]) -> str:
    """A name the site answers to; any will do for a wildcard."""
    return str(site["server_names"][0]).replace("*.", "any.")


def look_address(addresses: Sequence[str]) -> str:
    """An address of the gateway's own at which it can look at its site."""
    if "0.0.0.0" in addresses:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return "::1" if "::" in addresses else addresses[0]


class FilterModule:
    """The filters of role nginx_mtls."""

    def filters(self) -> dict[str, Any]:
        """Names as roles use them."""
        return {
            "nginx_plan": nginx_plan,
            "nginx_site_problems": nginx_site_problems,
        }
