"""kill -9 at any durable step of a rotation: the next run heals it, the one after changes nothing."""

from __future__ import annotations

import copy
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.ledger import Ledger
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client
from tests.unit.module_utils._pki.blog import PASSWORD, BlogCa
from tests.unit.module_utils._pki.kill_at import killed, steps_of
from tests.unit.module_utils._pki.rotating_fleet import SITE, Fleet, verifies
from tests.unit.module_utils._pki.test_kill import assert_sound

EACH = 3
"""Kills of each kind in the sample; all of them together are a random 20 of each."""
ALL = 20

WISH: dict[str, Any] = {"confirmed": True, "clients": "now"}
HOLD: dict[str, Any] = {**WISH, "step": "hold"}


@dataclass
class Case:
    """A store ready for one step, and that step; ``requests`` are what gateways ask for in it."""

    folder: Path
    arguments: dict[str, Any]
    now: datetime
    rotation: dict[str, Any] | None
    expected: dict[str, str]
    adopt_password: str = ""
    requests: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def host(self, folder: Path, rotation: dict[str, Any] | None) -> AuthorityHost:
        """A host in ``folder`` with the arguments of this step."""
        host = AuthorityHost(folder)
        text = {**copy.deepcopy(self.arguments), **self.more, "rotation": rotation}
        if text.get("root_keys"):
            text["root_keys"] = str(folder / "stick")
        host.arguments, host.now, host.adopt_password = text, self.now, self.adopt_password
        return host


def prepared(fleet: Fleet, folder: Path, **wish: Any) -> Case:
    """The fleet as it stands, and after it the step of ``wish``."""
    shutil.copytree(fleet.host.store.parent, folder / "before")
    rotation = {**WISH, **wish, "observed": [fleet.served]}
    case = Case(folder / "before", copy.deepcopy(fleet.host.arguments), fleet.host.now, rotation, {})
    fleet.rotate(**{**WISH, **wish})
    case.expected = fleet.states()
    return case


def cases_of_a_rotation(folder: Path, kind: str, **wish: Any) -> Iterator[tuple[str, Case]]:
    """Introduce, withdraw, switch, the servers' certificates, back from switch, and retire."""

    def arrived(name: str, *steps: dict[str, Any]) -> tuple[Fleet, Path]:
        place = folder / name
        (place / "now/stick").mkdir(parents=True)
        host = AuthorityHost(place / "now")
        if wish.get("offline"):
            host.arguments |= {"root_keys": str(place / "now/stick")}
            host.arguments["root"] |= {"offline": True}
        fleet = Fleet(host)
        for step in steps:
            fleet.rotate(**{**asked, **WISH, **step})
        return fleet, place

    asked = {"kind": kind, "cross_sign": wish.get("cross_sign", False)}
    for name, steps, step in (
        ("introduce", [], {}),
        ("withdraw", [{}], {"step": "back"}),
        ("switch", [{}], {}),
        ("back", [{}, {}], {"step": "back"}),
        ("retire", [{}, {}], {}),
    ):
        fleet, place = arrived(name, *steps)
        yield f"{kind} {name}", prepared(fleet, place, **asked, **step)


def case_of_a_demand(folder: Path) -> tuple[str, Case]:
    """Everything re-issued on demand, a server's certificate among it."""
    fleet = Fleet(AuthorityHost(folder / "now"))
    fleet.host.after(hours=1)
    shutil.copytree(fleet.host.store.parent, folder / "before")
    case = Case(
        folder / "before", copy.deepcopy(fleet.host.arguments), fleet.host.now, None, fleet.states(),
        requests=fleet.request(), more={"reissue": {"names": ["*"], "before": fleet.host.now.isoformat()}},
    )  # fmt: skip
    return "reissue", case


