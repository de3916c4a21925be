#!/usr/bin/python
"""Ansible module: write every client's bundle in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: client_bundle
short_description: Write what each client is handed, for all clients in one call
version_added: "0.1.0"
description:
  - Reads the store of the C(pki) role on the CA host and writes a folder of mode 0700 per client.
  - Notes in the ledger which certificate each folder holds and who has taken it. The key of a client that has its
    bundle is removed from the store and from the folder, unless O(keep_keys) is set.
  - The folder holds C(client.crt) (leaf and issuing chain), C(client.key) (encrypted), C(client.p12) (AES-256 and
    SHA-256, same password), C(trust-anchor.crt), what the client's platforms need beside those, a C(README.md) for this
    client alone, and C(bundle.json), which says what the folder holds.
  - A folder is written only when its certificate, key, trust anchor, addresses or form changed, or when a file in it is
    missing, altered or of the wrong mode. Adding one client to many touches one folder.
  - All input is checked, and every key that is needed is opened, before anything is written.
  - Folders of clients that are no longer listed are reported and left as they are.
options:
  store:
    description: Folder of the PKI's store.
    type: path
    required: true
  dest:
    description: Folder that holds the clients' folders; created with mode 0700 when missing.
    type: path
    required: true
  clients:
    description: Names of the clients, as in the store.
    type: list
    elements: str
    required: true
  urls:
    description: Addresses the clients may call, for the README.
    type: list
    elements: str
    default: []
  keyless:
    description:
      - Clients that brought a request and have their key. Their folder holds neither a key nor a PKCS#12 file.
      - One that has no certificate yet is left out until its request came.
    type: list
    elements: str
    default: []
  platforms:
    description:
      - What the clients run on; each brings its code, and C(java) a C(truststore.p12), C(apple) and C(android) a
        C(client-compatible.p12) (triple DES and SHA-1, for what reads nothing better).
      - Some of C(curl), C(python), C(node), C(go), C(java), C(flutter), C(browser), C(apple), C(android), C(nginx),
        C(envoy), C(wget) and C(gnutls).
    type: list
    elements: str
    default: []
  platforms_of:
    description: The same for clients of their own, lists by name; it goes before O(platforms).
    type: dict
    default: {}
  code:
    description: The code by file name, as the filter P(mtls.kit.client_code#filter) gives it.
    type: dict
    default: {}
  sealed:
    description: Whether each folder also holds C(bundle.zip), an archive of itself under the client's password.
    type: bool
    default: false
  taken:
    description: Clients, by names or globs, that have their bundle; of those that wait for it.
    type: list
    elements: str
    default: []
  keep_keys:
    description: Whether the keys of clients that have their bundle stay in the store and in the folder.
    type: bool
    default: false
  public_roots:
    description: Roots in PEM that the clients trust beside this PKI's, for sites with a publicly trusted certificate.
    type: str
    default: ""
  vault:
    description: How a person names the vault that keeps the passwords, for the README.
    type: str
    default: the vault
  passwords:
    description:
      - JSON object with the password of each key by its path, C(client/<client>). Other paths are not looked at.
      - A string, so that it is masked as a whole.
    type: str
    required: true
attributes:
  check_mode:
    description:
      - Names the same changes with the same reasons and writes nothing.
      - A client that the store doesn't have yet is taken for one that the run proper would issue first.
    support: full
  diff_mode:
    description: Shows each client's README, never a key.
    support: full
requirements:
  - cryptography >= 38
author:
  - The mTLS Kit authors (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure every client has its bundle
  mtls.kit.client_bundle:
    store: ~/.local/share/mtls-kit/example
    dest: ~/.local/share/mtls-kit/example-bundles
    clients:
      - alice
      - reporting-service
    urls:
      - https://api.example.com/
    passwords: "{{ key_password_json }}"
"""

RETURN = r"""
changes:
  description: One entry per folder that was written, or would be in check mode.
  type: list
  elements: dict
  returned: always
  sample: [{name: client/alice, action: write, reason: "write: new certificate"}]
unlisted:
  description: Clients that have a folder and are no longer listed.
  type: list
  elements: str
  returned: always
  sample: [bob]
waiting:
  description: Clients whose bundle waits to be handed over once this run is done.
  type: list
  elements: str
  returned: always
  sample: [alice]
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.mtls.kit.plugins.module_utils._pki.arguments import passwords_from
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

try:
    from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle, delivery, handover, rotation, store
except ImportError as missing:
    CRYPTOGRAPHY_ERROR: ImportError | None = missing
else:
    CRYPTOGRAPHY_ERROR = None


def diff_of(settings: bundle.Settings, due: list[bundle.Bundle]) -> list[dict[str, str]]:
    """The README of each client before and after: it names the certificate and holds no secret."""
    return [
        {
            "before_header": f"{item.client}/{bundle.README}",
            "after_header": f"{item.client}/{bundle.README} ({item.reason})",
            "before": item.readme_before,
            "after": bundle.readme(settings, item),
        }
        for item in due
    ]


@contextmanager
def opened(folder: Path, now: datetime, *, dry: bool) -> Iterator[store.Store | None]:
    """The store; None for one that the run proper would make before, which a check can't look into."""
    if dry and not (folder / store.LEDGER).exists():
        yield None
        return
    with store.opened(folder, None, now, dry=dry) as found:
        yield found


