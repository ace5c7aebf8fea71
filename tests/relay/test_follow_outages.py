"""Live readers while a worker is lost, or Redis or the database is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs import keys
from jobs.cursor import Cursor
from jobs.errors import Unavailable
from jobs.generation import State
from jobs.redis_link import CALL_TIMEOUT_SECONDS, REDIS_FAILURES
from jobs.redis_pipeline import TURN_SECONDS
from jobs.store.standings import Standing
from jobs.stream_log import Message
from relay import follow, past
from relay.pulse import TICK_SECONDS
from tests.relay.heard import assert_is_the_rest, numbered
from tests.relay.stage import Author, ReadingSide, authoring, reading_side, write_fast
from tests.services import DelayingProxy, RedisServer, eventually


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


@pytest.fixture
async def side(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[ReadingSide]:
    """Who reads."""
    async with reading_side(migrated_url, redis_url) as side:
        yield side


async def test_an_end_that_nobody_announced_is_found_within_a_heartbeat(
    author: Author, migrated_url: str, redis_url: str
) -> None:
    async with reading_side(migrated_url, redis_url, heartbeat=0.3) as side:
        log = await author.running()
        log.append_text("hello")
        await author.flush()
        readers = [await side.joined(log.generation_id) for _ in range(3)]
        await asyncio.gather(*(reader.hears_up_to(2) for reader in readers))
        author.publisher.abandon(log)
        generation = await author.commit(log)
        for reader in readers:
            told = await reader.finish()
            assert [one.event for one in told] == ["status", "token", "completed"]
            assert told[-1].data["generation"]["finished_at"] == generation.finished_at
            assert "text" not in told[-1].data["generation"]["output"]
            assert told[-1].data["generation"]["output"]["characters"] == 5


async def test_with_redis_frozen_an_end_is_found_within_a_heartbeat_and_a_call(
    author: Author, migrated_url: str, redis_url: str, redis_server: RedisServer
) -> None:
    async with reading_side(migrated_url, redis_url, heartbeat=0.3) as side:
        log = await author.running()
        log.append_text("hello")
        await author.flush()
        readers = [await side.joined(log.generation_id) for _ in range(20)]
        await asyncio.gather(*(reader.hears_up_to(2) for reader in readers))
        author.publisher.abandon(log)
        redis_server.freeze()
        try:
            await author.commit(log)
            async with asyncio.timeout(0.3 + TICK_SECONDS + TURN_SECONDS + CALL_TIMEOUT_SECONDS):
                told = await asyncio.gather(*(reader.finish() for reader in readers))
            with pytest.raises(REDIS_FAILURES):
                await side.sources.stream_log.tail(log.generation_id)
        finally:
            redis_server.thaw()
        for one in told:
            assert [e.event for e in numbered(one)] == ["status", "token", "completed"]


async def test_a_worker_that_lost_its_generation_is_not_heard_once_the_row_says_so(
    author: Author, migrated_url: str, redis_url: str
) -> None:
    async with reading_side(migrated_url, redis_url, heartbeat=0.3) as side:
        generation = await author.queued()
        zombie = await author.begin(generation)
        zombie.append_text("old ")
        await author.flush()
        reader = await side.joined(generation.id)
        await reader.hears_up_to(2)
        # Claimed, and nothing written yet: the log would still take the old attempt's frames.
        author.publisher.abandon(zombie)
        log = await author.begin(generation, seen=1)
        author.publisher.abandon(log)
        await author.redis.delete(keys.log(generation.id))
        await reader.hears(lambda _: reader.follower._past.attempt == 2)
        late = await side.joined(generation.id)
        await late.hears(lambda _: late.follower._past.attempt == 2 and late.chunks[:1] == [b""])
        for one in (reader, late):
            for seq in (1, 3):
                old = b'id: 1.%d.8\nevent: token\ndata: {"text":"more"}\n\n' % seq
                one.follower.on_message(Message(1, seq, seq, False, old))
        await eventually(lambda: not reader.follower._inbox and not late.follower._inbox)
        await author.commit(log, State.COMPLETED)
        for one in (reader, late):
            told = await one.finish()
            assert [e.id for e in told if e.cursor.attempt == 1] == (
                ["1.1.0", "1.2.4"] if one is reader else []
            )
            assert [e.event for e in told[-3:]] == ["reset", "status", "completed"]


async def test_a_frame_that_came_with_the_news_of_a_newer_attempt_is_dropped(
    author: Author, side: ReadingSide
) -> None:
    generation = await author.queued()
    zombie = await author.begin(generation)
    zombie.append_text("old ")
    await author.flush()
    reader = await side.joined(generation.id)
    await reader.hears_up_to(2)
    author.publisher.abandon(zombie)
    log = await author.begin(generation, seen=1)
    reader.follower.heartbeat(Standing(State.RUNNING, 2, "alive"))
    old = b'id: 1.3.8\nevent: token\ndata: {"text":"more"}\n\n'
    reader.follower.on_message(Message(1, 3, 3, False, old))
    await author.end(log)
    told = await reader.finish()
    assert [one.id for one in told if one.cursor.attempt == 1] == ["1.1.0", "1.2.4"]
    assert [one.event for one in told[2:]] == ["reset", "status", "completed"]


async def test_a_repair_goes_on_without_the_database(
    author: Author, side: ReadingSide, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await author.running()
    reader = await side.joined(log.generation_id)
    waiting = await side.joined((await author.queued()).id)
    await reader.hears_up_to(1)
    await waiting.hears(lambda events: len(events) == 1)
    with monkeypatch.context() as away:

        async def fails(*_: object, **__: object) -> None:
            raise Unavailable("the database")

        away.setattr(past, "read_stream_row", fails)
        redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await write_fast(author, log, 30)
        await reader.hears_up_to(31)
        fresh = side.reader(log.generation_id)
        await fresh.join()
        with pytest.raises(Unavailable):
            await fresh.read()
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))
    assert waiting.task is not None
    assert not waiting.task.done()
    waiting.leave()


async def test_a_newer_attempt_in_the_log_is_told_also_without_the_database(
    author: Author, migrated_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reading_side(migrated_url, redis_url, lease=60) as side:
        generation = await author.queued()
        lost = await author.begin(generation)
        lost.append_text("old")
        await author.flush()
        reader = await side.joined(generation.id)
        await reader.hears_up_to(2)

        async def fails(*_: object, **__: object) -> None:
            raise Unavailable("the database")

        monkeypatch.setattr(past, "read_stream_row", fails)
        with monkeypatch.context() as unheard:
            unheard.setattr(follow.Follower, "on_message", lambda *_: None)
            author.publisher.abandon(lost)
            log = await author.begin(generation, seen=1)
            log.append_text("new")
            await author.flush()
        reader.follower.on_subscribed()
        await reader.hears_up_to(3, attempt=2)
        await author.end(log)
        told = [one for one in await reader.finish() if one.cursor.attempt == 2]
        assert_is_the_rest(told, await author.log_of(log))


async def test_live_events_dont_follow_a_cursor_that_could_not_be_judged_yet(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await author.running()
    await write_fast(author, log, 5)
    cursor = Cursor(1, log.seq, log.characters)
    wrong = Cursor(1, log.seq, log.characters + 1)
    with monkeypatch.context() as failing:

        async def fails(*_: object, **__: object) -> None:
            raise RedisConnectionError("no answer")

        failing.setattr(side.sources.stream_log, "read", fails)
        good = await side.joined(log.generation_id, cursor)
        bad = await side.joined(log.generation_id, wrong)
        await eventually(lambda: all(one.follower._past.again_at for one in (good, bad)))
        await write_fast(author, log, 3)
        await eventually(lambda: not (good.follower._inbox or bad.follower._inbox))
        assert good.events == bad.events == []
    await author.end(log)
    whole = await author.log_of(log)
    assert_is_the_rest(await good.finish(), whole, cursor)
    reset, *rest = await bad.finish()
    assert reset.data == {"reason": "unknown_cursor", "attempt": 1}
    assert_is_the_rest(rest, whole)


async def test_a_redis_that_is_away_is_waited_for_and_the_end_is_told_from_sql(
    author: Author, migrated_url: str, redis_url: str
) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        reading_side(migrated_url, proxy.url(redis_url), heartbeat=0.3) as side,
    ):
        log = await author.running()
        await write_fast(author, log, 5)
        cursor = (await author.log_of(log))[3].cursor
        proxy.refuse()
        proxy.abort()
        readers = [side.reader(log.generation_id, one) for one in (None, cursor)]
        assert not any([await reader.follower.join() for reader in readers])
        for reader in readers:
            reader.start()
            await reader.hears(lambda events: {one.event for one in events} == {"heartbeat"})
        await write_fast(author, log, 5)
        await author.end(log)
        whole = await author.log_of(log)
        for reader, after in zip(readers, (None, cursor), strict=True):
            assert_is_the_rest(await reader.finish(), whole, after)
        assert proxy.counts.refused > 0
