"""Trust units: their digest, and that what a map says can't be bent by what is in it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import trust
from tests.unit.module_utils._pki.authority_host import AuthorityHost, client

FILES = st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="\0")), st.text(), max_size=4)


@given(FILES, FILES)
def test_two_units_share_a_digest_only_when_they_are_equal(one: dict[str, str], two: dict[str, str]) -> None:
    one.pop(trust.NUMBER_MAP, None)
    two.pop(trust.NUMBER_MAP, None)
    assert (trust.digest(one) == trust.digest(two)) == (one == two)


def test_the_number_is_no_part_of_the_digest() -> None:
    files = {"revoked.map": "x"}
    assert trust.digest(files) == trust.digest({**files, trust.NUMBER_MAP: trust.number_map(7)})


def test_maps_hold_one_line_for_each_certificate_whatever_its_names(host: AuthorityHost) -> None:
    hostile = client("eve", san={"uri": ["urn:x:a,b;c$d", "urn:x:(e)'f"]}, groups=["b", "a"])
    subject = {"organization": 'Acme, "Übel" \\ $1; {Söhne}', "country": "DE"}
    files = host.run(certificates=[hostile], subject=subject).trust["issuing"]["files"]
    assert set(files) == set(trust.FILES)
    (line,) = files["identities.map"].splitlines()
    match = re.fullmatch(r'"2:([0-9A-F]{40}|[0-9A-F]{38})" "eve\|a,b\|([^|"]*)\|([0-9a-f]{64})";', line)
    assert match is not None
    assert match[2] == "URI:urn:x:(e)'f,URI:urn:x:a%2Cb%3Bc%24d"
    pattern = re.fullmatch(r'"~\^(.*)\$" "2";\n', files["issuers.map"])
    assert pattern is not None
    unquoted = re.sub(r"\\(.)", r"\1", pattern[1])
    printed = next(each["subject"] for each in host.run().authorities if each["name"] == "issuing")
    assert re.fullmatch(unquoted, printed)
    assert not re.fullmatch(unquoted, printed.replace("Issuing", "issuing"))


def test_servers_are_no_identities(host: AuthorityHost) -> None:
    server = {"name": "server/gw1/orders", "san": {"dns": ["orders.example.com"]}}
    both = client("hub", profile="both", san={"dns": ["hub.example.com"]})
    files = host.run(certificates=[server, both]).trust["issuing"]["files"]
    assert [line.split('"')[3].split("|")[0] for line in files["identities.map"].splitlines()] == ["hub"]


def test_expired_certificates_drop_out(host: AuthorityHost) -> None:
    host.run()
    host.after(days=91)
    changes = host.reasons(certificates=[])
    assert changes["trust/issuing write"] == "write: crl.pem, identities.map changed"
    assert host.run().trust["issuing"]["files"]["identities.map"] == ""
