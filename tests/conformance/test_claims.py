"""A generation is run by one attempt at a time, the newest one."""

import asyncio
from typing import Any

import pytest

from jobs.database import CommitUnknown
from jobs.generation import State
from jobs.store.claims import claim, hand_over
from jobs.store.commits import commit, request_cancel
from jobs.store.reads import read_generation, read_stream_row
from jobs.store.workers import (
    Tally,
    any_worker_alive,
    beat,
    deregister_worker,
    forget_workers,
    register_worker,
)
from tests.conformance.acts import LEASE, Acts, outcome


async def test_a_first_claim_says_all_that_a_worker_needs(acts: Acts) -> None:
    accepted = await acts.accept(text="hello", restartable=False)
    one = await acts.claimed(accepted.generation.id)
    assert (one.attempt, one.lost_attempts, one.reset, one.previous_worker_id) == (1, 0, None, None)
    assert (one.owner, one.input, one.model, one.restartable) == ("ann", "hello", "m", False)
    assert one.created_at <= one.started_at <= one.expires_at
    shown = await read_generation(acts.db, "ann", one.id)
    assert (shown.state, shown.attempt) == (State.RUNNING, 1)
    assert shown.started_at is not None


async def test_of_five_racing_claims_one_wins(acts: Acts) -> None:
    workers = [await acts.worker(f"wrk_{number}") for number in range(2, 7)]
    for _ in range(5):
        one = (await acts.accept()).generation.id
        results = await asyncio.gather(*(acts.claim(one, 0, worker) for worker in workers))
        assert sum(result is not None for result in results) == 1


