"""A rule matches what it names and nothing that merely looks like it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mtls.kit.plugins.module_utils._pki import names
from ansible_collections.mtls.kit.plugins.module_utils._pki.errors import KitError
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx import access
from ansible_collections.mtls.kit.plugins.plugin_utils._nginx.backends import Group

OF_SITE = {
    "backend": Group("mtls_a", "http", ("127.0.0.1:1",), "127.0.0.1"),
    "backend_timeout": 60,
    "client_max_body_size": "1m",
}
TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).filter(str.strip)  # fmt: skip
HOSTILE = st.one_of(
    TEXT, st.sampled_from([",CN=alice", "x,CN=alice", "a\\", "\\,CN=alice", "a+CN=alice", "x\\\\,CN=alice"])
)


def locations(*raw: dict[str, Any], verify: str = "on") -> list[access.Location]:
    return access.locations("a", "mtls_a", verify, raw, OF_SITE)


def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


@given(common_name=HOSTILE, organization=HOSTILE, unit=HOSTILE)
def test_an_attribute_is_found_where_it_is_one_and_nowhere_else(common_name: str, organization: str, unit: str) -> None:
    fields = {"common_name": common_name, "organization": organization, "organizational_unit": unit}
    printed = names.dn(names.subject_from(fields, "a test"))
    for field, text in fields.items():
        assert matches(access.subject_pattern("a test", {field: text}), printed)
    assert matches(access.subject_pattern("a test", fields), printed)
    assert matches(access.subject_pattern("a test", printed), printed)
    assert matches(access.subject_pattern("a test", {"common_name": "alice"}), printed) == (common_name == "alice")
    assert matches(access.subject_pattern("a test", {"organization": "alice"}), printed) == (organization == "alice")


@pytest.mark.parametrize("printed", ["CN=Alice", "CN=alice2", "CN=xalice", "OU=alice", "CN=a,O=CN\\=alice", "CN=alic"])
def test_what_merely_looks_like_an_attribute_is_none(printed: str) -> None:
    assert not matches(access.subject_pattern("a test", {"common_name": "alice"}), printed)


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ({"names": ["a.b"]}, ["a.b|||"], ["axb|||", "A.B|||", "a.bc|||", "x|a.b||"]),
        ({"groups": ["ops"]}, ["x|ops||", "x|a,ops||", "x|ops,b||"], ["ops|||", "x|devops||", "x|ops2||", "x||ops|"]),
        ({"sans": ["DNS:a.test"]}, ["x||URI:u,DNS:a.test|"], ["x||DNS:axtest|", "x|DNS:a.test||", "x||DNS:b.a.test|"]),
        ({"sha256": ["AB:" * 31 + "AB"]}, [f"x|||{'ab' * 32}"], [f"x||{'ab' * 32}|", f"x|||{'ab' * 31}ac"]),
    ],
)
def test_an_identity_is_matched_in_its_own_field(rule: dict[str, Any], inside: list[str], outside: list[str]) -> None:
    found = access.rule("a test", rule)
    assert found
    (pattern,) = found.identity
    assert all(matches(pattern, one) for one in inside)
    assert not any(matches(pattern, one) for one in outside)


def test_an_issuer_is_all_its_generations_and_no_sibling() -> None:
    pattern = access.issuer_pattern("a test", "client-apps")
    assert matches(pattern, "CN=demo Client Apps G1,O=Example")
    assert matches(pattern, "CN=demo Client Apps G12")
    for sibling in ("CN=demo Other Client Apps G1", "CN=demo Client Apps G1x", "O=CN\\,CN=demo Client Apps G1", "CN=x"):
        assert not matches(pattern, sibling)


def test_a_path_is_whole_parts_and_never_another_path_s_beginning() -> None:
    (admin, everything) = locations({"path": "/admin/", "allow": {}})
    assert admin.spellings == ["= /admin", "/admin/"]
    assert everything.spellings == ["/"]
    assert locations({"path": "/a", "match": "exact"})[0].spellings == ["= /a", "= /a/"]
    opened = locations({"path": "/a", "match": "exact", "certificate": "none"}, verify="optional")
    assert opened[0].spellings == ["= /a"]


@pytest.mark.parametrize(
    "path", ["", "a", "/a b", "/../a", "/a/./b", "//a", "/a.", "/a;b", "/$uri", "/a{b}", "/a\n", "/é", '/"', "/a%20"]
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(KitError, match=r"locations\.path"):
        locations({"path": path})


@pytest.mark.parametrize(
    "rule",
    [
        {"users": ["alice"]}, {"names": "alice"}, {"names": ["a b"]}, {"groups": ["a,b"]}, {"sans": ["alice"]},
        {"sans": ["DNS:a b"]}, {"sha256": ["ab"]}, {"subjects": ["alice"]}, {"subjects": [{}]},
        {"subjects": [{"cn": "a"}]},
        {"subjects": ["CN=a\n"]}, {"issuers": ["A B"]}, [], "alice",
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_refused(rule: Any) -> None:
    with pytest.raises(KitError):
        access.rule("a test", rule)


def test_a_rule_left_empty_by_mistake_is_not_everybody() -> None:
    with pytest.raises(KitError, match="allow: found nothing"):
        locations({"path": "/a", "allow": None})
    assert locations({"path": "/a", "allow": {"groups": None}})[0].allow == access.Rule()


def test_a_rule_wants_a_certificate() -> None:
    with pytest.raises(KitError, match="a rule asks who the client is"):
        locations({"path": "/a", "certificate": "optional", "allow": {"names": ["alice"]}}, verify="optional")


@given(text=st.text(max_size=20))
def test_no_text_ends_a_pattern_s_quotes(text: str) -> None:
    for key in access.RULE_KEYS:
        try:
            found = access.rule("a test", {key: [text]})
        except KitError:
            continue
        assert found
        for pattern in (*found.identity, *found.subject, *found.issuer):
            quoted = names.nginx_quoted("~" + pattern)
            assert re.fullmatch(r'"(?:[^"\\\x00-\x1f]|\\\\|\\")*"', quoted)
            assert re.compile(pattern)
