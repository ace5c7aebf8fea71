"""OpenAI's SDK while things break: the committed text, or a failure that says so, never less."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.chaos.sdk_reader import SdkReader, clients_of, replay_of
from tests.chaos.system import System
from tests.chaos.waves import words
from tests.clients.openai_python import generation_of

PACED, TEXT = "demo-words-70-pace-30", words(70)


@asynccontextmanager
async def answered(
    system: System, count: int, readers: int = 2, model: str = PACED
) -> AsyncIterator[list[SdkReader]]:
    """So many responses being written, each with readers that have seen some of it."""
    async with clients_of([one.url for one in system.relays]) as clients:
        created = [
            await clients[0].responses.create(model=model, input=f"{number}", background=True)
            for number in range(count)
        ]
        following = [
            SdkReader(clients, one.id, system.rng, at).start()
            for one in created
            for at in range(readers)
        ]
        try:
            await asyncio.gather(*(one.wrote() for one in following))
            yield following
        finally:
            for one in following:
                one.leave()


async def assert_told_alike(system: System, following: Sequence[SdkReader]) -> None:
    """Each has every event once, as a reader has them that comes afterwards."""
    for one in following:
        assert [event.sequence_number for event in one.events] == list(range(len(one.events)))
        assert await replay_of(one.clients[-1], one.response_id) == one.events
        assert one.final == await one.clients[0].responses.retrieve(one.response_id)
        assert one.text == one.final.output_text
        [_, turn] = await system.turns(generation_of(one.response_id))
        assert turn[1] == one.text


async def test_a_killed_worker_is_a_failure_with_the_text_that_was_shown(system: System) -> None:
    async with answered(system, 6) as following:
        held = {one.name: await system.held_by(one) for one in system.workers}
        worker = max(system.workers, key=lambda one: len(held[one.name]))
        lost = held[worker.name]
        assert lost
        worker.kill()
        await asyncio.gather(*(one.finished() for one in following))
        await assert_told_alike(system, following)
        for one in following:
            if generation_of(one.response_id) in lost:
                assert one.final.status == "failed"
                assert one.final.error.message.startswith("worker_lost: ")
                assert TEXT.startswith(one.text)
                assert len(one.text) < len(TEXT)
            else:
                assert (one.final.status, one.text) == ("completed", TEXT)


@pytest.mark.long
async def test_a_worker_cut_off_from_its_database_alone_loses_nothing_that_it_showed(
    postgres_system: System,
) -> None:
    """It goes on streaming over Redis until another process takes what it held for lost."""
    system, count = postgres_system, 3000
    async with answered(system, 8, readers=1, model=f"demo-words-{count}-pace-60") as following:
        held = {one.name: await system.held_by(one) for one in system.workers}
        worker = max(system.workers, key=lambda one: len(held[one.name]))
        mine = [one for one in following if generation_of(one.response_id) in held[worker.name]]
        assert mine
        assert worker.database_link is not None
        worker.database_link.black_hole()
        shown = [len(one.text) for one in mine]
        await asyncio.gather(*(one.finished() for one in mine))
        assert worker.database_link.counts.held
        assert worker.running
        await assert_told_alike(system, mine)
        for one, characters in zip(mine, shown, strict=True):
            assert (one.final.status, one.final.error.message[:13]) == ("failed", "worker_lost: ")
            assert characters < len(one.text)
            assert words(count).startswith(one.text)


async def test_a_worker_lost_with_all_of_redis_is_a_failure_too(system: System) -> None:
    async with answered(system, 4, model="demo-words-200-pace-30") as following:
        seen = [len(one.text) for one in following]
        for worker in system.workers:
            worker.kill()
        system.redis.command("FLUSHALL")
        await asyncio.gather(*(one.finished() for one in following))
        for one, characters in zip(following, seen, strict=True):
            numbers = [event.sequence_number for event in one.events]
            assert numbers == sorted(set(numbers))
            assert len(one.text) >= characters
            assert one.events[-1].type == "response.failed"
            assert one.final.error.message.startswith("worker_lost: ")


async def test_a_killed_relay_costs_no_event(system: System) -> None:
    async with answered(system, 4, model="demo-words-200-pace-30") as following:
        system.relays[0].kill()
        await asyncio.gather(*(one.finished() for one in following))
        await system.relays[0].start()
        assert sum(one.cuts for one in following) >= len(following) / 2
        await assert_told_alike(system, following)
        assert {(one.final.status, one.text) for one in following} == {("completed", words(200))}


async def test_a_redis_that_forgets_everything_costs_no_event_either(system: System) -> None:
    async with answered(system, 4) as following:
        system.redis.command("FLUSHALL")
        await asyncio.gather(*(one.finished() for one in following))
        await assert_told_alike(system, following)
        assert {(one.final.status, one.text) for one in following} == {("completed", TEXT)}
