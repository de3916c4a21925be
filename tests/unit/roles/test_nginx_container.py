"""What the variables of the role nginx_container come to."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from tests.unit.roles.conftest import CHECKOUT, load


def rendered(name: str, **variables: Any) -> str:
    """A private variable of the role, as Ansible renders it."""
    text = load(CHECKOUT / "roles/nginx_container/vars/main.yml")[f"__nginx_container_{name}"]
    template = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined).from_string(text)  # noqa: S701
    return template.render(variables)


@pytest.mark.parametrize(
    ("digest", "base"), [("", "registry.test/debian:12"), ("sha256:c0ffee", "registry.test/debian@sha256:c0ffee")]
)
def test_a_digest_counts_in_place_of_the_tag(digest: str, base: str) -> None:
    given = {"base": "registry.test/debian", "base_tag": "12", "base_digest": digest}
    assert rendered("base", **{f"nginx_container_{name}": value for name, value in given.items()}) == base


@pytest.mark.parametrize(
    ("found", "own_python", "lacks"),
    [
        ((True, False, True), True, "[]"),
        ((False, True, True), True, "[]"),
        ((False, False, False), True, "['docker.io', 'python3-docker']"),
        ((True, False, False), False, "[]"),
    ],
    ids=["Debian's", "Docker's", "nothing", "a virtual environment"],
)
def test_the_engine_is_looked_for_where_debian_and_docker_have_it(
    found: tuple[bool, ...], own_python: bool, lacks: str
) -> None:
    assert rendered("lacks", __nginx_container_found=found, __nginx_container_own_python=own_python) == lacks
