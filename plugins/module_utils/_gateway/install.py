"""Release and trust of every site of a gateway: all of it is checked as one set before any of it is switched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.mtls.kit.plugins.module_utils._gateway import files, password_delivery, release, trust
from ansible_collections.mtls.kit.plugins.module_utils._gateway.certificates import load_certificates, name_of
from ansible_collections.mtls.kit.plugins.module_utils._gateway.files import Ownership
from ansible_collections.mtls.kit.plugins.module_utils._gateway.release import ReleasePlan
from ansible_collections.mtls.kit.plugins.module_utils._gateway.site import (
    Change,
    Leftovers,
    SiteFolders,
    check_unique,
    run_alone,
)
from ansible_collections.mtls.kit.plugins.module_utils._gateway.trust import TrustPlan, TrustUnit
from ansible_collections.mtls.kit.plugins.module_utils._pki import clock
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.module_utils._pki.trust import digest


@dataclass(frozen=True)
class Delivery:
    """What the CA hands out for one site, and the password of its key.

    ``trust_anchor`` are this PKI's roots, ``chain_anchor`` those that the chain leads up to.
    """

    folders: SiteFolders
    chain: str
    trust_anchor: str
    chain_anchor: str
    server_names: Sequence[str]
    trust: TrustUnit
    password_delivery: str
    password: bytes = field(repr=False)

    @classmethod
    def of(cls, root: Path, wish: Mapping[str, Any], passwords: Mapping[str, str]) -> Delivery:
        """The delivery of a module's argument; KitError names what is wrong with its form."""
        folders = SiteFolders.of(root, wish["name"])
        unit = wish["trust"]
        what = f"trust of site {folders.name!r}"
        texts = unit["files"] if unit.get("files") is not None else _shipped(Path(unit["files_path"]), what)
        if not all(isinstance(text, str) for text in texts.values()):
            raise KitError(what, "a file that is no text", "texts", "pass on what pki returns")
        return cls(
            folders=folders,
            chain=wish["chain"],
            trust_anchor=wish["trust_anchor"],
            chain_anchor=wish.get("chain_anchor") or wish["trust_anchor"],
            server_names=wish["server_names"],
            trust=TrustUnit(unit["number"], unit["sha256"], texts),
            password_delivery=password_delivery.check_delivery(wish["password_delivery"], folders.name),
            password=release.check_password(passwords.get(folders.name), folders.name),
        )


def _shipped(path: Path, what: str) -> Mapping[str, Any]:
    """The texts of a unit that came as a file, for a million revoked serials are too long for an argument."""
    try:
        texts = json.loads(path.read_bytes())
    except OSError as error:
        raise KitError(
            f"{what}, files_path {path}", f"'{error.strerror}'", "a file this module can read", "correct files_path"
        ) from error
    except ValueError:
        texts = None
    if not isinstance(texts, dict):
        raise KitError(f"{what}, files_path {path}", "no JSON object in it", "the texts by name", "correct files_path")
    return texts


@dataclass(frozen=True)
class SitePlan:
    """What is to be done about one site."""

    delivery: Delivery
    leftovers: Leftovers
    trust: TrustPlan
    release: ReleasePlan
    before: Mapping[str, Any]

    @property
    def changes(self) -> list[Change]:
        """In the order they are made: who is to be let in comes first, for it may be a revocation."""
        return [*self.leftovers.changes, *self.trust.changes, *self.release.changes]

    @property
    def after(self) -> dict[str, Any]:
        """What is in use when the plan was applied, as diffs show it."""
        name = None if self.release.unit is None else self.release.unit.name
        unit = self.delivery.trust
        return {
            "release": name,
            **release.describe(self.release.leaf),
            "trust": unit.number,
            "revoked": unit.count(trust.REVOKED),
            "identities": unit.count(trust.IDENTITIES),
        }

    @property
    def result(self) -> dict[str, Any]:
        """What is in use when the plan was applied, as the module returns it."""
        return {
            "release": self.after["release"],
            "previous": self.release.previous,
            "trust": self.delivery.trust.number,
        }

    def apply(self) -> None:
        """Do it. OSError as the system raises it."""
        if not self.changes:
            return
        self.delivery.folders.make()
        self.leftovers.apply()
        self.trust.apply()
        self.release.apply()