def case_of_an_adoption(folder: Path) -> tuple[str, Case]:
    """A tutorial's CA and its client become an issuing CA of a store there is."""
    blog = BlogCa(folder / "blog").make()
    blog.sign("carol")
    host = AuthorityHost(folder / "now")
    host.now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    host.run()
    shutil.copytree(host.store.parent, folder / "before")
    issuing = [*host.arguments["issuing"], {**host.arguments["issuing"][0], "name": "old", "purposes": ["client"]}]
    more = {
        "issuing": issuing,
        "adopt": blog.wish("old"),
        "certificates": [*host.arguments["certificates"], client("carol", issuer="old")],
        "trust": [{"scope": "issuing", "accept": ["issuing", "old"]}],
    }
    expected = {"root-g1": "signing", "issuing-g1": "signing", "old-g1": "signing"}
    return "adopt", Case(
        folder / "before", copy.deepcopy(host.arguments), host.now, None, expected, adopt_password=PASSWORD, more=more
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("rotations")
    found = dict(cases_of_a_rotation(folder / "root", "root", cross_sign=True))
    found |= dict(cases_of_a_rotation(folder / "issuing", "issuing"))
    offline = cases_of_a_rotation(folder / "offline", "root", offline=True)
    found |= {f"offline {name}": case for name, case in offline}
    return {**found, **dict([case_of_a_demand(folder / "demand"), case_of_an_adoption(folder / "adopt")])}


def states_and_numbers(host: AuthorityHost) -> tuple[dict[str, str], dict[str, int], set[tuple[int, str]]]:
    """States by label, CRL numbers by label, and every (issuer, serial) there is."""
    ledger = Ledger.open(host.store / "ledger.sqlite")
    try:
        labels = {ca.number: ca.label for ca in ledger.authorities()}
        serials = [tuple(row) for row in ledger._db.execute("SELECT issuer, serial FROM certificates")]
        assert len(set(serials)) == len(serials)
        numbers = {labels[number]: crl.number for number, crl in ledger.crls().items()}
        return {ca.label: ca.state for ca in ledger.authorities()}, numbers, set(serials)
    finally:
        ledger.close()


def assert_accepted(host: AuthorityHost) -> None:
    """Every certificate handed out is accepted by the trust unit and the anchors handed out with it."""
    unit = max((host.store / "trust/issuing").iterdir(), key=lambda folder: int(folder.name))
    for path in host.store.glob("certificates/client/*/client.crt"):
        assert verifies(unit / "client-ca.crt", path, "sslclient", host) or "carol" in str(path), path
    for path in host.store.glob("certificates/server/*/*/server.crt"):
        assert verifies(host.store / "trust-anchor.crt", path, "sslserver", host), path
    whole = [path for pattern in ("*.crt", "*.key", "*.pem", "*.sqlite") for path in host.store.parent.rglob(pattern)]
    assert all(path.stat().st_size > 0 for path in whole)
    assert not list(host.store.rglob("*.tmp"))


def kill_and_heal(case: Case, folder: Path, chance: random.Random, steps: int) -> bool:
    """One kill in a copy of the store; whether it hit."""
    shutil.copytree(case.folder, folder)
    host = case.host(folder, case.rotation)
    before = states_and_numbers(host)
    fatal, first = chance.randint(1, steps), chance.random() < 0.5
    hit = killed(lambda: host.run(csrs=case.requests), fatal, before=first)
    where = f"killed {'before' if first else 'after'} step {fatal} of {steps}"
    assert_sound(host)
    # What heals is the next run of anything: site.yml, which wishes for no rotation, or the second call of rotate.yml.
    healing = case.host(folder, chance.choice((None, {**case.rotation, "step": "hold"})) if case.rotation else None)
    healing.run(csrs=case.requests)
    assert healing.run(csrs=case.requests).changes == [], where
    found = states_and_numbers(healing)[0]
    assert found in (before[0], case.expected), where
    if found != case.expected:
        again = case.host(folder, case.rotation)
        again.run(csrs=case.requests)
        hold = {**case.rotation, "step": "hold"} if case.rotation else None
        assert case.host(folder, hold).run(csrs=case.requests).changes == [], where
    after = states_and_numbers(healing)
    assert after[0] == case.expected, where
    assert all(after[1].get(label, 0) >= number for label, number in before[1].items())
    assert after[2] >= before[2]
    assert_sound(healing)
    assert_accepted(healing)
    shutil.rmtree(folder)
    return hit


@pytest.mark.parametrize("each", [EACH, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_rotation_survives_its_kills(cases: dict[str, Case], tmp_path: Path, each: int) -> None:
    chance = random.Random(4)  # noqa: S311  no secret
    hits: Counter[str] = Counter()
    for name, case in cases.items():
        shutil.copytree(case.folder, tmp_path / "count")
        counting = case.host(tmp_path / "count", case.rotation)
        run: Callable[[], object] = lambda counting=counting, case=case: counting.run(csrs=case.requests)  # noqa: E731
        steps = steps_of(run)
        shutil.rmtree(tmp_path / "count")
        for number in range(each):
            hits[name] += kill_and_heal(case, tmp_path / f"{number}", chance, steps)
    assert hits == dict.fromkeys(cases, each)
    assert hits.total() >= (200 if each == ALL else 50)


def test_a_key_that_was_written_to_the_medium_before_a_kill_is_taken(cases: dict[str, Case], tmp_path: Path) -> None:
    """The moment between medium and ledger: the next run takes that key and makes no other."""
    case = cases["offline root introduce"]
    shutil.copytree(case.folder, tmp_path / "x")
    host = case.host(tmp_path / "x", case.rotation)
    key = tmp_path / "x/stick/demo-root-g2.key"
    fatal = 1
    while not key.exists():
        killed(host.run, fatal, before=False)
        fatal += 1
    assert "root-g2" not in states_and_numbers(host)[0]
    written = key.read_bytes()
    host.run()
    assert states_and_numbers(host)[0] == case.expected
    assert key.read_bytes() == written
    assert SITE in {spec["name"] for spec in host.arguments["certificates"]}
