"""A change of Nginx is served, or it is taken back whole; a release goes back, a trust unit never."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import deploy
from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._gateway.release import rollback
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import Gateway
from tests.unit.module_utils._gateway.fake_nginx import FakeNginx


@dataclass
class Machine:
    """A gateway with an Nginx whose configuration is one file: the fingerprint."""

    delivered: Gateway
    nginx: FakeNginx
    config: Path
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.delivered.root / "orders"

    def site(self, fingerprint: str) -> gateway.Site:
        return gateway.Site(
            "orders", self.root, (), "127.0.0.1", self.nginx.port, "orders.example.test", ("127.0.0.1:1",), fingerprint
        )

    def deploy(self, fingerprint: str, *, check_mode: bool = False, seconds: float = 0.3) -> deploy.Outcome:
        changes = deploy.plan_files([(self.config, fingerprint.encode(), 0o644)], [])
        site = self.site(fingerprint)
        return deploy.Deployment(
            self.nginx,  # type: ignore[arg-type]
            changes,
            [self.config],
            [],
            [site],
            seconds,
            rollback,
        ).run(check_mode)

    def new_release(self) -> str:
        self.delivered.certify(
            self.delivered.request(wanted="renew: a test")["csrs"], names_covered=["orders.example.test"]
        )
        self.delivered.release()
        return self.delivered.current().name


@pytest.fixture
def machine(deployed: Gateway, tmp_path: Path) -> Iterator[Machine]:
    config = tmp_path / "site.conf"
    nginx = FakeNginx(deployed.root / "orders", config)
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        nginx.port = chosen.getsockname()[1]
    yield Machine(deployed, nginx, config)
    nginx.close()


def reasons(outcome: deploy.Outcome) -> list[tuple[str, str]]:
    return [(change["action"], change["reason"]) for change in outcome.changes]


def test_starts_what_does_not_run_and_says_what_is_served(machine: Machine) -> None:
    outcome = machine.deploy("v1")
    assert reasons(outcome) == [("write", "write: new"), ("reload", "reload: it isn't running: start it")]
    assert outcome.served["orders"]["release"] == machine.delivered.current().name
    assert outcome.served["orders"]["trust"] == "1"


def test_second_run_changes_nothing_and_reloads_nothing(machine: Machine) -> None:
    machine.deploy("v1")
    assert machine.deploy("v1").changes == []
    assert machine.nginx.reloads == 0


def test_check_mode_says_what_the_run_then_does_and_writes_nothing(machine: Machine) -> None:
    machine.deploy("v1")
    foreseen = machine.deploy("v2", check_mode=True)
    assert machine.config.read_text() == "v1"
    assert machine.deploy("v2").changes == foreseen.changes != []


def test_a_switch_that_was_never_reloaded_is_seen_and_taken_up(machine: Machine) -> None:
    machine.deploy("v1")
    before = machine.delivered.current().name
    release = machine.new_release()
    outcome = machine.deploy("v1")
    assert outcome.changes[0]["reason"].startswith(f"reload: release {release} is on disk, {before} is served")
    assert outcome.served["orders"]["release"] == release


def test_files_that_were_written_without_a_reload_are_seen_and_taken_up(machine: Machine) -> None:
    machine.deploy("v1")
    machine.config.write_text("v2")
    assert reasons(machine.deploy("v2")) == [("reload", "reload: configuration v2 is on disk, v1 is served")]


def test_a_trust_unit_that_was_never_reloaded_is_seen(machine: Machine) -> None:
    machine.deploy("v1")
    machine.delivered.pki.next_trust("0A1B")
    machine.delivered.release()
    assert reasons(machine.deploy("v1")) == [("reload", "reload: trust 2 is on disk, 1 is served")]


def test_what_was_broken_before_is_named_and_nothing_is_written(machine: Machine) -> None:
    machine.deploy("v1")
    machine.nginx.test_fails = lambda: 'nginx: [emerg] unknown directive "foo" in /etc/nginx/conf.d/theirs.conf:3'
    with pytest.raises(KitError, match=r"before this run.*repair /etc/nginx/conf.d/theirs.conf"):
        machine.deploy("v2")
    assert machine.config.read_text() == "v1"


def test_a_broken_file_of_our_own_does_not_stop_its_cure(machine: Machine) -> None:
    machine.deploy("v1")
    machine.config.write_text("half")
    machine.nginx.test_fails = lambda: (
        f"nginx: [emerg] unexpected end of file in {machine.config}:1" if machine.config.read_text() == "half" else ""
    )
    machine.deploy("v2")
    assert machine.config.read_text() == "v2"


def test_a_configuration_that_nginx_refuses_is_put_back_byte_for_byte(machine: Machine) -> None:
    machine.deploy("v1")
    machine.config.chmod(0o640)
    machine.nginx.test_fails = lambda: (
        f"nginx: [emerg] bad in {machine.config}:1" if machine.config.read_text() == "v2" else ""
    )
    with pytest.raises(KitError, match=r"was taken back: found nginx -t refuses it: nginx: \[emerg\] bad"):
        machine.deploy("v2")
    assert machine.config.read_text() == "v1"
    assert machine.config.stat().st_mode & 0o777 == 0o640
    assert machine.nginx.loaded["config"] == "v1"


def test_a_file_that_was_not_there_is_not_there_again(machine: Machine) -> None:
    machine.nginx.start()
    machine.nginx.test_fails = lambda: f"nginx: [emerg] bad in {machine.config}:1" if machine.config.exists() else ""
    with pytest.raises(KitError):
        machine.deploy("v1")
    assert not machine.config.exists()


def test_a_release_that_nginx_refuses_is_rolled_back(machine: Machine) -> None:
    machine.deploy("v1")
    good = machine.delivered.current().name
    bad = machine.new_release()
    key = machine.root / "releases" / "current" / "server.key"
    machine.nginx.test_fails = lambda: (
        f'nginx: [emerg] SSL_CTX_use_PrivateKey("{key}") failed' if machine.delivered.current().name == bad else ""
    )
    with pytest.raises(KitError, match=f"release {bad} was rolled back to {good}"):
        machine.deploy("v1")
    assert machine.nginx.loaded["release"] == good


def test_a_release_that_is_not_served_in_time_is_rolled_back_and_the_log_is_quoted(machine: Machine) -> None:
    machine.deploy("v1")
    good = machine.delivered.current().name
    bad = machine.new_release()
    machine.nginx.deaf = True
    with pytest.raises(KitError, match=rf"it would not.*release {bad} was rolled back to {good}"):
        machine.deploy("v1")
    assert machine.delivered.current().name == good


def test_the_trust_unit_never_goes_back(machine: Machine) -> None:
    machine.deploy("v1")
    machine.new_release()
    machine.delivered.pki.next_trust("0A1B")
    machine.delivered.release()
    id_map = machine.root / "releases" / "current" / "id.map"
    id_map.chmod(0o600)
    id_map.write_text('default "another";\n')
    with pytest.raises(KitError, match="was rolled back to"):
        machine.deploy("v1")
    assert machine.nginx.loaded["trust"] == "2"


def test_a_failure_of_the_configuration_leaves_the_release_alone(machine: Machine) -> None:
    machine.new_release()
    machine.deploy("v1")
    release = machine.delivered.current().name
    machine.nginx.deaf = True
    with pytest.raises(KitError, match="was taken back"):
        machine.deploy("v2")
    assert machine.delivered.current().name == release


def test_a_failed_way_back_is_loud_and_tells_the_steps_by_hand(machine: Machine) -> None:
    machine.deploy("v1")
    machine.nginx.test_fails = lambda: f"nginx: [emerg] bad in {machine.config}:1"
    with pytest.raises(KitError, match=r"AND SO DID TAKING IT BACK.*by hand: run 'nginx -t'"):
        machine.deploy("v2")


def test_no_way_back_from_the_first_release_is_said(machine: Machine) -> None:
    machine.config.write_text("v1")
    machine.nginx.start()
    machine.nginx.loaded["release"] = "older"
    machine.nginx.deaf = True
    with pytest.raises(KitError, match=r"no rollback \(no previous release\)"):
        machine.deploy("v1")


def test_a_site_that_was_not_there_before_keeps_its_release_when_its_configuration_fails(machine: Machine) -> None:
    machine.deploy("v1")
    machine.new_release()
    machine.deploy("v1")
    release = machine.delivered.current().name
    machine.nginx.loaded["site"] = "another"
    machine.nginx.deaf = True
    with pytest.raises(KitError, match="was taken back"):
        machine.deploy("v2")
    assert machine.delivered.current().name == release


def test_a_file_that_cannot_be_written_leaves_every_other_as_it_was(machine: Machine) -> None:
    machine.deploy("v1")
    folder = machine.config.parent / "taken"
    changes = deploy.plan_files([(machine.config, b"v2", 0o644), (folder / "file.conf", b"x", 0o644)], [])
    folder.write_text("a file where a folder should be")
    job = deploy.Deployment(machine.nginx, changes, [machine.config], [], [], 1, rollback)  # type: ignore[arg-type]
    with pytest.raises(KitError, match="it can't be written"):
        job.run(False)
    assert machine.config.read_text() == "v1"
    assert [path.name for path in machine.config.parent.iterdir() if path.name.startswith(".")] == []


def test_a_disk_that_fills_up_half_way_through_the_renames_is_put_right(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.deploy("v1")
    second = machine.config.parent / "second.conf"
    changes = deploy.plan_files([(machine.config, b"v2", 0o644), (second, b"x", 0o644)], [])
    settle = deploy.FileChange.settle

    def fail_on_second(change: deploy.FileChange, staged: Path | None) -> None:
        if change.path == second:
            raise OSError(28, "No space left on device", str(second))
        settle(change, staged)

    monkeypatch.setattr(deploy.FileChange, "settle", fail_on_second)
    job = deploy.Deployment(machine.nginx, changes, [machine.config], [], [], 1, rollback)  # type: ignore[arg-type]
    with pytest.raises(KitError, match="No space left on device"):
        job.run(False)
    assert machine.config.read_text() == "v1"
    assert not second.exists()


def test_a_missing_release_is_named_and_only_a_warning_in_check_mode(machine: Machine) -> None:
    (machine.root / "releases" / "current").unlink()
    with pytest.raises(KitError, match="no usable release"):
        machine.deploy("v1")
    assert "no usable release" in machine.deploy("v1", check_mode=True).warnings[0]


def test_an_encrypted_key_without_its_password_never_reaches_nginx(machine: Machine) -> None:
    password = machine.root / "releases" / "current" / "password"
    password.chmod(0o600)
    password.write_text("")
    with pytest.raises(KitError, match="an encrypted key and an empty"):
        machine.deploy("v1")
    assert machine.nginx.pid is None


def test_stop_ends_the_instance_and_removes_its_files(machine: Machine) -> None:
    machine.deploy("v1")
    changes = deploy.plan_files([], [machine.config])
    foreseen = deploy.stop(machine.nginx, changes, True)  # type: ignore[arg-type]
    assert machine.config.exists()
    assert deploy.stop(machine.nginx, changes, False).changes == foreseen.changes  # type: ignore[arg-type]
    assert not machine.config.exists()
    assert machine.nginx.pid is None
