"""A log that Redis lost: waited for, never served with a hole, and given up after one lease."""

import time
from collections.abc import AsyncIterator

import pytest

from jobs import keys
from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.generation import State
from jobs.store.reads import read_stream_row
from relay.follow import Follower
from tests.relay.heard import Heard, assert_is_the_rest
from tests.relay.scripts import REFINE, play
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side
from tests.services import eventually

LEASE = 0.5


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes, and looks at the log when a relay asks."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


@pytest.fixture
async def deaf(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes, and does not hear what relays ask."""
    async with authoring(migrated_url, redis_url, answers_checks=False) as author:
        yield author


@pytest.fixture
async def side(migrated_url: str, redis_url: str) -> AsyncIterator[ReadingSide]:
    """Who reads."""
    async with reading_side(migrated_url, redis_url, lease=LEASE) as side:
        yield side


@pytest.fixture
async def patient(migrated_url: str, redis_url: str) -> AsyncIterator[ReadingSide]:
    """Who reads, and would wait for longer than any test takes."""
    async with reading_side(migrated_url, redis_url, lease=60) as side:
        yield side


async def begun(author: Author) -> tuple[AttemptLog, list[Heard]]:
    log = await author.running()
    await play(author, log, REFINE)
    return log, await author.log_of(log)


async def test_an_end_between_the_row_and_the_subscription_is_found_though_the_log_is_gone(
    author: Author, patient: ReadingSide
) -> None:
    log, _ = await begun(author)
    row = await read_stream_row(author.database, log.generation_id, lease_seconds=60)
    await author.end(log)
    await author.lose_log(log)
    reader = Reader(Follower(patient.sources, log.generation_id, None, row))
    asked_at = time.monotonic()
    await reader.join()
    told = await reader.finish()
    assert told[-1].event == "completed"
    # Nobody announces it any more, and it took no heartbeat, which comes after some ten seconds.
    assert time.monotonic() - asked_at < 5


async def test_the_worker_is_asked_and_seeds_it_anew_without_a_reset(
    author: Author, patient: ReadingSide
) -> None:
    log, before = await begun(author)
    live = await patient.joined(log.generation_id)
    await live.hears_up_to(log.seq)
    await author.lose_log(log)
    cursors = [one.cursor for one in before]
    readers = [await patient.joined(log.generation_id, cursor) for cursor in cursors]
    live.follower.on_subscribed()
    await eventually(lambda: author.publisher.counts.reseeds > 0)
    await play(author, log, REFINE)
    await author.end(log)
    whole = [*before, *(await author.log_of(log))]
    whole = sorted({one.cursor: one for one in reversed(whole)}.values(), key=lambda o: o.cursor)
    for reader, cursor in zip([live, *readers], [None, *cursors], strict=True):
        assert_is_the_rest(await reader.finish(), whole, cursor, previews_kept=False)


async def test_a_second_loss_is_waited_for_like_the_first(
    author: Author, patient: ReadingSide
) -> None:
    log, _ = await begun(author)
    reader = await patient.joined(log.generation_id)
    await reader.hears_up_to(log.seq)
    for again in range(1, 4):
        await author.lose_log(log)
        reader.follower.on_subscribed()
        await eventually(lambda again=again: author.publisher.counts.reseeds >= again)
        await eventually(lambda: not reader.follower.waits)
        log.append_text(f"after loss {again} ")
        await author.flush()
        await reader.hears_up_to(log.seq)
    await author.end(log)
    told = await reader.finish()
    assert "reset" not in {one.event for one in told}
    assert [one.cursor.seq for one in told] == sorted({one.cursor.seq for one in told})
    assert_is_the_rest(
        [one for one in told if one.cursor.seq > 30],
        [one for one in await author.log_of(log) if one.cursor.seq > 30],
    )


async def test_what_a_worker_said_of_one_loss_is_forgotten_at_the_next(
    deaf: Author, patient: ReadingSide
) -> None:
    log, _ = await begun(deaf)
    reader = await patient.joined(log.generation_id)
    await reader.hears_up_to(log.seq)
    for _ in range(3):
        await deaf.lose_log(log)
        reader.follower.on_subscribed()
        await eventually(lambda: reader.follower.waits)
        await patient.redis.publish(
            keys.live(log.generation_id), b"1 %d %d 0\n" % (log.seq + 1, log.seq)
        )
        await eventually(lambda: reader.follower._past._tail is not None)
        deaf.publisher.touch()
        await eventually(lambda: not reader.follower.waits)
        log.append_text("more ")
        await deaf.flush()
        await reader.hears_up_to(log.seq)
    await deaf.end(log)
    assert "reset" not in {one.event for one in await reader.finish()}


@pytest.mark.parametrize("position", [1, 7, -1])
async def test_after_one_lease_it_is_given_up(
    deaf: Author, side: ReadingSide, position: int
) -> None:
    log, before = await begun(deaf)
    live = await side.joined(log.generation_id)
    await live.hears_up_to(log.seq)
    await deaf.lose_log(log)
    began = time.monotonic()
    reader = await side.joined(log.generation_id, before[position].cursor)
    live.follower.on_subscribed()
    for one in (reader, live):
        await one.hears(lambda events: events[-1:] != [] and events[-1].event == "reset")
        assert one.events[-1].data == {"reason": "log_lost", "attempt": 1}
        assert one.events[-1].id == "1.0.0"
    assert LEASE <= time.monotonic() - began < LEASE + 2
    # The worker finds out in its own time; then everything comes again.
    deaf.publisher.touch()
    await play(deaf, log, REFINE)
    await deaf.end(log)
    whole = await deaf.log_of(log)
    for one in (reader, live):
        told = await one.finish()
        since = 1 + max(n for n, event in enumerate(told) if event.event == "reset")
        assert_is_the_rest(told[since:], whole)
        assert sum(event.event == "reset" for event in told) == 1


async def test_a_log_without_its_tail_is_told_from_the_start_after_the_lease(
    deaf: Author, side: ReadingSide
) -> None:
    log = await deaf.running()
    for word in ("one", "two", "three", "four", "five", "six"):
        log.append_text(word + " ")
        await deaf.flush()
    whole = await deaf.log_of(log)
    live = await side.joined(log.generation_id)
    await live.hears_up_to(7)
    # An append-only file that was not synced: Redis is back with what it had a moment ago.
    key = keys.log(log.generation_id)
    for seq in (6, 7):
        assert await deaf.redis.xdel(key, f"1-{seq}") == 1
    live.follower.on_subscribed()
    beyond = await side.joined(log.generation_id, whole[6].cursor)
    for one, reason in ((live, "log_lost"), (beyond, "unknown_cursor")):
        await one.hears_up_to(5, 1)
        await one.hears(lambda events: "reset" in {event.event for event in events})
        await one.hears(lambda events: events[-1].id == whole[4].id)
        told = one.events
        since = next(n for n, event in enumerate(told) if event.event == "reset")
        assert told[since].data["reason"] == reason
        assert_is_the_rest(told[since + 1 :], whole[:5])
    # Its next event finds the gap, and brings what is missing with it.
    log.append_text("seven ")
    await deaf.end(log)
    whole = await deaf.log_of(log)
    for one in (live, beyond):
        told = await one.finish()
        since = next(n for n, event in enumerate(told) if event.event == "reset")
        assert_is_the_rest(told[since + 1 :], whole)


async def test_a_reader_without_a_cursor_waits_for_the_log_without_a_reset(
    deaf: Author, side: ReadingSide
) -> None:
    log, _ = await begun(deaf)
    await deaf.lose_log(log)
    reader = await side.joined(log.generation_id)
    await eventually(lambda: side.sources.pulse.streams == 1)
    deaf.publisher.touch()
    await deaf.end(log)
    assert_is_the_rest(await reader.finish(), await deaf.log_of(log))


async def test_a_new_attempt_ends_the_wait(deaf: Author, patient: ReadingSide) -> None:
    generation = await deaf.queued()
    lost = await deaf.begin(generation)
    await play(deaf, lost, REFINE)
    reader = await patient.joined(generation.id)
    await reader.hears_up_to(lost.seq)
    await deaf.lose_log(lost)
    reader.follower.on_subscribed()
    beyond = await patient.joined(generation.id, Cursor(1, 200, 200))
    await eventually(lambda: reader.follower.waits and beyond.follower.waits)
    await patient.redis.publish(keys.live(generation.id), b"1 %d %d 0\n" % (lost.seq + 1, lost.seq))
    await eventually(lambda: reader.follower._past._tail is not None)
    log = await deaf.begin(generation, seen=1)
    await play(deaf, log, REFINE)
    log.append_text("anew")
    await deaf.flush()
    assert log.seq > lost.seq
    for one in (reader, beyond):
        await one.hears_up_to(log.seq, 2)
    # What was heard of the old log means nothing for the new one.
    whole = await deaf.log_of(log)
    await deaf.lose_log(log)
    reader.follower.on_subscribed()
    await eventually(lambda: reader.follower.waits)
    deaf.publisher.touch()
    await deaf.end(log)
    whole.append((await deaf.log_of(log))[-1])
    for one in (reader, beyond):
        told = [event for event in await one.finish() if event.cursor.attempt == 2]
        assert [event.data["reason"] for event in told if event.event == "reset"] == ["worker_lost"]
        assert_is_the_rest(told, whole)


async def test_its_end_ends_the_wait(deaf: Author, patient: ReadingSide) -> None:
    log, before = await begun(deaf)
    live = await patient.joined(log.generation_id)
    await live.hears_up_to(log.seq)
    await deaf.lose_log(log)
    live.follower.on_subscribed()
    readers = [await patient.joined(log.generation_id, one.cursor) for one in before]
    await eventually(lambda: all(one.follower.waits for one in (live, *readers)))
    deaf.publisher.abandon(log)
    await deaf.commit(log, State.CANCELLED)
    await patient.sources.signals.look(log.generation_id)
    end = (await live.finish())[-1]
    assert end.event == "cancelled"
    for reader, after in zip(readers, before, strict=True):
        whole = [*before, end]
        assert_is_the_rest(await reader.finish(), whole, after.cursor, previews_kept=False)
