"""From the variables of a gateway and what was found on it to the files that Nginx is to have."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
from ansible.errors import AnsibleFilterError

from ansible_collections.mtls.kit.plugins.module_utils._gateway.tls import PROBE_PATH
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

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
      - C(root) (where releases and trust units are), C(instance) (V(packaged) or V(own)), C(prefix) (of an own
        instance), C(service) (V(auto), V(systemd) or V(signals)), C(binary), C(removed) (V(report) or V(remove))
        and C(templates) (folder of the templates).
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
  description: C(instance), C(files), C(directories), C(absent), C(sites) and C(warnings).
  type: dict
"""

MANAGED = "Written by mtls.kit; the next run overwrites changes. Variables: roles/nginx_mtls/README.md"

SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
HOST_NAME = re.compile(
    r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
BACKEND = re.compile(r"http://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})/?")
SIZE = re.compile(r"[0-9]+[kKmMgG]?")

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:@SECLEVEL=2"
)
PRESETS = {"intermediate": "TLSv1.2 TLSv1.3", "modern": "TLSv1.3"}
POST_QUANTUM_SINCE = (3, 5)
"""OpenSSL that knows X25519MLKEM768; an older one refuses the whole list of groups."""
HTTP2_DIRECTIVE_SINCE = (1, 25, 1)
"""Nginx in which HTTP/2 belongs to a server; before, it belongs to a listener."""

DEFAULT_MAP_HASH = 2048

FOREIGN_IDENTITY_HEADERS = (
    "Client-Cert",
    "Client-Cert-Chain",
    "Forwarded",
    "Ssl-Client-Cert",
    "Ssl-Client-S-Dn",
    "Ssl-Client-Verify",
    "X-Client-Certificate",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Server",
    "X-Forwarded-User",
    "X-Remote-User",
    "X-Ssl-Cert",
    "X-Ssl-Client-Cert",
    "X-Ssl-Client-S-Dn",
    "X-Ssl-Client-Verify",
)
"""Names other gateways use for a client's identity (RFC 9440, Envoy, Apache and Kubernetes conventions)."""


def _wrong(site: Any, key: str, found: Any, expected: str, next_step: str) -> KitError:
    return KitError(f"site {site!r}, {key}", repr(found), expected, next_step)


def _ip_addresses(name: str, key: str, values: Iterable[Any]) -> list[str]:
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_address(str(value))))
        except ValueError:
            raise _wrong(
                name, key, value, "an IP address without port or brackets", f"correct {key} in nginx_mtls_sites"
            ) from None
    return found


def _backend_address(name: str, url: str) -> str:
    """Host and port of a backend, as Nginx takes them."""
    match = BACKEND.fullmatch(url)
    if match and 0 < int(match["port"]) < 65536:
        host = match["host"]
        if host.startswith("["):
            return f"[{_ip_addresses(name, 'backend', [host[1:-1]])[0]}]:{match['port']}"
        if HOST_NAME.fullmatch(host):
            return f"{host}:{match['port']}"
    raise _wrong(
        name,
        "backend",
        url,
        "http://<host>:<port>, such as http://127.0.0.1:8080",
        "correct backend in nginx_mtls_sites",
    )


def _site(raw: Mapping[str, Any]) -> dict[str, Any]:
    """One site with its defaults, checked: what is here ends in a configuration file."""
    name = str(raw.get("name", ""))
    if not SITE_NAME.fullmatch(name):
        raise _wrong(
            name, "name", name, "1 to 32 characters of a-z, 0-9 and '-', a letter or digit first", "rename the site"
        )
    server_names = [str(entry) for entry in raw.get("server_names") or []]
    if not server_names:
        raise _wrong(name, "server_names", [], "at least one host name", "add the names its clients use")
    for server_name in server_names:
        if len(server_name) > 253 or not HOST_NAME.fullmatch(server_name):
            raise _wrong(name, "server_names", server_name, "a host name (or *.<domain>)", "correct server_names")
    addresses = _ip_addresses(name, "addresses", raw.get("addresses") or [])
    listen_addresses = _ip_addresses(name, "listen_addresses", raw.get("listen_addresses") or [])
    port = raw.get("port", 443)
    if not str(port).isdigit() or not 0 < int(port) < 65536:
        raise _wrong(name, "port", port, "a number from 1 to 65535", "correct port in nginx_mtls_sites")
    tls = str(raw.get("tls", "intermediate"))
    if tls not in PRESETS:
        raise _wrong(name, "tls", tls, " or ".join(PRESETS), "choose one of the presets")
    body = str(raw.get("client_max_body_size", "1m"))
    if not SIZE.fullmatch(body):
        raise _wrong(name, "client_max_body_size", body, "a size such as 512k or 10m", "correct the size")
    numbers = {"verify_depth": raw.get("verify_depth", 1), "backend_timeout": raw.get("backend_timeout", 60)}
    for key, value in numbers.items():
        if not str(value).isdigit() or int(value) == 0:
            raise _wrong(name, key, value, "a whole number above 0", f"correct {key} in nginx_mtls_sites")
    backend = str(raw.get("backend") or "")
    return {
        "name": name,
        "variable": f"mtls_{name.replace('-', '_')}",
        "server_names": server_names,
        "addresses": addresses,
        "nginx_names": [*server_names, *(f"[{ip}]" if ":" in ip else ip for ip in addresses)],
        "listen_addresses": listen_addresses,
        "port": int(port),
        "backend": backend,
        "backend_address": _backend_address(name, backend),
        "tls": tls,
        "client_max_body_size": body,
        **{key: int(value) for key, value in numbers.items()},
    }


