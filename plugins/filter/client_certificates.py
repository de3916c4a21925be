"""The client certificates that an inventory asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: client_certificates
short_description: The client certificates that an inventory asks for
version_added: "0.1.0"
description:
  - Turns C(pki_clients) into C(certificates) of M(mtls.kit.pki), named C(client/<client>).
  - The CA makes their keys, but for those with C(source=csr).
options:
  _input:
    description: The clients, C(pki_clients).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Ensure the clients' certificates
  mtls.kit.pki:
    store: /var/lib/mtls-kit/example
    name: example
    certificates: "{{ pki_clients | mtls.kit.client_certificates }}"
    passwords: "{{ key_password_json }}"
"""

RETURN = r"""
_value:
  description: A certificate for each client.
  type: list
  elements: dict
"""

BUNDLE_OPTIONS = ("platforms",)
"""What of a client says how its bundle is to be, not its certificate."""


def client_certificates(clients: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The desired certificates; names and values are checked where they are used, not here."""
    return [
        {
            "profile": "client",
            "source": "key",
            **{option: value for option, value in client.items() if option not in BUNDLE_OPTIONS},
            "name": f"client/{client['name']}",
        }
        for client in clients
    ]


def platforms_of_clients(clients: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The platforms of those clients that name theirs, by client."""
    return {str(client["name"]): client["platforms"] for client in clients if client.get("platforms")}


class FilterModule:
    """The filter that turns clients into certificates."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"client_certificates": client_certificates, "platforms_of_clients": platforms_of_clients}
