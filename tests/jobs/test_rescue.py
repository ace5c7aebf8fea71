"""What nobody works on is found and started anew, by any number of rescuers, or expires."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import keys
from jobs.generation import State
from jobs.offers import AGAIN_SECONDS, LOST_SPREAD_SECONDS, SPREAD_SECONDS, spread
from jobs.rescue import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_REST_SECONDS,
    ROWS_A_DUTY,
    SUSPECT_SHARE,
)
from jobs.store.claims import claim, hand_over, register_worker
from tests.conformance.test_cost import counted
from tests.jobs.at_work import Work, at_work
from tests.jobs.lost_work import LEASE, Clock, abandoned, judge, row_of
from tests.services import RedisServer, eventually


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over each of the databases, without a worker."""
    async with at_work(redis_url, database_url, tmp_path, relay_lease_seconds=LEASE) as work:
        yield work


async def test_what_was_stored_and_never_enqueued_is_started(work: Work) -> None:
    asked = await work.store("Hello", model="demo-fast-echo")
    await work.sql("UPDATE generations SET created_at = created_at - 3000")
    rescuer = work.rescuer()
    await rescuer.round()
    await rescuer.round()
    assert await work.queue.depth() == 1
    assert rescuer.counts.enqueued == 1
    await work.hire()
    assert (await work.ended(asked)).state is State.COMPLETED


async def test_what_is_enqueued_after_an_outage_is_spread_over_time(work: Work) -> None:
    stored = [await work.store(f"Hello {number}") for number in range(40)]
    await work.sql("UPDATE generations SET created_at = created_at - 5000")
    before = time.time()
    await work.rescuer().round()
    queued = await work.redis.zrange(keys.QUEUE, 0, -1, withscores=True)
    later = [score / 1000 - before for _, score in queued]
    assert len(later) == len(stored)
    # Of forty over two seconds half come in the second one, give or take.
    assert sum(one > 1.0 for one in later) >= 5
    assert max(later) < SPREAD_SECONDS + 1


async def test_many_that_nobody_takes_keep_no_others_from_being_enqueued(work: Work) -> None:
    stored = 2 * ROWS_A_DUTY + 50
    for _ in range(stored):
        await work.store("Hello")
    # Many of one instant.
    await work.sql("UPDATE generations SET created_at = created_at / 1000 * 1000 - 60000")
    rescuer = work.rescuer()
    for _ in range(2):
        # Once more from the oldest on, as when Redis has lost them.
        await work.redis.delete(keys.QUEUE)
        for there in (ROWS_A_DUTY, 2 * ROWS_A_DUTY, stored):
            await rescuer.round()
            assert await work.queue.depth() == there
    assert rescuer.counts.enqueued == stored


async def test_all_that_is_overdue_at_once_expires_in_one_round(work: Work, clock: Clock) -> None:
    stored = ROWS_A_DUTY + 50
    for _ in range(stored):
        await work.store("Hello")
    await work.sql("UPDATE generations SET expires_at = created_at - 1")
    rescuer = work.rescuer()
    with counted() as statements:
        await rescuer.round()
    # What else waits for this round, and for the database, does not wait for each of them.
    assert len(statements) < 20, statements
    left = await work.sql("SELECT count(*) FROM generations WHERE state <> 'expired'")
    assert (left, rescuer.counts.expired) == ([(0,)], stored)


async def test_what_was_just_stored_is_left_to_its_relay(work: Work) -> None:
    await work.store("Hello")
    await work.rescuer().round()
    assert await work.queue.depth() == 0


async def test_what_is_overdue_expires_by_a_relay_alone_and_never_runs(work: Work) -> None:
    asked = await work.ask("Hello", expires_seconds=0.2)
    async with work.relay_alone(relay_lease_seconds=2.0):
        ended = await work.ended(asked, within=2.2)
    assert (ended.state, ended.attempt, ended.output) == (State.EXPIRED, 0, None)
    assert ended.error is not None
    assert ended.error.code == "not_started"
    await work.hire()
    await work.ended(await work.ask("Another"))
    assert [body["messages"][-1]["content"] for body in await work.requests()] == ["Another"]