def _sites(raw_sites: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    sites = [_site(raw) for raw in raw_sites]
    seen: set[str] = set()
    for site in sites:
        if site["name"] in seen:
            raise _wrong(site["name"], "name", "two sites of that name", "each name once", "rename one of them")
        seen.add(site["name"])
    claimed: dict[tuple[str, int], str] = {}
    for site in sites:
        for name in site["nginx_names"]:
            other = claimed.setdefault((name.lower(), site["port"]), site["name"])
            if other != site["name"]:
                raise _wrong(
                    site["name"],
                    "server_names and addresses",
                    f"{name} on port {site['port']}, which site {other!r} has",
                    "each name or address once a port",
                    "give it to one of the two, or another port",
                )
    presets: dict[int, dict[str, Any]] = {}
    for site in sites:
        first = presets.setdefault(site["port"], site)
        if first["tls"] != site["tls"]:
            raise _wrong(
                site["name"],
                "tls",
                f"{site['tls']}, while site {first['name']!r} on the same port {site['port']} has {first['tls']}",
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
        self.post_quantum = tuple(info["openssl"]) >= POST_QUANTUM_SINCE
        self.foreign: list[Mapping[str, Any]] = list(info["listeners"])

    def tls(self, preset: str) -> dict[str, str]:
        curves = "X25519:prime256v1:secp384r1"
        return {
            "name": preset,
            "protocols": PRESETS[preset],
            "ciphers": CIPHERS,
            "curves": f"X25519MLKEM768:{curves}" if self.post_quantum else curves,
        }

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
            raise _wrong(
                its_sites[0]["name"],
                "port",
                f"{address}:{self.port} without TLS in {plain[0]['file']}",
                "a port of its own, or one that others use with TLS, too",
                "choose another port, or listen_addresses that nobody else has",
            )
        if foreign:
            self.warn(
                f"port {self.port} has its default server in {_default_of(foreign)['file']}, which stays: unknown "
                "names reach that one, and its TLS versions and sessions hold until a site's name is known"
            )
        # On a listener shared with others, HTTP/2 before Nginx 1.25.1 would be switched on for them, too.
        http2 = not self.host.http2_directive and (not foreign or any(one["http2"] for one in foreign))
        owner = self.owners.get(address)
        for site in its_sites:
            site["listens"].append(_listen(address, self.port, http2=http2, default=site is owner))
            site["places"].append({"address": address, "port": self.port})
        if owner:
            owner["answers_addresses"] = True
        elif not foreign:
            preset = its_sites[0]["tls"]
            server = defaults.setdefault(preset, {"listens": [], "tls": self.host.tls(preset)})
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


def _default_of(listeners: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((one for one in listeners if one["default"]), listeners[0])


def _map_hash_size(info: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The ``map_hash_max_size`` that is ours to set (0: none), and a warning when it is not ours to set."""
    if info["map_entries"] <= DEFAULT_MAP_HASH:
        return 0, []
    wanted = 1 << (2 * int(info["map_entries"]) - 1).bit_length()
    if info["map_hash_set_in"]:
        return 0, [
            f"map_hash_max_size is settled by {info['map_hash_set_in']}, which is loaded first: {info['map_entries']} "
            f"entries want {wanted}; write 'map_hash_max_size {wanted};' there, or lookups get slower"
        ]
    return wanted, []


def _instance(settings: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    """Which Nginx is meant, as M(mtls.kit.nginx_site) takes it."""
    if settings["instance"] == "own":
        prefix = settings["prefix"]
        if settings["service"] == "systemd":
            raise KitError(
                "nginx_mtls_service",
                "systemd, with nginx_mtls_instance: own",
                "auto or signals, for an instance of its own has no unit",
                "remove nginx_mtls_service",
            )
        return {
            "binary": settings["binary"],
            "prefix": prefix,
            "config": f"{prefix}/nginx.conf",
            "pid_file": f"{prefix}/nginx.pid",
            "error_log": f"{prefix}/logs/error.log",
            "service": "signals",
        }
    service = settings["service"]
    if service == "auto":
        service = "systemd" if info["systemd"] else "signals"
    return {
        "binary": settings["binary"],
        "pid_file": info["pid_file"],
        "error_log": "/var/log/nginx/error.log",
        "service": service,
    }


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
    own = settings["instance"] == "own"
    prefix = str(settings["prefix"])
    base = prefix if own else str(info["config_directory"])
    site_directory = f"{prefix}/conf.d" if own else str(info["site_directory"])
    http_directory = f"{prefix}/conf.d" if own else str(info["http_directory"])
    for site in sites:
        site.update(
            root=f"{settings['root']}/{site['name']}",
            listens=[],
            places=[],
            answers_addresses=False,
            identity_file=f"{base}/mtls/{site['name']}-identity.conf",
            tls_preset=host.tls(site["tls"]),
        )
    default_servers, warnings = _place_listeners(sites, host)
    map_hash_max_size, more = _map_hash_size(info)
    warnings += more

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(settings["templates"])),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,  # noqa: S701 - Nginx's configuration, not HTML; every value is checked above
    )
    shared = {
        "managed": MANAGED,
        "http2_directive": host.http2_directive,
        "probe_path": PROBE_PATH,
        "foreign_identity_headers": FOREIGN_IDENTITY_HEADERS,
        "log_directory": f"{prefix}/logs" if own else "/var/log/nginx",
        "default_servers": default_servers,
        "map_entries": info["map_entries"],
        "map_hash_max_size": map_hash_max_size,
        "instance": _instance(settings, info),
        "shutdown_seconds": max([300, *(2 * site["backend_timeout"] for site in sites)]),
    }

    def render(template: str, **values: Any) -> str:
        return environment.get_template(template).render(shared | values).rstrip() + "\n"

    files: dict[str, str] = {}
    if own:
        files[f"{prefix}/nginx.conf"] = render("nginx.conf.j2")
    if map_hash_max_size:
        files[f"{http_directory}/00-mtls-http.conf"] = render("http.conf.j2")
    for site in sites:
        files[site["identity_file"]] = render("identity.conf.j2", site=site)
        files[f"{site_directory}/zz-mtls-site-{site['name']}.conf"] = render("site.conf.j2", site=site)
    gateway = f"{site_directory}/zz-mtls-gateway.conf"
    fingerprint = ""
    if sites:
        files[gateway] = render("gateway.conf.j2", config="")
        digest = hashlib.sha256(repr(sorted(files.items())).encode())
        fingerprint = digest.hexdigest()[:12]
        files[gateway] = render("gateway.conf.j2", config=fingerprint)

    # A file that every run may do without is not a site's: it goes when it isn't needed any more.
    dispensable = {f"{http_directory}/00-mtls-http.conf"}
    leftover = sorted(set(info["ours"]) - set(files) - dispensable)
    remove = settings["removed"] == "remove"
    if leftover and not remove:
        warnings.append(
            f"files of sites that are not in nginx_mtls_sites any more still serve: {', '.join(leftover)}; "
            "nginx_mtls_removed: remove takes them away"
        )
    absent = [path for path in info["ours"] if path not in files and (remove or path in dispensable)]
    return {
        "instance": _instance(settings, info),
        "files": [{"path": path, "content": content, "mode": "0644"} for path, content in files.items()],
        "directories": [prefix, f"{prefix}/logs"] if own else [],
        "absent": absent,
        "warnings": warnings,
        "sites": [
            {
                "name": site["name"],
                "root": site["root"],
                "listens": site["places"],
                "address": look_address([place["address"] for place in site["places"]]),
                "port": site["port"],
                "server_name": look_name(site),
                "backend": site["backend_address"],
                "config": fingerprint,
            }
            for site in sites
        ],
    }


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
