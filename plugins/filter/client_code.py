"""The code that clients are handed, from the templates of the role client_bundle."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import jinja2

from ansible_collections.mtls.kit.plugins.module_utils._pki.platforms import CLIENT, CODE_FILES

DOCUMENTATION = r"""
name: client_code
short_description: The code that clients are handed
version_added: "0.1.0"
description:
  - Renders the templates of the role C(client_bundle) once for all clients; M(mtls.kit.client_bundle) puts the name of
    each client into it.
positional: templates
options:
  _input:
    description: Addresses the clients may call; the code calls the first.
    type: list
    elements: str
    required: true
  templates:
    description: Folder of the templates.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Ensure every client has its bundle
  mtls.kit.client_bundle:
    store: /var/lib/mtls-kit/example
    dest: /var/lib/mtls-kit/example-bundles
    clients: [alice]
    code: "{{ ['https://api.example.com/'] | mtls.kit.client_code(role_path ~ '/templates') }}"
    passwords: "{{ key_password_json }}"
"""

RETURN = r"""
_value:
  description: Texts by file name.
  type: dict
"""

NO_ADDRESS = "https://address.invalid/"
"""What the code calls where nothing says what is to be called."""


def client_code(urls: Sequence[str], templates: str) -> dict[str, str]:
    """Every file of code by name, with a mark where the client's name belongs."""
    url = urls[0] if urls else NO_ADDRESS
    parts = urlsplit(url)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  shell, Python and the like, no HTML; module client_bundle checks what is put in
    )
    values = {
        "client": CLIENT,
        "url": url,
        "origin": f"{parts.scheme}://{parts.netloc}",
        "host": parts.netloc,
        "hostname": parts.hostname,
        "port": parts.port or 443,
        "path": parts.path,
    }
    return {name: environment.get_template(f"{name}.j2").render(values) for name in CODE_FILES}


class FilterModule:
    """The filter that renders what clients run."""

    def filters(self) -> dict[str, object]:
        """Names as playbooks use them."""
        return {"client_code": client_code}
