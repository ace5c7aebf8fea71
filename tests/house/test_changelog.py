"""The changelog's newest release is the version that is built, and its form is the agreed one."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_newest_release_is_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    releases = re.findall(r"^## \[(\d[^]]*)\]", CHANGELOG, flags=re.MULTILINE)
    assert releases[0] == project["version"]


def test_what_is_not_released_stands_on_top() -> None:
    assert re.findall(r"^## \[(.+?)\]", CHANGELOG, flags=re.MULTILINE)[0] == "Unreleased"


def test_changes_are_grouped_as_keep_a_changelog_says() -> None:
    groups = set(re.findall(r"^### (.+)$", CHANGELOG, flags=re.MULTILINE))
    assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
