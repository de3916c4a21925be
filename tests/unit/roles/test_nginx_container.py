"""What the variables of the role nginx_container come to."""

from __future__ import annotations

import jinja2
import pytest

from tests.unit.roles.conftest import CHECKOUT, load


@pytest.mark.parametrize(
    ("digest", "base"), [("", "registry.test/debian:12"), ("sha256:c0ffee", "registry.test/debian@sha256:c0ffee")]
)
def test_a_digest_counts_in_place_of_the_tag(digest: str, base: str) -> None:
    text = load(CHECKOUT / "roles/nginx_container/vars/main.yml")["__nginx_container_base"]
    given = {"base": "registry.test/debian", "base_tag": "12", "base_digest": digest}
    template = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined).from_string(text)  # noqa: S701
    assert template.render({f"nginx_container_{name}": value for name, value in given.items()}) == base
