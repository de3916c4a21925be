"""Where a site's files lie on a gateway, and how a run works on them: alone, planned first, then done."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_Plan = TypeVar("_Plan")


@dataclass(frozen=True)
class Change:
    """One change of a site and why it is needed."""

    name: str
    action: str
    reason: str

    def as_result(self) -> dict[str, str]:
        """As a module returns it; the reason is complete in itself."""
        return {"name": self.name, "action": self.action, "reason": f"{self.action}: {self.reason}"}


@dataclass(frozen=True)
class Leftovers:
    """Unfinished files, folders and links of a site."""

    site: str
    paths: Sequence[Path]

    @property
    def changes(self) -> list[Change]:
        """One for each of them."""
        return [
            Change(self.site, "remove", f"unfinished {path.parent.name}/{path.name} of a run that was cut off")
            for path in self.paths
        ]

    def apply(self) -> None:
        """Remove them. OSError as the system raises it."""
        for path in self.paths:
            files.remove(path)


@dataclass(frozen=True)
class SiteFolders:
    """The folders of one site: what waits for a certificate, what was released, and whom it trusts."""

    folder: Path
    name: str

    @classmethod
    def of(cls, root: Path, name: str) -> SiteFolders:
        """The folders of site ``name`` under ``root``; KitError for a name that is no site's."""
        if not _NAME.fullmatch(name):
            raise KitError(
                "site",
                f"the name {name!r}",
                "1 to 32 of a-z 0-9 -, beginning with a letter or digit",
                "correct the site's name in certificate_install_sites",
            )
        return cls(root / name, name)

    @property
    def pending(self) -> Path:
        """Key and request between the request and the release."""
        return self.folder / "pending"

    @property
    def releases(self) -> Path:
        """A folder for each release, and the links ``current`` and ``previous``."""
        return self.folder / "releases"

    @property
    def trust(self) -> Path:
        """A folder for each trust number, and the link ``current``."""
        return self.folder / "trust"

    def make(self) -> None:
        """Have the folders that hold units; they belong to whom the module runs as, never to Nginx's user."""
        for folder in (self.folder, self.releases, self.trust):
            files.make_folder(folder, 0o755, Ownership.current())

    def leftovers(self) -> Leftovers:
        """What a run that was cut off left behind."""
        folders = (self.folder, self.pending, self.releases, self.trust)
        return Leftovers(self.name, [path for folder in folders for path in files.unfinished(folder)])


def check_root(text: str) -> Path:
    """The folder that holds all sites; KitError when it is not absolute, no folder, or others can write to it."""
    root = Path(text)
    what = f"certificate_install_root {text}"
    if not root.is_absolute() or len(root.parts) < 3 or ".." in root.parts:
        raise KitError(
            what, "this path", "an absolute path at least two folders deep, without '..'", "set it to /etc/mtls"
        )
    if root.exists() and not root.is_dir():
        raise KitError(what, "a file", "a folder, or nothing yet", "move the file away, or choose another folder")
    if os.geteuid() == 0 and root.is_dir():
        status = root.stat()
        if status.st_uid != 0 or status.st_mode & stat.S_IWOTH:
            owner = Ownership(status.st_uid, status.st_gid)
            raise KitError(
                what,
                f"a folder of {owner} with mode {stat.S_IMODE(status.st_mode):04o}",
                "one that root alone can write to, for its links lead to keys",
                f"run 'chown root:root {root}' and 'chmod 0755 {root}' once you know who else wrote there",
            )
    return root


def passwords_from(text: str) -> Mapping[str, str]:
    """The passwords by site, from a module's JSON argument; KitError, which quotes nothing of it, when it is none."""
    try:
        passwords = json.loads(text)
    except ValueError:
        passwords = None
    if not isinstance(passwords, dict) or not all(isinstance(password, str) for password in passwords.values()):
        raise KitError(
            "certificate_install_passwords",
            "text of another form",
            'a JSON object {"<site>": "<password>"}',
            "pass on key_password_json through the filter mtls.kit.gateway_passwords",
        )
    return passwords


def check_unique(names: Sequence[str]) -> None:
    """KitError when a site is listed twice."""
    for name in names:
        if names.count(name) > 1:
            raise KitError(
                "certificate_install_sites", f"site {name!r} twice", "each site once", "rename or remove one of them"
            )


def run_alone(root: Path, check_mode: bool, plan: Callable[[], _Plan], apply: Callable[[_Plan], None]) -> _Plan:
    """Plan and, unless in check mode, apply, with no other run at work under ``root``; returns the plan.

    Nothing is written before a plan stands; a plan raises KitError for what can't be done.
    """
    if not root.is_dir():
        planned = plan()
        if check_mode:
            return planned
        with files.told_failures(f"folder {root}"):
            files.make_folder(root, 0o755, Ownership.current())
    if check_mode:
        return plan()
    with files.locked(root):
        planned = plan()
        apply(planned)
    return planned
