"""Live readers: nothing lost, doubled or out of order, whatever happens to the announcements."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs.cursor import Cursor
from jobs.database import Database
from jobs.events import Notice
from jobs.store.reads import read_stream_row
from jobs.stream_log import PAGE, Message
from relay import follow, past
from relay.held import HELD_BYTES
from relay.past import Past
from tests.relay.heard import assert_is_the_rest, heard, text_of
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side, write_fast
from tests.services import DelayingProxy, RedisServer


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


async def test_joins_at_random_moments_of_a_fast_writer_lose_double_and_disorder_nothing(
    author: Author, side: ReadingSide, migrated_url: str, redis_url: str
) -> None:
    log = await author.running()
    chance = random.Random(7)
    readers: list[tuple[Reader, Cursor | None]] = []
    async with reading_side(migrated_url, redis_url) as other:

        async def join() -> None:
            for _ in range(200):
                cursor: Cursor | None = None
                if readers and chance.random() < 0.6:
                    seen = chance.choice(readers)[0].events
                    cursor = chance.choice(seen).cursor if seen else None
                one = chance.choice((side, other)).reader(log.generation_id, cursor)
                readers.append(((await one.join()).start(), cursor))
                await asyncio.sleep(chance.random() / 300)

        await asyncio.gather(write_fast(author, log, 500), join())
        joined_live = log.seq
        await author.end(log)
        whole = await author.log_of(log)
        for reader, cursor in readers:
            assert_is_the_rest(await reader.finish(), whole, cursor)
    assert joined_live == 501
    assert len(readers) == 200


async def test_a_killed_pubsub_link_leaves_no_gap_no_double_and_no_reset(
    author: Author, side: ReadingSide, redis_server: RedisServer
) -> None:
    log = await author.running()
    readers = [await side.joined(log.generation_id) for _ in range(20)]

    async def kill() -> None:
        for _ in range(5):
            await asyncio.sleep(0.05)
            redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")

    await asyncio.gather(write_fast(author, log, 400), kill())
    await author.end(log)
    whole = await author.log_of(log)
    for reader in readers:
        assert_is_the_rest(await reader.finish(), whole)
    assert side.pubsub.connections > 1


async def test_a_link_cut_for_good_and_made_anew_brings_what_was_missed(
    author: Author, migrated_url: str, redis_url: str
) -> None:
    async with (
        DelayingProxy.before(redis_url, up_ms=2, down_ms=2) as proxy,
        reading_side(migrated_url, proxy.url(redis_url), heartbeat=60) as side,
    ):
        log = await author.running()
        log.append_text("before ")
        await author.flush()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(2)
        proxy.refuse()
        assert proxy.abort() > 0
        await write_fast(author, log, 20)
        await author.end(log)
        proxy.heal()
        assert_is_the_rest(await reader.finish(), await author.log_of(log))
        assert proxy.counts.refused + proxy.counts.resets > 0


async def test_a_slow_reader_overflows_its_inbox_and_reads_the_log(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "INBOX_BYTES", 500)
    log = await author.running()
    reader = await side.reader(log.generation_id).join()
    follower = reader.follower
    events = follower.events()
    reader.chunks.append(await anext(events))
    largest = 0
    for number in range(200):
        log.append_text(f"{number} " * 5)
        await author.flush()
        largest = max(largest, follower._inbox_bytes)
    assert 0 < largest <= 500
    await author.end(log)
    async for chunk in events:
        reader.chunks.append(chunk)
    follower.close()
    assert_is_the_rest(reader.events, await author.log_of(log))


async def test_a_readers_past_takes_bounded_memory_however_long_it_is(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    for number in range(12):
        log.append_text(f"{number} 🎉" * 12_000)
        await author.flush()
    for number in range(3):
        log.append("notice", Notice("long", str(number) * 100_000))
    await author.flush()
    running = await side.joined(log.generation_id)
    await running.hears_up_to(log.seq)
    await author.end(log)
    whole = await author.log_of(log)
    one = max(len(event.raw) for event in whole)
    for lost in (False, True):
        if lost:
            await author.lose_log(log)
        reader = Past(side.sources, log.generation_id)
        chunks: list[bytes] = []
        while chunk := await reader.next():
            held = reader._held.size + len(chunk)
            assert held <= HELD_BYTES + 2 * one < 1 << 20
            chunks.append(chunk)
        assert_is_the_rest(heard(chunks), whole)
        assert len(chunks) > 8
    assert_is_the_rest(await running.finish(), whole)


async def test_a_past_of_several_pages_is_told_whole(author: Author, side: ReadingSide) -> None:
    log = await author.running()
    for _ in range(2 * PAGE):
        log.append_text("x")
        log.append("notice", Notice("n", "n"))
        log.unsent()
        if log.seq % 1000 == 0:
            await author.flush()
    await author.flush()
    assert log.seq > 2 * PAGE
    reader = await side.joined(log.generation_id)
    await reader.hears_up_to(log.seq)
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


async def test_a_reader_at_the_tail_costs_one_row_and_one_read_of_the_log(
    author: Author, side: ReadingSide, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await author.running()
    for _ in range(30):
        log.append_text("x")
        await author.flush()
    reads = 0

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read_stream_row(*args, **kwargs)

    monkeypatch.setattr(past, "read_stream_row", counted)
    redis_server.command("CONFIG", "RESETSTAT")
    reader = await side.joined(log.generation_id)
    await reader.hears_up_to(log.seq)
    commands = redis_server.command("INFO", "commandstats")
    assert isinstance(commands, dict)
    assert commands["cmdstat_xrange"]["calls"] == 1
    assert "cmdstat_xrevrange" not in commands
    assert reads == 1
    # What is known already, and where the tail is, is no news.
    reader.follower.on_message(Message(1, 4, 6, False, b"known"))
    reader.follower.on_message(Message(1, log.seq + 1, log.seq, False, b""))
    log.append_text("y")
    await author.flush()
    await reader.hears_up_to(log.seq)
    assert reads == 1
    reader.leave()


async def test_silent_readers_are_due_at_the_same_moments_and_never_late(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    due = set()
    for _ in range(40):
        before = time.monotonic()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(1)
        at = reader.follower.due_at()
        assert before + 9 <= at <= time.monotonic() + 10
        assert reader.follower.tick(at - 0.01) is None
        assert reader.follower.tick(at) is reader.follower
        due.add(round(at, 3))
    # Each would cost a statement of its own.
    assert len(due) <= 3


async def test_what_was_joined_before_the_enqueue_reads_neither_row_nor_log(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise AssertionError("all of it comes live")

    monkeypatch.setattr(past, "read_stream_row", fails)
    monkeypatch.setattr(Database, "fetch", fails)
    generation = await author.queued()
    reader = await side.reader(generation.id).join()
    reader.follower.begin_queued()
    reader.start()
    log = await author.begin(generation)
    await write_fast(author, log, 20)
    await author.end(log)
    told = await reader.finish()
    assert told[0].id == "0.1.0"
    assert_is_the_rest(told[1:], await author.log_of(log))


async def test_a_reader_that_leaves_holds_nothing_whether_it_was_iterated_or_not(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    never = side.reader(log.generation_id)
    joined = await side.reader(log.generation_id).join()
    reading = await side.joined(log.generation_id)
    await reading.hears_up_to(1)
    assert (side.sources.hub.channels, side.sources.pulse.streams) == (1, 3)
    for reader in (never, joined, reading):
        reader.leave()
        reader.follower.close()
    assert (side.sources.hub.channels, side.sources.pulse.streams) == (0, 0)
    again = await side.joined(log.generation_id)
    log.append_text("still here")
    await author.end(log)
    assert text_of(await again.finish()) == "still here"
