"""The modules nginx_site and nginx_info as Ansible calls them, with a program that stands in for Nginx."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.mtls.kit.plugins.modules import nginx_info, nginx_site


class Exit(Exception):
    """Carries what the module would print."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        super().__init__(str(result))


@pytest.fixture(autouse=True)
def _catch_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_module: basic.AnsibleModule, **result: Any) -> None:
        raise Exit(result)

    def failed(_module: basic.AnsibleModule, **result: Any) -> None:
        raise Exit({"failed": True, **result})

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", failed)


def run(module: Any, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    with patch_module_args(arguments | more), pytest.raises(Exit) as end:
        module.main()
    return end.value.result


# A program that takes Nginx's options, runs under its name and ends when it is told to.
PROGRAM = """#!/bin/sh
case "$*" in
  *-V*) echo "nginx version: nginx/1.26.3
built with OpenSSL 3.5.4 30 Sep 2025
configure arguments: --conf-path=@/nginx.conf --pid-path=@/nginx.pid" >&2 ;;
  *-t*) grep -q broken @/conf.d/*.conf && { echo 'nginx: [emerg] "broken" in @/conf.d/site.conf:1' >&2; exit 1; } ;;
  *) setsid -f @/daemon/nginx 60 >/dev/null 2>&1; sleep 0.1; pgrep -f @/daemon/nginx >@/nginx.pid ;;
esac
exit 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "nginx").symlink_to("/bin/sleep")
    (tmp_path / "nginx").write_text(PROGRAM.replace("@", str(tmp_path)))
    (tmp_path / "nginx").chmod(0o755)
    (tmp_path / "nginx.conf").write_text("http {\n include conf.d/*.conf;\n include sites-enabled/*;\n}\n")
    yield tmp_path
    pid_file = tmp_path / "nginx.pid"
    if pid_file.exists() and pid_file.read_text().strip().isdigit():
        subprocess.run(["kill", "-KILL", pid_file.read_text().strip()], capture_output=True, check=False)


def arguments(folder: Path, content: str = "a site", **more: Any) -> dict[str, Any]:
    return {
        "instance": {"binary": str(folder / "nginx"), "pid_file": str(folder / "nginx.pid")},
        "files": [{"path": str(folder / "conf.d" / "site.conf"), "content": content}],
        "poll_seconds": 1,
        **more,
    }


def test_files_are_written_and_nginx_is_started_once(folder: Path) -> None:
    foreseen = run(nginx_site, arguments(folder), _ansible_check_mode=True)
    assert not (folder / "conf.d" / "site.conf").exists()
    done = run(nginx_site, arguments(folder))
    assert done["changes"] == foreseen["changes"] == [
        {"name": str(folder / "conf.d" / "site.conf"), "action": "write", "reason": "write: new"},
        {"name": "nginx", "action": "reload", "reason": "reload: it isn't running: start it"},
    ]  # fmt: skip
    assert (folder / "conf.d" / "site.conf").stat().st_mode & 0o777 == 0o644
    again = run(nginx_site, arguments(folder))
    assert (again["changed"], again["changes"]) == (False, [])


def test_a_refused_configuration_is_put_back_and_the_module_fails_with_nginx_own_words(folder: Path) -> None:
    (folder / "conf.d" / "site.conf").write_text("a site")
    result = run(nginx_site, arguments(folder, "broken"))
    assert result["failed"]
    assert "[emerg]" in result["msg"]
    assert (folder / "conf.d" / "site.conf").read_text() == "a site"


def test_the_difference_is_shown_when_asked_for(folder: Path) -> None:
    (folder / "conf.d" / "site.conf").write_text("old\n")
    result = run(nginx_site, arguments(folder, "new\n"), _ansible_check_mode=True, _ansible_diff=True)
    path = str(folder / "conf.d" / "site.conf")
    assert result["diff"] == [{"before": "old\n", "after": "new\n", "before_header": path, "after_header": path}]
    assert "diff" not in run(nginx_site, arguments(folder, "new\n"), _ansible_check_mode=True)


def test_a_missing_program_fails_the_run_and_is_foreseen_as_not_installed_yet(folder: Path) -> None:
    wanted = arguments(folder) | {"instance": {"binary": "no-such-nginx"}}
    assert "no such program" in run(nginx_site, wanted)["msg"]
    foreseen = run(nginx_site, wanted, _ansible_check_mode=True)
    assert foreseen["changes"][-1]["reason"] == "reload: it isn't installed yet: start it"


def test_checked_tells_what_would_keep_the_sites_from_being_served_and_changes_nothing(folder: Path) -> None:
    def site(backend: str) -> dict[str, Any]:
        return {"name": "a", "root": str(folder / "a"), "port": 1, "server_name": "a.test", "backends": [backend]}

    for instance in ({"binary": "no-such-nginx"}, arguments(folder)["instance"]):
        wanted = arguments(folder, state="checked", instance=instance)
        right = run(nginx_site, wanted | {"sites": [site("127.0.0.1:9")]})
        assert (right["changed"], right["changes"]) == (False, [])
        wrong = run(nginx_site, wanted | {"sites": [site("nowhere.invalid:9")]})
        assert "site 'a', backend nowhere.invalid:9: found a host name that doesn't resolve" in wrong["msg"]
    (folder / "conf.d" / "foreign.conf").write_text("broken")
    broken = run(nginx_site, arguments(folder, state="checked", files=[]))
    assert "Nginx's configuration, before this run changed anything" in broken["msg"]
    assert not (folder / "conf.d" / "site.conf").exists()
    assert not (folder / "nginx.pid").exists()


def test_stopped_ends_the_process_and_takes_the_files_away(folder: Path) -> None:
    run(nginx_site, arguments(folder))
    pid = int((folder / "nginx.pid").read_text())
    wanted = arguments(folder, state="stopped", files=[], absent=[str(folder / "conf.d" / "site.conf")])
    result = run(nginx_site, wanted)
    assert [change["action"] for change in result["changes"]] == ["remove", "remove"]
    assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
    assert not (folder / "conf.d" / "site.conf").exists()
    assert run(nginx_site, wanted)["changed"] is False


def test_info_tells_layout_versions_and_who_listens(folder: Path) -> None:
    (folder / "conf.d" / "theirs.conf").write_text("server { listen 443 ssl; }")
    (folder / "conf.d" / "00-mtls-http.conf").write_text("map_hash_max_size 4096;")
    result = run(nginx_info, {"binary": str(folder / "nginx")})
    assert (result["version"], result["openssl"], result["installed"]) == ([1, 26, 3], [3, 5, 4], True)
    assert result["site_directory"] == str(folder / "sites-enabled")
    assert result["http_directory"] == str(folder / "conf.d")
    assert result["pid_file"] == str(folder / "nginx.pid")
    assert [one["port"] for one in result["listeners"]] == [443]
    assert result["ours"] == [str(folder / "conf.d" / "00-mtls-http.conf")]
    assert result["map_hash_set_in"] == ""


def test_info_of_a_main_configuration_without_a_place_for_sites_is_a_clear_failure(folder: Path) -> None:
    (folder / "nginx.conf").write_text("http { server { listen 80; } }")
    assert "no include of conf.d" in run(nginx_info, {"binary": str(folder / "nginx")})["msg"]


def test_info_without_nginx_is_what_debian_would_have(folder: Path) -> None:
    result = run(nginx_info, {"binary": "no-such-nginx"})
    assert result["installed"] is False
    assert result["site_directory"] == "/etc/nginx/sites-enabled"


def test_info_of_an_own_instance_looks_at_its_folder_alone(folder: Path) -> None:
    assert run(nginx_info, {"binary": str(folder / "nginx"), "prefix": str(folder)})["ours"] == [
        str(folder / "nginx.conf")
    ]