def in_use(folders: SiteFolders, password: bytes) -> dict[str, Any]:
    """What a site has in use, as diffs show it; no keys where there is nothing."""
    found: dict[str, Any] = {}
    if (current := release.in_use(folders, password)) is not None:
        found.update(release=current.name, **release.describe(current.leaf))
    if (number := trust.current_number(folders)) is not None:
        texts = trust.current_files(folders)
        found["trust"] = number
        found["revoked"] = texts.get(trust.REVOKED, "").count("\n")
        found["identities"] = texts.get(trust.IDENTITIES, "").count("\n")
    return found


def current(folders: SiteFolders, password: bytes) -> dict[str, Any]:
    """What a site has in use, as certificate_request returns it; None for each thing that is not there."""
    found = in_use(folders, password)
    return {
        "release": found.get("release"),
        "serial": found.get("serial"),
        "not_after": found.get("not_after"),
        "trust_number": found.get("trust"),
        "trust_sha256": digest(trust.current_files(folders)) if "trust" in found else None,
    }


def check_same_pki(delivery: Delivery, now: datetime) -> None:
    """KitError when what a site trusts now comes from another PKI: a new root made by accident cuts everyone off.

    Not of CAs that have ended, whose successor may be a root of its own: there is nobody left to be cut off.
    """
    folders = delivery.folders
    bundle = trust.current_files(folders).get(trust.BUNDLE)
    if not bundle:
        return
    what = f"site {folders.name!r}"
    known = set(load_certificates(delivery.trust_anchor, f"trust anchor of {what}"))
    trusted = load_certificates(bundle, f"client CAs in use of {what}")
    if known.isdisjoint(trusted) and any(clock.not_after(ca) > now for ca in trusted):
        raise KitError(
            what,
            f"clients of another PKI trusted there, of {name_of(trusted[-1])}",
            f"the PKI that hands this out, of {', '.join(sorted(map(name_of, known)))}",
            "use the inventory and the store of that PKI; if it is to be given up with all its clients, "
            "remove the site with playbooks/remove.yml first",
        )


def plan(delivery: Delivery, owner: Ownership, keep: int, now: datetime, check_mode: bool) -> SitePlan:
    """Check the whole set of a site and say what is to be done; KitError for whatever Nginx would serve wrongly."""
    folders = delivery.folders
    with files.told_failures(f"site {folders.name!r}"):
        chain = release.check(delivery.chain, delivery.chain_anchor, delivery.server_names, now, folders.name)
        trust.check(delivery.trust, now, folders.name)
        check_same_pki(delivery, now)
        return SitePlan(
            delivery=delivery,
            leftovers=folders.leftovers(),
            trust=trust.plan(folders, delivery.trust, owner, keep),
            release=release.plan(
                folders,
                chain,
                delivery.chain,
                delivery.password,
                delivery.password_delivery,
                owner,
                keep,
                check_mode,
            ),
            before=in_use(folders, delivery.password),
        )


def converge(
    root: Path, deliveries: Sequence[Delivery], owner: Ownership, keep: int, now: datetime, check_mode: bool
) -> list[SitePlan]:
    """Install release and trust of every site, unless in check mode; returns the plans, which hold the changes.

    Raises KitError before anything was changed when any set is not sound, and when the file system refuses one: a
    site is then either as it was or complete.
    """
    check_unique([delivery.folders.name for delivery in deliveries])
    if keep < 1:
        raise KitError("certificate_install_keep", str(keep), "1 or more", "keep 3, so that there is a way back")

    def planned() -> list[SitePlan]:
        return [plan(delivery, owner, keep, now, check_mode) for delivery in deliveries]

    def apply(plans: Sequence[SitePlan]) -> None:
        for site_plan in plans:
            with files.told_failures(f"site {site_plan.delivery.folders.name!r}"):
                site_plan.apply()

    return run_alone(root, check_mode, planned, apply)


def as_diff(plans: Sequence[SitePlan]) -> dict[str, str]:
    """Before and after of the sites that change, without any secret."""
    changing = [plan for plan in plans if plan.changes]
    sides = {
        "before": {plan.delivery.folders.name: plan.before for plan in changing},
        "after": {plan.delivery.folders.name: plan.after for plan in changing},
    }
    return {side: json.dumps(content, indent=2, sort_keys=True) + "\n" for side, content in sides.items()}
