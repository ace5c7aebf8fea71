"""Backfill gives every newest version the derived content of today's rules, and hurts nothing."""

import time
from typing import Any

from jobs.backfill import Step, rebuild_derived
from jobs.store.personas import delete_persona, read_persona
from persona_apply import Catalogue, Persona, derive
from tests.conformance.acts import Acts, change

FILES = {"persona.md": "# Ada\n\nAn engineer."}


def right(files: dict[str, str]) -> dict[str, Any]:
    """What today's rules derive."""
    return derive(Persona("Ann", "a brief", files, ()), Catalogue.default())


async def walk(acts: Acts, **options: Any) -> list[Step]:
    options.setdefault("per_second", 10_000)
    return [step async for step in rebuild_derived(acts.db, **options)]


async def derived_of(acts: Acts, persona: str, owner: str = "ann") -> dict[str, Any]:
    return (await read_persona(acts.db, owner, persona)).derived


async def test_what_differs_is_rebuilt_once_and_the_rest_is_left(acts: Acts) -> None:
    stale = await acts.persona(change(FILES, card="an old one"))
    fresh = await acts.persona(change(FILES, **right(FILES)))
    assert [step.became for step in await walk(acts, dry_run=True)] == ["rebuilt", "same"]
    assert await derived_of(acts, stale) == {"card": "an old one"}
    assert await walk(acts) == [Step(stale, "rebuilt"), Step(fresh, "same")]
    assert await derived_of(acts, stale) == await derived_of(acts, fresh) == right(FILES)
    assert [step.became for step in await walk(acts)] == ["same", "same"]


async def test_only_the_newest_version_and_what_is_not_deleted_is_looked_at(acts: Acts) -> None:
    twice = await acts.persona(change(FILES), change({"more.md": "x"}))
    gone = await acts.persona(change(FILES))
    await delete_persona(acts.db, "ann", gone)
    assert [step.persona_id for step in await walk(acts)] == [twice]
    assert await derived_of(acts, twice) == right({**FILES, "more.md": "x"})


async def test_it_goes_on_behind_an_id_and_for_one_owner(acts: Acts) -> None:
    mine = [await acts.persona(change(FILES)) for _ in range(3)]
    other = await acts.persona(change(FILES), owner="bob")
    assert [step.persona_id for step in await walk(acts, after=mine[0], dry_run=True)] == [
        *mine[1:],
        other,
    ]
    assert [step.persona_id for step in await walk(acts, owner="bob")] == [other]
    assert await derived_of(acts, mine[0]) == {}


async def test_what_breaks_todays_rules_is_told_and_left_as_it_is(acts: Acts) -> None:
    bad = await acts.persona(change({"../up.md": "x"}, card="kept"))
    good = await acts.persona(change(FILES))
    steps = await walk(acts)
    assert [(step.persona_id, step.became) for step in steps] == [
        (bad, "refused"),
        (good, "rebuilt"),
    ]
    assert steps[0].reason is not None
    assert await derived_of(acts, bad) == {"card": "kept"}


async def test_it_takes_no_more_than_so_many_a_second(acts: Acts) -> None:
    for _ in range(4):
        await acts.persona(change(FILES))
    began = time.monotonic()
    await walk(acts, per_second=10, dry_run=True)
    assert time.monotonic() - began >= 0.3
