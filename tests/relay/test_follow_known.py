"""A reader whose row was just read is told the rest from the log alone, whatever came between."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.store.reads import StreamRow, read_stream_row
from relay.follow import Follower
from tests.relay.heard import assert_is_the_rest
from tests.relay.scripts import REFINE, play
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side


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


@contextmanager
def statements() -> Iterator[list[str]]:
    """What all engines execute meanwhile of generations."""
    seen: list[str] = []

    def note(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: bool) -> None:
        if "FROM generations" in statement:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def row_of(side: ReadingSide, log: AttemptLog) -> StreamRow:
    row = await read_stream_row(side.sources.database, log.generation_id, lease_seconds=10)
    assert row is not None
    return row


async def knowing(side: ReadingSide, row: StreamRow, cursor: Cursor | None) -> Reader:
    return (await Reader(Follower(side.sources, row.id, cursor, row)).join()).start()


@pytest.mark.parametrize("cursor", [None, Cursor(1, 1, 0)])
async def test_one_that_runs_is_followed_without_another_statement(
    author: Author, side: ReadingSide, cursor: Cursor | None
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    row = await row_of(side, log)
    with statements() as seen:
        reader = await knowing(side, row, cursor)
        await reader.hears_up_to(log.seq)
    assert seen == []
    await play(author, log, REFINE)
    await author.end(log)
    assert_is_the_rest(await reader.finish(), await author.log_of(log), cursor)


@pytest.mark.parametrize("cursor", [None, Cursor(1, 1, 0)])
@pytest.mark.parametrize("log_lost", [False, True])
async def test_one_that_ended_since_is_told_to_its_end(
    author: Author, side: ReadingSide, cursor: Cursor | None, log_lost: bool
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    row = await row_of(side, log)
    await author.end(log)
    whole = await author.log_of(log)
    if log_lost:
        await author.lose_log(log)
    told = await (await knowing(side, row, cursor)).finish()
    assert_is_the_rest(told, whole, cursor, previews_kept=not log_lost)


async def test_one_that_was_claimed_anew_since_is_told_from_its_reset(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    await author.flush()
    row = await row_of(side, log)
    anew = await author.begin_id(log.generation_id, 1)
    await author.end(anew)
    told = await (await knowing(side, row, Cursor(1, 1, 0))).finish()
    assert (told[0].id, told[0].event) == ("2.1.0", "reset")
    assert_is_the_rest(told, await author.log_of(anew))


async def test_one_that_is_closed_begins_to_subscribe_to_nothing(side: ReadingSide) -> None:
    follower = Follower(side.sources, "gen_given_up")
    follower.close()
    follower.listen()
    assert side.sources.hub.channels == 0
