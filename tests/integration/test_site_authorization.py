"""Who may go where, tried on a real Nginx: nobody gets in by another spelling, and a rule means just what it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes

from tests.integration.wire import Wire, started


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with started(tmp_path_factory.mktemp("authorization")) as one:
        one.host.run()
        fingerprint = one.host.leaf("client/alice").fingerprint(hashes.SHA256()).hex(":").upper()
        one.serve(
            one.site(
                verify="optional",
                locations=[
                    {"path": "/", "certificate": "optional"},
                    {"path": "/public", "certificate": "none"},
                    {"path": "/health", "match": "exact", "certificate": "none"},
                    {"path": "/admin", "allow": {"groups": ["admins"]}},
                    {"path": "/admin/Audit", "allow": {"names": ["bob"]}},
                    {"path": "/exact", "match": "exact", "allow": {"names": ["alice"]}},
                    {"path": "/nobody", "allow": {}},
                    {"path": "/empty", "allow": {"groups": [], "names": []}},
                    {"path": "/denied", "deny": {"names": ["alice"]}},
                    {"path": "/both", "allow": {"groups": ["buyers"]}, "deny": {"groups": ["admins"]}},
                    {"path": "/san", "allow": {"sans": ["URI:urn:example:alice"]}},
                    {"path": "/sha256", "allow": {"sha256": [fingerprint]}},
                    {"path": "/common-name", "allow": {"subjects": [{"common_name": 'Bob, the=builder+\\ "x" é'}]}},
                    {"path": "/organization", "allow": {"subjects": [{"organization": "Example"}]}},
                    {
                        "path": "/parts",
                        "allow": {"subjects": [{"organization": "Example Ltd", "common_name": "alice"}]},
                    },
                    {"path": "/dn", "allow": {"subjects": ["CN=mallory,O=Example Ltd"]}},
                    {"path": "/partners", "allow": {"issuers": ["partners"]}},
                    {"path": "/issuing", "allow": {"issuers": ["issuing"]}},
                ],
            ),
            scope="both",
        )
        yield one


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", {"alice", "bob", "mallory", "pam", None}),
        ("/public", {"alice", "bob", "mallory", "pam", None}),
        ("/public/deep/file.txt?q=//;", {"alice", "bob", "mallory", "pam", None}),
        ("/health", {"alice", "bob", "mallory", "pam", None}),
        ("/admin", {"alice", "pam"}),
        ("/admin/", {"alice", "pam"}),
        ("/admin/x", {"alice", "pam"}),
        ("/administrator", {"alice", "bob", "mallory", "pam", None}),
        ("/admin/Audit", {"bob"}),
        ("/admin/Audit/x", {"bob"}),
        ("/exact", {"alice"}),
        ("/exact/", {"alice"}),
        ("/nobody", set()),
        ("/empty", set()),
        ("/denied", {"bob", "mallory", "pam"}),
        ("/both", {"bob"}),
        ("/san", {"alice"}),
        ("/sha256", {"alice"}),
        ("/common-name", {"bob"}),
        ("/organization", {"bob"}),
        ("/parts", {"alice"}),
        ("/dn", {"mallory"}),
        ("/partners", {"pam"}),
        ("/issuing", {"alice", "bob", "mallory"}),
    ],
)
def test_a_location_lets_in_whom_it_names_and_nobody_else(wire: Wire, path: str, allowed: set[str | None]) -> None:
    for who in ("alice", "bob", "mallory", "pam", None):
        answer = wire.ask(path, who)
        assert (answer.status, who) == (200 if who in allowed else 403, who), answer.body
        if who in allowed:
            assert answer.path == path
        else:
            assert set(answer.document) == {"error", "site", "release", "trust", "config"}
            assert answer.error in ("client not authorized for this path", NO_CERTIFICATE)


NO_CERTIFICATE = "no client certificate sent: this site asks every client for one"

TRICKS = [
    "/ADMIN/x", "/Admin", "/aDmin/", "//admin/x", "/admin//x", "/./admin/x", "/public/../admin/x", "/%2e/admin/x",
    "/public/%2e%2e/admin/x", "/public/..%2fadmin/x", "/public%2fx", "/admin%2fx", "/public/..%5cadmin", "/admin;/x",
    "/admin;x=1", "/public/;/admin", "/admin%3bx", "/public/..;/admin/x", "/admin./x", "/admin.", "/admin%2e",
    "/admin%20/x", "/admin%20", "/x/%252e%252e/admin", "/%2561dmin", "/public\\..\\admin", "/admin%00", "/admin%09",
    "/public#/../admin", "/admin/audit", "/ADMIN/Audit/x", "/Nobody", "/public/.", "/public/..?/admin",
    "/admin%0d%0aX:1",
    "/admin%7f", "/x//", "/EXACT", "/public/%2E./admin",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_no_other_spelling_of_a_path_reaches_the_backend(wire: Wire, path: str) -> None:
    for who in ("alice", "mallory", None):
        answer = wire.ask(path, who)
        assert answer.status in (400, 403), answer.body
        assert "headers" not in answer.body
        if answer.status == 403:
            assert answer.error == "path spelled in a way that can be read as another one"


def test_an_encoded_letter_is_the_letter(wire: Wire) -> None:
    assert wire.ask("/%61dmin/x", "mallory").status == 403
    assert wire.ask("/%61dmin/x", "alice").status == 200


def test_http2_is_judged_alike(wire: Wire) -> None:
    assert wire.curl("--http2", path="/admin/x").status == 200
    for path in ("/ADMIN/x", "/public/..%2fadmin", "//admin"):
        assert wire.curl("--http2", path=path, who="mallory").status == 403
    assert wire.curl("--http2", path="/admin/x", who="mallory").status == 403


def test_an_open_path_tells_the_backend_who_came_and_never_calls_a_stranger_known(wire: Wire) -> None:
    forged = {"VERIFIED": "SUCCESS", "DN": "CN=alice", "X-Client-Name": "alice"}
    for path in ("/", "/public", "/health"):
        got = wire.ask(path, None, headers=forged).headers
        assert got["verified"] == "NONE"
        assert not {"dn", "x-client-name", "x-client-groups", "x-client-cert"} & set(got)
        got = wire.ask(path, "alice", headers=forged).headers
        assert (got["verified"], got["dn"], got["x-client-name"]) == ("SUCCESS", "CN=alice,O=Example Ltd", "alice")