async def test_those_who_wait_behind_nobody_are_promoted_and_run_in_order(work: Work) -> None:
    first = await work.store("Hello 1", model="demo-fast-echo")
    for number in (2, 3):
        await work.store(
            f"Hello {number}", model="demo-fast-echo",
            conversation_id=first.conversation_id, on_active="queue",
        )  # fmt: skip
    # As after a hand in the database: nobody holds the place.
    await work.sql("UPDATE generations SET state = 'cancelled', active = false WHERE id = :id",
                   id=first.id)  # fmt: skip
    rescuer = work.rescuer()
    await rescuer.round()
    assert rescuer.counts.promoted == 1
    await work.hire()

    async def said() -> bool:
        return [text for role, text, _ in await work.turns(first) if role == "assistant"] == [
            "Hello 2",
            "Hello 3",
        ]

    await eventually(said, within=10)


async def test_a_lost_workers_generation_is_offered_again_once(work: Work, clock: Clock) -> None:
    asked = await abandoned(work)
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    await rescuer.round()
    assert rescuer.counts.offered_again == 1
    assert await work.queue.depth() == 1
    assert (await work.read(asked)).attempt == 1


async def test_what_was_offered_is_left_to_the_workers_for_a_while(
    work: Work, clock: Clock
) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3 + 0.1
    await rescuer.round()
    await work.redis.delete(keys.QUEUE)
    clock.now += AGAIN_SECONDS - 0.1
    await rescuer.round()
    assert await work.queue.depth() == 0
    clock.now += 0.2
    await rescuer.round()
    assert await work.queue.depth() == 1
    assert rescuer.counts.offered_again == 1


