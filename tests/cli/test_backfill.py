"""`personas backfill` from the command line: what it says, and where it goes on."""

from typing import Any

from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts, change


async def _stale(acts: Acts) -> list[str]:
    return [await acts.persona(change({"a.md": "x"}, card="old")) for _ in range(2)]


def test_it_says_what_it_did_and_where_it_goes_on(terminal: Terminal, does: Does[Any]) -> None:
    first, last = does(_stale)
    ran = terminal.run("personas", "backfill", "--dry-run", "--json")
    assert ran.json == {"dry_run": True, "rebuilt": 2, "same": 0, "refused": 0, "after": last}
    ran = terminal.run("personas", "backfill", "--after", first)
    assert (ran.status, ran.out) == (0, "rebuilt   1\nthe same  0\n")
    assert ran.err == f"[up to {last}: --after {last} goes on from here]\n"
    ran = terminal.run("personas", "backfill", "--json")
    assert (ran.json["rebuilt"], ran.json["same"]) == (1, 1)


def test_what_can_not_be_derived_is_told_and_makes_it_fail(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> str:
        return await acts.persona(change({"../up.md": "x"}))

    bad = does(stored)
    ran = terminal.run("personas", "backfill")
    assert ran.status == 1
    assert f"[{bad} is left as it is: " in ran.err


def test_a_place_that_is_none_is_one_line(terminal: Terminal) -> None:
    for place in ("per_", "gen_00000000000000000000000000", "nowhere"):
        assert terminal.run("personas", "backfill", "--after", place).refused("--after", status=2)


def test_a_rate_that_is_none_is_one_line(terminal: Terminal) -> None:
    ran = terminal.run("personas", "backfill", "--per-second", "0")
    assert ran.refused("--per-second", status=2)
