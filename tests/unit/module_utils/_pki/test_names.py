"""Names, subjects and SANs: what is refused, and that what is accepted reads the same to OpenSSL."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import keys, names
from ansible_collections.mtls.kit.plugins.module_utils._pki.authority import create_root
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from tests.unit.module_utils._pki.authority_host import NOON

PARTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", fullmatch=True).filter(str.isascii)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=64).filter(
    lambda text: text.strip() and len(text.encode()) <= 64
)
KEY = keys.generate("ec-p256")


@given(PARTS)
def test_good_names_pass(part: str) -> None:
    assert names.check_certificate_name(f"client/{part}") == f"client/{part}"
    assert names.check_certificate_name(f"server/{part}/orders-1") == f"server/{part}/orders-1"


@given(st.text(max_size=80))
def test_a_name_passes_only_as_the_rule_says(text: str) -> None:
    rule = re.compile(
        r"client/[A-Za-z0-9][A-Za-z0-9._@-]{0,63}|server/[A-Za-z0-9][A-Za-z0-9._@-]{0,63}/[a-z0-9][a-z0-9-]{0,31}"
    )
    for name in (text, f"client/{text}", f"server/{text}/x", f"server/gw/{text}"):
        try:
            names.check_certificate_name(name)
        except KitError:
            assert not rule.fullmatch(name)
        else:
            assert rule.fullmatch(name)


@pytest.mark.parametrize(
    "part", ["a\nb", "a'b", 'a"b', "a,b", "a\0b", "Zoë", "", ".hidden", "a/b", "..", "x" * 65, "a b"]
)
def test_bad_client_names_say_what_is_allowed(part: str) -> None:
    with pytest.raises(KitError) as caught:
        names.check_certificate_name(f"client/{part}")
    assert "A-Z a-z 0-9" in str(caught.value) or "client/<client>" in str(caught.value)
    assert "subject.common_name" in str(caught.value)


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\x7fb", "a\u2028b", "  ", "", "x" * 65, "ü" * 33, "\ud800"])
def test_subject_texts_without_control_characters(text: str) -> None:
    with pytest.raises(KitError, match=r"subject\.common_name"):
        names.subject_from({"common_name": text}, "client 'a'")


@given(TEXTS, TEXTS)
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_a_dn_is_printed_as_openssl_prints_it(organisation: str, common_name: str) -> None:
    subject = names.subject_from({"organization": organisation, "common_name": common_name, "country": "DE"}, "x")
    certificate = create_root(subject, KEY, NOON, NOON)
    pem = certificate.public_bytes(keys.serialization.Encoding.PEM)
    command = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"]
    printed = subprocess.run(command, input=pem, capture_output=True, check=True, timeout=20).stdout.decode()
    assert printed == f"subject={names.dn(subject)}\n"
    assert names.subject_of(certificate.subject) == subject


@given(TEXTS)
def test_an_escaped_dn_matches_itself_and_survives_nginx_quoting(text: str) -> None:
    dn = names.dn((("CN", text),))
    assert re.fullmatch(names.regex_escaped(dn), dn)
    quoted = names.nginx_quoted(names.regex_escaped(dn))
    read_back = re.sub(r"\\(.)", r"\1", quoted[1:-1])
    assert read_back == names.regex_escaped(dn)
    assert not re.search(r'(?<!\\)(?:\\\\)*"', quoted[1:-1])


@given(st.text(max_size=40))
def test_map_values_hold_no_character_with_a_meaning(text: str) -> None:
    assert re.fullmatch(r"[\x20-\x7e]*", names.map_encoded(text))
    assert not set('"\\$,|;') & set(names.map_encoded(text))


def test_dns_that_openssl_takes_for_equal_are_canonically_equal() -> None:
    one = names.subject_from({"common_name": "Demo  Issuing G1 "}, "x")
    two = names.subject_from({"common_name": "demo issuing g1"}, "x")
    assert names.canonical_dn(one) == names.canonical_dn(two)
    assert names.dn(one) != names.dn(two)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(str.isascii)
HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join).filter(lambda host: not host.split(".")[-1].isdigit())


@given(HOSTS)
def test_dns_names_are_normalised(host: str) -> None:
    expected = (names.San("DNS", host),)
    assert names.sans_from({"dns": [host, host.upper(), f"{host}."]}, "x") == expected
    assert expected[0].general_name() == x509.DNSName(host)


@given(st.ip_addresses())
def test_addresses_are_normalised(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    spelt = address.exploded.upper()
    assert names.sans_from({"ip": [spelt]}, "x") == (names.San("IP", str(address)),)


@given(st.sampled_from(["dns", "ip", "uri", "email"]), st.text(max_size=60))
@settings(max_examples=300)
def test_a_san_is_refused_or_can_be_signed_and_read_back(kind: str, text: str) -> None:
    try:
        (san,) = names.sans_from({kind: [text]}, "x")
    except KitError:
        return
    encoded = x509.SubjectAlternativeName([san.general_name()]).public_bytes()
    assert san.value.encode("ascii") in encoded or kind == "ip"
    assert names.sans_from({kind: [san.value]}, "x") == (san,)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("dns", "*"), ("dns", "*.com"), ("dns", "a.*.example.com"), ("dns", "192.0.2.1"), ("dns", "a_b.example.com"),
        ("dns", "bücher.example"), ("dns", "a..b"), ("dns", "-a.example.com"), ("dns", ".example.com"), ("dns", ""),
        ("ip", "192.0.2.0/24"), ("ip", "fe80::1%eth0"), ("ip", "localhost"), ("uri", "no-scheme"), ("uri", "a:b c"),
        ("uri", "x:%zz"), ("uri", "spiffe://bücher"), ("email", "nobody"), ("email", "a b@example.com"),
        ("email", "a@"), ("email", "@example.com"), ("email", "a@*.example.com"),
    ],
)  # fmt: skip
def test_sans_that_are_refused(kind: str, text: str) -> None:
    with pytest.raises(KitError, match=f"san.{kind}"):
        names.sans_from({kind: [text]}, "client 'a'")


def test_every_kind_of_san() -> None:
    given_sans = {
        "dns": ["*.example.com"],
        "ip": ["2001:DB8::0:1"],
        "uri": ["SPIFFE://example.com/a"],
        "email": ["A@Example.COM"],
    }
    texts = names.san_texts(names.sans_from(given_sans, "x"))
    assert texts == ("DNS:*.example.com", "IP:2001:db8::1", "URI:spiffe://example.com/a", "email:A@example.com")


@given(st.integers(min_value=1, max_value=(1 << 159) - 1))
def test_serials_are_written_as_nginx_prints_them(serial: int) -> None:
    text = names.serial_text(serial)
    assert re.fullmatch(r"([0-9A-F]{2}){1,20}", text)
    assert len(f"99999:{text}") <= 46
    assert names.serial_from(f"0x{serial:x}") == text
    assert names.serial_from(":".join(re.findall("..", text))) == text


@pytest.mark.parametrize("text", ["", "xyz", "0", "F" * 41])
def test_serials_that_are_none(text: str) -> None:
    with pytest.raises(KitError, match="serial"):
        names.serial_from(text)


def test_paths_of_a_checkout_play_no_role(tmp_path: Path) -> None:
    assert names.check_scope("issuing+partners") == "issuing+partners"
    with pytest.raises(KitError, match="trust scope"):
        names.check_scope(f"../{tmp_path.name}")
