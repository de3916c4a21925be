"""The README of a bundle: what is in the folder, and nothing else."""

from __future__ import annotations

import pytest

from ansible_collections.mtls.kit.plugins.module_utils._pki import bundle_readme
from tests.unit.module_utils._pki.test_keystores import certified

FILES = ("client.crt", "client.key", "client.p12", "trust-anchor.crt", "curl.sh", "README.md", "bundle.json")


def page(key: str, files: tuple[str, ...] = FILES) -> str:
    _, leaf = certified("alice")
    return bundle_readme.Page(
        client="alice", leaf=leaf, chain=[], urls=[], vault="the vault of the tests", key=key, files=files
    ).text()


def test_it_lists_what_is_there_and_how_it_is_run() -> None:
    text = page(bundle_readme.MADE_HERE)
    assert "| `client.p12` |" in text
    assert "| `curl.sh` | `sh curl.sh` |" in text
    assert "`~/.config/mtls/alice.password`" in text
    assert "It is in the vault of the tests, under\n`client/alice`" in text
    assert "truststore" not in text
    assert "client.go" not in text


def test_without_code_there_is_no_table_of_it() -> None:
    assert "run it" not in page(bundle_readme.MADE_HERE, FILES[:4])


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (bundle_readme.BROUGHT, "you made it, and it never left you"),
        (bundle_readme.HANDED_OVER, "you have it since you were handed this certificate"),
    ],
)
def test_where_the_key_is_not_it_says_where_it_is(key: str, told: str) -> None:
    text = page(key, ("client.crt", "trust-anchor.crt", "curl.sh"))
    assert told in text
    assert "the vault of the tests" not in text
    assert ("openssl pkcs12 -export" in text) == (key == bundle_readme.BROUGHT)
