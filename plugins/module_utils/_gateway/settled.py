"""Whether a gateway is in order by itself, and what it serves: one look that changes nothing.

Each release and each trust unit is planned against itself, by the same functions that install them. Where that plan is
empty, the digests told here say all that decides whether a run of the roles would change anything.
"""

from __future__ import annotations

import hashlib
import hmac
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ansible_collections.mtls.kit.plugins.module_utils._gateway import (
    discovery,
    files,
    nginx,
    password_delivery,
    password_setup,
    release,
    tls,
    trust,
)
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import load_certificates
from ansible_collections.mtls.kit.plugins.module_utils._gateway.deploy import told
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import SiteFolders, check_root
from ansible_collections.mtls.kit.plugins.module_utils._gateway.trust import TrustUnit
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.trust import FILES, digest

LIBRARY: Final = Path("/usr/lib/python3/dist-packages/cryptography")
OWN_PYTHON: Final = "/usr/bin/python3"
"""Debian's interpreter, whose library is a package."""

_DISTRIBUTIONS: Final = {"debian": "Debian", "ubuntu": "Ubuntu"}
_ANY: Final = "any"


@dataclass(frozen=True)
class Wish:
    """Where to look, as the variables of the gateway have it."""

    root: str
    owner: str
    group: str
    keep: int
    settings: Mapping[str, str]
    """``instance``, ``prefix``, ``service`` and ``binary``."""
    sites: Sequence[Mapping[str, Any]]
    """Each with ``name``, ``address``, ``port`` and ``server_name``."""
    salt: bytes


def system() -> str:
    """Distribution and version, as the roles name it: ``Debian 12``, ``Ubuntu 24.04``."""
    release_file = platform.freedesktop_os_release()
    name = _DISTRIBUTIONS.get(release_file.get("ID", ""), release_file.get("NAME", ""))
    return f"{name} {release_file.get('VERSION_ID', '')}"


def proof(salt: bytes, password: bytes) -> str:
    """Tells whether two passwords are equal, and without ``salt`` nothing of either."""
    return hmac.new(salt, password, hashlib.sha256).hexdigest()


def look(wish: Wish, now: datetime, authority_now: datetime) -> dict[str, Any]:
    """The result of module ``gateway_look``; never raises for what a run of the roles would find and tell better."""
    found: dict[str, Any] = {"system": system(), "faults": [], "notices": [], "files": {}, "sites": {}, "served": {}}
    try:
        release.check_clock(now, authority_now)
        if sys.executable.startswith(OWN_PYTHON) and not LIBRARY.exists():
            found["faults"].append("the package python3-cryptography is not installed")
        info = discovery.inspect(
            wish.settings["binary"],
            wish.settings["prefix"] if wish.settings["instance"] == "own" else "",
            [f"{wish.root}/{site['name']}" for site in wish.sites],
        )
        found["nginx"] = info
        found["files"] = {path: _digest_of(Path(path)) for path in info["ours"]}
        found["instance"] = discovery.instance(wish.settings, info)
        folders = [wish.settings["prefix"], f"{wish.settings['prefix']}/logs"]
        found["directories"] = [folder for folder in folders if Path(folder).is_dir()]
        _look_at_nginx(nginx.Nginx(nginx.Instance(**found["instance"])), found)
        owner = Ownership.of(wish.owner, wish.group or None)
        root = check_root(wish.root)
        for site in wish.sites:
            with files.told_failures(f"site {site['name']!r}"):
                found["sites"][site["name"]] = _look_at_site(
                    SiteFolders.of(root, site["name"]), site, wish, owner, found
                )
    except KitError as error:
        found["faults"].append(str(error))
    return found


def _digest_of(path: Path) -> dict[str, str]:
    content = files.read(path)
    return {
        "sha256": hashlib.sha256(content or b"").hexdigest(),
        "mode": "" if content is None else f"{path.stat().st_mode & 0o7777:04o}",
    }


def _look_at_nginx(server: nginx.Nginx, found: dict[str, Any]) -> None:
    verdict = server.test()
    if not verdict.passed:
        found["faults"].append(f"nginx -t refuses the configuration: {verdict.text}")
    found["notices"] += verdict.warnings
    if server.master() is None:
        found["faults"].append("Nginx isn't running")
    if not server.enabled():
        found["faults"].append(f"{server.instance.unit} isn't enabled")


def _look_at_site(
    folders: SiteFolders, wanted: Mapping[str, Any], wish: Wish, owner: Ownership, found: dict[str, Any]
) -> dict[str, Any]:
    name = folders.name
    site = nginx.Site(
        name, folders.folder, (), wanted["address"], wanted["port"], wanted["server_name"], (), config=_ANY
    )
    expected = nginx.on_disk(site)
    nginx.check_password_file(site)
    try:
        seen = nginx.look(site)
    except (tls.NotReachable, tls.NoSession) as error:
        found["faults"].append(f"site {name}: not served: {error}")
        return {}
    found["served"][name] = told(seen)
    found["faults"] += [f"site {name}: {one}" for one in seen.differences(replace(expected, config=seen.config))]
    in_release = _release_of(folders, owner, wish.keep, wish.salt, found["faults"])
    in_trust = _trust_of(folders, owner, wish.keep, found["faults"])
    found["faults"] += [f"site {name}: {change.reason}" for change in folders.leftovers().changes]
    return {"serial": seen.serial, "config": seen.config, **in_release, **in_trust}


def _release_of(folders: SiteFolders, owner: Ownership, keep: int, salt: bytes, faults: list[str]) -> dict[str, str]:
    """The release in use, planned against itself."""
    current = folders.releases / "current"
    passwords = password_delivery.lines(current / release.PASSWORD)
    delivery = release.delivery_of(current, folders.name)
    if delivery != password_delivery.FILE or len(passwords) != 1:
        faults.append(f"site {folders.name}: the password is delivered by {delivery}, in {len(passwords)} lines")
        return {}
    chain = (files.read(current / release.CERTIFICATE) or b"").decode(errors="replace")
    leaves = load_certificates(chain, release.CERTIFICATE)
    plan = release.plan(folders, leaves, chain, passwords[0], delivery, owner, keep, check_mode=True)
    faults += [f"site {folders.name}: {change.reason}" for change in plan.changes]
    if password_setup.is_unfinished(password_setup.Wish(folders, delivery, passwords[0])):
        faults.append(f"site {folders.name}: something of an earlier delivery of its password is left")
    return {
        "chain_sha256": hashlib.sha256(chain.encode()).hexdigest(),
        "password_proof": proof(salt, passwords[0]),
    }


def _trust_of(folders: SiteFolders, owner: Ownership, keep: int, faults: list[str]) -> dict[str, Any]:
    """The trust unit in use, planned against itself."""
    number, texts = trust.current_number(folders), trust.current_files(folders)
    if number is None or set(texts) != set(FILES):
        faults.append(f"site {folders.name}: no whole trust unit")
        return {}
    sha256 = digest(texts)
    plan = trust.plan(folders, TrustUnit(number, sha256, texts), owner, keep)
    faults += [f"site {folders.name}: {change.reason}" for change in plan.changes]
    return {"trust_number": number, "trust_sha256": sha256}
