"""Documentation of the action plugin of this name; it runs on the controller and never reaches a target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_passwords
short_description: Resolve the passwords of private keys in one vault session
version_added: "0.1.0"
description:
  - Fetches the passwords of all private keys of a play from a vault, and generates and stores those that are missing.
  - Runs on the controller, once for a play, without a connection to any host.
  - A stored password that is empty, has a line break or another control character, is shorter than 16 characters or
    can be guessed is refused before anything is stored.
  - The result is censored in output and logs whatever the task says. Failures are shown, they never hold a secret.
author:
  - mTLS Kit (@mtls-kit)
options:
  backend:
    description:
      - The vault. V(ansible_vault) is one file encrypted by Ansible Vault with the vault password of the run.
    type: str
    default: ansible_vault
  options:
    description:
      - Options of the vault.
      - Of V(ansible_vault) these are C(file), an absolute path, by default C(key_passwords.vault.txt) in the folder of
        the inventory, and C(timeout), the seconds to wait for another run that is writing the file, by default 10.
    type: dict
    default: {}
  paths:
    description:
      - The keys whose passwords are wanted, as C(ca/<name>), C(client/<name>) or C(server/<gateway>/<site>).
    type: list
    elements: str
    required: true
  generate:
    description:
      - Whether a missing password is generated, from 256 random bits, and stored. With V(false) it is an error.
    type: bool
    default: true
  known:
    description:
      - One JSON text C({path: password}) of passwords that keys already have, as a restored archive brings them.
      - They are stored where the vault has none. A different one in the vault is an error.
    type: str
    default: "{}"
attributes:
  check_mode:
    description:
      - Reads the vault and says what it would generate. Nothing is stored; a missing password gets a value that lives
        as long as the run, so that the tasks that follow can be checked, too.
    support: full
  diff_mode:
    description: A diff would show secrets, so there is none. The reasons are in C(changes).
    support: none
  platform:
    description: The controller.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Ensure every key has its password in the vault
  mtls.kit.key_passwords:
    paths:
      - ca/root
      - ca/issuing
      - client/alice
      - server/gw1/orders
  run_once: true
  register: __passwords
"""

RETURN = r"""
passwords_json:
  description:
    - "One JSON text C({path: password}) with all paths asked for, since Ansible masks many values slowly."
    - Stays in memory. Don't put it into a fact that is cached.
  returned: success
  type: str
changes:
  description: What was generated, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The path.
      type: str
    action:
      description: Always V(write).
      type: str
    reason:
      description: Why.
      type: str
"""
