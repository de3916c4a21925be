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

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine
from ansible_collections.mtls.kit.plugins.module_utils._gateway import discovery
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

_ASK_IMAGE = """"$0" -V; dpkg-query --show --showformat='${Version}' nginx 2>/dev/null"""


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
    if image:
        return discovery.nothing_installed(roots) | _in_image(image, binary)
    return discovery.inspect(binary, prefix, roots)


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