async def test_all_that_a_large_worker_lost_is_offered_in_one_round(
    work: Work, clock: Clock
) -> None:
    lost = 250
    for _ in range(lost):
        await work.store("Hello")
    await register_worker(work.db, "wrk_lost", lost)
    # As claimed by it, all at once.
    await work.sql("UPDATE generations SET state = 'running', attempt = 1, worker_id = 'wrk_lost'")
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    rescuer = work.rescuer()
    await work.redis.config_resetstat()
    with counted() as statements:
        await judge(rescuer, clock)
    assert rescuer.counts.offered_again == lost == await work.queue.depth()
    # Readers wait until the last one's turn, so none of this is done for each; offered twice.
    assert len(statements) < 40, statements
    assert (await work.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == 2 * 3
    # Spread, and no longer than their readers may wait.
    due = sorted(score for _, score in await work.redis.zrange(keys.QUEUE, 0, -1, withscores=True))
    assert (due[-1] - due[0]) / 1000 > LOST_SPREAD_SECONDS / 2
    assert due[-1] / 1000 < time.time() + LOST_SPREAD_SECONDS


async def test_one_that_was_handed_over_untold_may_begin_anew_whatever_its_readers_know(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "", restartable=False)
    assert await hand_over(work.db, asked.id, 1)
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1
    assert (await work.read(asked)).state is State.RUNNING
    assert await work.queue.depth() == 1


async def test_however_often_it_was_handed_over_it_is_offered_and_never_lost(
    work: Work, clock: Clock
) -> None:
    asked = await work.store("Hello")
    await register_worker(work.db, "wrk_1", 1)
    rescuer = work.rescuer(relay_max_attempts=1)
    for attempt in range(4):
        assert await claim(work.db, asked.id, attempt, "wrk_1", lease_seconds=LEASE)
        assert await hand_over(work.db, asked.id, attempt + 1)
        await judge(rescuer, clock)
        assert rescuer.counts.offered_again == attempt + 1
    assert await row_of(work, asked) == ("running", 4)


async def test_what_two_rescuers_offer_at_once_runs_once(work: Work, clock: Clock) -> None:
    lost, stored = await abandoned(work), await work.store("Hello")
    await work.sql("UPDATE generations SET created_at = created_at - 5000")
    rescuers = [work.rescuer() for _ in range(2)]
    for _ in range(5):
        await asyncio.gather(*(one.round() for one in rescuers))
        clock.now += LEASE / 3
    assert [one.counts.offered_again for one in rescuers] == [1, 1]
    assert await work.queue.depth() == 2
    await work.hire()
    for one, attempt in ((lost, 2), (stored, 1)):
        ended = await work.ended(one)
        assert (ended.state, ended.attempt) == (State.COMPLETED, attempt)
    assert len(await work.requests()) == 2
    assert await work.queue.depth() == 0


async def test_a_duty_that_fails_keeps_no_other_from_being_done(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = await work.store("Hello", expires_seconds=0.001)
    await abandoned(work)

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("jobs.rescue.look_for_leftovers", broken)
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert (await work.read(asked)).state is State.EXPIRED
    assert rescuer.counts.offered_again == 1
    assert rescuer.counts.failures == 5
    # Said loudly, but not in every round.
    assert caplog.text.count("a rescuer's duty failed") == 1
    clock.now += 60
    await rescuer.round()
    assert caplog.text.count("a rescuer's duty failed") == 2


async def test_what_redis_does_not_take_is_offered_in_the_next_round(
    start_redis: Callable[..., RedisServer], sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        for number in range(3):
            await work.store(f"Hello {number}")
        await abandoned(work)
        await work.sql("UPDATE generations SET created_at = created_at - 3000")
        redis.kill()
        rescuer = work.rescuer()
        await judge(rescuer, clock)
        assert (rescuer.counts.enqueued, rescuer.counts.offered_again) == (0, 0)
        redis.restart(keep_data=False)
        await rescuer.round()
        assert (rescuer.counts.enqueued, rescuer.counts.offered_again) == (3, 1)
        assert await work.queue.depth() == 4


def test_much_work_is_spread_over_three_seconds_and_little_is_not() -> None:
    assert max(spread(1) for _ in range(200)) <= 0.05
    many = [spread(1000) for _ in range(500)]
    assert SPREAD_SECONDS * 0.9 < max(many) <= SPREAD_SECONDS == 3.0
    assert min(many) < 0.3


async def test_a_round_with_nothing_to_do_is_two_statements(work: Work, clock: Clock) -> None:
    asked = await work.store("Hello")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    with counted() as statements:
        await rescuer.round()
    assert len(statements) == 2, statements
    assert (await work.read(asked)).state is State.QUEUED


async def test_rounds_are_rarer_while_nothing_is_left_over(work: Work, clock: Clock) -> None:
    rescuer = work.rescuer()
    before_any_round = rescuer.pause
    await judge(rescuer, clock)
    assert before_any_round < rescuer.pause == LONGEST_REST_SECONDS
    await work.store("Hello")
    await work.sql("UPDATE generations SET created_at = created_at - 3000")
    await rescuer.round()
    assert rescuer.pause == LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("lease", [2.0, 3.5, LEASE, 60.0])
async def test_who_is_lost_was_suspected_in_an_earlier_round(
    work: Work, clock: Clock, lease: float
) -> None:
    rescuer = work.rescuer(relay_lease_seconds=lease)
    await judge(rescuer, clock)
    assert 1.2 * rescuer.pause < (1 - SUSPECT_SHARE) * lease
    await abandoned(work)
    silent = (SUSPECT_SHARE * lease + 0.1) * 1000
    await work.sql(
        f"UPDATE workers SET heartbeat_at = (SELECT started_at FROM generations) - {round(silent)}"
    )
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    assert rescuer.pause <= LONGEST_PAUSE_SECONDS
