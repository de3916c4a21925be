#!/usr/bin/python
"""Have a gateway served by a container, and replace that without losing a connection."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_roll
short_description: Have a gateway served by a container, and replace that without losing a connection
version_added: "0.1.0"
description:
  - Starts a new container beside the old one with probe listeners only. Once it is well and serves there the release,
    the trust unit and the configuration that lie on disk, its public listeners are switched on by a reload, it is
    looked at again, and the old one is drained with SIGQUIT.
  - Whatever goes wrong on the way, the old container serves on, the new one is removed, and the module fails with its
    last words.
  - A new release or trust unit needs no new container. Nginx in the running one is tested and reloaded, and a release
    that is not served in time is rolled back.
  - What a run that was cut off left behind is finished or removed by the next.
requirements:
  - docker (Debian's python3-docker)
options:
  name:
    description: Name of the gateway, which its containers begin with.
    type: str
    required: true
  state:
    description:
      - V(checked) changes nothing. It fails for what would keep the sites from being served.
      - V(back) has the container of before the last roll serve again, with the releases that it served. A trust unit
        never goes back.
      - V(absent) removes every container of the gateway, and its configurations.
    type: str
    choices: [started, checked, back, absent]
    default: started
  folder:
    description: Folder of the gateway's configurations, one for each container.
    type: str
    required: true
  image:
    description: Name of the image, which is on the machine already.
    type: str
    default: ""
  files:
    description: Files of the configuration, as the filter P(mtls.kit.nginx_plan#filter) has them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path in the container.
        type: str
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      mode:
        description: Not used; files in a container are for everybody to read and for nobody to write.
        type: str
        default: "0644"
  listeners:
    description: By server C(public), the listen directives that clients use, and C(probe), those of each slot.
    type: dict
    default: {}
  sites:
    description: What is looked at; as the option of M(mtls.kit.nginx_site), with C(probe_ports) by slot.
    type: list
    elements: dict
    default: []
  mounts:
    description: Paths of the gateway that the container sees at the same place, read-only, beside release and trust.
    type: list
    elements: str
    default: []
  user:
    description: User of the workers.
    type: str
    default: www-data
  binary:
    description: The program in the image.
    type: str
    default: nginx
  memory:
    description: Most memory, such as V(512m); empty is no bound.
    type: str
    default: ""
  cpus:
    description: Most processors; 0 is no bound.
    type: float
    default: 0
  log_driver:
    description: The engine's log driver; empty is the engine's own choice.
    type: str
    default: ""
  log_options:
    description: Options of the log driver.
    type: dict
    default: {}
  start_seconds:
    description: Seconds in which a container must serve what is expected.
    type: float
    default: 30
  drain_seconds:
    description: Seconds that an old container has for what it is at.
    type: int
    default: 90
  keep_images:
    description: Images of the gateway that are kept beside those that containers are made from.
    type: int
    default: 2
  warnings:
    description: Warnings of the plan, which the result passes on.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Tells every change and its reason, and changes nothing.
    support: full
  diff_mode:
    description: The reasons are the difference.
    support: none
author:
  - mTLS Kit (@mtls-kit)
"""

EXAMPLES = r"""
- name: Ensure the container of before the last roll serves
  mtls.kit.container_roll:
    name: mtls-gateway
    folder: /var/lib/mtls-kit/containers/mtls-gateway
    state: back
"""