async def test_of_five_racing_claims_of_a_lost_one_one_wins(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    workers = [await acts.worker(f"wrk_{number}") for number in range(2, 7)]
    await acts.silence("wrk_1", LEASE + 1)
    results = await asyncio.gather(*(acts.claim(one, 1, worker) for worker in workers))
    assert [result.attempt for result in results if result is not None] == [2]


async def test_a_claim_needs_the_attempt_that_was_seen(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    assert await acts.claim(one, 1) is None
    await acts.claimed(one)
    assert await acts.claim(one, 0) is None
    assert await acts.claim("gen_unknown") is None


async def test_a_claim_that_was_lost_on_its_way_is_not_taken_for_anothers(
    acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (await acts.accept()).generation.id
    await acts.worker("wrk_2")
    write_one = acts.db.write_one

    async def lost(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(acts.db, "write_one", write_one)
        assert (await acts.claimed(one, 0, "wrk_2")).attempt == 1
        raise CommitUnknown

    monkeypatch.setattr(acts.db, "write_one", lost)
    assert await acts.claim(one) is None
    assert (await beat(acts.db, "wrk_2", 1)).held == {one: 1}


async def test_a_running_one_is_its_workers_while_the_lease_lasts(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    await acts.silence("wrk_1", LEASE - 2)
    assert await acts.claim(one, 1, await acts.worker("wrk_2")) is None
    await acts.silence("wrk_1", 3)
    taken = await acts.claimed(one, 1, "wrk_2")
    assert (taken.attempt, taken.lost_attempts, taken.reset) == (2, 1, "worker_lost")
    assert taken.previous_worker_id == "wrk_1"


async def test_a_heartbeat_renews_the_lease_on_all_that_a_worker_holds(acts: Acts) -> None:
    held = [(await acts.accept()).generation.id for _ in range(3)]
    for one in held:
        await acts.claimed(one)
    await acts.silence("wrk_1", LEASE + 1)
    assert (await beat(acts.db, "wrk_1", 3)).held == dict.fromkeys(held, 1)
    await acts.worker("wrk_2")
    assert [await acts.claim(one, 1, "wrk_2") for one in held] == [None] * 3


async def test_what_was_handed_over_may_be_claimed_at_once_and_is_not_lost(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    assert not await hand_over(acts.db, one, 2)
    assert await hand_over(acts.db, one, 1)
    row = await read_stream_row(acts.db, one, lease_seconds=LEASE)
    assert row is not None
    assert (row.state, row.worker) == (State.RUNNING, "none")
    taken = await acts.claimed(one, 1, await acts.worker("wrk_2"))
    assert (taken.attempt, taken.lost_attempts, taken.reset) == (2, 0, "handed_over")
    await acts.silence("wrk_2", LEASE + 1)
    lost = await acts.claimed(one, 2, "wrk_1")
    assert (lost.attempt, lost.lost_attempts, lost.reset) == (3, 1, "worker_lost")
    assert not await hand_over(acts.db, one, 2)


async def test_what_has_ended_is_neither_claimed_nor_handed_over(acts: Acts) -> None:
    accepted = await acts.accept()
    await acts.run(accepted)
    one = accepted.generation.id
    assert await acts.claim(one, 1) is None
    assert await acts.claim(one, 0) is None
    assert not await hand_over(acts.db, one, 1)


async def test_an_overdue_one_is_never_claimed_but_a_started_one_is(acts: Acts) -> None:
    late, started = (await acts.accept(expires=5), await acts.accept(expires=5))
    await acts.claimed(started.generation.id)
    await acts.elapse(30)
    assert await acts.claim(late.generation.id) is None
    assert (await acts.claimed(started.generation.id, 1, "wrk_1")).attempt == 2


async def test_the_start_is_that_of_the_first_claim(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    first = await acts.claimed(one)
    await hand_over(acts.db, one, 1)
    assert (await acts.claimed(one, 1)).started_at == first.started_at


async def test_an_unregistered_workers_claim_is_lost_at_once(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one, 0, "wrk_unknown")
    assert (await acts.claimed(one, 1, "wrk_1")).reset == "worker_lost"


async def test_a_deregistered_worker_has_lost_what_it_holds(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    await deregister_worker(acts.db, "wrk_1")
    row = await read_stream_row(acts.db, one, lease_seconds=LEASE)
    assert row is not None
    assert row.worker == "lost"


async def test_a_heartbeat_brings_cancellations_and_what_is_held(acts: Acts) -> None:
    one, other, foreign = [(await acts.accept()).generation.id for _ in range(3)]
    await acts.claimed(one)
    await acts.claimed(other)
    await acts.claimed(foreign, 0, await acts.worker("wrk_2"))
    await request_cancel(acts.db, "ann", one)
    await request_cancel(acts.db, "ann", foreign)
    told = await beat(acts.db, "wrk_1", 2)
    assert told.cancel == {one}
    assert told.held == {one: 1, other: 1}
    for known in (Tally(2, 2), Tally(1, 2), Tally(2, 3)):
        assert await beat(acts.db, "wrk_1", 2, known=known) == told
    await hand_over(acts.db, other, 1)
    assert (await beat(acts.db, "wrk_1", 1)).held == {one: 1}


async def test_a_heartbeat_lists_nothing_while_all_is_as_the_worker_says(acts: Acts) -> None:
    held = {(await acts.accept()).generation.id: 1 for _ in range(3)}
    for one in held:
        await acts.claimed(one)
    await acts.claimed((await acts.accept()).generation.id, 0, await acts.worker("wrk_2"))
    assert (await beat(acts.db, "wrk_1", 3, known=Tally(3, 3))).held is None
    for known in (Tally(2, 3), Tally(4, 3), Tally(3, 4)):
        assert (await beat(acts.db, "wrk_1", 3, known=known)).held == held
    assert (await beat(acts.db, "wrk_2", 0, known=Tally(0, 0))).held is not None
    assert (await beat(acts.db, "wrk_3", 0, known=Tally(0, 0))).held is None


async def test_a_forgotten_workers_heartbeat_makes_it_known_again(acts: Acts) -> None:
    await acts.silence("wrk_1", 2 * 86_400)
    assert not await any_worker_alive(acts.db, LEASE)
    assert await forget_workers(acts.db) == 1
    await beat(acts.db, "wrk_1", 0)
    assert await any_worker_alive(acts.db, LEASE)
    assert await forget_workers(acts.db) == 0


async def test_a_worker_may_register_twice(acts: Acts) -> None:
    await acts.silence("wrk_1", 60)
    await register_worker(acts.db, "wrk_1", 5)
    assert await any_worker_alive(acts.db, LEASE)


async def test_the_cancellation_of_a_lost_one_reaches_who_claims_it(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    asked = await request_cancel(acts.db, "ann", one)
    assert (asked.ended_now, asked.generation.state) == (False, State.RUNNING)
    await hand_over(acts.db, one, 1)
    assert (await acts.claimed(one, 1)).cancel_requested


@pytest.mark.parametrize("seed", range(3))
async def test_of_five_racing_attempts_only_the_newest_commits(acts: Acts, seed: int) -> None:
    """Whatever the order in which five attempts, each claimed after the last was lost, commit."""
    accepted = await acts.accept()
    one = accepted.generation.id
    for attempt in range(5):
        await acts.claimed(one, attempt, "wrk_1")
        if attempt < 4:
            await hand_over(acts.db, one, attempt + 1)
    order = [(number * (seed + 2)) % 5 + 1 for number in range(5)]
    results = await asyncio.gather(
        *(commit(acts.db, one, attempt, outcome(f"from {attempt}")) for attempt in order)
    )
    winners = [done for done in results if done is not None]
    assert len(winners) == 1
    output = winners[0].generation.output
    assert output is not None
    assert output.text == "from 5"
    again = await asyncio.gather(*(commit(acts.db, one, 5, outcome("again")) for _ in range(20)))
    assert again == [None] * 20
    assert await read_generation(acts.db, "ann", one) == winners[0].generation


async def test_a_claim_and_a_cancellation_at_once_agree(acts: Acts) -> None:
    for _ in range(15):
        one = (await acts.accept()).generation.id
        claimed, asked = await asyncio.gather(
            claim(acts.db, one, 0, "wrk_1", lease_seconds=LEASE),
            request_cancel(acts.db, "ann", one),
        )
        assert asked.ended_now == (claimed is None)
        if claimed is not None:
            assert one in (await beat(acts.db, "wrk_1", 1)).cancel
