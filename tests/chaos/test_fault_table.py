"""The table of faults in docs/operations.md names tests that exist, and which are long."""

import re
from pathlib import Path

import pytest

from jobs import database, lost_ends, postgres_links, runner, worker

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
NAMED = re.findall(r"(\*?)`(test_\w+)`(\*?)", TABLE)
LONG = re.compile(r"@pytest\.mark\.long\n(?:@.+\n|    .+\n|\)\n)*(?:async )?def (test_\w+)")


def suite_of(folder: Path) -> dict[str, str]:
    """Each test's name and the text of its file."""
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py")]
    return {name: text for text in texts for name in re.findall(r"def (test_\w+)", text)}


def test_every_test_that_the_table_names_exists() -> None:
    assert len(NAMED) > 40
    assert {name for _, name, _ in NAMED} <= suite_of(ROOT / "tests").keys()
    for file in re.findall(r"`(test_\w+\.py)`", TABLE):
        assert list((ROOT / "tests").rglob(file)), file


def test_every_test_of_a_fault_is_in_the_table() -> None:
    about = {Path(__file__), *Path(__file__).parent.glob("test_history*.py")}
    suite = set(Path(__file__).parent.glob("test_*.py")) - about
    tests = {name for path in suite for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert tests <= {name for _, name, _ in NAMED}


@pytest.mark.parametrize("italic", [True, False])
def test_the_table_says_what_only_make_chaos_runs(italic: bool) -> None:
    suite = suite_of(Path(__file__).parent)
    for before, name, after in NAMED:
        if name in suite and (before == after == "*") is italic:
            assert (name in LONG.findall(suite[name])) is italic, name


def test_the_seconds_that_the_guide_promises_are_those_of_the_code() -> None:
    words = " ".join(TABLE.split())
    assert "what reads is answered 503 within 5 s" in words
    assert database.ANSWER_SECONDS == 5
    assert "it is gone 8 s after the grace" in words
    assert runner.AFTER_GRACE_SECONDS + worker.DRAIN_SECONDS + postgres_links.CLOSE_SECONDS == 8
    assert (
        "lets its generations end for up to 20 s, hands over the rest and is gone within 28 s"
        in (words)
    )
    assert worker.GRACE_SECONDS == 20
    assert "for 3 s after the loss, nor at two reads, of 2 s and 0.3 s" in words
    reads = lost_ends.FIRST_READ_SECONDS, lost_ends.LAST_READ_SECONDS
    assert (lost_ends.LOG_SECONDS, *reads) == (3, 2, 0.3)
    assert "that one is tried again every 10 s" in words
    assert lost_ends.HELD_AGAIN_SECONDS == 10
