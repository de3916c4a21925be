"""What is read from an Nginx, from its configuration and from the machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import nginx as gateway
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError

ANY = "0.0.0.0"  # noqa: S104 - compared, never bound

MAIN = r"""
http {
    # listen 1; in a comment
    server { listen 8081; }
    include conf.d/*.conf;
    include /no/such/*;
    server { include snippet; }
}
"""
THEIRS = r"""
map $uri $x { default "}"; '~^/a{2}' "{"; }
upstream u { server 10.0.0.1:80; }
server {
    listen 443 ssl http2 default_server;
    listen [::]:443 ssl;
    listen 192.0.2.1:8443;
    listen unix:/run/x.sock;
    listen 443 quic reuseport;
    server_name "a b;c" theirs.test;
    location ~ "\.(js|css)$" { return 200 "listen 9;"; }
    include ../nginx.conf;
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "nginx.conf").write_text(MAIN)
    (tmp_path / "snippet").write_text("listen *:9000; ssl on;")
    (tmp_path / "conf.d" / "theirs.conf").write_text(THEIRS)
    (tmp_path / "conf.d" / "zz-mtls-site-orders.conf").write_text("server { listen 0.0.0.0:444 ssl; }")
    (tmp_path / "conf.d" / ".hidden.conf").write_text("server { listen 445; }")
    return tmp_path


def read(main: Path) -> gateway.Configuration:
    return gateway.Configuration(main, lambda path: path.name.startswith("zz-mtls"))


def test_listeners_of_others_are_found_in_order_and_ours_are_not(folder: Path) -> None:
    found = read(folder / "nginx.conf")
    assert [(one["address"], one["port"], one["default"], one["ssl"], one["http2"]) for one in found.listeners] == [
        (ANY, 8081, False, False, False),
        (ANY, 443, True, True, True),
        ("::", 443, False, True, False),
        ("192.0.2.1", 8443, False, False, False),
        (ANY, 9000, False, True, False),
    ]
    assert found.listeners[1]["file"] == str(folder / "conf.d" / "theirs.conf")
    assert found.map_hash_set_in == str(folder / "conf.d" / "theirs.conf")


def test_a_setting_of_the_map_hash_is_found_without_a_map(tmp_path: Path) -> None:
    main = tmp_path / "nginx.conf"
    main.write_text("http { map_hash_max_size 4096; }")
    assert read(main).map_hash_set_in == str(main)


@pytest.mark.parametrize("text", ["", "server { listen", "}}}", "server { listen 'x", "{{{{", ";;", "include;"])
def test_a_configuration_cut_short_or_unbalanced_is_no_failure(tmp_path: Path, text: str) -> None:
    main = tmp_path / "nginx.conf"
    main.write_text(text)
    assert read(main).listeners == []
    assert read(tmp_path / "missing").listeners == []


def test_versions_of_nginx_and_of_the_openssl_it_runs_with() -> None:
    text = (
        "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.4.1 11 Feb 2025 (running with OpenSSL 3.5.4 30 Sep 2025)\n"
        "configure arguments: --conf-path=/etc/nginx/nginx.conf --pid-path=/run/nginx.pid"
    )
    assert gateway.version_numbers(text) == ([1, 26, 3], [3, 5, 4])
    assert gateway.compiled_path(text, "--pid-path") == "/run/nginx.pid"
    assert gateway.version_numbers("nginx version: openresty/1.25.3.1") == ([1, 25, 3, 1], [])


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('nginx: [emerg] unknown directive "foo" in /etc/nginx/conf.d/a.conf:12', "/etc/nginx/conf.d/a.conf"),
        ('nginx: [emerg] cannot load certificate "/etc/mtls/o/releases/current/server.crt": BIO_new_file() failed',
         "/etc/mtls/o/releases/current/server.crt"),
        ('nginx: [emerg] SSL_CTX_use_PrivateKey("/etc/mtls/o/k") failed (SSL: error:05800074)', "/etc/mtls/o/k"),
        ('nginx: [emerg] open() "/etc/x.map" failed (2: No such file or directory) in /etc/a.conf:3', "/etc/x.map"),
    ],
)  # fmt: skip
def test_paths_that_nginx_names(line: str, path: str) -> None:
    assert Path(path) in gateway.Verdict(False, (line,)).paths


def test_differences_name_what_is_on_disk_and_what_is_served() -> None:
    disk = gateway.Served("r2", "7", "c2", "aa", "01")
    assert gateway.Served("r2", "7", "c2", "aa", "01").differences(disk) == []
    assert gateway.Served("r1", "7", "", "bb", "02").differences(disk) == [
        "release r2 is on disk, r1 is served",
        "configuration c2 is on disk, another one is served",
        "serial 01 is on disk, 02 is served",
    ]
    # The same serial under another certificate: only the whole certificate tells.
    assert gateway.Served("r2", "7", "c2", "bb", "01").differences(disk) == ["certificate aa is on disk, bb is served"]


def test_a_port_that_another_process_holds_is_told_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(KitError, match=rf"port {port} on 0.0.0.0: found process {os.getpid()} \("):
            gateway.check_port(gateway.Listen(ANY, port), None)
        gateway.check_port(gateway.Listen("127.0.0.2", port), None)
        gateway.check_port(gateway.Listen("127.0.0.1", port), os.getpid())
    gateway.check_port(gateway.Listen("127.0.0.1", port), None)


@pytest.mark.skipif(not gateway.has_ipv6(), reason="this machine has no IPv6")
def test_a_socket_for_both_families_holds_the_port_of_ipv4_and_one_for_ipv6_alone_does_not() -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both,
        pytest.raises(KitError, match="listening there"),
    ):
        gateway.check_port(gateway.Listen(ANY, both.getsockname()[1]), None)
    with socket.create_server(("::", 0), family=socket.AF_INET6) as alone:
        gateway.check_port(gateway.Listen(ANY, alone.getsockname()[1]), None)
        with pytest.raises(KitError, match="listening there"):
            gateway.check_port(gateway.Listen("::1", alone.getsockname()[1]), None)


def test_a_port_on_ipv6_only_leaves_ipv4_free(tmp_path: Path) -> None:
    table = tmp_path / "tcp6"
    zero, one = "0" * 32, "0" * 24 + "01000000"
    table.write_text(
        "sl local_address rem_address st\n"
        f"0: {zero}:01BB {zero}:0000 0A 0:0 0:0 0 1000 0 4242\n"
        f"1: {one}:0050 {zero}:0000 0A 0:0 0:0 0 0 0 4243\n"
        f"2: {one}:0051 {one}:0000 01 0:0 0:0 0 0 0 4244\n"
    )
    assert list(gateway.listeners([table, tmp_path / "missing"])) == [
        gateway.Listener("::", 443, "4242", 1000),
        gateway.Listener("::1", 80, "4243", 0),
    ]


def test_an_address_of_another_machine_is_refused() -> None:
    gateway.check_address(gateway.Listen("127.0.0.1", 443))
    with pytest.raises(KitError, match=r"192\.0\.2\.7: found no such address"):
        gateway.check_address(gateway.Listen("192.0.2.7", 443))


def test_a_missing_program_is_named() -> None:
    with pytest.raises(KitError, match="program no-such-nginx"):
        gateway.Nginx(gateway.Instance(binary="no-such-nginx"))


def test_a_program_that_waits_for_a_terminal_is_ended() -> None:
    with pytest.raises(KitError, match="no end after 0 seconds"):
        gateway.run(["sleep", "5"], 0.2)
    assert gateway.run(["cat"]).stdout == ""


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_test_keeps_nginx_own_lines_and_leaves_reassurance_out(tmp_path: Path) -> None:
    binary = _script(
        tmp_path / "nginx",
        'echo "nginx: [warn] something" >&2; echo "nginx: the configuration file /a syntax is ok" >&2; '
        'echo "nginx: configuration file /a test failed" >&2; exit 1',
    )
    assert gateway.Nginx(gateway.Instance(binary=binary)).test() == gateway.Verdict(False, ("nginx: [warn] something",))


def test_an_own_instance_is_addressed_by_its_folder_and_logs_there(tmp_path: Path) -> None:
    binary = _script(tmp_path / "nginx", "exit 0")
    instance = gateway.Instance(binary, "/p", "/p/nginx.conf", "/p/nginx.pid", "/p/error.log")
    assert gateway.Nginx(instance).command("-t") == [
        binary, "-p", "/p", "-c", "/p/nginx.conf", "-e", "/p/error.log", "-t",
    ]  # fmt: skip
    assert gateway.Nginx(gateway.Instance(binary, error_log="/var/log/x")).command("-t") == [binary, "-t"]


def test_a_pid_file_that_leads_to_another_program_is_no_master(tmp_path: Path) -> None:
    binary = _script(tmp_path / "nginx", "exit 0")
    pid_file = tmp_path / "nginx.pid"
    nginx = gateway.Nginx(gateway.Instance(binary, pid_file=str(pid_file)))
    assert nginx.master() is None
    for text in (str(os.getpid()), "", "x", "999999999"):
        pid_file.write_text(text)
        assert nginx.master() is None


def test_only_serious_lines_since_the_reload_are_quoted(tmp_path: Path) -> None:
    binary = _script(tmp_path / "nginx", "exit 0")
    log = tmp_path / "error.log"
    log.write_text("[emerg] old\n")
    nginx = gateway.Nginx(gateway.Instance(binary, error_log=str(log)))
    begin = nginx.log_end()
    with log.open("a") as more:
        more.write("[notice] fine\n" + "".join(f"[emerg] {number}\n" for number in range(5)))
    assert nginx.log_since(begin) == ["[emerg] 2", "[emerg] 3", "[emerg] 4"]


def test_the_largest_map_counts(tmp_path: Path) -> None:
    unit = tmp_path / "orders" / "trust" / "7"
    unit.mkdir(parents=True)
    (unit.parent / "current").symlink_to("7")
    (unit / "revoked.map").write_text("a\n" * 3)
    (unit / "identities.map").write_text("a\n" * 5)
    assert gateway.map_entries([tmp_path / "orders", tmp_path / "none"]) == 5
