"""Names that would break a file, a header or a DN are refused, and so are two things that can't be told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._variables import rules


def texts(found: Iterable[KitError]) -> list[str]:
    return [str(fault) for fault in found]


def site(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "server_names": [f"{name}.example.com"], **more}


BAD_NAMES = ["a\nb", 'a"b', "a'b", "a,b", "a\0b", "Jürgen", "", " a", "a/b", "-a", "a" * 65, "a$b", "a;b", "{{ a }}"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_client_name_that_would_break_something_is_refused(name: str) -> None:
    assert len(texts(rules.client_faults([{"name": name}], "ca1"))) == 1


@pytest.mark.parametrize("name", [*BAD_NAMES, "Orders", "or_ders", "a" * 33])
def test_a_site_name_that_would_break_something_is_refused(name: str) -> None:
    [fault] = texts(rules.site_faults([{"name": name, "server_names": ["a.example.com"]}], "gw1"))
    assert "gateway 'gw1'" in fault or "certificate" in fault


def test_good_ones_are_no_fault() -> None:
    clients = [{"name": "alice"}, {"name": "bob@example.com", "san": {"dns": ["bob.example.com"]}, "groups": ["a"]}]
    sites = [
        site("orders"),
        site("stock", port=8443),
        {"name": "by-address", "server_names": [], "addresses": ["2001:db8::7"]},
        {"name": "same-name-other-port", "server_names": ["orders.example.com"], "port": 8444},
        {"name": "same-name-other-address", "server_names": ["orders.example.com"], "listen_addresses": ["192.0.2.7"]},
    ]
    servers = [{"name": "server/gw1/orders", "san": {"dns": ["orders.example.com"]}}]
    assert texts(rules.client_faults(clients, "ca1")) == []
    assert texts(rules.site_faults(sites, "gw1")) == []
    assert texts(rules.server_faults(servers, "ca1")) == []
    assert texts(rules.issuing_faults([{"name": "staff"}, {"name": "servers"}], "ca1")) == []


def test_two_of_one_name() -> None:
    assert texts(rules.client_faults([{"name": "alice"}, {"name": "bob"}, {"name": "alice"}], "ca1")) == [
        "client 'alice': found 2 of that name in pki_clients; expected one. "
        "Next: rename or remove the others in pki_clients."
    ]
    found = texts(rules.site_faults([site("a"), {"name": "a", "server_names": ["b.example.com"]}], "gw1"))
    assert found == [
        "site 'a': found 2 of that name in nginx_mtls_sites of gw1; expected one. Next: rename or remove the others in "
        "nginx_mtls_sites of gw1."
    ]
    assert "issuing CA 'staff'" in texts(rules.issuing_faults([{"name": "staff"}, {"name": "staff"}], "ca1"))[0]
    assert len(texts(rules.server_faults([{"name": "server/g/s", "san": {"ip": ["192.0.2.7"]}}] * 2, "ca1"))) == 1


def test_a_server_that_no_client_could_verify() -> None:
    [fault] = texts(rules.site_faults([{"name": "orders", "server_names": []}], "gw1"))
    assert fault.startswith("site 'orders' of gw1: found neither a DNS name nor an address")
    [fault] = texts(rules.server_faults([{"name": "server/gw1/orders"}], "ca1"))
    assert fault.startswith("server certificate 'server/gw1/orders': found neither")


def test_sites_that_nginx_couldnt_tell_apart() -> None:
    sites = [
        {"name": "a", "server_names": ["x.example.com", "y.example.com"], "port": 443},
        {"name": "b", "server_names": ["Y.example.com"]},
    ]
    [fault] = texts(rules.site_faults(sites, "gw1"))
    assert fault.startswith("site 'b' of gw1: found the listener *:443 y.example.com, which site 'a' has already")


def test_server_names_and_addresses_that_are_none() -> None:
    found = texts(rules.site_faults([site("a", server_names=["a b"]), site("b", addresses=["300.1.1.1"])], "gw1"))
    assert ["san.dns" in found[0], "san.ip" in found[1], len(found)] == [True, True, 2]


def test_every_fault_of_a_client_is_found() -> None:
    client = {"name": "a,b", "san": {"uri": ["no uri"]}, "subject": {"country": "Germany"}, "groups": ["x y"]}
    assert len(texts(rules.client_faults([client], "ca1"))) == 4


@pytest.mark.parametrize(("name", "number"), [("shop", 0), ("a b", 1), ("a/b", 1)])
def test_the_name_of_the_pki(name: str, number: int) -> None:
    assert len(texts(rules.pki_name_faults(name, "ca1"))) == number


def test_a_ca_host_without_the_name_of_its_pki() -> None:
    groups = {"ca": ["ca1"], "gateways": ["gw1"]}
    [fault] = texts(rules.missing_faults({"groups": groups}, "ca1"))
    assert fault.startswith("pki_name of ca1: found no value")
    assert texts(rules.missing_faults({"groups": groups}, "gw1")) == []
    assert texts(rules.missing_faults({"groups": groups, "pki_name": "shop"}, "ca1")) == []


def test_a_client_under_the_name_of_a_ca() -> None:
    def of(common_name: str, **more: object) -> list[str]:
        client = {"name": "x", "subject": {"common_name": common_name}}
        return texts(rules.authority_faults({"pki_name": "shop", "pki_clients": [client, {"name": "y"}], **more}))

    [fault] = of("shop Issuing G1")
    assert fault.startswith("client 'x': found the common name 'shop Issuing G1', which is that of a CA of this PKI")
    assert len(of("shop root g12")) == 1
    assert len(of("shop Staff Phones G2", pki_issuing=[{"name": "staff-phones"}])) == 1
    assert of("shop Issuing G1", pki_issuing=[{"name": "staff-phones"}]) == []
    assert of("shop Issuing") == []
    assert texts(rules.authority_faults({})) == []
