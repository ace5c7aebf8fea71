"""However many ask, the database is read once a tick, and what is away is told as away."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from freezegun import freeze_time

from jobs.database import Database
from jobs.queue import Queue, open_queue
from jobs.store.overview import SLICE_MS, Ended, Overview, Standing
from relay.figures import TICK_SECONDS, FiguresReader
from relay.rates import SLICES, RateBook
from tests.relay.edge import EdgeRelay
from tests.services import free_port

NOTHING = Standing(0, 0, 0, 0, 0.0)


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[Queue]:
    """The queue in Redis."""
    async with open_queue(redis_url) as queue:
        yield queue


async def test_all_who_ask_in_a_tick_share_one_reading(relay: EdgeRelay) -> None:
    reader = relay.services.figures
    with freeze_time("2026-11-25 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        first = await asyncio.gather(*(reader.figures() for _ in range(50)))
        assert {one.number for one in first} == {1}
        clock.tick(TICK_SECONDS - 0.1)
        assert (await reader.figures()).number == 1
        clock.tick(0.1)
        again = await asyncio.gather(*(reader.figures() for _ in range(50)))
        assert {one.number for one in again} == {2}
    assert reader.readings == 2


async def test_a_database_that_is_away_leaves_the_rest_told(
    queue: Queue,
) -> None:
    nowhere = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none"
    async with Database.open(nowhere) as away:
        reader = FiguresReader(away, queue, 10)
        figures = await reader.figures()
        await reader.close()
    assert figures.overview is None
    assert figures.queue_depth == 0


async def test_what_ends_between_two_readings_is_counted_once(relay: EdgeRelay) -> None:
    reader = relay.services.figures
    with freeze_time("2026-11-25 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        await relay.complete((await relay.chat())["id"], "one")
        await reader.figures()
        await relay.complete((await relay.chat())["id"], "two")
        clock.tick(TICK_SECONDS)
        await reader.figures()
        clock.tick(TICK_SECONDS)
        figures = await reader.figures()
    assert figures.overview is not None
    # By the database's clock it is the slice under way, which rates leave out.
    assert sum(one.total for one in figures.overview.ended) == 2


def reading(now_slice: int, since: int, *ended: tuple[int, int], accepted: int = 0) -> Overview:
    """A reading in this slice, with so many completed in each of these slices."""
    return Overview(
        now_ms=now_slice * SLICE_MS + 5,
        standing=NOTHING,
        workers=(),
        breakers=(),
        since_slice=since,
        accepted={now_slice - 1: accepted} if accepted else {},
        ended=tuple(Ended(number, "completed", "", total, 7) for number, total in ended),
    )


def test_later_readings_replace_what_they_cover_and_keep_the_rest() -> None:
    book = RateBook()
    book.note(reading(1000, 939, (940, 3), (998, 1), (1000, 5)))
    assert book.rates().completed == (3, *(0,) * 57, 1, 0)
    book.note(reading(1002, 998, (998, 2), (1000, 6), (1001, 4), accepted=9))
    rates = book.rates()
    assert len(rates.completed) == SLICES
    assert rates.completed == (*(0,) * 56, 2, 0, 6, 4)
    assert rates.output_tokens[-4:] == (7, 0, 7, 7)
    assert rates.accepted[-1] == 9
    assert rates.ends_at_ms == 1002 * SLICE_MS


def test_errors_of_the_span_are_told_the_most_frequent_first() -> None:
    book = RateBook()
    failures = [(998, "model_error", 1), (999, "timeout", 3), (999, "model_error", 1)]
    ended = tuple(Ended(number, "failed", code, total, 0) for number, code, total in failures)
    book.note(msgspec.structs.replace(reading(1000, 939), ended=ended))
    told = [(error.code, error.count) for error in book.rates().errors]
    assert told == [("timeout", 3), ("model_error", 2)]
    assert book.rates().failed[-2:] == (1, 4)
