"""The HTML page: nothing of it comes from elsewhere, nothing in a name becomes markup, and no fault is left out."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.mtls.kit.plugins.plugin_utils._status import page
from tests.unit.plugin_utils._status.test_tables import PUBLIC, REPORT, certificate, changed

VOID = {"meta", "br", "rect", "line"}


class Markup(HTMLParser):
    """The elements of a page in their order, its text, and what was opened and not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("p", "li") or self.open[-1] == tag:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All that can be read, in one line."""
        return " ".join(" ".join(self.words).split())


def render(report: dict[str, Any], limit: int = 500) -> str:
    return page.render(report, limit)


def texts(markup: Markup, tag: str, css: str) -> list[dict[str, str | None]]:
    """The attributes of every element of this kind whose class contains ``css``."""
    return [
        attributes for name, attributes in markup.elements if name == tag and css in (attributes.get("class") or "")
    ]


def test_every_element_is_closed_and_the_page_has_no_script() -> None:
    markup = Markup(render(REPORT))
    assert markup.open == []
    names = {name for name, _ in markup.elements}
    assert {"html", "svg", "table", "style"} <= names
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not [
        key for _, attributes in markup.elements for key in attributes if key.startswith("on") or key == "style"
    ]


def test_nothing_comes_from_elsewhere() -> None:
    text = render(REPORT)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\b(src|href)=", text)


def test_the_policy_allows_its_own_style_and_nothing_else() -> None:
    text = render(REPORT)
    policy = next(
        attributes["content"] or ""
        for name, attributes in Markup(text).elements
        if name == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'"


HOSTILE = "</style></td><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def test_a_hostile_name_stays_a_name() -> None:
    report = changed(
        name=HOSTILE,
        store=HOSTILE,
        attention=[{"level": "wrong", "text": HOSTILE}],
        authorities=[{**REPORT["authorities"][0], "label": HOSTILE, "subject": HOSTILE, "name_constraints": HOSTILE}],
        root_keys_needed=[{**REPORT["root_keys_needed"][0], "label": HOSTILE, "reason": HOSTILE}],
        crls=[{**REPORT["crls"][0], "issuer": HOSTILE}],
        trust=[{**REPORT["trust"][0], "scope": HOSTILE}],
        undelivered=[{"gateway": "gw1", "site": HOSTILE, "trust": 3, "revoked": [HOSTILE], "since": "2026-11-24"}],
        rotations=[
            {"names": [HOSTILE], "phase": HOSTILE, "since": "2026-11-20", "waits": [HOSTILE], "under_way": True}
        ],
        next_expiries=[{"name": HOSTILE, "days_left": 3}],
        running={"command": HOSTILE, "pid": 1, "host": HOSTILE, "since": "2026-11-24T12:00", "doing": HOSTILE},
        certificates=[
            certificate(HOSTILE, "due", 3, reason=HOSTILE, issuer=HOSTILE),
            certificate(f"server/gw1/{HOSTILE}", "valid", 3),
        ],
    )
    text = render(report)
    markup = Markup(text)
    plain = {name for name, _ in Markup(render(REPORT)).elements}
    assert {name for name, _ in markup.elements} <= plain | {"ol", "h3", "div"}
    assert not [attributes for _, attributes in markup.elements if "onerror" in attributes]
    assert "7 * 7" in text
    assert text.count("<script") == 0
    assert text.count(html.escape(HOSTILE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) >= 20


def test_what_is_wrong_comes_first_and_none_is_left_out() -> None:
    faults = [{"level": "wrong", "text": f"fault {number}"} for number in range(40)]
    dues = [{"level": "due", "text": f"due {number}"} for number in range(40)]
    markup = Markup(render(changed(attention=faults + dues)))
    listed = [attributes["class"] for attributes in texts(markup, "li", "wrong") + texts(markup, "li", "due")]
    assert listed == ["wrong"] * 40 + ["due"] * 40
    position = -1
    for entry in faults + dues:
        assert markup.text.index(entry["text"], position + 1) > position
        position = markup.text.index(entry["text"], position + 1)
    assert position < markup.text.index("When certificates end")
    assert "40 wrong, 40 due" in markup.text


def test_all_is_well_is_said() -> None:
    text = Markup(render(changed(attention=[]))).text
    assert "All is well" in text
    assert "Nothing is wrong or due." in text


def test_a_store_without_certificates_has_a_page() -> None:
    none = dict.fromkeys(("total", *page.STATES), 0)
    report = changed(
        certificates=[], authorities=[], crls=[], trust=[], next_expiries=[], root_keys_needed=[],
        counts=dict.fromkeys(("all", "server", "client"), none), matching=none,
    )  # fmt: skip
    text = Markup(render(report)).text
    assert "When certificates end" not in text
    assert "Certificates Certificate State Left Until Issuer Remark none" in text


def told(report: dict[str, Any]) -> list[str]:
    """What the bars of the timeline say of themselves."""
    return [bar.told for bar in page._timeline(report).bars]


def test_every_certificate_that_ends_is_in_the_timeline_once() -> None:
    report = changed(
        certificates=[
            certificate("client/late", "expired", -2),
            certificate("client/a", "due", 0),
            certificate("client/b", "due", 3),
            certificate("client/c", "valid", 3),
            certificate("client/d", "valid", 24),
            certificate("client/gone", "revoked", 12),
        ]
    )
    found = told(report)
    assert found[0] == "ended already: 1 (client/late)"
    assert found[1] == "2026-11-24: 1 (client/a)"
    assert found[4] == "2026-11-27: 2 (client/b, client/c)"
    assert found[-1] == "2026-12-18: 1 (client/d)"
    assert sum(int(text.partition(": ")[2].split(" ")[0]) for text in found) == 5


@pytest.mark.parametrize(
    ("longest", "days", "bars"), [(20, 1, 21), (30, 2, 16), (89, 7, 13), (364, 28, 14), (9999, 364, 26)]
)
def test_bars_are_few_enough_to_be_seen(longest: int, days: int, bars: int) -> None:
    timeline = page._timeline(changed(certificates=[certificate("client/a", "valid", longest)]))
    assert (timeline.bin_days, len(timeline.bars)) == (days, bars)
    assert 1 <= sum(bool(bar.tick) for bar in timeline.bars) <= 6


def test_a_bar_is_as_high_as_its_share_and_stands_on_the_line() -> None:
    many = [certificate(f"client/{number}", "due" if number < 2 else "valid", 0) for number in range(8)]
    (first, *_, last) = page._timeline(changed(certificates=[*many, certificate("client/z", "valid", 2)])).bars
    height = page.CHART_FOOT - page.CHART_HEAD
    assert [(part.state, part.height) for part in first.segments] == [("due", height / 4), ("valid", height * 3 / 4)]
    assert first.segments[0].y + first.segments[0].height == page.CHART_FOOT
    assert first.segments[1].y == page.CHART_HEAD
    assert [(part.state, part.height) for part in last.segments] == [("valid", height / 8)]


def test_what_is_left_grows_with_the_days_and_stays_on_the_scale() -> None:
    percents = [page._percent(days) for days in (-3, 0, 1, 7, 90, 1095, 3650, 99999)]
    assert percents == sorted(percents)
    assert (percents[1], percents[-1]) == (0, 100)


def test_issuing_cas_hang_below_their_root() -> None:
    (root,) = page._tree(REPORT["authorities"])
    assert root.authority["label"] == "root-g1"
    assert [node.authority["label"] for node in root.children] == ["issuing-g1"]
    (adopted,) = page._tree([{**REPORT["authorities"][1], "issuer": None}])
    assert adopted.children == []


def test_a_gateway_that_a_revocation_has_not_reached_comes_first() -> None:
    report = changed(
        certificates=[certificate("server/gw1/orders", "due", 3), certificate("server/gw2/orders", "valid", 80)],
        undelivered=[{"gateway": "gw2", "site": "orders", "trust": 7, "revoked": ["client/mallory"], "since": ""}],
    )
    assert [name for name, _ in page._gateways(report)] == ["gw2", "gw1"]
    assert "serves trust 7, which lets in client/mallory" in Markup(render(report)).text
    assert "and 1 more" in Markup(render(report, limit=1)).text


def test_the_phase_of_a_rotation_is_marked() -> None:
    rotation = {"names": ["root", "issuing"], "since": "2026-11-20T12:00:00Z", "waits": ["gw2/orders"]}
    markup = Markup(render(changed(rotations=[{**rotation, "phase": "switch", "under_way": True}])))
    assert "Rotation of root, issuing introduce switch retired since 2026-11-20 waits for gw2/orders" in markup.text
    (step,) = [attributes for _, attributes in markup.elements if attributes.get("aria-current") == "step"]
    assert step["class"] == "here"


def test_public_certificates_have_a_section_of_their_own() -> None:
    assert "Public certificates" not in render(REPORT)
    text = Markup(render({**REPORT, "public": PUBLIC})).text
    assert "Public certificates Certificate State Left Until Issuer Remark server/gw1/shop missing" in text
    assert "server/gw2/shop due 29 days 2027-02-22 CN=R3 renew: 29 of 90 days left" in text
    assert "and 1 more" in Markup(render({**REPORT, "public": PUBLIC}, limit=2)).text
