"""The paths of all key passwords that a PKI needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mtls.kit.plugins.filter.trust_scopes import DEFAULT_ISSUING
from ansible_collections.mtls.kit.plugins.module_utils._pki import names

DOCUMENTATION = r"""
name: key_password_paths
short_description: The paths of all key passwords that a PKI needs
version_added: "0.1.0"
description:
  - Names the password of each private key by its path, as the role M(mtls.kit.key_password) and the vaults know it.
positional: clients, servers, public
options:
  _input:
    description:
      - The issuing CAs, C(pki_issuing), or their names.
      - An empty list stands for the default of the role M(mtls.kit.pki).
    type: list
    elements: raw
    required: true
  clients:
    description: The clients, C(pki_clients), or their names. Those with C(source=csr) have their key elsewhere.
    type: list
    elements: raw
    default: []
  servers:
    description: What P(mtls.kit.server_certificates#filter) returns, or the names of server certificates.
    type: list
    elements: raw
    default: []
  public:
    description: The publicly trusted certificates, whose orders an account of its own signs.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Ensure every key has its password in the vault
  ansible.builtin.import_role:
    name: mtls.kit.key_password
  vars:
    key_password_paths: "{{ pki_issuing | mtls.kit.key_password_paths(pki_clients, pki_servers) }}"
"""

RETURN = r"""
_value:
  description:
    - The paths C(ca/root), C(ca/<issuing CA>), C(client/<client>), C(server/<gateway>/<site>) and, where it is needed,
      C(acme/account), each once, sorted.
  type: list
  elements: str
"""

Named = Sequence[Mapping[str, Any] | str]


def _names(items: Named) -> list[str]:
    return [item if isinstance(item, str) else item["name"] for item in items]


def _with_our_keys(clients: Named) -> Named:
    """The clients whose key the CA makes: whoever brings a request keeps key and password."""
    return [client for client in clients if isinstance(client, str) or client.get("source", "key") == "key"]


def key_password_paths(
    issuing: Named, clients: Named = (), servers: Named = (), public: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """Paths as ARCHITECTURE.md names them; a server certificate's name is its path already."""
    return sorted(
        {
            "ca/root",
            *(f"ca/{name}" for name in _names(issuing or DEFAULT_ISSUING)),
            *(f"client/{name}" for name in _names(_with_our_keys(clients))),
            *_names(servers),
            *([names.ACME_ACCOUNT] if public else []),
        }
    )


class FilterModule:
    """The filter that names the passwords of a PKI."""

    def filters(self) -> dict[str, Any]:
        """Names as playbooks use them."""
        return {"key_password_paths": key_password_paths}
