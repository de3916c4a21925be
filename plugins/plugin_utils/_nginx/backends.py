"""Where requests go: servers of one kind, over TLS or not, and what the gateway shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.values import (
    HOST_NAME,
    choice,
    file_on_gateway,
    ip_addresses,
    known_keys,
    whole_number,
    wrong,
)

SCHEMES = ("http", "https", "grpc", "grpcs")
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})/?")

_LETTER = re.compile(r"[A-Za-z]")

BALANCES = {"round_robin": "", "least_conn": "least_conn", "ip_hash": "ip_hash"}
"""How requests are spread over several servers, and Nginx's directive for it."""

SYSTEM_ANCHORS = "/etc/ssl/certs/ca-certificates.crt"
_TLS_KEYS = ("name", "trusted_certificate", "verify_depth", "certificate", "key", "password_file")


@dataclass(frozen=True)
class Group:
    """Servers of one kind among which Nginx chooses."""

    variable: str
    """Name of the ``upstream``."""
    scheme: str
    servers: tuple[str, ...]
    host: str
    """The first server's, without port and brackets: the name its certificate is compared with."""
    balance: str = ""

    @property
    def grpc(self) -> bool:
        """Whether ``grpc_pass`` is meant: it knows nothing of ``proxy_set_header``."""
        return self.scheme.startswith("grpc")

    @property
    def tls(self) -> bool:
        """Whether the way to the backend is encrypted."""
        return self.scheme.endswith("s")

    @property
    def module(self) -> str:
        """What the directives of this kind begin with."""
        return "grpc" if self.grpc else "proxy"


def _parsed(site: str, key: str, url: str) -> tuple[str, str, str]:
    match = _URL.fullmatch(url)
    if match and match["scheme"] in SCHEMES and 0 < int(match["port"]) < 65536:
        host = match["host"]
        if host.startswith("["):
            address = ip_addresses(site, key, [host[1:-1]])[0]
            return match["scheme"], address, f"[{address}]:{match['port']}"
        if HOST_NAME.fullmatch(host):
            return match["scheme"], host, f"{host}:{match['port']}"
    raise wrong(
        site,
        key,
        url,
        "http://<host>:<port>, such as http://127.0.0.1:8080 (or https, grpc, grpcs)",
        f"correct {key} in nginx_mtls_sites",
    )


def group(site: str, variable: str, raw: Mapping[str, Any]) -> Group:
    """``backend``, ``more_backends`` and ``balance``, checked."""
    urls = [str(raw.get("backend") or ""), *(str(one) for one in raw.get("more_backends") or [])]
    parsed = [_parsed(site, "backend" if number == 0 else "more_backends", url) for number, url in enumerate(urls)]
    scheme, host, _ = parsed[0]
    for other, _, address in parsed[1:]:
        if other != scheme:
            raise wrong(site, "more_backends", f"{other}://{address}", f"{scheme}:// as in backend", "use one scheme")
    balance = choice(site, "balance", raw.get("balance", "round_robin"), BALANCES)
    return Group(variable, scheme, tuple(address for _, _, address in parsed), host, BALANCES[balance])


def tls(site: str, raw: Mapping[str, Any] | None, groups: Sequence[Group]) -> dict[str, Any] | None:
    """How the gateway verifies its backends and what it shows them; None where none of them speaks TLS.

    A backend over TLS is always verified; by the system's trust anchors where none are named.
    """
    given = known_keys(site, "backend_tls", raw or {}, _TLS_KEYS)
    encrypted = [one for one in groups if one.tls]
    if not encrypted:
        if given:
            raise wrong(
                site, "backend_tls", "settings for a backend without TLS", "an https:// or grpcs:// backend",
                "change the backend's scheme, or remove backend_tls",
            )  # fmt: skip
        return None
    name = str(given.get("name") or "")
    if name and not HOST_NAME.fullmatch(name):
        raise wrong(site, "backend_tls.name", name, "a host name", "correct the name")
    for one in encrypted:
        if not name and not _LETTER.search(one.host.rpartition(".")[2]):
            raise wrong(
                site, "backend_tls.name", one.host, "a name, for Nginx compares none of a certificate's addresses",
                "give the name in the backend's certificate",
            )  # fmt: skip
    files = {key: file_on_gateway(site, f"backend_tls.{key}", given.get(key)) for key in _TLS_KEYS if key not in (
        "name", "verify_depth")}  # fmt: skip
    if bool(files["certificate"]) != bool(files["key"]) or (files["password_file"] and not files["key"]):
        raise wrong(
            site, "backend_tls", "a certificate without its key, or a key without its certificate",
            "certificate and key, for mutual TLS with the backend, or neither", "give both",
        )  # fmt: skip
    return {
        **files,
        "name": name,
        "trusted_certificate": files["trusted_certificate"] or SYSTEM_ANCHORS,
        "verify_depth": whole_number(site, "backend_tls.verify_depth", given.get("verify_depth", 2)),
        "modules": sorted({one.module for one in encrypted}),
    }
