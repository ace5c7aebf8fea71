"""A reader whose owner is known is told what runs from the log alone; its row comes later."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.database import Database
from jobs.errors import NotFound, Unavailable
from jobs.store.reads import StreamRow, read_stream_row
from jobs.stream_log import StreamLog
from jobs.tables import generations as stored
from jobs.tables import turns
from relay import read_ahead
from relay.follow import MALFORMED, Follower
from tests.relay.heard import assert_is_the_rest
from tests.relay.scripts import REFINE, play
from tests.relay.stage import OWNER, Author, Reader, ReadingSide, authoring, reading_side
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


async def row_of(side: ReadingSide, generation_id: str) -> StreamRow:
    row = await read_stream_row(side.sources.database, generation_id, lease_seconds=10)
    assert row is not None
    return row


def beginning(side: ReadingSide, generation_id: str, cursor: Cursor | None = None) -> Reader:
    """A reader that asked for its log."""
    reader = Reader(Follower(side.sources, generation_id, cursor))
    reader.follower.read_ahead()
    return reader


def follow_up(reader: Reader) -> asyncio.Future[StreamRow]:
    """The row that will come to this reader, as a test says."""
    coming: asyncio.Future[StreamRow] = asyncio.get_running_loop().create_future()

    async def come() -> StreamRow:
        return await coming

    reader.follower.follow_up(asyncio.create_task(come()))
    return coming


async def erase(db: Database, generation_id: str) -> None:
    """Deletes the generation and its turns, and leaves its log."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(delete(turns).where(turns.c.generation_id == generation_id))
        await connection.execute(delete(stored).where(stored.c.id == generation_id))

    await db.write(work)


# When the log is enough.