RETURN = r"""
changes:
  description: Each change with C(name), C(action) and C(reason); the same in check mode.
  type: list
  elements: dict
  returned: always
served:
  description: By site, C(release), C(trust) and C(serial) as seen on new connections.
  type: dict
  returned: always
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mtls.kit.plugins.module_utils._container import generations, roll
from ansible_collections.mtls.kit.plugins.module_utils._container.engine import Engine, Options
from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy, files
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

IMAGE_LABEL = "mtls-kit.image"
"""With the gateway's name, what the kit's images bear, wherever they were built."""


def _site(raw: dict[str, Any]) -> roll.Site:
    ports = tuple(int(port) for port in raw["probe_ports"])
    known = {key: value for key, value in raw.items() if key != "probe_ports"}
    listens = tuple(gateway.Listen(one["address"], int(one["port"])) for one in raw["listens"])
    known |= {"root": Path(raw["root"]), "listens": listens, "backends": tuple(raw["backends"])}
    return roll.Site(gateway.Site(**known), ports)


def units_of(sites: list[roll.Site]) -> list[str]:
    """The folders whose links a reload follows, and where passwords are in memory those of the sites that use it."""
    found = []
    for site in sites:
        found += [str(site.public.root / "releases"), str(site.public.root / "trust")]
        password = site.public.release_directory / "password"
        if password.is_symlink():
            found.append(str(password.readlink().parent))
    return found


def _wish(wanted: dict[str, Any]) -> roll.Wish:
    sites = [_site(raw) for raw in wanted["sites"]]
    if not sites:
        raise KitError(
            f"gateway {wanted['name']}",
            "no site",
            "at least one in nginx_mtls_sites",
            "add one, or remove the gateway with remove.yml",
        )
    prefix = f"{generations.PREFIX}/"
    contents = {one["path"].removeprefix(prefix): one["content"] for one in wanted["files"]}
    options = Options(
        mounts=tuple(sorted({*units_of(sites), *wanted["mounts"]})),
        user=wanted["user"],
        binary=wanted["binary"],
        memory=wanted["memory"],
        cpus=wanted["cpus"],
        log_driver=wanted["log_driver"],
        log_options={key: str(value) for key, value in wanted["log_options"].items()},
    )
    return roll.Wish(wanted["image"], contents, wanted["listeners"], sites, options)


def _work(module: AnsibleModule) -> deploy.Outcome:
    wanted, state, check_mode = module.params, module.params["state"], module.check_mode
    root = Path(wanted["folder"])
    engine = Engine()
    times = roll.Times(wanted["start_seconds"], wanted["drain_seconds"])
    label = f"{IMAGE_LABEL}={wanted['name']}"
    roller = roll.Roller(engine, wanted["name"], root, times)
    if state == "checked":
        roller.check(_wish(wanted))
        return roller.outcome
    if check_mode:
        _do(roller, wanted, check_mode=True)
        roll.prune(engine, label, wanted["keep_images"], roller.outcome, check_mode=True)
        return roller.outcome
    with files.told_failures(f"folder {root}"):
        files.make_folder(root, 0o755, files.Ownership.current())
    with files.locked(root):
        _do(roller, wanted, check_mode=False)
        roll.prune(engine, label, wanted["keep_images"], roller.outcome, check_mode=False)
    return roller.outcome


def _do(roller: roll.Roller, wanted: dict[str, Any], *, check_mode: bool) -> None:
    if wanted["state"] == "absent":
        roller.remove(check_mode)
    elif wanted["state"] == "back":
        roller.back(check_mode)
    else:
        roller.run(_wish(wanted), check_mode)


def main() -> None:
    """Arguments in, result out."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "checked", "back", "absent"], "default": "started"},
            "folder": {"type": "str", "required": True},
            "image": {"type": "str", "default": ""},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "listeners": {"type": "dict", "default": {}},
            "sites": {"type": "list", "elements": "dict", "default": []},
            "mounts": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": "www-data"},
            "binary": {"type": "str", "default": "nginx"},
            "memory": {"type": "str", "default": ""},
            "cpus": {"type": "float", "default": 0},
            "log_driver": {"type": "str", "default": ""},
            "log_options": {"type": "dict", "default": {}},
            "start_seconds": {"type": "float", "default": 30},
            "drain_seconds": {"type": "int", "default": 90},
            "keep_images": {"type": "int", "default": 2},
            "warnings": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        outcome = _work(module)
    except KitError as error:
        module.fail_json(msg=str(error))
    for warning in module.params["warnings"] + outcome.warnings:
        module.warn(warning)
    module.exit_json(changed=bool(outcome.changes), changes=outcome.changes, served=outcome.served)


if __name__ == "__main__":
    main()
