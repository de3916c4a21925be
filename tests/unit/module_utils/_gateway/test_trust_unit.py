"""Whom a site lets in: what a trust unit must be before it is switched to, and that its number only grows."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._gateway import install, trust
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._gateway.delivery import NOW, PASSWORD, Authority, Gateway, Pki, pem


def trust_in_use(gateway: Gateway) -> str:
    return (gateway.root / "orders" / "trust" / "current").resolve().name


def reasons(result: dict[str, Any]) -> list[str]:
    return [change["reason"] for change in result["changes"]]


def test_the_unit_is_whole_and_not_for_others(deployed: Gateway) -> None:
    folder = deployed.root / "orders" / "trust" / "1"
    unit = deployed.pki.trust()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        **unit["files"],
        "sha256": unit["sha256"] + "\n",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_what_is_in_use_is_reported(deployed: Gateway) -> None:
    unit = deployed.pki.next_trust("0A1B")
    deployed.release()
    current = deployed.request()["current"]["orders"]
    assert (current["trust_number"], current["trust_sha256"]) == (2, unit["sha256"])
    assert current["release"] == deployed.current().name
    assert current["not_after"] == "2026-08-29T12:00:00Z"


def test_nothing_in_use_is_reported_as_nothing(gateway: Gateway) -> None:
    assert set(gateway.request(check_mode=True)["current"]["orders"].values()) == {None}


def test_a_higher_number_follows(deployed: Gateway) -> None:
    deployed.pki.next_trust("0A1B")
    assert reasons(deployed.release()) == ["install: trust 2 follows 1"]
    assert trust_in_use(deployed) == "2"
    assert '"2:0A1B" 1;' in (deployed.root / "orders/trust/current/revoked.map").read_text()


def test_a_lower_number_is_refused_even_when_the_link_was_lost(deployed: Gateway) -> None:
    old = deployed.pki.trust()
    deployed.pki.next_trust("0A1B")
    deployed.release()
    for _ in range(2):
        before = deployed.tree()
        with pytest.raises(KitError, match=r"number 1, .* has had 2.*restored by hand from an old"):
            deployed.release(trust=old)
        assert deployed.tree() == before
        (deployed.root / "orders" / "trust" / "current").unlink(missing_ok=True)


def test_the_same_number_with_other_content_is_refused(deployed: Gateway) -> None:
    deployed.pki.revoked = ("0A1C",)
    before = deployed.tree()
    with pytest.raises(KitError, match="other content"):
        deployed.release()
    assert deployed.tree() == before


def test_a_file_altered_on_the_gateway_is_put_right(deployed: Gateway) -> None:
    deployed.pki.next_trust("0A1B")
    deployed.release()
    (deployed.root / "orders/trust/2/revoked.map").write_text("")
    assert reasons(deployed.release()) == ["install: trust: revoked.map altered on the gateway"]
    assert deployed.release()["changed"] is False


def test_a_unit_that_was_placed_but_not_switched_to_is_switched_to(deployed: Gateway) -> None:
    deployed.pki.next_trust()
    deployed.release()
    link = deployed.root / "orders/trust/current"
    link.unlink()
    link.symlink_to("1")
    assert reasons(deployed.release()) == ["switch: trust 2 was installed but not in use"]
    assert trust_in_use(deployed) == "2"


# ---------------------------------------------------------------- refused


def with_files(**altered: str) -> Callable[[Pki], dict[str, Any]]:
    return lambda pki: pki.trust(pki.files(**altered))


def without(name: str) -> Callable[[Pki], dict[str, Any]]:
    return lambda pki: pki.trust({file: text for file, text in pki.files().items() if file != name})


def lone_intermediate(pki: Pki) -> dict[str, Any]:
    return with_files(client__ca_crt=pem(pki.issuing.certificate), crl_pem=pki.issuing.crl())(pki)


def bundle_with(authority: Authority, pki: Pki) -> dict[str, Any]:
    bundle = pem(authority.certificate) + pem(pki.root.certificate)
    return with_files(
        client__ca_crt=bundle, issuers_map=authority.issuers_line(3), crl_pem=authority.crl() + pki.root.crl()
    )(pki)


def forged_crl(pki: Pki) -> dict[str, Any]:
    forger = Authority(pki.issuing.certificate, Authority.create("forger").key)
    return with_files(crl_pem=forger.crl() + pki.root.crl())(pki)


def crls(make: Callable[[Pki], str]) -> Callable[[Pki], dict[str, Any]]:
    return lambda pki: with_files(crl_pem=make(pki))(pki)


EVIL_IDENTITY = f'"2:0A1C" "x|a|b|{"ab" * 32}";'
REFUSED: dict[str, tuple[Callable[[Pki], dict[str, Any]], str]] = {
    "file missing": (without("crl.pem"), "crl.pem"),
    "file too many": (with_files(evil_conf="x"), "evil.conf"),
    "another digest": (lambda pki: {**pki.trust(), "sha256": "0" * 64}, "another SHA-256"),
    "number below one": (lambda pki: {**pki.trust(), "number": 0}, "the number 0"),
    "number.map of another number": (with_files(number_map='default "7";\n'), "number.map"),
    "number.map with more": (with_files(number_map='default "1";\ninclude /etc/passwd;\n'), "number.map"),
    "no CA": (with_files(client__ca_crt=""), "no certificate in it"),
    "broken CA": (
        with_files(client__ca_crt="-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
        "can't be read",
    ),
    "intermediate alone": (lone_intermediate, "without the CA that signed it"),
    "CA:FALSE": (lambda pki: bundle_with(Authority.create("leaf", pki.root, ca=False), pki), "no CA:TRUE"),
    "expired CA": (
        lambda pki: bundle_with(Authority.create("old", pki.root, end=NOW - timedelta(1)), pki),
        "expired at",
    ),
    "CA of another root": (
        lambda pki: bundle_with(Authority.create("other", Authority.create("acme Root G1")), pki),
        "without the CA that signed it",
    ),
    "issuers of another CA": (
        lambda pki: with_files(issuers_map=pki.root.issuers_line(1))(pki),
        "issuing CAs other than",
    ),
    "no issuers": (with_files(issuers_map=""), "issuing CAs other than"),
    "issuers unanchored": (with_files(issuers_map='"~CN=acme Issuing G1" "2";\n'), "issuers.map, line 1"),
    "issuers with a directive": (
        lambda pki: with_files(issuers_map=pki.issuing.issuers_line(2) + "include /tmp/x;\n")(pki),
        "issuers.map, line 2",
    ),
    "issuer that ends its quotes": (
        with_files(issuers_map='"~^CN=a" "2"; include "/tmp/x$" "2";\n'),
        "issuers.map, line 1",
    ),
    "revoked in lower case": (with_files(revoked_map='"2:0a1b" 1;\n'), "revoked.map, line 1"),
    "revoked of odd length": (with_files(revoked_map='"2:A1B" 1;\n'), "revoked.map, line 1"),
    "revoked with another value": (with_files(revoked_map='"2:0A1B" 0;\n'), "revoked.map, line 1"),
    "revoked default": (with_files(revoked_map="default 0;\n"), "revoked.map, line 1"),
    "revoked twice": (with_files(revoked_map='"2:0A1B" 1;\n"2:0A1B" 1;\n'), "revoked.map, line 2.*repeated key"),
    "revoked cut off": (with_files(revoked_map='"2:0A1B" 1;'), "last line without an end"),
    "revoked with a NUL": (with_files(revoked_map='"2:0A1B"\0 1;\n'), "revoked.map, line 1"),
    "revoked with a carriage return": (with_files(revoked_map='"2:0A1B" 1;\r\n'), "revoked.map, line 1"),
    "identity with a variable": (
        with_files(identities_map=EVIL_IDENTITY.replace('"x|', '"$host|') + "\n"),
        "identities.map, line 1",
    ),
    "identity that ends its quotes": (
        with_files(identities_map=EVIL_IDENTITY.replace("x|", 'x"; } server { #') + "\n"),
        "identities.map, line 1",
    ),
    "identity with a backslash": (
        with_files(identities_map=EVIL_IDENTITY.replace("|b|", "|b\\|") + "\n"),
        "identities.map, line 1",
    ),
    "identity with a field too few": (
        with_files(identities_map=EVIL_IDENTITY.replace("|b|", "|") + "\n"),
        "identities.map, line 1",
    ),
    "identity in UTF-8": (
        with_files(identities_map=EVIL_IDENTITY.replace("|b|", "|b\u00e9|") + "\n"),
        "identities.map, line 1",
    ),
    "CRL missing": (crls(lambda pki: pki.issuing.crl()), "0 CRLs of CN=acme Root G1"),
    "CRL twice": (crls(lambda pki: pki.crls + pki.issuing.crl()), "2 CRLs of CN=acme Issuing G1"),
    "no CRL at all": (crls(lambda pki: ""), "0 CRLs"),
    "CRL expired": (
        crls(lambda pki: pki.issuing.crl(NOW - timedelta(9), NOW - timedelta(1)) + pki.root.crl()),
        "Nginx refuses every client",
    ),
    "CRL of tomorrow": (
        crls(lambda pki: pki.issuing.crl(NOW + timedelta(1), NOW + timedelta(2)) + pki.root.crl()),
        "valid from 2026-06-02",
    ),
    "CRL of a stranger": (crls(lambda pki: pki.crls + Authority.create("stranger").crl()), "CRL of CN=stranger"),
    "CRL forged": (forged_crl, "no CA in client-ca.crt signed"),
    "CRL broken": (
        crls(lambda pki: "-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"),
        "CRL that can't be read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_let_the_wrong_in_or_everyone_out_is_refused(deployed: Gateway, case: str) -> None:
    make, message = REFUSED[case]
    deployed.pki.number = 2
    before = deployed.tree()
    with pytest.raises(KitError, match=message.replace("another SHA-256", "files of another SHA-256")):
        deployed.release(trust=make(deployed.pki))
    assert deployed.tree() == before


def test_a_text_of_another_type_is_refused(deployed: Gateway) -> None:
    with pytest.raises(KitError, match="a file that is no text"):
        deployed.release(trust={**deployed.pki.trust(), "files": {"number.map": 1}})


def test_names_with_every_awkward_character_of_a_dn_pass(gateway: Gateway) -> None:
    gateway.pki.issuing = Authority.create('Ünïc "Q" \\ $x; (a|b), {c} +#', gateway.pki.root)
    gateway.pki.crls = gateway.pki.issuing.crl() + gateway.pki.root.crl()
    assert gateway.deploy()["changed"] is True


def test_nothing_is_in_use_before_the_first_release(gateway: Gateway) -> None:
    gateway.certify(gateway.request()["csrs"])
    folders = install.SiteFolders.of(gateway.root, "orders")
    assert install.in_use(folders, PASSWORD.encode()) == {}
    assert trust.current_number(folders) is None
    assert trust.current_files(folders) == {}
