"""The examples in docs/vault-*.md are such that the backends take them, and the lookup plugins have what they name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.mtls.kit.plugins.plugin_utils._secrets import options as checked
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.base import Controller
from ansible_collections.mtls.kit.plugins.plugin_utils._secrets.registry import BACKENDS

DOCS = Path(__file__).resolve().parents[4] / "docs"


def examples() -> list[Any]:
    found = []
    for page in sorted(DOCS.glob("vault-*.md")):
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)):
            found.append(pytest.param(yaml.safe_load(text), id=f"{page.stem}-{number}"))
    return found


def test_every_vault_has_its_page() -> None:
    pages = {page.stem.removeprefix("vault-").replace("-", "_") for page in DOCS.glob("vault-*.md")}
    assert pages == set(BACKENDS)
    for page in DOCS.glob("vault-*.md"):
        assert "\n## Limitations\n" in page.read_text(), page


@pytest.mark.parametrize("example", examples())
def test_a_backend_takes_its_example(
    example: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The files it names needn't be there.
    monkeypatch.setattr(checked, "content", lambda *_: "content")
    backend = BACKENDS[example["key_password_backend"]]
    backend(example["key_password_options"], controller)


def test_the_lookup_plugins_have_what_the_examples_name() -> None:
    lookups = [
        param.values[0]["key_password_options"]
        for param in examples()
        if param.values[0]["key_password_backend"] == "lookup"
    ]
    assert len(lookups) >= 7
    documentation = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-doc"), "--type", "lookup", "--json",
            *(options["plugin"] for options in lookups),
        ],
        capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    pages = json.loads(documentation)
    for options in lookups:
        known = pages[options["plugin"]]["doc"]["options"]
        assert set(options.get("options", {})) <= set(known), options["plugin"]
