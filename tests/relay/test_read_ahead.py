"""A log that is read while the row is: sooner, and never without what came in between."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.cursor import Cursor
from jobs.store.reads import StreamRow, read_stream_row
from jobs.stream_log import LogPage, StreamLog
from relay import follow, read_ahead
from relay.follow import MALFORMED, Follower
from tests.relay.heard import assert_is_the_rest, numbered
from tests.relay.scripts import REFINE, play
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side
from tests.services import eventually


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


@pytest.fixture
async def side(migrated_url: str, redis_url: str) -> AsyncIterator[ReadingSide]:
    """Who reads."""
    async with reading_side(migrated_url, redis_url) as side:
        yield side


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first seq of every page that is asked for in the usual way."""
    asked: list[int] = []
    read = StreamLog.read

    async def noted(self: StreamLog, generation_id: str, attempt: int, first: int) -> Any:
        asked.append(first)
        return await read(self, generation_id, attempt, first)

    monkeypatch.setattr(StreamLog, "read", noted)
    return asked


@pytest.fixture
def long_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every log is long: it has a rest, which is read ahead as well."""
    monkeypatch.setattr(read_ahead, "HEAD", 1)


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until it is set, no more than the head of a log is read ahead."""
    let_go, read_newest = asyncio.Event(), StreamLog.read_newest

    async def held_up(self: StreamLog, one: str, after: Cursor | None, count: int) -> Any:
        if count > read_ahead.HEAD:
            await let_go.wait()
        return await read_newest(self, one, after, count)

    monkeypatch.setattr(StreamLog, "read_newest", held_up)
    return let_go


async def row_of(side: ReadingSide, generation_id: str) -> StreamRow:
    row = await read_stream_row(side.sources.database, generation_id, lease_seconds=10)
    assert row is not None
    return row


async def reading_ahead(
    side: ReadingSide, generation_id: str, cursor: Cursor | None = None
) -> Reader:
    """A reader that has the head, and does not know the row yet."""
    reader = Reader(Follower(side.sources, generation_id, cursor))
    reader.follower.read_ahead()
    await asyncio.wait(parts_of(reader), timeout=5)
    return reader


def parts_of(reader: Reader) -> list[asyncio.Task[LogPage | None]]:
    """What is being read ahead: the head, and the rest once the row is known."""
    ahead = reader.follower._past._ahead
    assert ahead is not None
    return list(ahead._parts)


async def knowing(reader: Reader, row: StreamRow) -> Reader:
    """The reader with the row, and all of the log that it read ahead."""
    reader.follower.know(row)
    await asyncio.wait(parts_of(reader), timeout=5)
    return reader


