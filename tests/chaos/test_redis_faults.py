"""Redis dies, freezes, forgets, fills up or is cut off: no generation ends otherwise for it."""

import asyncio
import time

import pytest
import redis

from tests.chaos.conftest import LEASE, Start
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, wave, words
from tests.services import Direction, eventually

MODEL = "demo-words-60-pace-20"
TEXT = words(60)


@pytest.mark.parametrize("keep_data", [True, False], ids=["with its data", "without its data"])
async def test_redis_dies_and_comes_back_and_no_reader_notices(
    start_system: Start, keep_data: bool
) -> None:
    """Without its data too: the workers seed the logs anew before any relay serves them."""
    # A relay waits so long for them, however busy the machine is.
    system = await start_system(lease=10.0)
    readers = await wave(system, 6, MODEL)
    running = await system.in_flight()
    assert len(running) == 6
    pid = system.redis.pid
    system.redis.kill()
    await asyncio.sleep(0.5)
    system.redis.restart(keep_data=keep_data)
    assert system.redis.pid != pid
    for reader in readers:
        await assert_whole(system, reader, TEXT)


async def test_what_is_accepted_while_redis_is_away_runs_when_it_is_back(system: System) -> None:
    system.redis.kill()
    asked_at = time.monotonic()
    readers = await asyncio.gather(*(system.asked("demo-words-5", said=f"{n}") for n in range(4)))
    assert time.monotonic() - asked_at < 10
    system.redis.restart(keep_data=False)
    for reader in readers:
        await assert_whole(system, reader, words(5))


async def test_while_redis_is_frozen_generations_are_committed(system: System) -> None:
    readers = await wave(system, 5, "demo-words-30-pace-10")
    assert len(await system.in_flight()) == 5
    system.redis.freeze()
    try:
        for reader in readers:
            ended = await system.ended(reader.generation_id)
            assert ended["state"] == "completed"
            assert ended["output"]["text"] == words(30)
        assert not any(reader.text == words(30) for reader in readers)
    finally:
        system.redis.thaw()
    for reader in readers:
        await assert_whole(system, reader, words(30))


@pytest.mark.long
async def test_what_is_queued_or_accepted_while_redis_is_frozen_runs_afterwards(
    start_system: Start,
) -> None:
    system = await start_system(max_jobs=2)
    running = await wave(system, 4, "demo-words-40-pace-30")
    queued = [await system.asked("demo-words-5", said=f"queued {n}") for n in range(4)]
    assert len(await system.in_flight()) == 4
    system.redis.freeze()
    try:
        asked_at = time.monotonic()
        accepted = await asyncio.gather(*(system.asked("demo-words-5") for _ in range(4)))
        assert time.monotonic() - asked_at < 10
        for reader in running:
            assert (await system.ended(reader.generation_id))["state"] == "completed"
        # Their places are free, and nobody can hear of what is queued.
        waiting = await system.rows("SELECT count(*) FROM generations WHERE state = 'queued'")
        assert waiting == [(8,)]
    finally:
        system.redis.thaw()
    thawed_at = time.monotonic()
    for reader in running:
        await assert_whole(system, reader, words(40))
    for reader in (*queued, *accepted):
        await assert_whole(system, reader, words(5))
    # Less than a pick whose reply was lost would keep its jobs from others.
    assert time.monotonic() - thawed_at < 5
    assert (await system.model_stats())["requests"] == 12


@pytest.mark.parametrize("whose", [pytest.param("relays", marks=pytest.mark.long), "workers"])
async def test_a_dead_link_to_redis_is_noticed_and_the_gap_filled(
    system: System, whose: str
) -> None:
    """Noticed while it stays dead, since nobody is told: what ends is read from the row."""
    members = system.relays if whose == "relays" else system.workers
    readers = await wave(system, 6, "demo-words-60-pace-20")
    later = await wave(system, 3, "demo-words-400-pace-20")
    links = [one.redis_link for one in members if one.redis_link]
    resets = [link.counts.resets for link in links]
    for link in links:
        link.black_hole()
    for reader in readers:
        await assert_whole(system, reader, TEXT)
    assert all(link.counts.held for link in links)
    assert [link.counts.resets for link in links] == resets
    assert (await system.in_flight()).keys() == {reader.generation_id for reader in later}
    for link in links:
        link.heal()
    for reader in later:
        await assert_whole(system, reader, words(400), within=40)


async def test_a_full_redis_costs_no_answer(system: System) -> None:
    readers = await wave(system, 5, "demo-words-40-pace-10")
    assert len(await system.in_flight()) == 5
    system.redis.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        system.redis.command("SET", "more", "than fits")
    # It stays full: the rest and the end are read from the row.
    for reader in readers:
        await assert_whole(system, reader, words(40))


async def test_a_cut_subscription_leaves_no_gap_and_no_duplicate(system: System) -> None:
    readers = await wave(system, 6, "demo-words-120-pace-20")
    cut = 0
    while cut < 8:
        assert await system.in_flight()
        killed = system.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        assert isinstance(killed, int)
        cut += killed
        await asyncio.sleep(0.2)
    for reader in readers:
        await assert_whole(system, reader, words(120))


async def test_a_subscriber_that_redis_cuts_for_slowness_reads_the_log(system: System) -> None:
    """What does not leave at once is too much for this Redis."""
    limit = "client-output-buffer-limit"
    cuts = _cut_for_slowness(system)
    system.redis.command("CONFIG", "SET", limit, "pubsub 1 0 0")
    try:
        readers = await wave(system, 8, "demo-fast-words-30000")
        await eventually(lambda: _cut_for_slowness(system) > cuts, within=10.0, every=0.05)
        assert await system.in_flight()
    finally:
        system.redis.command("CONFIG", "SET", limit, "pubsub 33554432 8388608 60")
    for reader in readers:
        await assert_whole(system, reader, words(30_000), within=25)


def _cut_for_slowness(system: System) -> int:
    told = system.redis.command("INFO", "stats")
    assert isinstance(told, dict)
    return int(told["client_output_buffer_limit_disconnections"])


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.long)])
async def test_an_end_that_could_not_be_published_is_heard_all_the_same(
    system: System, times: int
) -> None:
    """Cut at the worst moment: after the commit, with the terminal event on its way."""
    before = await system.model_stats()
    [reader] = await wave(system, 1, "demo-words-20-pace-30")
    worker = await system.holder(reader.generation_id)
    assert worker.redis_link is not None
    trap = worker.redis_link.cut_before(b"event: completed", Direction.UP, times=times)
    await assert_whole(system, reader, words(20))
    assert trap.sprung
    assert worker.running
    ended = await system.resource(reader.generation_id)
    assert ended["usage"]["output_tokens"] == 20
    assert (await system.model_stats())["requests"] == before["requests"] + 1


@pytest.mark.long
async def test_a_worker_that_can_not_reach_redis_loses_nothing_to_it(system: System) -> None:
    """Longer than a lease: only the database says who is lost."""
    readers = await wave(system, 4, "demo-words-80-pace-20")
    for one in system.workers:
        assert one.redis_link is not None
        one.redis_link.refuse()
        assert one.redis_link.abort()
    await asyncio.sleep(LEASE + 1)
    for one in system.workers:
        assert one.redis_link is not None
        assert one.redis_link.counts.refused
        one.redis_link.heal()
    for reader in readers:
        await assert_whole(system, reader, words(80))
