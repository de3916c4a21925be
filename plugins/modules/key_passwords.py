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
      - V(openbao) is the key-value engine, version 1 or 2, of OpenBao or HashiCorp Vault. It needs the Python package
        hvac on the controller.
      - V(lookup) is what any installed lookup plugin reads.
      - V(env) are environment variables of the run, each a text encrypted by Ansible Vault.
      - V(command) is a program that prints a password.
    type: str
    default: ansible_vault
    choices: [ansible_vault, openbao, lookup, env, command]
  options:
    description:
      - Options of the vault.
      - Of V(ansible_vault) these are C(file), an absolute path, by default C(key_passwords.vault.txt) in the folder of
        the inventory, and C(timeout), the seconds to wait for another run that is writing the file, by default 10.
      - "Of V(openbao): C(url), C(namespace), C(ca_cert), C(client_cert), C(client_key), C(mount) (C(secret)),
        C(prefix) (C(mtls-kit)), C(field) (C(password)), C(kv_version), C(auth) (C(token), C(approle), C(jwt) or
        C(cert)), C(auth_mount), C(role), C(token), C(role_id), C(secret_id) and C(jwt), each of these four also as a
        file, C(token_file) and so on, and C(timeout), the seconds that all calls together may take, by default 10."
      - "Of V(lookup): C(plugin), C(term) (by default C({path})), C(options), C(field), and C(timeout), the seconds for
        one password, by default 10. C({path}) and C({name}), the path with C(-) for all but letters and digits, are
        replaced in C(term) and C(options)."
      - "Of V(env): C(prefix), by default C(MTLS_KIT_PASSWORD_)."
      - "Of V(command): C(get_argv), C(put_argv), C(missing_codes), and C(timeout), the seconds for one run of it,
        10 by default. C({path}) and C({name}) are replaced in the arguments."
      - The pages C(docs/vault-*.md) of the collection have an example for each.
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
      - "One JSON text C({path: password}) of passwords that keys already have, as a restored archive brings them."
      - They are stored where the vault has none. A different one in the vault is an error.
    type: str
    default: "{}"
  rotate:
    description:
      - Patterns of O(paths) whose passwords are replaced by new ones, as C(*) or C(server/gw1/*).
      - The vault keeps the previous password beside the new one until O(taken) says that the key has the new one. A
        password is not replaced again before that.
    type: list
    elements: str
    default: []
  max_age_days:
    description:
      - Passwords of O(paths) that are older are replaced as well, and those whose age the vault doesn't know.
      - V(0) stands for any age.
    type: int
    default: 0
  taken:
    description: Paths whose keys have their present passwords, so that the vault forgets the previous ones.
    type: list
    elements: str
    default: []
  in_use:
    description: Paths whose keys exist, so that a password that is missing is an error and not generated.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - mtls.kit.attributes.controller
attributes:
  check_mode:
    description:
      - Reads the vault and says what it would generate. Nothing is stored; a missing password gets a value that lives
        as long as the run, so that the tasks that follow can be checked, too.
    support: full
  diff_mode:
    description: A diff would show secrets, so there is none. The reasons are in C(changes).
    support: none
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

- name: Ensure every key has its password in OpenBao
  mtls.kit.key_passwords:
    backend: openbao
    options:
      url: https://bao.example.org:8200
      auth: approle
      role_id_file: /etc/ansible/bao-role-id
      secret_id_file: /etc/ansible/bao-secret-id
    paths:
      - ca/root
      - client/alice
  run_once: true
  register: __passwords
"""

RETURN = r"""
passwords_json:
  description:
    - "One JSON text C({path: password}) with all paths asked for, and under C(previous/<path>) the password that a key
      may still be encrypted with, since Ansible masks many values slowly."
    - Stays in memory. Don't put it into a fact that is cached.
  returned: success
  type: str
changes:
  description: What was generated, replaced and forgotten, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The path.
      type: str
    action:
      description: V(write) or V(rotate).
      type: str
    reason:
      description: Why.
      type: str
pending:
  description: Paths whose previous passwords the vault keeps, since keys may still have them.
  returned: success
  type: list
  elements: str
kept:
  description: Paths of O(rotate) that were not rotated again, since their keys may still have the password before.
  returned: success
  type: list
  elements: str
"""
