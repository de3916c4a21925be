"""Rules of the whole checkout, which no single file's test would notice being broken. Roles have tests/unit/roles."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections" / "ansible_collections" / "mtls" / "kit"
LINKS = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")
NOT_SCENARIOS = {"images", "inventory", "shared"}


def tracked() -> list[Path]:
    """Every file that git tracks, links left out."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = [ROOT / name for name in listing.split("\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


def text_of(file: Path) -> str:
    """Its text; what is no UTF-8 is no text of ours and is read byte by byte."""
    return file.read_bytes().decode(errors="surrogateescape")


def names(files: list[Path]) -> list[str]:
    """Paths from the checkout's top, for messages and test names."""
    return [str(file.relative_to(ROOT)) for file in files]


def nothing(found: list[str]) -> None:
    """Expect an empty list, and name all of it when it is not."""
    assert not found, "\n" + "\n".join(found)


def yaml_files(*folders: str) -> list[Path]:
    """The tasks, handlers and plays of these folders."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.yml")]
    return [file for file in files if "meta" not in file.parts]


def python_files(folder: str) -> list[Path]:
    """The modules of a package."""
    return sorted(file for file in (ROOT / folder).rglob("*.py") if file.name != "__init__.py")


def tasks_in(node: object) -> Iterator[dict[str, object]]:
    """Every mapping in a YAML document: plays, tasks, and blocks' tasks among them."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from tasks_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from tasks_in(value)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    found = tracked()
    assert len(found) > 20, "git lists next to nothing: is this a checkout?"
    return found


def test_the_collection_is_five_relative_links_to_the_checkout() -> None:
    assert sorted(path.name for path in COLLECTION.iterdir()) == sorted(LINKS)
    for name in LINKS:
        link = COLLECTION / name
        assert link.is_symlink(), f"{link} is no link: was the checkout copied without links?"
        assert str(link.readlink()) == f"../../../../{name}"
        assert link.resolve(strict=True) == ROOT / name


def test_no_private_key_is_tracked(files: list[Path]) -> None:
    # The line after the header tells a key from code that only speaks of keys.
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{32,}")
    nothing(names([file for file in files if key.search(text_of(file))]))


def test_no_file_names_a_place_on_somebodys_machine(files: list[Path]) -> None:
    place = re.compile(r"(?<![\w.~}-])/(?:work|home/[a-z]\w*|Users/\w+|tmp/\w)(?=/)")
    hits = [f"{file.relative_to(ROOT)}: {found.group()}" for file in files for found in place.finditer(text_of(file))]
    nothing(hits)


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_what_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    paths = re.findall(r"(?<![\w/.])((?:playbooks|roles|scripts|docs|molecule|inventory|tests)/[\w./-]*\w)", text)
    paths += [link for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", text) if not link.startswith("http")]
    # Modules, roles and playbooks by their full names.
    known = {file.stem for kind in ("modules", "lookup", "filter") for file in (ROOT / "plugins" / kind).glob("*")}
    known |= {path.name for path in (ROOT / "roles").iterdir()} | {
        path.stem for path in (ROOT / "playbooks").glob("*.yml")
    }
    # inventory/mine is what a user makes.
    missing = [path for path in paths if not (ROOT / path).exists() and not path.startswith("inventory/mine")]
    missing += [name for name in re.findall(r"\bmtls\.kit\.(\w+)", text) if name not in known]
    nothing(missing)


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "molecule").iterdir() if path.is_dir()))
def test_every_scenario_is_whole(folder: str) -> None:
    if folder in NOT_SCENARIOS:
        assert not (ROOT / "molecule" / folder / "molecule.yml").exists()
        return
    present = {path.name for path in (ROOT / "molecule" / folder).glob("*.yml")}
    assert {"molecule.yml", "converge.yml", "verify.yml"} <= present


def test_every_role_has_a_scenario() -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    nothing(sorted(roles - {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}))


