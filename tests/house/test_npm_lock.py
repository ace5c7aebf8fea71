"""The clients are pinned, npm's lock names no registry, and the docs say which were tried."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NPM = ROOT / "tests/clients/npm"


def wanted() -> dict[str, str]:
    found: dict[str, str] = json.loads((NPM / "package.json").read_text())["dependencies"]
    return found


def test_each_client_is_wanted_in_one_exact_version_which_the_lock_has() -> None:
    locked = json.loads((NPM / "package-lock.json").read_text())["packages"]
    for name, version in wanted().items():
        exact = re.fullmatch(r"(?:npm:[a-z@/-]+@)?(\d+\.\d+\.\d+)", version)
        assert exact, name
        assert locked[f"node_modules/{name}"]["version"] == exact[1]


def test_the_lock_has_a_digest_of_every_package_and_no_address() -> None:
    packages = json.loads((NPM / "package-lock.json").read_text())["packages"]
    assert len(packages) > 20
    for name, package in packages.items():
        assert not name or package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_the_example_page_is_for_the_versions_that_are_tried() -> None:
    package = json.loads((ROOT / "examples/use-chat/package.json").read_text())
    assert package["dependencies"].items() <= wanted().items()


def test_the_docs_table_names_the_versions_of_pypi_that_are_locked() -> None:
    rows = re.findall(
        r"^\| `([^`\n]+)` \(PyPI\)[^|\n]* \| ([^|\n]+) \|",
        (ROOT / "docs/protocol.md").read_text(),
        re.M,
    )
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    versions = {package["name"]: package["version"] for package in locked}
    assert len(rows) > 3
    assert {name: versions[name] for name, _ in rows} == dict(rows)


def test_the_docs_table_names_the_versions_that_are_tried() -> None:
    rows = re.findall(
        r"^\| `([^`\n]+)`[^|\n]* \(npm\) \| ([^|\n]+) \|",
        (ROOT / "docs/protocol.md").read_text(),
        re.M,
    )
    assert len(rows) > 2
    assert {name: wanted()[name] for name, _ in rows} == dict(rows)


def test_the_docs_name_the_former_versions_that_are_tried() -> None:
    former = [version.removeprefix("npm:") for version in wanted().values() if ":" in version]
    docs = (ROOT / "docs/protocol.md").read_text()
    assert len(former) == 2
    assert [one for one in former if f"`{one}`" not in docs] == []
