"""Values that end in a configuration file: what each of them may look like."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
HOST_NAME = re.compile(
    r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
SIZE = re.compile(r"[0-9]+[kKmMgG]?")
_FILE = re.compile(r"/[A-Za-z0-9._/@+-]*[A-Za-z0-9._@+-]")


def wrong(site: Any, key: str, found: Any, expected: str, next_step: str) -> KitError:
    """What is wrong with ``key`` of a site."""
    return KitError(f"site {site!r}, {key}", repr(found), expected, next_step)


def ip_addresses(site: str, key: str, values: Iterable[Any]) -> list[str]:
    """IP addresses, normalised."""
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_address(str(value))))
        except ValueError:
            raise wrong(
                site, key, value, "an IP address without port or brackets", f"correct {key} in nginx_mtls_sites"
            ) from None
    return found


def networks(site: str, key: str, values: Iterable[Any]) -> list[str]:
    """Networks or single addresses, as Nginx takes them."""
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_network(str(value))))
        except ValueError:
            raise wrong(
                site, key, value, "an IP address, or a network such as 192.0.2.0/24", f"correct {key} of the site"
            ) from None
    return found


def choice(site: str, key: str, value: Any, choices: Iterable[str]) -> str:
    """One of ``choices``."""
    if str(value) not in set(choices):
        raise wrong(site, key, value, " or ".join(choices), f"choose one of them for {key}")
    return str(value)


def whole_number(site: str, key: str, value: Any, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if not str(value).isdigit() or int(value) < least:
        raise wrong(
            site, key, value, f"a whole number {'above 0' if least == 1 else f'of at least {least}'}", f"correct {key}"
        )
    return int(value)


def size(site: str, key: str, value: Any) -> str:
    """A size as Nginx writes it."""
    if not SIZE.fullmatch(str(value)):
        raise wrong(site, key, value, "a size such as 512k or 10m", "correct the size")
    return str(value)


def file_on_gateway(site: str, key: str, value: Any) -> str:
    """An absolute path; empty stays empty."""
    if value and not _FILE.fullmatch(str(value)):
        raise wrong(site, key, value, "an absolute path of A-Z a-z 0-9 . _ / @ + -", f"correct {key}")
    return str(value or "")


def known_keys(site: str, key: str, value: Any, keys: Iterable[str]) -> Mapping[str, Any]:
    """A dictionary with none but these keys."""
    allowed = list(keys)
    if not isinstance(value, Mapping):
        raise wrong(site, key, value, "a dictionary", f"correct {key}")
    for name in value:
        if name not in allowed:
            raise wrong(site, f"{key}.{name}", "an unknown key", f"one of {', '.join(allowed)}", f"correct {key}")
    return value
