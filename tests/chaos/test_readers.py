"""Readers that are many, lost or wrong: the generation does not know of them."""

import asyncio
import random

import pytest

from tests.chaos.system import System
from tests.chaos.waves import assert_whole, wave, words
from tests.services import Direction


async def test_ten_clients_with_the_same_request_get_one_generation_and_one_run(
    system: System,
) -> None:
    before = await system.model_stats()
    answers = await asyncio.gather(
        *(
            system.ask_until_taken("the-same-key", "demo-words-20-pace-30", "Hello")
            for _ in range(10)
        )
    )
    ids = [one["id"] for one in answers]
    assert len(set(ids)) == 1
    readers = [system.read(ids[0]) for _ in range(10)]
    for reader in readers:
        await assert_whole(system, reader, words(20))
    assert (await system.model_stats())["requests"] == before["requests"] + 1


async def test_an_enqueue_whose_answer_was_lost_is_one_run(system: System) -> None:
    # Redis knows the script then, and does what it is asked before its answer is lost.
    await assert_whole(system, await system.asked("demo-words-3", said="first"), words(3))
    before = await system.model_stats()
    traps = [
        one.redis_link.cut_after(b'"f":"start"', Direction.UP)
        for one in system.relays
        if one.redis_link
    ]
    readers = await asyncio.gather(
        *(system.asked("demo-words-20-pace-30", said=f"{number}") for number in range(4))
    )
    for reader in readers:
        await assert_whole(system, reader, words(20))
    assert sum(trap.sprung for trap in traps) >= 1
    assert (await system.model_stats())["requests"] == before["requests"] + 4


@pytest.mark.parametrize("readers", [100, pytest.param(1_000, marks=pytest.mark.long)])
async def test_a_storm_of_readers_at_any_cursor_gets_exactly_the_rest(
    system: System, readers: int
) -> None:
    [first] = await wave(system, 1, "demo-words-80-pace-40")
    await first.wrote(len(words(30)))
    rng = random.Random(1)
    numbered = [one for one in first.numbered if one.cursor.attempt == 1]
    joined = [rng.choice(numbered) for _ in range(readers)]
    storm = [system.read(first.generation_id, cursor=one.id or "") for one in joined]
    assert first.end is None
    await assert_whole(system, first, words(80))
    for reader, start in zip(storm, joined, strict=True):
        await reader.finished(30)
        assert reader.resets == []
        assert reader.text == words(80)[start.cursor.offset :]
        assert reader.numbered[0].cursor > start.cursor
    # What is past in one answer, for those that come when all is over.
    late = [system.read(first.generation_id, cursor=one.id or "") for one in joined]
    for reader, start in zip(late, joined, strict=True):
        await reader.finished(30)
        assert reader.text == words(80)[start.cursor.offset :]
    assert first.end is not None
    again = system.read(first.generation_id, cursor=first.end.event.id or "")
    await again.finished(5)
    assert again.answered_204


@pytest.mark.parametrize("over", [False, True], ids=["running", "ended"])
async def test_a_cursor_that_can_not_be_right_is_told_so_once_and_then_everything(
    system: System, over: bool
) -> None:
    [reader] = await wave(system, 1, "demo-words-40-pace-30")
    if over:
        await reader.finished(10)
    wrong = ("x", "1.2", "9.1.0", "1.999.4", "1.4.4000", "1.0.5", "-1.1.0", "1.3.1e3")
    strangers = [system.read(reader.generation_id, cursor=cursor) for cursor in wrong]
    await reader.finished(10)
    for stranger in strangers:
        await stranger.finished(10)
        assert [seen.event.data["reason"] for seen in stranger.resets] == ["unknown_cursor"]
        assert stranger.text == words(40), stranger.tale()
