"""A cancellation is in force within two seconds, in every phase and from any replica."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from jobs.cursor import Cursor
from tests.chaos.reader import Reader
from tests.chaos.system import System
from tests.chaos.waves import wave, words
from tests.services import Direction, eventually

IN_FORCE_WITHIN = 2.0
CLOSED_WITHIN = 0.5
SILENT = "demo-fast-tokens-9-silent-after-3"


async def waiting_in_line(system: System) -> Reader:
    """Behind another one of its conversation."""
    first = await (await system.asked(SILENT)).wrote()
    conversation = (await system.resource(first.generation_id))["conversation_id"]
    reader = await system.asked("demo", conversation_id=conversation, on_active="queue")
    return await reader.until(lambda one: one.cursor == Cursor(0, 1, 0))


async def claimed(system: System) -> Reader:
    reader = await system.asked("demo-delay-3000-words-5")
    await reader.until(lambda one: one.cursor is not None and one.cursor.attempt == 1)
    return reader


async def in_mid_answer(system: System) -> Reader:
    return (await wave(system, 1, "demo-words-200-pace-20"))[0]


async def in_mid_silence(system: System) -> Reader:
    return await (await system.asked(SILENT)).wrote(len("t1 t2 t3"))


async def in_the_last_tokens(system: System) -> Reader:
    return await (await system.asked("demo-words-10-pace-30")).wrote(len(words(9)))


PHASES = (waiting_in_line, claimed, in_mid_answer, in_mid_silence, in_the_last_tokens)


async def cancelled(system: System, reader: Reader, state: tuple[str, ...]) -> None:
    """Ask, and see the end in time, one turn at most, and the upstream closed."""
    others = await system.upstreams() - (reader.cursor != Cursor(0, 1, 0))
    asked_at = time.monotonic()
    await system.cancel(reader.generation_id)
    await reader.finished(IN_FORCE_WITHIN + 1)
    assert reader.end is not None
    assert reader.end.at - asked_at < IN_FORCE_WITHIN

    async def is_closed() -> bool:
        return await system.upstreams() <= max(0, others)

    await eventually(is_closed, within=CLOSED_WITHIN)
    ended = await system.resource(reader.generation_id)
    assert ended["state"] in state
    spoken = [turn for turn in await system.turns(reader.generation_id) if turn[0] == "assistant"]
    assert "".join(text for _, text, _ in spoken) == reader.text
    assert len(spoken) == bool(reader.text)
    assert all(partial == (ended["state"] == "cancelled") for _, _, partial in spoken)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
async def test_a_cancellation_is_obeyed_in_every_phase(
    system: System, phase: Callable[[System], Awaitable[Reader]]
) -> None:
    reader = await phase(system)
    racing = phase is in_the_last_tokens
    await cancelled(system, reader, ("cancelled", "completed") if racing else ("cancelled",))


@pytest.mark.long
async def test_a_cancellation_before_any_worker_is_there_is_final(system: System) -> None:
    for worker in system.workers:
        worker.kill()
    reader = await system.asked("demo-words-5")
    before = await system.model_stats()
    document = await system.cancel(reader.generation_id)
    assert document["state"] == "cancelled"
    await reader.finished(2)
    assert reader.names == ["status", "cancelled"]
    for worker in system.workers:
        await worker.start()
    assert (await system.model_stats())["requests"] == before["requests"]
    assert [role for role, _, _ in await system.turns(reader.generation_id)] == ["user"]


@pytest.mark.parametrize("fault", ["frozen", pytest.param("dead", marks=pytest.mark.long)])
async def test_a_cancellation_needs_no_redis(system: System, fault: str) -> None:
    reader = await in_mid_silence(system)
    if fault == "frozen":
        system.redis.freeze()
    else:
        system.redis.kill()
    try:
        asked_at = time.monotonic()
        asking = asyncio.create_task(system.cancel(reader.generation_id))
        ended = await system.ended(reader.generation_id, within=IN_FORCE_WITHIN + 1)
        assert time.monotonic() - asked_at < IN_FORCE_WITHIN + 0.5
        assert ended["state"] == "cancelled"
        assert await system.upstreams() == 0
        await asking
    finally:
        if fault == "frozen":
            system.redis.thaw()
        else:
            system.redis.restart(keep_data=False)
    await reader.finished(10)
    assert reader.text == ended["output"]["text"] == "t1 t2 t3"


@pytest.mark.long
async def test_a_cancellation_survives_the_loss_of_the_worker(system: System) -> None:
    """Asked for while nobody can hear it: the next attempt ends at once, with the shown text."""
    reader = await in_mid_silence(system)
    worker = await system.holder(reader.generation_id)
    requests = (await system.model_stats())["requests"]
    assert worker.redis_link is not None
    worker.redis_link.black_hole(Direction.DOWN)
    worker.freeze()
    await system.cancel(reader.generation_id)
    worker.kill()
    worker.redis_link.heal()
    await reader.finished(10)
    ended = await system.resource(reader.generation_id)
    assert (ended["state"], ended["attempt"]) == ("cancelled", 2)
    assert reader.text == ended["output"]["text"] == "t1 t2 t3"
    assert (await system.model_stats())["requests"] == requests


@pytest.mark.long
async def test_a_cancellation_needs_no_worker_when_its_own_is_lost(system: System) -> None:
    reader = await in_mid_silence(system)
    for worker in system.workers:
        worker.kill()
    # Every relay has had the contact that it needs to judge.
    await asyncio.sleep(2 * system.lease)
    asked_at = time.monotonic()
    await system.cancel(reader.generation_id)
    await reader.finished(IN_FORCE_WITHIN + 1)
    assert time.monotonic() - asked_at < IN_FORCE_WITHIN
    ended = await system.resource(reader.generation_id)
    assert (ended["state"], ended["attempt"]) == ("cancelled", 2)
    assert reader.text == ended["output"]["text"] == "t1 t2 t3"
    assert not any(worker.running for worker in system.workers)
