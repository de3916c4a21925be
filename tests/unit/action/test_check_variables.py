"""The action in real runs, against the interfaces that the roles really have."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.action.conftest import Run

Play = Callable[..., Run]

ALL = [{"name": "Verify", "mtls.kit.check_variables": None}]
GOOD = {
    "key_password_paths": ["ca/root", "client/{{ client }}"],
    "key_password_generate": "true",
    "client": "alice",
    "__key_password_private": 1,
    "key_passwords_of_another_role": 1,
}


def test_good_variables_pass_without_a_connection(play: Play) -> None:
    run = play(ALL, {"nowhere.invalid": GOOD})
    assert run.returncode == 0, run.output
    assert "changed=0" in run.output


def test_all_faults_of_each_host_are_told_at_once(play: Play) -> None:
    hosts = {
        "good": GOOD,
        "bad1": {**GOOD, "key_password_bakend": "x", "key_password_generate": "perhaps"},
        "bad2": {**GOOD, "key_password_options": "{{ nowhere }}"},
        "bad3": {"key_pasword_backend": "ansible_vault"},
    }
    run = play(ALL, hosts)
    assert run.returncode == 2
    assert "2 faults in the variables of bad1:" in run.output
    assert "1. key_password_bakend: found an unknown variable; expected one of the key_password role's" in run.output
    assert "nearest is key_password_backend" in run.output
    assert "2. key_password_generate: found the text 'perhaps'; expected true or false" in run.output
    assert "key_password_options: found a template in which 'nowhere' is undefined" in run.output
    assert "key_pasword_backend: no role has such a variable, is key_password_backend meant?" in run.output
    for host, failed in (("good", 0), ("bad1", 1), ("bad2", 1), ("bad3", 0)):
        [recap] = [line for line in run.output.splitlines() if line.startswith(host) and "ok=" in line]
        assert f"failed={failed}" in recap


def test_only_the_roles_that_are_asked_for(play: Play) -> None:
    bad = {"host": {"key_password_bakend": "x"}}
    assert play([{"mtls.kit.check_variables": {"roles": ["client_bundle"]}}], bad).returncode == 0
    assert play([{"mtls.kit.check_variables": {"roles": ["key_password"]}}], bad).returncode == 2


def test_an_unknown_role_is_told(play: Play) -> None:
    run = play([{"mtls.kit.check_variables": {"roles": ["key_pasword"]}}], {"host": {}})
    assert run.returncode == 2
    assert "check_variables, roles: found key_pasword; expected some of" in run.output


def test_a_secret_of_the_wrong_type_isnt_shown(play: Play) -> None:
    run = play(
        ALL, {"host": {"client_bundle_passwords": ["hunter2hunter2"], "key_password_paths": 7}}, "-vvvv", "--diff"
    )
    assert run.returncode == 2
    assert "2 faults in the variables of host" in run.output
    assert "client_bundle_passwords: found a list; expected a text" in run.output
    assert "hunter2" not in run.output


def test_a_site_that_accepts_an_issuing_ca_the_ca_host_doesnt_have(play: Play) -> None:
    site = {"name": "orders", "server_names": ["orders.example.com"], "backend": "http://127.0.0.1:8080"}
    hosts = {
        "authority": {"pki_name": "test", "pki_issuing": [{"name": "staff"}, {"name": "partners"}]},
        "gw1": {"nginx_mtls_sites": [{**site, "accept_issuers": ["stuff"]}]},
        "gw2": {"nginx_mtls_sites": [{**site, "accept_issuers": ["staff"]}]},
    }
    run = play(ALL, hosts, groups={"ca": ["authority"]})
    assert "accept_issuers of site 'orders': found stuff; expected issuing CAs with the purpose client" in run.output
    for host, failed in (("authority", 0), ("gw1", 1), ("gw2", 0)):
        [recap] = [line for line in run.output.splitlines() if line.startswith(host) and "ok=" in line]
        assert f"failed={failed}" in recap
