"""From variables to Nginx's files: placed beside what is there, never with a value that means something to Nginx."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.filter.nginx_plan import nginx_plan, nginx_site_problems

TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "nginx_mtls" / "templates"
ANY = "0.0.0.0"  # noqa: S104 - compared, never bound


def site(**more: Any) -> dict[str, Any]:
    return {"name": "orders", "server_names": ["orders.test"], "backend": "http://127.0.0.1:8080", **more}


def listener(address: str = ANY, port: int = 443, **more: Any) -> dict[str, Any]:
    return {"address": address, "port": port, "default": False, "ssl": True, "http2": False, "file": "/etc/x", **more}


def info(**more: Any) -> dict[str, Any]:
    return {
        "version": [1, 22, 1],
        "openssl": [3, 0, 15],
        "ipv6": True,
        "systemd": True,
        "config_directory": "/etc/nginx",
        "site_directory": "/etc/nginx/sites-enabled",
        "http_directory": "/etc/nginx/conf.d",
        "pid_file": "/run/nginx.pid",
        "listeners": [],
        "ours": [],
        "package": "1.22.1-9+deb12u11",
        "chains": {},
        "trust": {},
        "map_hash_set_in": "",
        "variables_hash_set_in": "",
        "map_entries": 0,
        "included": [],
        "debugs": True,
        "debug_binary": "",
        "unit": "nginx.service",
        "shutdown_timeout": "300s",
        **more,
    }


def plan(*sites: dict[str, Any], found: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    defaults = {
        "root": "/etc/mtls",
        "instance": "packaged",
        "prefix": "/opt/own",
        "service": "auto",
        "binary": "nginx",
        "removed": "report",
        "revocation": "map",
        "crl_renewed": False,
        "resumption": False,
        "templates": str(TEMPLATES),
    }
    return nginx_plan(list(sites), {**defaults, **settings}, found or info())


def content(result: dict[str, Any], name: str) -> str:
    (found,) = [file["content"] for file in result["files"] if file["path"].endswith(name)]
    return found


def listens(result: dict[str, Any], name: str) -> list[str]:
    return re.findall(r"^    listen (.*);$", content(result, name), re.MULTILINE)


def test_a_site_listens_for_everybody_and_unknown_names_get_no_session() -> None:
    result = plan(site())
    assert listens(result, "site-orders.conf") == [f"{ANY}:443 ssl http2", "[::]:443 ssl http2"]
    assert listens(result, "gateway.conf") == [
        f"{ANY}:443 ssl http2 default_server",
        "[::]:443 ssl http2 default_server",
    ]
    assert "ssl_reject_handshake on;" in content(result, "gateway.conf")
    assert result["warnings"] == []


def test_ipv6_is_listened_on_only_where_the_machine_has_it() -> None:
    assert listens(plan(site(), found=info(ipv6=False)), "site-orders.conf") == [f"{ANY}:443 ssl http2"]


def test_newer_nginx_and_openssl_get_their_own_forms() -> None:
    result = plan(site(), found=info(version=[1, 26, 3], openssl=[3, 5, 1]))
    text = content(result, "site-orders.conf")
    assert listens(result, "site-orders.conf")[0] == f"{ANY}:443 ssl"
    assert "    http2 on;\n" in text
    assert "ssl_ecdh_curve X25519MLKEM768:X25519:" in text


def test_modern_is_tls_1_3_alone() -> None:
    assert "ssl_protocols TLSv1.3;" in content(plan(site(tls="modern")), "site-orders.conf")
    assert "ssl_protocols TLSv1.3;" in content(plan(site(tls="modern")), "gateway.conf")


def test_overrides_of_tls_are_taken_as_they_are_and_old_suites_are_warned_of() -> None:
    result = plan(site(tls_ciphers=["ECDHE-RSA-AES128-SHA"], tls_protocols=["TLSv1.2"], tls_groups=["X448"]))
    text = content(result, "site-orders.conf")
    assert "ssl_ciphers ECDHE-RSA-AES128-SHA:@SECLEVEL=2;" in text
    assert "ssl_protocols TLSv1.2;" in text
    assert "ssl_ecdh_curve X448;" in text
    assert "lacks forward secrecy or authenticated encryption" in result["warnings"][0]
    assert nginx_site_problems([site(), site(name="b", server_names=["b.test"], tls_groups=["X448"])])


def test_a_foreign_default_server_is_never_replaced() -> None:
    found = info(listeners=[listener(), listener("::")])
    result = plan(site(addresses=["192.0.2.1"]), found=found)
    assert not any("default_server" in line for line in listens(result, "site-orders.conf"))
    assert listens(result, "gateway.conf") == []
    assert "which stays" in result["warnings"][1]
    assert "clients that call 192.0.2.1" in result["warnings"][0]
    assert len(result["warnings"]) == 2


def test_http2_of_a_shared_listener_stays_as_it_is_for_others() -> None:
    assert listens(plan(site(), found=info(listeners=[listener()])), "site-orders.conf") == [
        f"{ANY}:443 ssl",
        "[::]:443 ssl http2",
    ]
    found = info(listeners=[listener(http2=True)])
    assert listens(plan(site(), found=found), "site-orders.conf")[0] == f"{ANY}:443 ssl http2"


def test_a_foreign_listener_of_one_address_is_shared_so_that_our_names_are_reached_there() -> None:
    result = plan(site(), found=info(listeners=[listener("192.0.2.1")]))
    assert "192.0.2.1:443 ssl" in listens(result, "site-orders.conf")
    assert not any("192.0.2.1" in line for line in listens(result, "gateway.conf"))


def test_a_port_that_others_use_without_tls_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="without TLS in /etc/x"):
        plan(site(), found=info(listeners=[listener(ssl=False)]))


def test_a_site_that_is_called_by_address_answers_clients_without_a_name_there_alone() -> None:
    result = plan(site(addresses=["192.0.2.1"]), site(name="stock", server_names=["stock.test"]))
    assert "192.0.2.1:443 ssl http2 default_server" in listens(result, "site-orders.conf")
    assert "192.0.2.1:443 ssl http2" in listens(result, "site-stock.conf")
    assert len(listens(result, "gateway.conf")) == 2
    text = content(result, "site-orders.conf")
    assert '"192.0.2.1" 1;' in text
    assert 'if ($mtls_orders_known = "") {' in text
    assert "_known" not in content(result, "site-stock.conf")


def test_listen_addresses_are_the_only_ones() -> None:
    result = plan(site(listen_addresses=["192.0.2.1", "2001:DB8::1"]))
    assert listens(result, "site-orders.conf") == ["192.0.2.1:443 ssl http2", "[2001:db8::1]:443 ssl http2"]
    assert result["sites"][0]["address"] == "192.0.2.1"
    assert plan(site(listen_addresses=["::"]))["sites"][0]["address"] == "::1"
    assert plan(site(server_names=["*.orders.test"]))["sites"][0]["server_name"] == "any.orders.test"


def test_variables_of_two_sites_never_meet() -> None:
    result = plan(site(), site(name="orders-name", server_names=["b.test"]))
    defined = [
        re.findall(r"^map .* \$(\w+) \{$", content(result, f"site-{name}.conf"), re.MULTILINE)
        for name in ("orders", "orders-name")
    ]
    assert set(defined[0]).isdisjoint(defined[1])
    assert all(name.startswith("mtls_orders_name_") for name in defined[1])


def test_every_variable_of_a_site_is_defined() -> None:
    result = plan(site(addresses=["192.0.2.1"]))
    text = "".join(file["content"] for file in result["files"])
    defined = set(re.findall(r"^map .* \$(\w+) \{$|^ +set \$(\w+) ", text, re.MULTILINE))
    assert set(re.findall(r"\$(mtls_\w+)", text)) == {one or other for one, other in defined}


def test_one_include_names_every_header_once_and_the_only_proxied_location_has_it() -> None:
    result = plan(site())
    headers = re.findall(r"^proxy_set_header (\S+) ", content(result, "orders-identity.conf"), re.MULTILINE)
    assert len(headers) == len({header.lower() for header in headers})
    assert {"VERIFIED", "DN", "X-Client-Name", "X-Client-Cert", "Client-Cert", "Forwarded", "X-Forwarded-For"} <= set(
        headers
    )
    text = content(result, "site-orders.conf")
    assert text.count("proxy_pass ") == text.count("include /etc/nginx/mtls/orders-identity.conf;") == 1
    assert "proxy_set_header" not in text


def test_every_location_is_proxied_with_its_kind_s_include_and_none_sets_a_header_of_its_own() -> None:
    grpc = [{"path": "/rpc", "backend": "grpc://127.0.0.1:1"}, {"path": "/a", "allow": {"names": ["alice"]}}]
    result = plan(site(locations=grpc))
    text = content(result, "site-orders.conf")
    assert text.count("proxy_pass ") == text.count("-identity.conf;") == 3
    assert text.count("grpc_pass ") == text.count("-grpc.conf;") == 2
    assert "_set_header" not in text
    told = [re.findall(r"_set_header (\S+)", content(result, f"orders-{name}.conf")) for name in ("identity", "grpc")]
    assert set(told[0]) - set(told[1]) == {"Connection", "Upgrade"}
    assert set(told[1]) < set(told[0])


def test_redirects_listen_beside_what_is_there() -> None:
    result = plan(site(redirect_port=80))
    assert f"    listen {ANY}:80;" in content(result, "site-orders.conf")
    assert f"    listen {ANY}:80 default_server;" in content(result, "gateway.conf")
    assert {"address": "::", "port": 80} in result["sites"][0]["listens"]
    beside = plan(
        site(redirect_port=80), found=info(listeners=[listener(port=80, ssl=False), listener("::", 80, ssl=False)])
    )
    assert ":80 default_server" not in content(beside, "gateway.conf")
    with pytest.raises(AnsibleFilterError, match=r"redirect_port.*with TLS in /etc/x"):
        plan(site(redirect_port=80), found=info(listeners=[listener(port=80)]))
    with pytest.raises(AnsibleFilterError, match=r"redirect_port.*speaks TLS"):
        plan(site(redirect_port=443))


def test_a_public_ca_gets_its_answers_and_nothing_else_without_tls() -> None:
    answers = """    location ~ "^/\\.well-known/acme-challenge/([A-Za-z0-9_-]{16,128})$" {
        default_type text/plain;
        alias /var/lib/mtls-kit/acme-challenge/$1;
    }
