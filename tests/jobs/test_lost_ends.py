"""What is lost for good ends with its text, by any number of rescuers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import keys
from jobs.attempt_log import AttemptLog
from jobs.events import FileDelta, Notice, Status, Token
from jobs.generation import FileChange, SkillChoice, State
from jobs.lost_ends import END_AGAIN_SECONDS, ENDS_AT_ONCE, LOG_SECONDS
from jobs.queue import job_of
from jobs.store import commits
from jobs.store.claims import claim, hand_over
from jobs.stream_log import Append
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.jobs.lost_work import LEASE, Clock, abandoned, judge, row_of
from tests.services import RedisServer


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over each of the databases, without a worker."""
    async with at_work(redis_url, database_url, tmp_path, relay_lease_seconds=LEASE) as work:
        yield work


async def test_those_that_were_lost_too_often_are_ended_side_by_side(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [await abandoned(work, f"text {number}") for number in range(ENDS_AT_ONCE)]
    all_at_it = asyncio.Barrier(len(lost))

    async def together(*arguments: Any, **named: Any) -> Any:
        async with asyncio.timeout(10):
            await all_at_it.wait()
        return await claim(*arguments, **named)

    monkeypatch.setattr("jobs.lost_ends.claim", together)
    rescuer = work.rescuer(relay_max_attempts=1)
    await judge(rescuer, clock)
    assert rescuer.counts.ended_lost == len(lost)


async def test_lost_too_often_it_ends_with_the_text_in_one_token(work: Work, clock: Clock) -> None:
    asked = await abandoned(work, "ChidÉ 🎉")
    rescuer = work.rescuer(relay_max_attempts=1)
    await judge(rescuer, clock)
    ended = await work.read(asked)
    events = await work.told(asked)
    assert (ended.state, ended.attempt) == (State.FAILED, 2)
    assert ended.error is not None
    assert (ended.error.code, ended.error.retryable) == ("worker_lost", True)
    assert [event.name for event in events] == ["reset", "status", "token", "failed"]
    assert str(events[-1].cursor) == "2.4.7"
    assert text_of(events) == "ChidÉ 🎉"
    assert text_of(await work.rebuilt(asked)) == "ChidÉ 🎉"
    assert (await work.turns(asked))[-1] == ("assistant", "ChidÉ 🎉", True)


async def test_one_that_may_not_begin_anew_ends_at_its_first_loss(work: Work, clock: Clock) -> None:
    asked = await abandoned(work, restartable=False)
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_lost")


async def test_one_that_was_cancelled_ends_as_cancelled_with_its_text_though_no_worker_is_left(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "t1 t2")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert await row_of(work, asked) == ("running", 1)
    await work.cancel(asked)
    await rescuer.round()
    ended = await work.read(asked)
    assert (ended.state, ended.attempt, ended.error) == (State.CANCELLED, 2, None)
    assert (await work.turns(asked))[-1] == ("assistant", "t1 t2", True)
    events = await work.told(asked)
    assert [event.name for event in events] == ["reset", "status", "token", "cancelled"]
    after = await work.store("And now?", conversation_id=asked.conversation_id)
    assert after.state is State.QUEUED


async def test_one_that_nobody_takes_over_ends_when_a_queued_one_would_have_expired(
    work: Work, clock: Clock
) -> None:
    waits = 30.0
    lost, given = await abandoned(work, "t1 t2"), await abandoned(work, "t3")
    assert await hand_over(work.db, given.id, 1)
    rescuer = work.rescuer(relay_queue_expires_seconds=waits)
    await judge(rescuer, clock)
    for _ in range(round(waits / LEASE * 3) - 2):
        clock.now += LEASE / 3
        await rescuer.round()
        assert await row_of(work, lost) == ("running", 1)
    for _ in range(3):
        clock.now += LEASE / 3
        await rescuer.round()
    for one, said in ((lost, "t1 t2"), (given, "t3")):
        ended = await work.read(one)
        assert ended.error is not None
        assert ended.output is not None
        assert (ended.state, ended.error.code, ended.output.text) == (
            State.FAILED,
            "worker_lost",
            said,
        )


async def test_after_a_month_what_was_lost_is_ended_and_not_begun_anew(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "t1 t2")
    await work.sql("UPDATE generations SET started_at = started_at - 2592000000")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_lost")
    assert (await work.turns(asked))[-1] == ("assistant", "t1 t2", True)
    assert (rescuer.counts.offered_again, await work.queue.depth()) == (0, 0)


async def test_where_readers_know_no_reset_each_event_is_kept_apart(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "", restartable=False)
    written = FileChange("a.md", "write", 3, "ab" * 32)
    attempt_log = AttemptLog(asked.id, 1, lambda _log, _urgent: None)
    attempt_log.append("status", Status(State.RUNNING, 1))
    attempt_log.append_again(Token("ChidÉ"))
    attempt_log.append_again(Token(" 🎉"))
    attempt_log.append_file_delta(FileDelta("a.md", 0, "one"))
    attempt_log.append("file", written)
    attempt_log.append("skill", SkillChoice("cook", None, 0.0))
    attempt_log.append("notice", Notice("code", "message"))
    attempt_log.append_again(Token("\n\n"))
    frames = attempt_log.unsent()
    await work.stream_log.append([Append(asked.id, 1, 1, frames, 60_000)])
    shown = [(one.name, one.data) for one in await work.log(asked) if one.name != "file_delta"]
    await judge(work.rescuer(), clock)
    events = await work.told(asked)
    assert [one.name for one in events[:2]] == ["reset", "status"]
    assert [(one.name, one.data) for one in events[2:-1]] == shown[1:]
    assert [one.cursor for one in await work.rebuilt(asked)] == [one.cursor for one in events[:-1]]
    ended = await work.read(asked)
    assert ended.output is not None
    assert ended.output.text == "ChidÉ 🎉\n\n"


async def test_one_that_can_not_be_ended_is_left_alone_for_a_while_and_then_ends(
    work: Work, clock: Clock
) -> None:
    first, second = await abandoned(work, "t1 t2"), await abandoned(work, "t3")
    rescuer = work.rescuer(relay_max_attempts=1)
    await work.sql("ALTER TABLE turns RENAME COLUMN partial TO partial_away")
    await judge(rescuer, clock)
    for _ in range(5):
        await rescuer.round()
    # Each try costs an attempt, and tells its readers of it.
    assert [await row_of(work, one) for one in (first, second)] == [("running", 2)] * 2
    await work.sql("ALTER TABLE turns RENAME COLUMN partial_away TO partial")
    for _ in range(int(END_AGAIN_SECONDS / LEASE * 3) + 1):
        await rescuer.round()
        clock.now += LEASE / 3
    await rescuer.round()
    assert [await row_of(work, one) for one in (first, second)] == [("failed", 3)] * 2


async def test_a_text_that_can_not_be_stored_keeps_nobody_from_an_end(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await abandoned(work, "t1 t2")

    async def narrow(*arguments: Any, **named: Any) -> None:
        raise ValueError("no column can hold this")

    monkeypatch.setattr(commits, "add_turn", narrow)
    await judge(work.rescuer(relay_max_attempts=1), clock)
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code, ended.output) == (State.FAILED, "worker_lost", None)


async def test_the_next_in_line_is_offered_in_the_round_that_ends_a_lost_one(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work)
    after = await work.store("And?", conversation_id=asked.conversation_id, on_active="queue")
    await judge(work.rescuer(relay_max_attempts=1), clock)
    assert (await work.read(asked)).state is State.FAILED
    assert await work.redis.zrange(keys.QUEUE, 0, -1) == [job_of(after.id, 0).encode()]


async def test_two_rescuers_at_once_are_harmless(work: Work, clock: Clock) -> None:
    lost = [await abandoned(work, f"text {number}") for number in range(6)]
    first, second = (work.rescuer(relay_max_attempts=1) for _ in range(2))
    for _ in range(4):
        await asyncio.gather(first.round(), second.round())
        clock.now += LEASE / 3
    await asyncio.gather(first.round(), second.round())
    await asyncio.gather(first.round(), second.round())
    assert first.counts.ended_lost + second.counts.ended_lost == 6
    for number, one in enumerate(lost):
        ended = await work.read(one)
        assert ended.output is not None
        assert (ended.state, ended.output.text) == (State.FAILED, f"text {number}")
        assert len(await work.turns(one)) == 2
        assert names_of(await work.told(one)) == ["reset", "status", "token", "failed"]


async def test_an_attempt_that_wrote_nothing_leaves_the_text_of_the_one_before(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "t1 t2")
    # A rescuer that died between its claim and its first word.
    assert await claim(work.db, asked.id, 1, "wrk_gone", lease_seconds=LEASE)
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert (ended.state, ended.attempt) == (State.FAILED, 3)
    assert ended.output is not None
    assert ended.output.text == "t1 t2"


async def test_a_log_that_can_not_be_read_is_waited_for_and_then_given_up(
    start_redis: Callable[..., RedisServer], sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        first, second = await abandoned(work, "one"), await abandoned(work, "two")
        rescuer = work.rescuer(relay_max_attempts=1)
        for _ in range(3):
            await rescuer.round()
            clock.now += LEASE / 3
        redis.kill()
        clock.now += 0.1
        await rescuer.round()
        assert (await work.read(first)).state is State.RUNNING
        for _ in range(3):
            clock.now += LOG_SECONDS / 3 + 0.1
            await rescuer.round()
        for one in (first, second):
            ended = await work.read(one)
            assert (ended.state, ended.output) == (State.FAILED, None)
