"""The table of threats in docs/operations.md proves each defence by tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("\n## Who may do what\n")[2].partition("\n## ")[0]
TABLE = SECTION.partition("| threat | defence | proved by |\n|---|---|---|\n")[2].partition("\n\n")[
    0
]
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TABLE.splitlines()]


def test_every_threat_has_a_defence_and_tests_that_exist() -> None:
    suite = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(ROWS) >= 15
    for threat, defence, proof in ROWS:
        named = set(re.findall(r"`(test_\w+)`", proof))
        assert threat
        assert defence
        assert named, threat
        assert named <= suite, named - suite


def test_every_test_file_that_the_table_names_holds_the_test_beside_it() -> None:
    for *_, proof in ROWS:
        for file, name in re.findall(r"`(test_\w+\.py)`: `(test_\w+)`", proof):
            paths = list((ROOT / "tests").rglob(file))
            assert any(f"def {name}(" in path.read_text(encoding="utf-8") for path in paths), name
