#!/usr/bin/python
"""What Nginx on a gateway is, and what it does already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_info
short_description: What Nginx on a gateway is, and what it does already
version_added: "0.1.0"
description:
  - Finds version, OpenSSL, layout and listeners of an Nginx, so that sites can be placed beside what is there.
  - Changes nothing.
options:
  binary:
    description: Name or path of the program.
    type: str
    default: nginx
  prefix:
    description: Prefix of an instance of our own; empty for the packaged one, whose configuration is read.
    type: str
    default: ""
  image:
    description: A container image on this machine whose Nginx is meant, and not the machine's own.
    type: str
    default: ""
  roots:
    description: Folders of the sites' releases and trust units, to see how large their maps are.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Runs the same in check mode.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
author:
  - mTLS Kit (@mtls-kit)
"""

EXAMPLES = r"""
- name: Look at Nginx
  mtls.kit.nginx_info:
    roots:
      - /etc/mtls/orders
  register: nginx_info
"""

RETURN = r"""
installed:
  description: Whether the program is there; without it the rest is what Debian 12 would have.
  type: bool
  returned: always
version:
  description: Numbers of Nginx's version.
  type: list
  elements: int
  returned: always
openssl:
  description: Numbers of the version of the OpenSSL it runs with.
  type: list
  elements: int
  returned: always
ipv6:
  description: Whether the machine can listen on IPv6.
  type: bool
  returned: always
systemd:
  description: Whether systemd is the machine's init.
  type: bool
  returned: always
config_directory:
  description: Folder of the main configuration.
  type: str
  returned: always
site_directory:
  description: Folder whose files the main configuration includes last.
  type: str
  returned: always
http_directory:
  description: Folder whose files the main configuration includes first.
  type: str
  returned: always
pid_file:
  description: Where the master writes its process id.
  type: str
  returned: always
listeners:
  description: Listeners of servers that are not this kit's, in the order in which Nginx reads them.
  type: list
  elements: dict
  returned: always
ours:
  description: Files of this kit that are there.
  type: list
  elements: str
  returned: always
map_hash_set_in:
  description: The file of somebody else's that settles map_hash_max_size, or empty.
  type: str
  returned: always
variables_hash_set_in:
  description: The file of somebody else's that sets variables_hash_max_size, or empty.
  type: str
  returned: always
shutdown_timeout:
  description: What the configuration sets worker_shutdown_timeout to, or empty.
  type: str
  returned: always
package:
  description: Version of the Debian package that the program belongs to, or empty.
  type: str
  returned: always
trust:
  description: By root, of the trust unit in use its C(number), the C(revoked) certificates and C(crl_days) of its CRLs.
  type: dict
  returned: always
chains:
  description:
    - By root, for each issuing CA of its trust unit its C(issuer) as Nginx prints it,
      and its chain without the root as C(value), in the form of RFC 9440.
  type: dict
  returned: always
included:
  description: Files of this kit that the configuration includes.
  type: list
  elements: str
  returned: always
debugs:
  description: Whether the program was built with debug messages.
  type: bool
  returned: always
debug_binary:
  description: Path of nginx-debug beside it, as nginx.org's packages have it, or empty.
  type: str
  returned: always
unit:
  description: Its unit of systemd, C(nginx-debug.service) where that was started in the place of the other.
  type: str
  returned: always
map_entries:
  description: Entries of the largest map of the sites' trust units.
  type: int
  returned: always
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._gateway.trust import chains, state_of
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

DEBIAN = {
    "version": [1, 22, 1],
    "openssl": [3, 0],
    "config_directory": "/etc/nginx",
    "site_directory": "/etc/nginx/sites-enabled",
    "http_directory": "/etc/nginx/conf.d",
    "pid_file": "/run/nginx.pid",
}


_ASK_IMAGE = """"$0" -V; dpkg-query --show --showformat='${Version}' nginx 2>/dev/null"""


def _is_ours(path: Path) -> bool:
    return any(path.match(pattern) for pattern in gateway.OUR_FILES)


def _ours(directories: set[Path]) -> list[str]:
    return sorted(str(path) for folder in directories for pattern in gateway.OUR_FILES for path in folder.glob(pattern))


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


def _in_image(image: str, binary: str) -> dict[str, Any]:
    """What is to be known of the Nginx in a container image."""
    engine = Engine()
    if engine.image(image) is None:
        return {}
    answer = engine.run(image, ["/bin/sh", "-c", _ASK_IMAGE, binary])
    version, openssl = gateway.version_numbers(answer.errors)
    if not version:
        raise KitError(
            f"image {image}",
            f"no Nginx called {binary} in it ({' '.join(answer.errors.split())[:200] or answer.exit_code})",
            "an image with Nginx",
            "correct nginx_container_image, or nginx_container_binary",
        )
    return {"installed": True, "version": version, "openssl": openssl, "package": answer.output.strip()}


def inspect(binary: str, prefix: str, roots: list[str], image: str = "") -> dict[str, Any]:
    """The module's result."""
    result: dict[str, Any] = {
        **DEBIAN,
        "installed": False,
        "ipv6": gateway.has_ipv6(),
        "systemd": Path("/run/systemd/system").is_dir(),
        "listeners": [],
        "ours": [],
        "package": "",
        "chains": {root: chains(Path(root)) for root in roots},
        "trust": {root: unit for root in roots if (unit := state_of(Path(root), datetime.now(UTC))) is not None},
        "included": [],
        "debugs": True,
        "debug_binary": "",
        "unit": gateway.UNIT,
        "map_hash_set_in": "",
        "variables_hash_set_in": "",
        "shutdown_timeout": "",
        "map_entries": gateway.map_entries(Path(root) for root in roots),
    }
    if image:
        return result | _in_image(image, binary)
    path = gateway.find_binary(binary)
    if path is None:
        return result
    build = gateway.run([path, "-V"]).stderr
    version, openssl = gateway.version_numbers(build)
    result |= {"installed": True, "version": version, "openssl": openssl, "package": gateway.package_version(path)}
    result |= {"debugs": "--with-debug" in build.split(), "debug_binary": gateway.find_binary("nginx-debug") or ""}
    if result["systemd"] and result["debug_binary"]:
        result["unit"] = gateway.running_unit()
    if prefix:
        main = Path(prefix, "nginx.conf")
        result["ours"] = [*([str(main)] if main.exists() else []), *_ours({Path(prefix), Path(prefix, "conf.d")})]
        return result
    config = Path(gateway.compiled_path(build, "--conf-path") or "/etc/nginx/nginx.conf")
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
    result["pid_file"] = pid[1] if pid else gateway.compiled_path(build, "--pid-path")
    folders = {Path(result[key]) for key in ("config_directory", "site_directory", "http_directory")}
    result["ours"] = _ours(folders)
    configuration = gateway.Configuration(config, _is_ours)
    result["listeners"] = configuration.listeners
    result["included"] = configuration.included
    result["map_hash_set_in"] = configuration.map_hash_set_in
    result["variables_hash_set_in"] = configuration.variables_hash_set_in
    result["shutdown_timeout"] = configuration.shutdown_timeout
    return result


def main() -> None:
    """Arguments in, result out."""
    module = AnsibleModule(
        argument_spec={
            "binary": {"type": "str", "default": "nginx"},
            "prefix": {"type": "str", "default": ""},
            "image": {"type": "str", "default": ""},
            "roots": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **inspect(**module.params))
    except KitError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
