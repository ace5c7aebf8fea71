"""Which cursors are taken, which mean the start, and which can't be right."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from jobs.cursor import Cursor
from jobs.generation import State
from jobs.store.commits import request_cancel
from jobs.store.expiring import expire_overdue
from jobs.store.reads import read_stream_row
from relay.follow import MALFORMED, Follower, read_cursor
from tests.relay.heard import Heard, assert_is_the_rest
from tests.relay.scripts import REFINE, play
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side
from tests.services import eventually

UNKNOWN = {"reason": "unknown_cursor", "attempt": 1}


@dataclass(frozen=True, slots=True)
class Ended:
    """A generation that has ended, and all of its events."""

    id: str
    whole: list[Heard]

    @property
    def end(self) -> Cursor:
        """The terminal event's id."""
        return self.whole[-1].cursor


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


@pytest.fixture
async def side(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[ReadingSide]:
    """Who reads; waiting for a lost log or a heartbeat would take longer than these tests may."""
    async with reading_side(migrated_url, redis_url, lease=30, heartbeat=1000) as side:
        yield side


@pytest.fixture(params=["log", "sql"])
async def ended(request: pytest.FixtureRequest, author: Author) -> Ended:
    """One that ended, with its log or without."""
    log = await author.running()
    await play(author, log, REFINE)
    await author.end(log)
    whole = await author.log_of(log)
    if request.param == "sql":
        await author.lose_log(log)
    return Ended(log.generation_id, whole)


def wrong_for(whole: list[Heard], end: Cursor) -> list[object]:
    """Cursors that no event of this generation ever had."""
    middle = whole[len(whole) // 2].cursor
    return [
        "nonsense",
        "1.2",
        "01.2.3",
        "1.-1.0",
        "\u0661.\u0661.\u0660",
        "9" * 40,
        Cursor(2, 1, 0),
        Cursor(2, 0, 0),
        Cursor(1, 0, 1),
        Cursor(1, 1, 1),
        Cursor(1, middle.seq, middle.offset + 1),
        Cursor(1, middle.seq + 1, middle.offset - 1),
        Cursor(1, end.seq, end.offset + 1),
        Cursor(1, end.seq + 1, end.offset),
        Cursor(1, 999_999_999, 999_999_999),
    ]


async def assert_all_is_told_anew(reader: Reader, whole: list[Heard]) -> None:
    """A `reset`, whose id is a cursor of its own, then everything."""
    reset, *rest = await reader.finish()
    assert (reset.event, reset.data, reset.id) == ("reset", UNKNOWN, "1.0.0")
    kept = {one.id for one in rest}
    assert_is_the_rest(rest, [one for one in whole if one.id in kept or one.event != "file_delta"])


async def test_an_ended_generation_refuses_cursors_that_cant_be_right(
    ended: Ended, side: ReadingSide
) -> None:
    for cursor in wrong_for(ended.whole, ended.end):
        reader = await side.joined(ended.id, cursor)
        await assert_all_is_told_anew(reader, ended.whole)


async def test_a_running_generation_refuses_them_promptly_and_goes_on(
    author: Author, side: ReadingSide
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    past = await author.log_of(log)
    readers = [
        await side.joined(log.generation_id, cursor)
        for cursor in wrong_for(past, Cursor(1, log.seq, log.characters))
    ]
    # The lease is 30 s: only the worker's answer can settle what lies beyond the end.
    for reader in readers:
        await reader.hears_up_to(log.seq)
    await play(author, log, REFINE)
    await author.end(log)
    whole = await author.log_of(log)
    for reader in readers:
        await assert_all_is_told_anew(reader, whole)


async def test_the_id_of_that_reset_means_the_start_without_another(
    ended: Ended, side: ReadingSide
) -> None:
    told = await side.told(ended.id, "1.0.0")
    assert told[0].event == "status"
    assert told[-1].event == "completed"


async def test_a_cursor_of_attempt_0_means_the_start(ended: Ended, side: ReadingSide) -> None:
    whole = await side.told(ended.id)
    for cursor in ("0.0.0", "0.1.0", "0.2.0", "0.7.7"):
        assert await side.told(ended.id, cursor) == whole


async def test_after_the_end_there_is_nothing(ended: Ended, side: ReadingSide) -> None:
    row = await read_stream_row(side.sources.database, ended.id, lease_seconds=10)
    for given_, seen in ((ended.end, True), (ended.whole[-2].cursor, False), (None, False)):
        follower = Follower(side.sources, ended.id, given_, row)
        assert follower.has_seen_the_end is seen
        follower.close()


async def test_a_row_that_is_known_to_have_ended_is_not_read_again(
    ended: Ended, side: ReadingSide
) -> None:
    row = await read_stream_row(side.sources.database, ended.id, lease_seconds=10)
    reader = Reader(Follower(side.sources, ended.id, ended.whole[3].cursor, row))
    assert_is_the_rest(
        await reader.finish(), ended.whole, ended.whole[3].cursor, previews_kept=False
    )
    assert side.sources.hub.channels == 0


@pytest.mark.parametrize("state", [State.CANCELLED, State.EXPIRED])
async def test_one_that_never_ran_is_told_from_its_row(
    author: Author, side: ReadingSide, state: State
) -> None:
    generation = await author.queued()
    waiting = await side.joined(generation.id)
    await waiting.hears(lambda events: len(events) == 1)
    if state is State.CANCELLED:
        await request_cancel(author.database, None, generation.id)
    else:
        await author.database.write_one(text("UPDATE generations SET expires_at = created_at"))
        assert await expire_overdue(author.database, 1)
    await side.sources.signals.look(generation.id)
    whole = await waiting.finish()
    assert [(one.id, one.event) for one in whole] == [("0.1.0", "status"), ("0.2.0", state)]
    assert whole[0].data == {"state": "queued", "attempt": 0}
    for cursor in (None, "0.0.0"):
        assert await side.told(generation.id, cursor) == whole
    assert await side.told(generation.id, "0.1.0") == whole[1:]
    for cursor in ("0.2.1", "0.3.0", "1.1.0", "0.0.1", "x"):
        reset, *rest = await side.told(generation.id, cursor)
        assert (reset.id, reset.data) == ("0.0.0", {"reason": "unknown_cursor", "attempt": 0})
        assert rest == whole


async def test_a_queued_one_takes_its_own_cursor_and_goes_on_with_the_first_attempt(
    author: Author, side: ReadingSide
) -> None:
    generation = await author.queued()
    cursors: list[str | None] = [None, "0.0.0", "0.1.0", "0.2.0", "1.1.0"]
    readers = [await side.joined(generation.id, cursor) for cursor in cursors]
    for reader in (*readers[:2], *readers[3:]):
        await reader.hears(lambda events: "status" in {one.event for one in events})
    log = await author.begin(generation)
    log.append_text("hi")
    await author.end(log)
    told = [[one.id for one in await reader.finish()] for reader in readers]
    attempt = ["1.1.0", "1.2.2", "1.3.2"]
    assert told[:3] == [["0.1.0", *attempt], ["0.1.0", *attempt], attempt]
    assert told[3:] == [["0.0.0", "0.1.0", *attempt]] * 2
    resets = [reader.events[0].data for reader in readers[3:]]
    assert resets == [{"reason": "unknown_cursor", "attempt": 0}] * 2


async def test_a_cursor_that_was_not_judged_yet_is_judged_when_the_generation_ends(
    author: Author, migrated_url: str, redis_url: str
) -> None:
    log = await author.running()
    await play(author, log, REFINE)
    before = await author.log_of(log)
    async with reading_side(migrated_url, redis_url, lease=30) as side:
        author.publisher.abandon(log)
        await author.lose_log(log)
        beyond = await side.joined(log.generation_id, Cursor(1, 999, 999))
        disagrees = await side.joined(log.generation_id, Cursor(1, 5, 77))
        good = await side.joined(log.generation_id, before[4].cursor)
        await eventually(lambda: all(one.follower.waits for one in (beyond, disagrees, good)))
        await author.commit(log)
        await side.sources.signals.look(log.generation_id)
        for reader in (beyond, disagrees):
            told = await reader.finish()
            assert told[0].data == UNKNOWN
            assert told[-1].event == "completed"
        rest = await good.finish()
        assert_is_the_rest(rest, [*before, rest[-1]], before[4].cursor, previews_kept=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=20), st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}")))
def test_any_text_is_some_cursor_and_only_the_empty_one_is_none(text: str) -> None:
    cursor = read_cursor(text)
    assert (cursor is None) == (text == "")
    assert cursor is None or cursor is MALFORMED or str(cursor) == text
