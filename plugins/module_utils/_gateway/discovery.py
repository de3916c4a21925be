"""What is on a gateway before the kit changes it: its Nginx, whose listeners there are, what of ours it has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx
from ansible_collections.mtls.kit.plugins.module_utils._gateway.trust import chains, state_of
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DEBIAN: Final = {
    "version": [1, 22, 1],
    "openssl": [3, 0],
    "config_directory": "/etc/nginx",
    "site_directory": "/etc/nginx/sites-enabled",
    "http_directory": "/etc/nginx/conf.d",
    "pid_file": "/run/nginx.pid",
}


def _is_ours(path: Path) -> bool:
    return any(path.match(pattern) for pattern in nginx.OUR_FILES)


def _ours(directories: set[Path]) -> list[str]:
    return sorted(str(path) for folder in directories for pattern in nginx.OUR_FILES for path in folder.glob(pattern))


def _layout(config: Path, text: str) -> dict[str, str]:
    """Which folders the main configuration includes inside http: the last one for sites, the first for settings."""
    patterns = re.findall(r"^\s*include\s+(\S+)/(\*|\*\.conf)\s*;", text, flags=re.MULTILINE)
    folders = [str(config.parent / folder) for folder, _ in patterns]
    usable = [folder for folder in folders if Path(folder).name in ("conf.d", "http.d", "sites-enabled")]
    if not usable:
        raise KitError(
            f"file {config}",
            "no include of conf.d/*.conf, http.d/*.conf or sites-enabled/*",
            "a main configuration that includes one of them, as Debian's and nginx.org's packages have it",
            "add the line 'include conf.d/*.conf;' to its http block, or use nginx_mtls_instance: own",
        )
    return {"config_directory": str(config.parent), "site_directory": usable[-1], "http_directory": usable[0]}


def nothing_installed(roots: Sequence[str]) -> dict[str, Any]:
    """What is to be said of a gateway without Nginx: what it will have, and the trust units below ``roots``."""
    return {
        **DEBIAN,
        "installed": False,
        "ipv6": nginx.has_ipv6(),
        "systemd": Path("/run/systemd/system").is_dir(),
        "listeners": [],
        "ours": [],
        "package": "",
        "chains": {root: chains(Path(root)) for root in roots},
        "trust": {root: unit for root in roots if (unit := state_of(Path(root), datetime.now(UTC))) is not None},
        "included": [],
        "debugs": True,
        "debug_binary": "",
        "unit": nginx.UNIT,
        "map_hash_set_in": "",
        "variables_hash_set_in": "",
        "shutdown_timeout": "",
        "map_entries": nginx.map_entries(Path(root) for root in roots),
    }


def inspect(binary: str, prefix: str, roots: Sequence[str]) -> dict[str, Any]:
    """The result of module ``nginx_info``; raises KitError for a main configuration that can't be used."""
    result = nothing_installed(roots)
    path = nginx.find_binary(binary)
    if path is None:
        return result
    build = nginx.run([path, "-V"]).stderr
    version, openssl = nginx.version_numbers(build)
    result |= {"installed": True, "version": version, "openssl": openssl, "package": nginx.package_version(path)}
    result |= {"debugs": "--with-debug" in build.split(), "debug_binary": nginx.find_binary("nginx-debug") or ""}
    if result["systemd"] and result["debug_binary"]:
        result["unit"] = nginx.running_unit()
    if prefix:
        main = Path(prefix, "nginx.conf")
        result["ours"] = [*([str(main)] if main.exists() else []), *_ours({Path(prefix), Path(prefix, "conf.d")})]
        return result
    config = Path(nginx.compiled_path(build, "--conf-path") or "/etc/nginx/nginx.conf")
    try:
        text = config.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise KitError(
            f"file {config}",
            f"it can't be read ({error.strerror})",
            "Nginx's main configuration",
            "reinstall the package nginx, or run with become: true",
        ) from error
    result |= _layout(config, text)
    pid = re.search(r"^\s*pid\s+(\S+);", text, flags=re.MULTILINE)
    result["pid_file"] = pid[1] if pid else nginx.compiled_path(build, "--pid-path")
    folders = {Path(result[key]) for key in ("config_directory", "site_directory", "http_directory")}
    result["ours"] = _ours(folders)
    configuration = nginx.Configuration(config, _is_ours)
    result["listeners"] = configuration.listeners
    result["included"] = configuration.included
    result["map_hash_set_in"] = configuration.map_hash_set_in
    result["variables_hash_set_in"] = configuration.variables_hash_set_in
    result["shutdown_timeout"] = configuration.shutdown_timeout
    return result


def instance(settings: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    """Which Nginx ``settings`` mean where ``inspect`` told ``info``, as module ``nginx_site`` takes it."""
    if settings["instance"] == "container":
        return {"binary": settings["binary"], "config": f"{settings['prefix']}/nginx.conf", "service": "signals"}
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
        "unit": info["unit"],
    }