@pytest.mark.parametrize(
    "cursor", [None, Cursor(1, 0, 0), Cursor(1, 1, 0), Cursor(0, 1, 0), MALFORMED, Cursor(1, 1, 7)]
)
@pytest.mark.usefixtures("long_logs")
async def test_whatever_cursor_a_reader_has_the_page_is_read_once(
    author: Author, side: ReadingSide, pages: list[int], cursor: Cursor | None
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = await reading_ahead(side, log.generation_id, cursor)
    reader.follower.know(await row_of(side, log.generation_id))
    reader.start()
    await reader.hears_up_to(log.seq)
    unknown = cursor in (MALFORMED, Cursor(1, 1, 7))
    assert len(pages) == (cursor == Cursor(1, 1, 7))
    await author.end(log)
    told = await reader.finish()
    if unknown:
        assert told.pop(0).event == "reset"
    begins_anew = unknown or cursor == Cursor(0, 1, 0)
    assert_is_the_rest(told, await author.log_of(log), None if begins_anew else cursor)


@pytest.mark.parametrize("seed", range(16))
async def test_what_came_between_the_page_and_the_row_is_told_once(
    author: Author,
    side: ReadingSide,
    pages: list[int],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(read_ahead, "HEAD", chance.choice([1, 2, 5, 64]))
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    early = await row_of(side, log.generation_id)
    reader = await reading_ahead(side, log.generation_id)
    heard, between = reader.follower._inbox, log.seq + 1
    for number in range(chance.randint(1, 5)):
        log.append_text(f"tøken {number} ")
        await author.flush()
    ends = chance.random() < 0.5
    if ends:
        await author.end(log)
    await eventually(lambda: bool(heard) and heard[-1].last == log.seq)
    late = await row_of(side, log.generation_id)
    reader.follower.know(chance.choice([early, late]))
    reader.start()
    await reader.hears_up_to(log.seq)
    # The row of one that has ended is told from the log to its end, and from nothing else.
    assert pages in ([], [between])
    if not ends:
        await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


async def test_the_first_entries_are_on_their_way_before_the_rest_is_read(
    author: Author, side: ReadingSide, let_go: asyncio.Event
) -> None:
    log = await author.running()
    for number in range(2 * read_ahead.HEAD):
        log.append_text(f"tøken {number} ")
        await author.flush()
    reader = Reader(Follower(side.sources, log.generation_id))
    reader.follower.read_ahead()
    reader.follower.know(await row_of(side, log.generation_id))
    reader.start()
    await reader.hears_up_to(read_ahead.HEAD)
    assert numbered(reader.all_events)[-1].cursor.seq == read_ahead.HEAD
    let_go.set()
    await reader.hears_up_to(log.seq)
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


@pytest.mark.usefixtures("long_logs")
async def test_what_came_before_the_subscription_held_is_in_the_rest(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is heard before: the acknowledgement comes late, and all was published before it.
    joined, follow_really = asyncio.Event(), side.sources.hub.follow

    async def late(generation_id: str, listener: Any) -> bool:
        await joined.wait()
        return await follow_really(generation_id, listener)

    monkeypatch.setattr(side.sources.hub, "follow", late)
    monkeypatch.setattr(side.sources.hub, "listen", lambda *_: False)
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = Reader(Follower(side.sources, log.generation_id))
    reader.follower.read_ahead()
    reader.follower.know(await row_of(side, log.generation_id))
    head, rest = parts_of(reader)
    await asyncio.wait([head], timeout=5)
    log.append_text("before anybody listened ")
    await author.flush()
    assert not rest.done()
    joined.set()
    reader.start()
    await reader.hears_up_to(log.seq)
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


async def test_a_new_attempt_between_head_and_rest_begins_with_its_reset(
    author: Author, side: ReadingSide, let_go: asyncio.Event
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = Reader(Follower(side.sources, log.generation_id))
    reader.follower.read_ahead()
    reader.follower.know(await row_of(side, log.generation_id))
    reader.start()
    await reader.hears_up_to(log.seq)
    shown = len(reader.events)
    again = await author.begin_id(log.generation_id, seen=1)
    again.append_text("anew ")
    await author.flush()
    let_go.set()
    await reader.hears_up_to(again.seq, attempt=2)
    await author.end(again)
    assert_is_the_rest((await reader.finish())[shown:], await author.log_of(again))


async def test_what_a_short_log_got_before_the_subscription_held_is_read_after_it(
    author: Author, side: ReadingSide, pages: list[int]
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = await reading_ahead(side, log.generation_id)
    seen = log.seq
    side.sources.hub.leave(reader.follower, generation_id=log.generation_id)
    log.append_text("unheard ")
    await author.flush()
    reader.follower.know(await row_of(side, log.generation_id))
    await reader.join()
    reader.start()
    await reader.hears_up_to(log.seq)
    assert pages == [seen + 1]
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


async def test_who_joins_others_reads_a_short_log_once(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read_newest = StreamLog.read_newest

    async def counted(self: StreamLog, one: str, after: Cursor | None, count: int) -> Any:
        asked.append(count)
        return await read_newest(self, one, after, count)

    monkeypatch.setattr(StreamLog, "read_newest", counted)
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    first = await side.joined(log.generation_id)
    await first.hears_up_to(log.seq)
    reader = await reading_ahead(side, log.generation_id)
    reader.follower.know(await row_of(side, log.generation_id))
    reader.start()
    await reader.hears_up_to(log.seq)
    assert asked == [read_ahead.HEAD]
    await author.end(log)
    for one in (first, reader):
        assert_is_the_rest(await one.finish(), await author.log_of(log))


@pytest.mark.usefixtures("long_logs")
async def test_what_a_cut_subscription_missed_since_the_page_is_read(
    author: Author, side: ReadingSide, pages: list[int]
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    row = await row_of(side, log.generation_id)
    reader = await knowing(await reading_ahead(side, log.generation_id), row)
    follower = reader.follower
    side.sources.hub.leave(follower, generation_id=log.generation_id)
    log.append_text("unheard ")
    await author.flush()
    assert await side.sources.hub.follow(log.generation_id, follower)
    assert follower._inbox == []
    reader.start()
    await reader.hears_up_to(log.seq)
    assert pages == [1]
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


@pytest.mark.usefixtures("long_logs")
async def test_what_a_reader_that_overflowed_lost_since_the_page_is_read(
    author: Author, side: ReadingSide, pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "INBOX_BYTES", 10)
    log = await author.running()
    await author.flush()
    row = await row_of(side, log.generation_id)
    reader = await knowing(await reading_ahead(side, log.generation_id), row)
    overflowed = reader.follower._past._ahead
    assert overflowed is not None
    log.append_text("more than is held")
    await author.flush()
    await eventually(lambda: overflowed.missed)
    reader.start()
    await reader.hears_up_to(log.seq)
    assert pages == [1]
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


@pytest.mark.usefixtures("long_logs")
async def test_a_row_that_changed_unannounced_since_the_page_is_read_again(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    row = await row_of(side, log.generation_id)
    reader = await knowing(await reading_ahead(side, log.generation_id), row)
    ahead = reader.follower._past._ahead
    assert ahead is not None
    await author.commit(log)
    await author.stream_log.look(log.generation_id)
    await eventually(lambda: ahead.missed)
    async with asyncio.timeout(5):
        # Sooner than the heartbeat that would find it.
        assert (await reader.start().finish())[-1].event == "completed"


async def test_one_that_is_closed_before_it_began_has_asked_for_nothing(
    side: ReadingSide, recwarn: pytest.WarningsRecorder
) -> None:
    follower = Follower(side.sources, "gen_given_up")
    follower.read_ahead()
    follower.close()
    await asyncio.sleep(0)
    gc.collect()
    # No coroutine that nobody ran.
    assert [str(one.message) for one in recwarn] == []
    assert side.sources.hub.channels == 0


async def test_a_redis_that_fails_the_page_is_asked_again(
    author: Author, side: ReadingSide, pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def fails(self: StreamLog, *arguments: Any) -> None:
        nonlocal asked
        asked += 1
        raise RedisConnectionError("the connection was lost")

    monkeypatch.setattr(StreamLog, "read_newest", fails)
    log = await author.running()
    await play(author, log, REFINE)
    await author.end(log)
    reader = await reading_ahead(side, log.generation_id)
    reader.follower.know(await row_of(side, log.generation_id))
    told = await reader.finish()
    assert (asked, pages) == (2, [1])
    assert_is_the_rest(told, await author.log_of(log))