def unwritable(settings: bundle.Settings, error: OSError) -> KitError:
    """What disk and permissions do; bundles that were complete before still are."""
    return KitError(
        f"client bundles in {settings.directory}",
        f"{error.strerror} ({error.filename or settings.directory})",
        "a folder this user can write, with free space",
        "make room or correct the permissions and run again",
    )


def carried_out(settings: bundle.Settings, clients: list[str], passwords: dict[str, str], *, dry: bool) -> bundle.Plan:
    """The plan, with every folder that is due written unless this is a check."""
    try:
        plan = bundle.plan(settings, clients, passwords, dry=dry)
        if not dry:
            for item in plan.due:
                bundle.write(settings, item)
    except OSError as error:
        raise unwritable(settings, error) from error
    return plan


def main() -> None:
    """Plan, and write unless in check mode."""
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "clients": {"type": "list", "elements": "str", "required": True},
            "urls": {"type": "list", "elements": "str", "default": []},
            "keyless": {"type": "list", "elements": "str", "default": []},
            "platforms": {"type": "list", "elements": "str", "default": []},
            "platforms_of": {"type": "dict", "default": {}},
            "code": {"type": "dict", "default": {}},
            "sealed": {"type": "bool", "default": False},
            "taken": {"type": "list", "elements": "str", "default": []},
            "keep_keys": {"type": "bool", "default": False},
            "public_roots": {"type": "str", "default": ""},
            "vault": {"type": "str", "default": "the vault"},
            "passwords": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    if CRYPTOGRAPHY_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography >= 38"), exception=str(CRYPTOGRAPHY_ERROR))
    settings = bundle.Settings(
        store=Path(module.params["store"]),
        directory=Path(module.params["dest"]),
        urls=tuple(module.params["urls"]),
        vault=module.params["vault"],
        keyless=frozenset(module.params["keyless"]),
        code=module.params["code"],
        platforms=tuple(module.params["platforms"]),
        platforms_of=module.params["platforms_of"],
        sealed=module.params["sealed"],
        public_roots=module.params["public_roots"],
    )
    now = datetime.now(UTC)
    taken, waiting = handover.Taken(), list(module.params["clients"])
    try:
        passwords = passwords_from(module.params["passwords"])
        bundle.check_input(settings, module.params["clients"])
        with opened(settings.store, now, dry=module.check_mode) as found:
            if found is not None:
                taken = handover.take(
                    found, module.params["taken"], now, keep_keys=module.params["keep_keys"], dry=module.check_mode
                )
                settings = replace(settings, given=handover.given(found.ledger))
            plan = carried_out(settings, module.params["clients"], passwords, dry=module.check_mode)
            if found is not None:
                handover.record(found.ledger, plan.at_hand, plan.anchor_sha256, now)
                anchors = rotation.anchors(found.ledger.authorities())
                delivery.record(
                    found.ledger, delivery.bundle_news(found.ledger, module.params["clients"], anchors, now)
                )
                waiting = [entry["client"] for entry in handover.waiting(found.ledger, now)]
    except KitError as error:
        module.fail_json(msg=str(error))
    if plan.unlisted:
        module.warn(
            f"clients that are not listed any more still have a folder in {settings.directory}: "
            f"{', '.join(plan.unlisted)}; remove it when they are out"
        )
    if plan.adopted:
        module.warn(f"no bundle for {', '.join(plan.adopted)}: their keys are theirs alone until they are issued anew")
    if taken.outdated:
        module.warn(
            f"not taken: {', '.join(taken.outdated)}, for the bundle was of an earlier certificate; "
            "hand over the present one"
        )
    changes = [*taken.changes, *plan.changes]
    module.exit_json(
        changed=bool(changes),
        changes=changes,
        unlisted=plan.unlisted,
        waiting=waiting,
        diff=diff_of(settings, plan.due),
    )


if __name__ == "__main__":
    main()
