"""A single job is given to one worker that has room; whatever becomes of that, it is run once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs import keys
from jobs.generation import State
from jobs.pubsub import PubSub, open_pubsub
from jobs.queue import IDLE_MS, open_queue
from tests.jobs.at_work import Work, at_work
from tests.services import RedisServer, eventually

SILENT = "demo-fast-tokens-9-silent-after-3"


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def hear(pubsub: PubSub, channel: str) -> list[bytes]:
    """The messages of this channel, as they come."""
    heard: list[bytes] = []
    assert await pubsub.subscribe(channel, heard.append, lambda: None).wait()
    return heard


def is_idle(redis: RedisServer, worker: str, *, ago_ms: int = 0) -> None:
    """Enters this worker as one that had room so long ago."""
    parts = redis.command("TIME")
    assert isinstance(parts, tuple)
    now = parts[0] * 1000 + parts[1] // 1000
    redis.command("ZADD", keys.IDLE, now - ago_ms, worker)


def idle(redis: RedisServer) -> object:
    """The workers that are entered."""
    return redis.command("ZRANGE", keys.IDLE, 0, -1)


async def idle_one(work: Work) -> str:
    """The only worker with room, once it is entered."""

    async def is_entered() -> bool:
        return bool(await work.redis.zcard(keys.IDLE) == 1)

    await eventually(is_entered)
    [name] = await work.redis.zrange(keys.IDLE, 0, -1)
    return str(name.decode())


async def test_a_single_job_goes_to_one_idle_worker_and_wakes_no_other(
    redis_server: RedisServer, redis_url: str
) -> None:
    async with open_queue(redis_url) as queue, open_pubsub(redis_url) as pubsub:
        woken = await hear(pubsub, keys.QUEUE)
        given = {name: await hear(pubsub, keys.offers(name)) for name in ("wrk_1", "wrk_2")}
        for name in given:
            is_idle(redis_server, name)
        for number in range(40):
            assert await queue.enqueue(f"gen_{number}", 0)
        await eventually(lambda: sum(map(len, given.values())) == 40)
        # By chance: one alone of the two in 2^39 runs.
        assert all(given.values())
        first = min((one for heard in given.values() for one in heard), key=len)
        job, payload = first.split(b" ", 1)
        assert redis_server.command("GET", f"arq:job:{job.decode()}") == payload
        # Found by all the same if nothing comes of it.
        assert await queue.depth() == 40
        assert woken == []


@pytest.mark.parametrize("why", ["long ago", "gone", "nobody"])
async def test_where_no_worker_is_idle_all_are_woken(
    redis_server: RedisServer, redis_url: str, why: str
) -> None:
    async with open_queue(redis_url) as queue, open_pubsub(redis_url) as pubsub:
        woken = await hear(pubsub, keys.QUEUE)
        given = await hear(pubsub, keys.offers("wrk_1")) if why == "long ago" else []
        if why != "nobody":
            ago = IDLE_MS + 1_000 if why == "long ago" else 0
            is_idle(redis_server, "wrk_1", ago_ms=ago)
        assert await queue.enqueue("gen_1", 0)
        await eventually(lambda: len(woken) == 1)
        assert given == []
        # Whoever does not listen is asked once.
        assert idle(redis_server) == ([b"wrk_1"] if why == "long ago" else [])


async def test_several_jobs_and_deferred_ones_are_given_to_nobody(
    redis_server: RedisServer, redis_url: str
) -> None:
    async with open_queue(redis_url) as queue, open_pubsub(redis_url) as pubsub:
        woken = await hear(pubsub, keys.QUEUE)
        given = await hear(pubsub, keys.offers("wrk_1"))
        is_idle(redis_server, "wrk_1")
        assert await queue.enqueue("gen_later", 0, defer_seconds=5)
        assert await queue.enqueue_all([("gen_1", 0, 0), ("gen_2", 0, 0)])
        await eventually(lambda: len(woken) == 1)
        assert given == []


async def test_a_worker_with_room_is_entered_and_a_full_one_is_not(work: Work) -> None:
    await work.hire(relay_max_jobs=2)
    name = await idle_one(work)
    assert name.startswith("wrk_")
    asked = [await work.store(f"Hello {number}", model=SILENT) for number in range(4)]
    await work.queue.enqueue_all([(one.id, 0, 0) for one in asked])

    async def is_gone() -> bool:
        return bool(await work.redis.zcard(keys.IDLE) == 0)

    await eventually(is_gone)


async def test_a_worker_that_died_is_forgotten(redis_server: RedisServer, work: Work) -> None:
    is_idle(redis_server, "wrk_dead", ago_ms=70_000)
    await work.hire()

    async def is_alone() -> bool:
        names = await work.redis.zrange(keys.IDLE, 0, -1)
        return len(names) == 1 and names != [b"wrk_dead"]

    await eventually(is_alone)


async def test_a_job_that_is_given_starts_without_a_look_into_the_queue(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.picking.POLL_SECONDS", 30.0)
    monkeypatch.setattr("jobs.queue.IDLE_MS", 60_000)
    await work.hire()
    await idle_one(work)
    await work.redis.config_resetstat()
    asked = await work.ask("Hello", model=SILENT)
    await work.wrote(asked)
    stats = await work.redis.info("commandstats")
    # The one of the queue's two scripts that looks into it was not run.
    assert "cmdstat_zrangebyscore" in stats
    assert stats["cmdstat_zrangebyscore"]["calls"] == 1
    assert await work.queue.depth() == 0


async def test_a_full_worker_that_is_given_a_job_lets_the_others_know(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.picking.POLL_SECONDS", 30.0)
    monkeypatch.setattr("jobs.queue.IDLE_MS", 60_000)
    await work.hire(relay_max_jobs=1)
    full = await idle_one(work)
    await work.wrote(await work.ask("Hello", model=SILENT))
    await work.hire()

    async def are_both_entered() -> bool:
        return bool(await work.redis.zcard(keys.IDLE) == 2)

    await eventually(are_both_entered)
    await work.redis.zremrangebyrank(keys.IDLE, 0, -1)
    await work.redis.zadd(keys.IDLE, {full: 2e12})
    asked = await work.ask("Hello", model="demo-fast-echo")
    ended = await work.ended(asked, within=5)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)


async def test_a_frozen_worker_that_is_given_a_job_keeps_it_from_nobody(work: Work) -> None:
    await work.hire()
    await idle_one(work)
    async with open_pubsub(work.settings.relay_redis_url) as pubsub:
        given = await hear(pubsub, keys.offers("wrk_frozen"))
        await work.redis.zremrangebyrank(keys.IDLE, 0, -1)
        await work.redis.zadd(keys.IDLE, {"wrk_frozen": 2e12})
        asked = await work.ask("Hello", model="demo-fast-echo")
        ended = await work.ended(asked, within=3)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert len(given) <= 1


async def test_a_job_that_is_given_twice_and_picked_as_well_runs_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.queue.IDLE_MS", 60_000)
    await work.hire()
    name = await idle_one(work)
    async with open_pubsub(work.settings.relay_redis_url) as pubsub:
        copies = await hear(pubsub, keys.offers(name))
        asked = await work.ask("Hello", model="demo-fast-words-20")
        await eventually(lambda: len(copies) == 1)
        for _ in range(5):
            await work.redis.publish(keys.offers(name), copies[0])
            await work.redis.publish(keys.QUEUE, b"")
        ended = await work.ended(asked)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
        # Late, it is no claim either.
        await work.redis.publish(keys.offers(name), copies[0])
        later = await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    assert later.state is State.COMPLETED
    assert (await work.read(asked)).attempt == 1
    assert len(await work.requests()) == 2


@pytest.mark.parametrize("message", [b"", b"gen_1:0", b"\xff\xfe {}", b'gen_1:0 {"f": 7}'])
async def test_what_is_no_job_is_dropped_and_the_worker_goes_on(
    work: Work, caplog: pytest.LogCaptureFixture, message: bytes
) -> None:
    await work.hire()
    name = await idle_one(work)
    with caplog.at_level(logging.WARNING):
        await work.redis.publish(keys.offers(name), message)
        await eventually(lambda: "an unreadable job is dropped" in caplog.text)
    ended = await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    assert ended.state is State.COMPLETED


async def test_a_job_that_a_worker_leaves_to_others_is_not_taken_by_being_given(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.queue.IDLE_MS", 60_000)
    left: list[str] = []
    monkeypatch.setattr("jobs.left_kinds.LeftKinds.now", lambda _: left)
    await work.hire()
    name = await idle_one(work)
    asked = await work.store("Hello")
    left.append(f"{asked.id}:0")
    async with open_pubsub(work.settings.relay_redis_url) as pubsub:
        woken = await hear(pubsub, keys.QUEUE)
        given = await hear(pubsub, keys.offers(name))
        await work.queue.enqueue(asked.id, 0)
        await eventually(lambda: (len(given), len(woken)) == (1, 1))
        await asyncio.sleep(0)
    assert (await work.read(asked)).state is State.QUEUED
    left.clear()
    assert (await work.ended(asked)).state is State.COMPLETED