def test_no_scenario_plays_on_all_hosts() -> None:
    plays = [(file, play) for file in yaml_files("molecule") for play in tasks_in(yaml.safe_load(file.read_text()))]
    nothing(names([file for file, play in plays if play.get("hosts") == "all" and "tasks" in play]))


def test_no_failure_is_hidden() -> None:
    hiding = re.compile(r"^\s*-?\s*(failed_when:\s*(false|no)|ignore_errors:|ignore_unreachable:)", re.MULTILINE)
    found = [file for file in yaml_files("playbooks", "molecule") if hiding.search(file.read_text())]
    nothing(names(found))


def imports_of(file: Path) -> Iterator[str]:
    """Full names of what a Python file imports, of modules and of what is taken from them."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            package = f"{'.' * node.level}{node.module or ''}"
            yield package
            yield from (f"{package}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("folder", ["plugins/module_utils", "plugins/modules"])
def test_every_module_has_its_tests(folder: str) -> None:
    """By the name of a test file in the mirrored folder, or by a test there that imports it."""
    imported = {name for file in python_files("tests/unit") for name in imports_of(file)}
    untested = []
    for module in python_files(folder):
        place = module.relative_to(ROOT / "plugins")
        if place.parts[0] == "modules" and (ROOT / "plugins" / "action" / place.name).exists():
            # An action's module holds its documentation only; the action has the code.
            place = Path("action") / place.name
        full_name = ".".join(("ansible_collections.mtls.kit.plugins", *place.with_suffix("").parts))
        by_name = ROOT / "tests" / "unit" / place.parent / f"test_{place.stem}.py"
        if full_name not in imported and not by_name.exists():
            untested.append(module)
    nothing(names(untested))


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        (
            "plugins/module_utils/_pki",
            r"plugin_utils|_gateway|_container|ansible\.|plugins\.(modules|action|lookup|filter)",
        ),
        ("plugins/module_utils/_container", r"plugin_utils|plugins\.(modules|action|lookup|filter)"),
        ("plugins/module_utils/_gateway", r"plugin_utils|_container|plugins\.(modules|action|lookup|filter)"),
        ("plugins/modules", r"plugin_utils|plugins\.(action|lookup|filter)"),
    ],
)
def test_imports_run_downwards_only(folder: str, forbidden: str) -> None:
    wrong = re.compile(forbidden)
    found = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in python_files(folder)
        for name in imports_of(file)
        if wrong.search(
            name.replace("ansible_collections.mtls.kit.", "").replace("ansible.module_utils.basic", "basic")
        )
    ]
    nothing(found)


def test_every_pinned_package_is_explained() -> None:
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    pinned = {
        match.group(1)
        for name in ("requirements.txt", "requirements-test.txt")
        for match in re.finditer(r"^([A-Za-z0-9_.-]+)==", (ROOT / name).read_text(), re.MULTILINE)
    }
    assert pinned, "no pins found: has the format of the requirement files changed?"
    nothing(sorted(name for name in pinned if f"`{name}`" not in explained))


def test_changelog_fragments_can_be_read() -> None:
    sections = {name for name, _ in yaml.safe_load((ROOT / "changelogs" / "config.yaml").read_text())["sections"]}
    for file in (ROOT / "changelogs" / "fragments").glob("*.yml"):
        fragment = yaml.safe_load(file.read_text())
        assert set(fragment) <= sections, file.name
        assert all(isinstance(line, str) for lines in fragment.values() for line in lines), file.name


def test_each_decision_has_a_number_of_its_own() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(file.name[:4]) for file in records]
    nothing([file.name for file, number in zip(records, numbers, strict=True) if numbers.count(number) > 1])
    titles = [file.read_text().partition("\n")[0] for file in records]
    nothing([t for t, n in zip(titles, numbers, strict=True) if not t.startswith(f"# {n}. ")])