"""
    alone = content(plan(site(certificate="acme")), "site-orders.conf")
    assert f"    listen {ANY}:80;" in alone
    assert answers in alone
    assert "    location / {\n        return 404;\n    }" in alone
    redirecting = content(plan(site(certificate="acme", redirect_port=8080)), "site-orders.conf")
    assert f"    listen {ANY}:8080;" in redirecting
    assert answers in redirecting
    assert "    location / {\n        return 308 https://$host$request_uri;\n    }" in redirecting
    for other in (site(), site(redirect_port=80), site(certificate="acme", challenge="dns-01")):
        assert "acme-challenge" not in content(plan(other), "site-orders.conf")
    with pytest.raises(AnsibleFilterError, match=r"challenge: found '.*:80 with TLS in /etc/x'"):
        plan(site(certificate="acme"), found=info(listeners=[listener(port=80)]))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"certificate": "letsencrypt"}, "certificate: found 'letsencrypt'; expected private or acme"),
        ({"challenge": "tls-alpn-01"}, "expected http-01 or dns-01"),
        ({"addresses": ["192.0.2.7"]}, "public CAs sign host names"),
        ({"server_names": ["*.orders.test"]}, "challenge: found 'http-01 for"),
        ({"server_names": ["orders"]}, "names with a domain"),
        ({"key_type": "ed25519"}, "a type that public CAs sign"),
    ],
)
def test_what_no_public_ca_signs_is_refused(wish: dict[str, Any], message: str) -> None:
    assert message in nginx_site_problems([site(**{"certificate": "acme", **wish})])[0]
    assert nginx_site_problems([site(certificate="acme", challenge="dns-01", server_names=["*.orders.test"])]) == []


def test_the_chain_of_an_issuing_ca_comes_from_the_trust_unit_of_its_site() -> None:
    found = info(chains={"/etc/mtls/orders": [{"issuer": "CN=a.b Issuing G1", "value": ":AA==:"}]})
    text = content(plan(site(headers={"client_cert_chain": ["Client-Cert-Chain"]}), found=found), "orders-clients.conf")
    assert r'"~^CN=a\\.b Issuing G1$" ":AA==:";' in text
    assert "client_cert_chain" not in content(plan(site(), found=found), "orders-clients.conf")


def test_a_package_that_lacks_a_fix_is_warned_of() -> None:
    (warning,) = plan(site(), found=info(package="1.22.1-9+deb12u9"))["warnings"]
    assert "lacks the fix of CVE-2026-42533" in warning


UNIT = {"/etc/mtls/orders": {"number": 7, "revoked": 3000, "crl_days": 6}}


def test_lists_are_enforced_only_where_they_cannot_expire_unnoticed() -> None:
    with pytest.raises(AnsibleFilterError, match="expires in 6 days and nothing that renews it"):
        plan(site(), revocation="crl", found=info(trust=UNIT))
    result = plan(site(), revocation="crl", crl_renewed=True, found=info(trust=UNIT))
    assert "ssl_crl /etc/mtls/orders/trust/current/crl.pem;" in content(result, "site-orders.conf")
    assert "revoked.map" not in content(result, "orders-clients.conf")
    assert "3000 revoked certificates" in result["warnings"][0]
    long = {"/etc/mtls/orders": {"number": 7, "revoked": 2000, "crl_days": 30}}
    both = plan(site(), revocation="both", found=info(trust=long))
    assert "revoked.map" in content(both, "orders-clients.conf")
    assert both["warnings"] == []
    assert "ssl_crl" not in content(plan(site(), found=info(trust=UNIT)), "site-orders.conf")


def test_lists_alone_are_refused_where_somebody_else_s_default_server_keeps_the_sessions() -> None:
    found = info(trust=UNIT, listeners=[listener(port=8443), listener("::", file="/etc/nginx/other.conf")])
    with pytest.raises(AnsibleFilterError, match=r"port 443, whose default server is in /etc/nginx/other\.conf"):
        plan(site(), revocation="crl", crl_renewed=True, found=found)
    for settings in ({"revocation": "both", "crl_renewed": True}, {"revocation": "map"}):
        assert "may resume them here" in plan(site(), found=found, **settings)["warnings"][0]
    assert plan(site(port=444), revocation="crl", crl_renewed=True, found=found)["files"]
    # Which server is the default of a port is not looked for where all of them are somebody else's.
    served = info(trust=UNIT, included=["/etc/nginx/mtls/orders-server.conf"])
    included = {"instance": "includes", "crl_renewed": True, "found": served}
    assert "holds in your own servers only" in str(plan(site(), revocation="crl", **included)["warnings"])
    assert "holds in your own" not in str(plan(site(), revocation="both", **included)["warnings"])


def test_a_new_trust_unit_ends_the_sessions_of_before() -> None:
    assert "ssl_session_cache off;" in content(plan(site(), found=info(trust=UNIT)), "site-orders.conf")
    result = plan(site(), resumption=True, found=info(trust=UNIT))
    for name in ("site-orders.conf", "gateway.conf"):
        assert "ssl_session_cache shared:mtls_443_1_7:10m;" in content(result, name)
        assert "ssl_session_tickets off;" in content(result, name)


def test_a_bare_on_of_yaml_is_on() -> None:
    assert plan(site(verify=True)) == plan(site())


def test_many_variables_get_a_larger_hash_unless_others_have_set_it() -> None:
    many = site(locations=[{"path": f"/a{number}", "allow": {"names": ["alice"]}} for number in range(20)])
    assert "variables_hash_max_size 4096;" in content(plan(many), "00-mtls-http.conf")
    others = plan(many, found=info(variables_hash_set_in="/etc/x"))
    assert not [file for file in others["files"] if file["path"].endswith("00-mtls-http.conf")]


def test_any_change_of_any_file_changes_the_fingerprint() -> None:
    one, other = plan(site()), plan(site(backend_timeout=61))
    assert one["sites"][0]["config"] != other["sites"][0]["config"]
    assert f'default "{one["sites"][0]["config"]}";' in content(one, "gateway.conf")
    assert plan(site()) == one


def test_an_own_instance_touches_nothing_outside_its_folder() -> None:
    result = plan(site(), instance="own")
    assert all(file["path"].startswith("/opt/own/") for file in result["files"])
    assert result["instance"]["service"] == "signals"
    assert "include /opt/own/conf.d/*.conf;" in content(result, "nginx.conf")
    assert not re.search(r"/(var|run|etc/nginx)/", "".join(file["content"] for file in result["files"]))
    with pytest.raises(AnsibleFilterError, match="has no unit"):
        plan(site(), instance="own", service="systemd")


def test_the_service_follows_the_machine() -> None:
    assert plan(site())["instance"]["service"] == "systemd"
    assert plan(site(), found=info(systemd=False))["instance"]["service"] == "signals"


def test_old_workers_live_longer_than_the_longest_request() -> None:
    text = content(plan(site(backend_timeout=1000), instance="own"), "nginx.conf")
    assert "worker_shutdown_timeout 2000s;" in text


def test_large_maps_get_a_large_hash_unless_others_have_settled_it() -> None:
    assert "map_hash_max_size 8192;" in content(plan(site(), found=info(map_entries=3000)), "00-mtls-http.conf")
    settled = plan(site(), found=info(map_entries=3000, map_hash_set_in="/etc/x"))
    assert not [file for file in settled["files"] if file["path"].endswith("00-mtls-http.conf")]
    assert "settled by /etc/x" in settled["warnings"][0]


def test_files_of_sites_that_left_the_list_are_reported_or_removed() -> None:
    left = ["/etc/nginx/sites-enabled/zz-mtls-site-old.conf", "/etc/nginx/conf.d/00-mtls-http.conf"]
    reported = plan(site(), found=info(ours=left))
    assert reported["absent"] == left[1:]
    assert left[0] in reported["warnings"][0]
    assert plan(site(), found=info(ours=left), removed="remove")["absent"] == left


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "Orders"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a" * 33}, "name"),
        ({"server_names": []}, "server_names"),
        ({"server_names": ["a b"]}, "server_names"),
        ({"server_names": ["a.test;"]}, "server_names"),
        ({"server_names": ["~^.*$"]}, "server_names"),
        ({"server_names": ["bücher.test"]}, "server_names"),
        ({"addresses": ["192.0.2.1:443"]}, "addresses"),
        ({"listen_addresses": ["[::1]"]}, "listen_addresses"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": "https"}, "port"),
        ({"backend": ""}, "backend"),
        ({"backend": "127.0.0.1:8080"}, "backend"),
        ({"backend": "ftp://127.0.0.1:8080"}, "backend"),
        ({"backend": "https://127.0.0.1:8443"}, r"backend_tls\.name"),
        ({"backend": "https://a:1", "more_backends": ["http://a:1"]}, "more_backends"),
        ({"backend_tls": {"name": "a"}}, "backend_tls"),
        ({"backend": "https://a:1", "backend_tls": {"names": "a"}}, r"backend_tls\.names"),
        ({"backend": "https://a:1", "backend_tls": {"key": "/k"}}, "backend_tls"),
        (
            {"backend": "https://a:1", "backend_tls": {"trusted_certificate": "/a;b"}},
            r"backend_tls\.trusted_certificate",
        ),
        ({"balance": "random"}, "balance"),
        ({"tls_protocols": ["TLSv1.1"]}, "tls_protocols"),
        ({"tls_protocols": ["SSLv3"]}, "tls_protocols"),
        ({"tls_ciphers": ["aNULL"]}, "tls_ciphers"),
        ({"tls_ciphers": ["ALL"]}, "tls_ciphers"),
        ({"tls_ciphers": ["ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"]}, "tls_ciphers"),
        ({"tls_ciphers": ["ECDHE-RSA-NULL-SHA"]}, "tls_ciphers"),
        ({"tls_ciphers": ["DES-CBC3-SHA"]}, "tls_ciphers"),
        ({"tls_ciphers": ["AECDH-AES128-SHA"]}, "tls_ciphers"),
        ({"tls_groups": ["secp192r1"]}, "tls_groups"),
        ({"verify": "off"}, "verify"),
        ({"verify": "optional"}, "verify"),
        ({"locations": [{"path": "/a", "certificate": "none"}]}, "verify"),
        ({"locations": [{"path": "/a"}, {"path": "/a/"}]}, "locations"),
        ({"locations": [{"path": "/a", "methods": "GET"}]}, r"locations\[1\]\.methods"),
        ({"locations": [{"path": "/.well-known"}]}, r"locations\.path"),
        ({"headers": {"dn": ["DN"]}}, r"headers\.dn"),
        ({"headers": {"name": ["X_Name"]}}, r"headers\.name"),
        ({"headers": {"name": ["X-Forwarded-For"]}}, r"headers\.name"),
        ({"headers": {"name": ["Content-Length"]}}, r"headers\.name"),
        ({"headers": {"name": ["dn"]}}, r"headers\.name"),
        ({"headers": {"name": "X-Name"}}, r"headers\.name"),
        ({"forwarded_for": "append"}, "forwarded_for"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies"),
        ({"rate_limit": "10"}, "rate_limit"),
        ({"redirect_port": 65536}, "redirect_port"),
        ({"rate_burst": -1}, "rate_burst"),
        ({"backend": "http://127.0.0.1"}, "backend"),
        ({"backend": "http://user@127.0.0.1:80"}, "backend"),
        ({"backend": "http://127.0.0.1:8080/path"}, "backend"),
        ({"backend": "http://a;b:80"}, "backend"),
        ({"backend": "http://a:99999"}, "backend"),
        ({"backend": "http://[::1:80"}, "backend"),
        ({"tls": "old"}, "tls"),
        ({"verify_depth": 0}, "verify_depth"),
        ({"backend_timeout": -1}, "backend_timeout"),
        ({"client_max_body_size": "1m; return 200"}, "client_max_body_size"),
    ],
)
def test_what_is_wrong_is_named_before_any_host_is_looked_at(wrong: dict[str, Any], named: str) -> None:
    (problem,) = nginx_site_problems([site(**wrong)])
    assert re.match(rf"site '.*', {named}: found .*; expected .* Next: ", problem)


def test_sites_that_contradict_each_other_are_refused() -> None:
    assert "two sites of that name" in nginx_site_problems([site(), site()])[0]
    assert "which site 'orders' has" in nginx_site_problems([site(), site(name="b", server_names=["ORDERS.test"])])[0]
    assert (
        "one preset a port" in nginx_site_problems([site(), site(name="b", server_names=["b.test"], tls="modern")])[0]
    )
    assert nginx_site_problems([site(), site(name="b", port=8443, tls="modern")]) == []


@given(value=st.text(min_size=1))
def test_no_text_gets_into_the_files_that_means_something_to_nginx(value: str) -> None:
    for key in ("name", "backend", "client_max_body_size", "tls"):
        if nginx_site_problems([site(**{key: value})]) == []:
            assert not re.search(r"[\s;{}\"'$#\\]", value)
    for key in ("server_names", "addresses", "listen_addresses"):
        if nginx_site_problems([site(**{key: [value]})]) == []:
            assert not re.search(r"[\s;{}\"'$#\\]", value)


@pytest.mark.parametrize("suffix", ["\n", "\0", " ", "\r\n"])
def test_a_value_with_a_line_end_is_refused(suffix: str) -> None:
    assert nginx_site_problems([site(name=f"orders{suffix}")])
    assert nginx_site_problems([site(server_names=[f"orders.test{suffix}"])])
    assert nginx_site_problems([site(client_max_body_size=f"1m{suffix}")])
    assert nginx_site_problems([site(backend=f"http://127.0.0.1:8080{suffix}")])


def container_plan(*sites: dict[str, Any], **settings: Any) -> dict[str, Any]:
    more = {"instance": "container", "prefix": "/etc/mtls-kit", "user": "www-data", "debug": False, "probe_port": 18440}
    return plan(*sites, **more | settings)


def test_a_container_has_its_listeners_apart_and_is_proven_at_a_port_of_its_slot() -> None:
    result = container_plan(site(redirect_port=80), site(name="stock", server_names=["stock.test"]))
    assert "include /etc/mtls-kit/listeners/site-orders.conf;" in content(result, "site-orders.conf")
    assert listens(result, "site-orders.conf") == []
    assert result["listeners"]["site-orders"] == {
        "public": [f"{ANY}:443 ssl http2", "[::]:443 ssl http2"],
        "probe": [["127.0.0.1:18442 ssl http2"], ["127.0.0.1:18443 ssl http2"]],
    }
    assert result["listeners"]["default-0"] == {
        "public": [f"{ANY}:443 ssl http2 default_server reuseport", "[::]:443 ssl http2 default_server reuseport"],
        "probe": [["127.0.0.1:18442 ssl http2 default_server"], ["127.0.0.1:18443 ssl http2 default_server"]],
    }
    assert [one["probe_ports"] for one in result["sites"]] == [[18442, 18443]] * 2
    public = [line for server in result["listeners"].values() for line in server["public"]]
    places = {line.split()[0] for line in public}
    assert sorted(line.split()[0] for line in public if "reuseport" in line) == sorted(places)


def test_a_container_logs_to_its_output_and_keeps_its_state_in_memory() -> None:
    result = container_plan(site(debug=True))
    assert "access_log /dev/stdout mtls_orders;" in content(result, "site-orders.conf")
    assert "error_log stderr debug;" in content(result, "site-orders.conf")
    main = content(result, "/etc/mtls-kit/nginx.conf")
    assert "user www-data;" in main and "pid /run/nginx/nginx.pid;" in main and "error_log stderr;" in main
    assert "error_log stderr debug;" in content(container_plan(site(), debug=True), "/etc/mtls-kit/nginx.conf")
    assert "/var/log" not in str(result["files"])


def test_a_site_cannot_have_a_port_at_which_containers_are_proven() -> None:
    with pytest.raises(AnsibleFilterError, match=r"nginx_container_probe_port.*18441"):
        container_plan(site(port=18441))


def test_debug_that_has_no_effect_is_told() -> None:
    told = [
        plan(site(debug=True), found=info(debugs=debugs, debug_binary=path))["warnings"]
        for debugs, path in ((True, ""), (False, ""), (False, "/usr/sbin/nginx-debug"))
    ]
    assert told[0] == []
    assert "built without --with-debug" in told[1][0]
    assert "/usr/sbin/nginx-debug has it: 'systemctl stop nginx' and 'systemctl start nginx-debug" in told[2][0]
    looking = info(debugs=False, debug_binary="/usr/sbin/nginx-debug", unit="nginx-debug.service")
    result = plan(site(debug=True), found=looking)
    assert (result["warnings"], result["instance"]["unit"]) == ([], "nginx-debug.service")


def test_streams_that_no_reload_ends_are_told_where_the_main_configuration_is_somebody_else_s() -> None:
    unbound = info(shutdown_timeout="")
    for lasting in (site(websocket=True), site(backend="grpc://127.0.0.1:8080")):
        (warning,) = plan(lasting, found=unbound)["warnings"]
        assert "write 'worker_shutdown_timeout 300s;'" in warning
        assert plan(lasting, found=unbound, instance="own")["warnings"] == []
        assert plan(lasting)["warnings"] == []
    assert plan(site(), found=unbound)["warnings"] == []
