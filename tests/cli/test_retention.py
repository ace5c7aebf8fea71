"""`retention` from the command line: counted first, then deleted; a bad age is one line."""

from typing import Any

import pytest

from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts


async def _old(acts: Acts) -> None:
    await acts.chat(("one", "1"), ("two", "2"))
    await acts.elapse(100 * 86_400)
    await acts.worker("wrk_1")
    await acts.chat(("three", "3"))


def test_a_dry_run_counts_and_a_run_deletes(terminal: Terminal, does: Does[Any]) -> None:
    does(_old)
    for words, figure in ((["--older-than", "101d"], 0), ([], 2)):
        ran = terminal.run("retention", "--dry-run", "--json", *words)
        assert ran.status == 0
        assert ran.json["dry_run"] is True
        assert ran.json["generations"] == figure
        assert (ran.json["personas"], ran.json["logs"]) == (0, None)
    ran = terminal.run("retention", "--dry-run")
    assert "2 would be deleted" in ran.out
    assert ran.err == "[nothing was deleted]\n"
    ran = terminal.run("retention")
    assert ran.status == 0
    assert ran.out.splitlines()[0] == "generations  2 deleted"
    assert len(terminal.run("generations", "list", "--json").json["data"]) == 1


@pytest.mark.parametrize("span", ["", "90", "0d", "never", "-1d", "200w200"])
def test_an_age_that_is_none_is_one_line(span: str, terminal: Terminal) -> None:
    assert terminal.run("retention", "--older-than", span).refused("--older-than", status=2)
