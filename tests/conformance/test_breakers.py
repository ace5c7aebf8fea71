"""A breaker opens after failures in a row, keeps what is queued, and is tried by one probe."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.generation import State
from jobs.store.breaker_notes import (
    Place,
    Rule,
    fail_probe,
    forget_breakers,
    note_answer,
    note_failure,
    release_probe,
)
from jobs.store.breakers import BreakerOpen, holder, open_models, read_breakers, take_probe
from jobs.store.claims import Claimed, claim, hand_over
from jobs.store.commits import request_cancel
from jobs.store.leftovers import find_unenqueued
from tests.conformance.acts import LEASE, Acts
from tests.conformance.test_cost import counted

HERE, ELSEWHERE = "https://here/v1", "https://elsewhere/v1"
PLACE = Place(HERE, "m")
RULE = Rule(failures=3, first_pause_seconds=10, longest_pause_seconds=25)
PROBE_SECONDS = 60.0


async def claim_at(
    acts: Acts, generation_id: str, seen: int = 0, *, endpoint: str = HERE, worker: str = "wrk_1"
) -> Claimed | None:
    return await claim(
        acts.db,
        generation_id,
        seen,
        worker,
        lease_seconds=LEASE,
        endpoint=endpoint,
        probe_seconds=PROBE_SECONDS,
    )


async def stored(acts: Acts, *, expires: float = 600) -> str:
    return (await acts.accept(expires=expires)).generation.id


async def opened(acts: Acts, place: Place = PLACE) -> None:
    for number in range(1, RULE.failures + 1):
        told = await note_failure(acts.db, place, RULE)
        assert (told is not None) == (number == RULE.failures)


async def pass_time(acts: Acts, seconds: float) -> None:
    """Let this time pass for every breaker."""
    columns = ("opened_at", "retry_at", "probe_until", "changed_at")
    shifts = ", ".join(f"{name} = {name} - {round(seconds * 1000)}" for name in columns)
    await acts.db.write_one(text(f"UPDATE breakers SET {shifts}"))


async def probe(acts: Acts) -> Claimed:
    claimed = await claim_at(acts, await stored(acts))
    assert claimed is not None
    assert claimed.probe
    return claimed


async def held(acts: Acts, generation_id: str) -> BreakerOpen:
    with pytest.raises(BreakerOpen) as refused:
        await claim_at(acts, generation_id)
    return refused.value


async def test_it_opens_at_the_last_of_so_many_failures_in_a_row(acts: Acts) -> None:
    assert await note_failure(acts.db, PLACE, RULE) is None
    assert await note_failure(acts.db, PLACE, RULE) is None
    assert await open_models(acts.db) == frozenset()
    told = await note_failure(acts.db, PLACE, RULE, jitter_seconds=1)
    assert told is not None
    assert told.failures == 3
    assert 10 < told.wait_seconds <= 11
    assert await open_models(acts.db) == {"m"}
    assert await note_failure(acts.db, PLACE, RULE) is None
    [one] = await read_breakers(acts.db)
    assert (one.state, one.failures, one.probe) == ("open", 3, None)


async def test_an_answer_between_failures_begins_the_count_anew(acts: Acts) -> None:
    for _ in range(4):
        for _ in range(2):
            assert await note_failure(acts.db, PLACE, RULE) is None
        claimed = await claim_at(acts, await stored(acts))
        assert claimed is not None
        assert (claimed.watched, claimed.probe) == (True, False)
        assert not await note_answer(acts.db, PLACE)
    assert await read_breakers(acts.db) == ()


async def test_failures_of_many_workers_at_once_are_all_counted(acts: Acts) -> None:
    # As many as open it: the breaker opens only if the one that begins the count loses none.
    for number in range(12):
        place = Place(HERE, f"m{number}")
        told = await asyncio.gather(*(note_failure(acts.db, place, RULE) for _ in range(3)))
        assert sum(one is not None for one in told) == 1
    assert {(one.state, one.failures) for one in await read_breakers(acts.db)} == {("open", 3)}


async def test_a_model_that_answers_costs_no_statement_beside_the_claim(acts: Acts) -> None:
    one = await stored(acts)
    with counted() as statements:
        claimed = await claim_at(acts, one)
    assert len(statements) == 1
    assert claimed is not None
    assert not claimed.watched
    assert not claimed.probe


async def test_while_open_nothing_queued_is_claimed_and_no_attempt_is_spent(acts: Acts) -> None:
    one = await stored(acts)
    await opened(acts)
    for _ in range(3):
        why = await held(acts, one)
        assert why.model == "m"
        assert 8 < why.wait_seconds <= 10
    row = await acts.db.fetch(text("SELECT state, attempt, started_at FROM generations"))
    assert [tuple(each) for each in row] == [("queued", 0, None)]


async def test_it_stands_before_one_endpoint_and_one_model(acts: Acts) -> None:
    one = await stored(acts)
    await opened(acts, Place(HERE, "another"))
    await opened(acts, Place(ELSEWHERE, "m"))
    claimed = await claim_at(acts, one)
    assert claimed is not None
    assert not claimed.watched
    two = await stored(acts)
    with pytest.raises(BreakerOpen):
        await claim_at(acts, two, endpoint=ELSEWHERE)


async def test_whoever_only_ends_a_generation_claims_it_all_the_same(acts: Acts) -> None:
    one = await stored(acts)
    await opened(acts)
    assert await acts.claim(one) is not None


async def test_what_was_claimed_before_goes_on_though_it_is_open(acts: Acts) -> None:
    lost, given = await stored(acts), await stored(acts)
    for one in (lost, given):
        await acts.claimed(one)
    await hand_over(acts.db, given, 1)
    await acts.silence("wrk_1", LEASE + 1)
    await opened(acts)
    for one in (lost, given):
        claimed = await claim_at(acts, one, 1)
        assert claimed is not None
        assert (claimed.attempt, claimed.watched, claimed.probe) == (2, True, False)


async def test_after_the_pause_one_of_many_claims_at_once_is_the_probe(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    ids = [await stored(acts) for _ in range(8)]
    claims = await asyncio.gather(
        *(claim_at(acts, one, worker=f"wrk_{number}") for number, one in enumerate(ids)),
        return_exceptions=True,
    )
    [claimed] = [one for one in claims if isinstance(one, Claimed)]
    assert claimed.probe
    assert all(one is None or isinstance(one, BreakerOpen | Claimed) for one in claims)
    [breaker] = await read_breakers(acts.db)
    assert (breaker.state, breaker.probe) == ("half_open", f"{claimed.id}:1")
    assert breaker.waiting == 7
    other = next(one for one in ids if one != claimed.id)
    assert (await held(acts, other)).wait_seconds == 0


async def test_an_answer_of_the_probe_closes_it_for_all(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    await probe(acts)
    one = await stored(acts)
    await held(acts, one)
    assert await note_answer(acts.db, PLACE)
    claimed = await claim_at(acts, one)
    assert claimed is not None
    assert not claimed.probe
    assert await read_breakers(acts.db) == ()


async def test_a_failure_of_the_probe_doubles_the_pause_up_to_a_bound(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    for pause in (20, 25, 25):
        claimed = await probe(acts)
        told = await fail_probe(acts.db, PLACE, holder(claimed.id, 1), RULE, jitter_seconds=2)
        assert told is not None
        assert pause + 1 < told.wait_seconds <= pause + 2
        await held(acts, await stored(acts))
        await pass_time(acts, pause + 2)


async def test_a_late_failure_of_a_former_probe_changes_nothing(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    late = await probe(acts)
    await pass_time(acts, PROBE_SECONDS + 1)
    now = await probe(acts)
    before = await read_breakers(acts.db)
    assert await fail_probe(acts.db, PLACE, holder(late.id, 1), RULE) is None
    await release_probe(acts.db, PLACE, holder(late.id, 1))
    assert await read_breakers(acts.db) == before
    assert before[0].probe == holder(now.id, 1)


async def test_a_probe_whose_worker_died_blocks_no_longer_than_its_time(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    await probe(acts)
    one = await stored(acts)
    await pass_time(acts, PROBE_SECONDS - 5)
    await held(acts, one)
    await pass_time(acts, 6)
    claimed = await claim_at(acts, one)
    assert claimed is not None
    assert claimed.probe


async def test_a_probe_that_tells_nothing_makes_room_for_the_next(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    first = await probe(acts)
    await release_probe(acts.db, PLACE, holder(first.id, 1))
    await probe(acts)


async def test_a_generation_that_can_not_be_had_takes_no_probe(acts: Acts) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    waits = await acts.accept()
    conversation = waits.generation.conversation_id
    behind = await acts.accept(conversation_id=conversation, on_active="queue")
    ended = await stored(acts)
    await request_cancel(acts.db, "ann", ended)
    overdue = await stored(acts, expires=1)
    await acts.elapse(2)
    for one in (behind.generation.id, ended, overdue, "gen_unknown"):
        assert await claim_at(acts, one) is None
    assert await claim_at(acts, waits.generation.id, 7) is None
    [breaker] = await read_breakers(acts.db)
    assert breaker.probe is None


async def test_one_that_is_gone_before_its_probe_is_stored_leaves_the_probe_to_others(
    acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(acts)
    await pass_time(acts, 11)
    one, taken = await stored(acts), []

    async def take_and_lose(connection: AsyncConnection, *given: Any, **named: Any) -> bool:
        taken.append(await take_probe(connection, *given, **named))
        await connection.execute(text("UPDATE generations SET attempt = attempt + 1"))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr("jobs.store.claims.take_probe", take_and_lose)
        assert await claim_at(acts, one) is None
    assert taken == [True]
    [breaker] = await read_breakers(acts.db)
    assert breaker.probe is None
    assert await claim_at(acts, one) is not None


async def test_only_what_it_lets_through_is_offered_again(acts: Acts) -> None:
    one = await stored(acts)
    await acts.elapse(5)

    async def offered(endpoint: str | None) -> bool:
        return await find_unenqueued(acts.db, 2, 10, endpoint=endpoint) == [one]

    await opened(acts, Place(HERE, "another"))
    assert await offered(HERE)
    await opened(acts)
    assert not await offered(HERE)
    assert not await offered(None)
    assert await offered(ELSEWHERE)
    await pass_time(acts, 11)
    assert await offered(HERE)
    assert await offered(None)
    await probe(acts)
    assert not await offered(HERE)
    await note_answer(acts.db, PLACE)
    assert await offered(HERE)


async def test_what_waits_can_be_cancelled(acts: Acts) -> None:
    one = await stored(acts)
    await opened(acts)
    await held(acts, one)
    outcome = await request_cancel(acts.db, "ann", one)
    assert outcome.ended_now
    assert outcome.generation.state is State.CANCELLED


async def test_a_breaker_that_nothing_happens_to_is_forgotten(acts: Acts) -> None:
    await opened(acts)
    await note_failure(acts.db, Place(HERE, "another"), RULE)
    await forget_breakers(acts.db)
    assert len(await read_breakers(acts.db)) == 2
    await pass_time(acts, 86_401)
    await forget_breakers(acts.db)
    assert await read_breakers(acts.db) == ()
