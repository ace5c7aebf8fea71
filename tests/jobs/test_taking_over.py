"""What a lost attempt has shown is kept whole, whoever adds to its log or dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobs import keys
from jobs.attempt_log import CHUNK_FRAMES, AttemptLog
from jobs.events import Status
from jobs.generation import Generation, State
from jobs.lost_ends import LOG_SECONDS
from jobs.pubsub import open_pubsub
from jobs.store.claims import claim, register_worker
from jobs.stream_log import Append, Message, Outcome, parse_message
from tests.jobs.at_work import Work, at_work, text_of
from tests.jobs.lost_work import LEASE, Clock, judge
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def shown(work: Work, events: int) -> tuple[Generation, AttemptLog]:
    """A generation that may not begin anew, and the log of its worker, which is lost."""
    generation = await work.store("Hello", restartable=False)
    await register_worker(work.db, "wrk_lost", 1)
    assert await claim(work.db, generation.id, 0, "wrk_lost", lease_seconds=LEASE)
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    attempt_log = AttemptLog(generation.id, 1, lambda _log, _urgent: None)
    attempt_log.append("status", Status(State.RUNNING, 1))
    for number in range(events):
        attempt_log.append_text(f"w{number} ")
        # Each an event of its own.
        attempt_log.close()
    assert await send(work, attempt_log) is Outcome.APPLIED
    return generation, attempt_log


async def send(work: Work, attempt_log: AttemptLog) -> Outcome:
    """Appends all that the log has yet to send, as its worker does."""
    outcome = Outcome.APPLIED
    attempt_log.close()
    while attempt_log.sent < attempt_log.seq and outcome is Outcome.APPLIED:
        first, frames = attempt_log.sent + 1, attempt_log.unsent()
        append = Append(attempt_log.generation_id, attempt_log.attempt, first, frames, 60_000)
        [answer] = await work.stream_log.append([append])
        outcome, attempt_log.sent = answer.outcome, answer.seq
    return outcome


async def test_what_a_worker_that_is_only_cut_off_shows_meanwhile_is_kept(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, attempt_log = await shown(work, 5)

    async def claim_late(*arguments: Any, **named: Any) -> Any:
        attempt_log.append_text("and more")
        assert await send(work, attempt_log) is Outcome.APPLIED
        return await claim(*arguments, **named)

    monkeypatch.setattr("jobs.lost_ends.claim", claim_late)
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert ended.output is not None
    assert ended.output.text == attempt_log.text == text_of(await work.told(asked))
    assert ended.output.text.endswith("and more")
    attempt_log.append_text("too late")
    assert await send(work, attempt_log) is Outcome.STALE


async def test_a_rescuer_that_dies_before_its_commit_leaves_the_whole_text(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than one append takes.
    asked, attempt_log = await shown(work, 2 * CHUNK_FRAMES)
    halted = asyncio.Event()

    async def halt(*_: Any, **__: Any) -> None:
        halted.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr("jobs.lost_ends.commit", halt)
        dying = asyncio.create_task(judge(work.rescuer(), clock))
        await asyncio.wait_for(halted.wait(), 10)
        dying.cancel()
        await asyncio.wait([dying])
    assert await work.stream_log.tail(asked.id) == (2, 2 * CHUNK_FRAMES + 2)
    # Should nobody ever end it, Redis forgets it all the same.
    assert await work.redis.pttl(keys.log(asked.id)) > 0
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert ended.output is not None
    assert (ended.attempt, ended.output.text) == (3, attempt_log.text)
    assert text_of(await work.told(asked)) == attempt_log.text


async def test_who_reads_it_live_hears_all_of_what_was_taken_over(
    work: Work, clock: Clock, redis_url: str
) -> None:
    # More than one message takes.
    asked, _ = await shown(work, 2 * CHUNK_FRAMES)
    heard: list[Message] = []
    async with open_pubsub(redis_url) as pubsub:
        channel = pubsub.subscribe(
            keys.live(asked.id), lambda raw: heard.append(parse_message(raw)), lambda: None
        )
        assert await channel.wait()
        await judge(work.rescuer(), clock)
        await eventually(lambda: any(one.terminal for one in heard))
    page = await work.stream_log.read(asked.id, 2, 1)
    assert page is not None
    assert len(page.frames) == 2 * CHUNK_FRAMES + 3
    told = [one for one in heard if one.attempt]
    assert b"".join(one.frames for one in told) == b"".join(page.frames)
    assert [one.first for one in told] == [1, *(one.last + 1 for one in told[:-1])]


async def test_a_log_that_was_damaged_is_told_anew_in_the_end(work: Work, clock: Clock) -> None:
    asked, _ = await shown(work, 5)
    await work.redis.delete(keys.log(asked.id))
    await work.redis.set(keys.log(asked.id), "no stream")
    rescuer = work.rescuer()
    for _ in range(4):
        await rescuer.round()
        clock.now += LEASE / 3 + 0.1
    assert (await work.read(asked)).state is State.RUNNING
    clock.now += LOG_SECONDS
    await judge(rescuer, clock)
    ended = await work.read(asked)
    assert (ended.state, ended.output) == (State.FAILED, None)
    assert (await work.told(asked))[-1].name == "failed"


async def test_one_that_was_cancelled_and_then_lost_ends_as_cancelled(
    work: Work, clock: Clock
) -> None:
    asked, attempt_log = await shown(work, 5)
    await work.cancel(asked)
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert ended.output is not None
    assert (ended.state, ended.error) == (State.CANCELLED, None)
    assert ended.output.text == attempt_log.text
    assert (await work.told(asked))[-1].name == "cancelled"
