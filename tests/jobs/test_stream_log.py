"""The append script and the reads, against a real Redis: what each answer means and leaves."""

import asyncio

from jobs import keys
from jobs.cursor import Cursor
from jobs.redis_link import open_redis
from jobs.stream_log import (
    LOOK,
    PAGE,
    Append,
    Appended,
    LogPage,
    Message,
    Outcome,
    StreamLog,
    parse_message,
)
from tests.jobs.log_appends import APPLIED, GAP, STALE, THERE, TTL, append, frames, look, one, told
from tests.jobs.log_rig import NAME, open_rig


async def test_frames_are_appended_in_order_and_told_as_one_message(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        assert await one(rig, append(1, 3)) == (APPLIED, 1, 3)
        assert await one(rig, append(4, 4)) == (APPLIED, 1, 4)
        assert await rig.stored() == frames(1, 4)
        assert await told(rig, listener.messages) == [
            Message(1, 1, 3, False, b"<1-1><1-2><1-3>"),
            Message(1, 4, 4, False, b"<1-4>"),
        ]
        ids = [entry_id for entry_id, _ in await rig.redis.xrange(keys.log(NAME))]
        assert ids == [b"1-1", b"1-2", b"1-3", b"1-4"]


async def test_what_is_there_already_changes_nothing_and_tells_nobody(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await one(rig, append(1, 5))
        await told(rig, listener.messages)
        for first, last in ((1, 5), (3, 4), (5, 5)):
            assert await one(rig, append(first, last)) == (THERE, 1, 5)
        assert await told(rig, listener.messages) == []
        assert await rig.stored() == frames(1, 5)


async def test_of_what_is_partly_there_only_the_rest_is_added_and_told(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await one(rig, append(1, 3))
        await told(rig, listener.messages)
        assert await one(rig, append(2, 5)) == (APPLIED, 1, 5)
        assert await told(rig, listener.messages) == [Message(1, 4, 5, False, b"<1-4><1-5>")]
        assert await rig.stored() == frames(1, 5)


async def test_an_older_attempt_is_stale_whatever_it_brings(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await one(rig, append(1, 2, attempt=3))
        await told(rig, listener.messages)
        for wanted in (append(1, 1), append(3, 9, attempt=2), look(0), look(5, 2, announce=True)):
            assert await one(rig, wanted) == (STALE, 3, 2)
        assert await told(rig, listener.messages) == []
        assert await rig.stored(attempt=3) == frames(1, 2, 3)


async def test_what_would_leave_a_hole_is_refused(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        assert await one(rig, append(2, 3)) == (GAP, 0, 0)
        await one(rig, append(1, 3))
        await told(rig, listener.messages)
        assert await one(rig, append(5, 6)) == (GAP, 1, 3)
        assert await one(rig, append(2, 6, attempt=2)) == (GAP, 1, 3)
        assert await told(rig, listener.messages) == []
        assert await rig.stored() == frames(1, 3)


async def test_a_new_attempt_takes_the_place_of_the_old_log(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await one(rig, append(1, 50))
        assert await one(rig, append(1, 2, attempt=2)) == (APPLIED, 2, 2)
        assert await rig.stored(attempt=2) == frames(1, 2, 2)
        assert await rig.redis.xlen(keys.log(NAME)) == 2
        assert await rig.stream_log.read(NAME, 1, 7) is None


async def test_a_look_tells_where_the_tail_is_and_leaves_the_log(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        assert await one(rig, look(0)) == (APPLIED, 0, 0)
        assert await one(rig, look(3)) == (GAP, 0, 0)
        await one(rig, append(1, 3))
        assert await one(rig, look(3)) == (APPLIED, 1, 3)
        assert await one(rig, look(1)) == (APPLIED, 1, 3)
        assert await one(rig, look(4)) == (GAP, 1, 3)
        assert await one(rig, look(0, attempt=2)) == (APPLIED, 1, 3)
        assert len(await told(rig, listener.messages)) == 1
        assert await rig.stored() == frames(1, 3)


async def test_an_announcing_look_says_where_the_tail_is(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await one(rig, append(1, 3))
        await told(rig, listener.messages)
        await one(rig, look(3, announce=True))
        await one(rig, look(1, announce=True))
        await one(rig, look(4, announce=True))
        tail = Message(1, 4, 3, False, b"")
        assert await told(rig, listener.messages) == [tail, tail]


async def test_the_last_message_of_a_generation_says_so(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await rig.stream_log.append([Append(NAME, 1, 1, frames(1, 2), TTL, terminal=True)])
        assert await told(rig, listener.messages) == [Message(1, 1, 2, True, b"<1-1><1-2>")]


async def test_many_logs_in_one_call_are_answered_one_by_one(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await rig.stream_log.append([append(1, 2, name="gen_a"), append(1, 9, 4, name="gen_b")])
        answers = await rig.stream_log.append(
            [
                append(3, 4, name="gen_a"),
                append(1, 1, 3, name="gen_b"),
                append(2, 2, name="gen_c"),
                look(4, name="gen_a"),
                append(1, 2, name="gen_a"),
                append(1, 1, name="gen_d"),
            ]
        )
        assert answers == [
            Appended(APPLIED, 1, 4),
            Appended(STALE, 4, 9),
            Appended(GAP, 0, 0),
            Appended(APPLIED, 1, 4),
            Appended(THERE, 1, 4),
            Appended(APPLIED, 1, 1),
        ]
        assert await rig.stored("gen_a") == frames(1, 4)
        assert await rig.stored("gen_d") == frames(1, 1)


async def test_the_time_to_live_is_set_refreshed_and_left(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:

        async def after(wanted: Append) -> int:
            await rig.stream_log.append([wanted])
            return int(await rig.redis.pttl(keys.log(NAME)))

        assert 4_000 < await after(Append(NAME, 1, 1, frames(1, 1), 5_000)) <= 5_000
        assert 4_000 < await after(Append(NAME, 1, 2, frames(2, 2), 0)) <= 5_000
        assert 89_000 < await after(Append(NAME, 1, 3, frames(3, 3), 90_000)) <= 90_000
        assert 6_000 < await after(Append(NAME, 1, 4, (), 7_000)) <= 7_000
        # A refused one does not keep alive what is not its own.
        assert 6_000 < await after(Append(NAME, 1, 9, frames(9, 9), 90_000)) <= 7_000
        assert 79_000 < await after(Append(NAME, 2, 1, frames(1, 1), 80_000)) <= 80_000


async def test_a_long_log_is_read_in_pages(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await one(rig, append(1, PAGE + 10))
        page = await rig.stream_log.read(NAME, 1, 1)
        assert page == LogPage(1, 1, frames(1, PAGE))
        assert page.last == PAGE
        page = await rig.stream_log.read(NAME, 1, PAGE + 1)
        assert page == LogPage(1, PAGE + 1, frames(PAGE + 1, PAGE + 10))


async def test_reading_at_the_tail_is_empty_and_past_it_impossible(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        assert await rig.stream_log.tail(NAME) == (0, 0)
        page = await rig.stream_log.read(NAME, 1, 1)
        assert page == LogPage(1, 1, [])
        assert page.last == 0
        assert await rig.stream_log.read(NAME, 1, 2) is None
        await one(rig, append(1, 3, attempt=2))
        assert await rig.stream_log.tail(NAME) == (2, 3)
        assert await rig.stream_log.read(NAME, 2, 4) == LogPage(2, 4, [])
        for attempt, first in ((2, 5), (1, 2), (3, 2)):
            assert await rig.stream_log.read(NAME, attempt, first) is None


async def test_what_was_not_kept_is_an_empty_frame_in_its_place(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        await rig.stream_log.append([Append(NAME, 1, 1, [b"a", b"", b"b"], TTL)])
        assert await rig.stored() == [b"a", b"", b"b"]
        assert await told(rig, listener.messages) == [Message(1, 1, 3, False, b"ab")]


def test_a_message_carries_any_bytes_after_its_first_line() -> None:
    assert parse_message(b"12 3 44 1\nid: x\n\ndata: \n1\n\n") == Message(
        12, 3, 44, True, b"id: x\n\ndata: \n1\n\n"
    )
    assert parse_message(LOOK) == Message(0, 1, 0, False, b"")


async def test_five_attempts_at_once_leave_the_newest_and_no_mixture(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        log = StreamLog(redis)

        async def write(attempt: int) -> list[Outcome]:
            outcomes: list[Outcome] = []
            for seq in range(1, 40):
                [answer] = await log.append([append(seq, seq, attempt)])
                outcomes.append(answer.outcome)
            return outcomes

        async with open_rig(redis_url) as rig:
            listener = await rig.listen()
            outcomes = await asyncio.gather(*(write(attempt) for attempt in range(1, 6)))
            assert await rig.stored(attempt=5) == frames(1, 39, 5)
            assert await redis.xlen(keys.log(NAME)) == 39
            attempts = [message.attempt for message in await told(rig, listener.messages)]
        assert set(outcomes[-1]) == {APPLIED}
        assert sum(STALE in several for several in outcomes) == 4, "the race did not happen"
        # Live readers never hear of an older attempt after a newer one.
        assert attempts == sorted(attempts)


async def test_the_newest_page_of_a_log_that_lacks_entries_is_none(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await one(rig, append(1, 5))
        whole = await rig.stream_log.read_newest(NAME, None)
        assert whole is not None
        assert (whole.attempt, whole.first, whole.last) == (1, 1, 5)
        later = await rig.stream_log.read_newest(NAME, Cursor(1, 3, 0))
        assert later is not None
        assert (later.first, later.last) == (3, 5)
        await rig.redis.xdel(keys.log(NAME), "1-2")
        assert await rig.stream_log.read_newest(NAME, None) is None
        await rig.redis.delete(keys.log(NAME))
        assert await rig.stream_log.read_newest(NAME, None) is None
