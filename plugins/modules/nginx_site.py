#!/usr/bin/python
"""Put sites before an Nginx and see them served, or take the change back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_site
short_description: Put sites before an Nginx and see them served, or take the change back
version_added: "0.1.0"
description:
  - Runs C(nginx -t) before anything is changed, writes files, tests again, starts or reloads Nginx,
    and looks at the gateway's own address for the release, the trust unit and the certificate that lie on disk.
  - Where C(nginx -t) refuses the change, or the new release isn't served in time, files and release are put back,
    what served before is served again, and the module fails and says so. A trust unit never goes back.
  - Reloads when files changed, and when what is served isn't what lies on disk.
options:
  instance:
    description: The Nginx that is meant.
    type: dict
    default: {}
    suboptions:
      binary:
        description: Name or path of the program.
        type: str
        default: nginx
      prefix:
        description: Prefix of an instance of our own; empty for the packaged one.
        type: str
        default: ""
      config:
        description: Main configuration of an instance of our own; empty for the packaged one's.
        type: str
        default: ""
      pid_file:
        description: Where the master writes its process id.
        type: str
        default: /run/nginx.pid
      error_log:
        description: Where Nginx logs errors, for a failed reload to be explained.
        type: str
        default: ""
      service:
        description: How Nginx is started and reloaded.
        type: str
        choices: [systemd, signals]
        default: signals
      unit:
        description: Its unit of systemd.
        type: str
        default: nginx.service
  state:
    description:
      - V(stopped) stops the instance before files are changed.
      - V(checked) changes nothing. It fails for what would keep the sites from being served, before they exist. That is
        a configuration that is broken already, a backend that doesn't resolve, or a port or address that can't be had.
    type: str
    choices: [started, stopped, checked]
    default: started
  directories:
    description: Folders that must be there.
    type: list
    elements: str
    default: []
  files:
    description: Every file of the configuration that is this kit's.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      mode:
        description: Its mode, octal.
        type: str
        default: "0644"
  absent:
    description: Files that must not be there.
    type: list
    elements: str
    default: []
  sites:
    description: What is looked at after a reload.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the site.
        type: str
        required: true
      root:
        description: Folder with C(releases/current) and C(trust/current).
        type: str
        required: true
      address:
        description: The gateway's own address at which it looks.
        type: str
        default: 127.0.0.1
      port:
        description: The port.
        type: int
        required: true
      server_name:
        description: The name asked for.
        type: str
        required: true
      listens:
        description: Addresses and ports that must be free for this Nginx.
        type: list
        elements: dict
        default: []
        suboptions:
          address:
            description: An address, without brackets.
            type: str
            required: true
          port:
            description: A port.
            type: int
            required: true
      backends:
        description: Host and port of each backend, whose names must resolve.
        type: list
        elements: str
        default: []
      config:
        description: Fingerprint of the configuration that the probe tells; empty isn't compared.
        type: str
        default: ""
  warnings:
    description: Warnings of the plan, which the result passes on.
    type: list
    elements: str
    default: []
  poll_seconds:
    description: Time, in seconds, in which the new release must be served.
    type: float
    default: 30
attributes:
  check_mode:
    description: Tells every change and its reason, and changes nothing.
    support: full
  diff_mode:
    description: A unified diff of each file.
    support: full
author:
  - mTLS Kit (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure the sites
  mtls.kit.nginx_site:
    instance:
      service: systemd
    files:
      - path: /etc/nginx/conf.d/zz-mtls-site-orders.conf
        content: "{{ orders }}"
    sites:
      - name: orders
        root: /etc/mtls/orders
        port: 443
        server_name: orders.example.com
        backends: [127.0.0.1:8080]
"""

RETURN = r"""
changes:
  description: Each change with C(name), C(action) and C(reason); the same in check mode.
  type: list
  elements: dict
  returned: always
served:
  description:
    - By site, C(release), C(trust) and C(serial) as seen on new connections.
    - With O(state=checked) what is served as it stands; a site that does not answer is left out.
  type: dict
  returned: always
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._gateway.release import rollback
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

INSTANCE = {
    "binary": {"type": "str", "default": "nginx"},
    "prefix": {"type": "str", "default": ""},
    "config": {"type": "str", "default": ""},
    "pid_file": {"type": "str", "default": "/run/nginx.pid"},
    "error_log": {"type": "str", "default": ""},
    "service": {"type": "str", "choices": ["systemd", "signals"], "default": "signals"},
    "unit": {"type": "str", "default": "nginx.service"},
}
FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0644"},
}
LISTEN = {"address": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
SITE = {
    "name": {"type": "str", "required": True},
    "root": {"type": "str", "required": True},
    "address": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "required": True},
    "server_name": {"type": "str", "required": True},
    "listens": {"type": "list", "elements": "dict", "default": [], "options": LISTEN},
    "backends": {"type": "list", "elements": "str", "default": []},
    "config": {"type": "str", "default": ""},
}


def _site(raw: dict[str, Any]) -> gateway.Site:
    listens = tuple(gateway.Listen(one["address"], one["port"]) for one in raw["listens"])
    return gateway.Site(**{**raw, "root": Path(raw["root"]), "listens": listens, "backends": tuple(raw["backends"])})


def main() -> None:
    """Arguments in, result out."""
    module = AnsibleModule(
        argument_spec={
            "instance": {"type": "dict", "default": {}, "options": INSTANCE, "apply_defaults": True},
            "state": {"type": "str", "choices": ["started", "stopped", "checked"], "default": "started"},
            "directories": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
            "absent": {"type": "list", "elements": "str", "default": []},
            "sites": {"type": "list", "elements": "dict", "default": [], "options": SITE},
            "warnings": {"type": "list", "elements": "str", "default": []},
            "poll_seconds": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        files = [(Path(one["path"]), one["content"].encode(), int(one["mode"], 8)) for one in wanted["files"]]
        absent = [Path(path) for path in wanted["absent"]]
        file_changes = deploy.plan_files(files, absent)
        instance = gateway.Instance(**wanted["instance"])
        sites = [_site(raw) for raw in wanted["sites"]]
        installed = gateway.find_binary(instance.binary) is not None
        if not installed and wanted["state"] == "checked":
            deploy.check_places(sites, None)
            outcome = deploy.Outcome()
        elif module.check_mode and not installed:
            outcome = deploy.before_installation(file_changes)
        elif wanted["state"] == "stopped":
            outcome = deploy.stop(gateway.Nginx(instance), file_changes, module.check_mode)
        else:
            deployment = deploy.Deployment(
                gateway.Nginx(instance),
                file_changes,
                [path for path, _, _ in files] + absent,
                [Path(directory) for directory in wanted["directories"]],
                sites,
                wanted["poll_seconds"],
                rollback,
            )
            if wanted["state"] == "checked":
                deployment.check()
                outcome = deployment.outcome
            else:
                outcome = deployment.run(module.check_mode)
    except KitError as error:
        module.fail_json(msg=str(error))
    for warning in wanted["warnings"] + outcome.warnings:
        module.warn(warning)
    result = {"changed": bool(outcome.changes), "changes": outcome.changes, "served": outcome.served}
    module.exit_json(**result, **({"diff": deploy.diffs(file_changes)} if module._diff else {}))


if __name__ == "__main__":
    main()