@pytest.mark.parametrize(
    ("cursor", "enough"),
    [
        (None, True),
        (Cursor(1, 0, 0), True),
        (Cursor(1, 1, 0), True),
        (Cursor(1, 3, 0), True),
        (Cursor(0, 1, 0), True),
        (MALFORMED, False),
        (Cursor(1, 999, 0), False),
        (Cursor(2, 1, 0), False),
    ],
)
async def test_a_log_is_enough_where_it_has_the_place_of_the_reader(
    author: Author, side: ReadingSide, cursor: Cursor | None, enough: bool
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = beginning(side, log.generation_id, cursor)
    assert await reader.follower.presume(OWNER) == enough
    reader.follower.close()


async def test_a_log_is_not_enough_once_it_shows_the_end(author: Author, side: ReadingSide) -> None:
    log = await author.running()
    await author.end(log)
    whole = await author.log_of(log)
    for cursor in (None, whole[-1].cursor):
        reader = beginning(side, log.generation_id, cursor)
        assert not await reader.follower.presume(OWNER)
        reader.follower.close()


async def test_a_log_whose_end_is_not_seen_is_not_enough(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    monkeypatch.setattr(read_ahead, "HEAD", log.seq)
    reader = beginning(side, log.generation_id)
    assert not await reader.follower.presume(OWNER)
    reader.follower.close()


async def test_without_a_log_the_row_is_waited_for(author: Author, side: ReadingSide) -> None:
    queued = await author.queued()
    reader = beginning(side, queued.id)
    assert not await reader.follower.presume(OWNER)
    reader.follower.close()


async def test_a_redis_that_does_not_answer_is_not_waited_for(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(self: StreamLog, *arguments: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(StreamLog, "read_newest", hangs)
    log = await author.running()
    await author.flush()
    reader = beginning(side, log.generation_id)
    async with asyncio.timeout(5):
        assert not await reader.follower.presume(OWNER)
    reader.follower.close()


# What the row says when it comes.


async def presuming(
    author: Author, side: ReadingSide
) -> tuple[AttemptLog, Reader, asyncio.Future[StreamRow]]:
    """A log, a reader that was told all of it before its row, and that row."""
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = beginning(side, log.generation_id)
    assert await reader.follower.presume(OWNER)
    row = follow_up(reader)
    await reader.join()
    reader.start()
    await reader.hears_up_to(log.seq)
    return log, reader, row


@pytest.mark.parametrize("seed", range(24))
async def test_whatever_comes_between_is_told_once(
    author: Author, side: ReadingSide, seed: int
) -> None:
    chance = random.Random(seed)
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    cursor = chance.choice([None, (await author.log_of(log))[0].cursor])
    rows = [await row_of(side, log.generation_id)]
    reader = beginning(side, log.generation_id, cursor)
    assert await reader.follower.presume(OWNER)
    row = follow_up(reader)
    await reader.join()
    acts = ["token"] * chance.randint(0, 5) + ["row", "begin"]
    chance.shuffle(acts)
    if ends := chance.random() < 0.5:
        acts.insert(chance.randint(acts.index("begin"), len(acts)), "end")
    for act in acts:
        if act == "token" and not log.ended:
            log.append_text(f"tøken {log.seq} ")
            await author.flush()
        elif act == "end":
            await author.end(log)
        elif act == "row":
            rows.append(await row_of(side, log.generation_id))
            if not row.done():
                row.set_result(chance.choice(rows))
        elif act == "begin":
            reader.start()
        await asyncio.sleep(0)
    if not ends:
        await reader.hears_up_to(log.seq)
        await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log), cursor)


async def test_an_end_that_nobody_told_is_found_by_the_row(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    await author.commit(log)
    reader = beginning(side, log.generation_id)
    assert await reader.follower.presume(OWNER)
    row = follow_up(reader)
    await reader.join()
    reader.start()
    await reader.hears_up_to(log.seq)
    row.set_result(await row_of(side, log.generation_id))
    async with asyncio.timeout(5):
        # Sooner than the heartbeat that would find it.
        assert (await reader.finish())[-1].event == "completed"


async def test_an_attempt_that_has_no_log_yet_is_found_by_the_row(
    author: Author, side: ReadingSide
) -> None:
    log, reader, row = await presuming(author, side)
    shown = len(reader.events)
    anew = await author.begin_id(log.generation_id, 1)
    row.set_result(await row_of(side, log.generation_id))
    await eventually(lambda: reader.follower._past.attempt == 2)
    await author.end(anew)
    assert_is_the_rest((await reader.finish())[shown:], await author.log_of(anew))


async def test_a_row_says_who_works_on_it(author: Author, side: ReadingSide) -> None:
    log, reader, row = await presuming(author, side)
    before = reader.follower._past.worker
    row.set_result(await row_of(side, log.generation_id))
    await eventually(lambda: reader.follower._past.worker == "alive")
    assert before == "none"
    reader.leave()


@pytest.mark.parametrize("begun", [False, True])
async def test_one_that_is_gone_ends_the_stream_unfinished(
    author: Author, side: ReadingSide, begun: bool
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = beginning(side, log.generation_id)
    assert await reader.follower.presume(OWNER)
    row = follow_up(reader)
    await reader.join()
    if begun:
        reader.start()
        await reader.hears_up_to(log.seq)
    await erase(side.sources.database, log.generation_id)
    row.set_exception(NotFound(log.generation_id))
    await eventually(lambda: reader.follower._row is None)
    with pytest.raises(NotFound):
        await reader.finish()


async def test_while_the_database_is_away_the_log_goes_on(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    reader = beginning(side, log.generation_id)
    assert await reader.follower.presume(OWNER)
    row = follow_up(reader)
    await reader.join()
    reader.start()
    row.set_exception(Unavailable("the database"))
    await eventually(lambda: reader.follower._row is None)
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log))


async def test_a_row_that_could_not_be_read_is_read_a_little_later(
    author: Author, side: ReadingSide
) -> None:
    log, reader, row = await presuming(author, side)
    await author.commit(log)
    row.set_exception(Unavailable("the database"))
    async with asyncio.timeout(5):
        # Sooner than the heartbeat that would find the end.
        assert (await reader.finish())[-1].event == "completed"


async def test_a_reader_that_leaves_lets_go_of_its_row(author: Author, side: ReadingSide) -> None:
    log = await author.running()
    await author.flush()
    before = asyncio.all_tasks()
    reader = beginning(side, log.generation_id)
    assert await reader.follower.presume(OWNER)
    row = follow_up(reader)
    await asyncio.sleep(0)
    reader.follower.close()
    await eventually(lambda: asyncio.all_tasks() <= before)
    assert row.cancelled()
