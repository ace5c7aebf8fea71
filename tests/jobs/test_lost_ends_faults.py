"""What is lost for good ends in time, whatever Redis does and whoever holds another row."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Unavailable
from jobs.generation import State
from jobs.kept import Kept, kept_events
from jobs.lost_ends import ENDS_AT_ONCE, HELD_AGAIN_SECONDS, LOG_SECONDS
from jobs.redis_pipeline import open_pipeline
from jobs.redis_wire import Address
from jobs.store.claims import claim
from jobs.stream_log import StreamLog
from tests.jobs.at_work import Work, at_work
from tests.jobs.lost_work import LEASE, Clock, abandoned, judge, row_of
from tests.services import RedisServer, eventually

NOW = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
SHORT = 2.0
"""A lease of which Redis, by what it is waited for, takes more than may pass without contact."""


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker."""
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        yield work


async def beaten(work: Work, seconds_ago: float) -> None:
    """The worker beat last so long ago."""
    ago = round(seconds_ago * 1000)
    await work.sql(f"UPDATE workers SET heartbeat_at = {NOW} - :ago", ago=ago)


async def lost_just_now(work: Work, clock: Clock, **changed: Any) -> tuple[Any, Any]:
    """One that has been lost for two seconds, and a rescuer in contact for longer."""
    asked, rescuer = await abandoned(work), work.rescuer(relay_max_attempts=1, **changed)
    await beaten(work, 0)
    for _ in range(12):
        await rescuer.round()
        clock.now += LEASE / 10
    await beaten(work, LEASE + 2)
    return asked, rescuer


async def test_with_redis_frozen_many_lost_ones_end_within_the_lease_and_five_seconds(
    start_redis: Callable[..., RedisServer], sqlite_url: str, tmp_path: Path
) -> None:
    redis = start_redis()
    async with (
        at_work(
            redis.url, sqlite_url, tmp_path, relay_lease_seconds=SHORT, relay_max_attempts=1
        ) as work,
        open_pipeline(Address.of_url(redis.url)) as calls,
    ):
        work.stream_log = StreamLog(work.redis, fetch=calls.call, call=calls.call)
        took, kept_contact = 0, False
        for _ in range(3):
            lost = [await abandoned(work, f"text {number}") for number in range(3 * ENDS_AT_ONCE)]
            took, kept_contact = await _ended_while_frozen(work, redis)
            assert took > SHORT * 1000
            assert (await work.read(lost[0])).output is None
            # A machine that stood still lost contact, and a whole lease of it rightly begins anew.
            if kept_contact:
                break
        assert kept_contact
        assert took < (SHORT + 5) * 1000


async def _ended_while_frozen(work: Work, redis: RedisServer) -> tuple[int, bool]:
    """How long after the last beat all had ended, and whether the rescuer kept contact so long."""
    await beaten(work, -3600)
    async with work.relay_alone() as rescuer:
        await eventually(lambda: _judges(rescuer), within=SHORT + 5)
        # Each round would wait for Redis with this one.
        await work.store("queued")
        redis.freeze()
        try:
            since = rescuer._contact._since
            await beaten(work, 0)
            running = "SELECT count(*) FROM generations WHERE state = 'running'"

            async def none_is_left() -> bool:
                return bool((await work.sql(running))[0][0] == 0)

            await eventually(none_is_left, within=30)
            kept_contact = rescuer._contact._since == since
        finally:
            redis.thaw()
    [(took,)] = await work.sql(
        "SELECT max(finished_at) - (SELECT heartbeat_at FROM workers WHERE id = 'wrk_lost')"
        " FROM generations"
    )
    return took, kept_contact


async def _judges(rescuer: Any) -> bool:
    return rescuer._contact.judging_since() is not None


async def test_who_waits_for_redis_keeps_contact_with_the_database(
    redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = 1.0
    async with at_work(
        redis_url, sqlite_url, tmp_path, relay_lease_seconds=lease, relay_max_attempts=1
    ) as work:
        asked, waiting = await abandoned(work, "t1 t2"), asyncio.Event()

        async def never(*_: Any) -> bool:
            waiting.set()
            return await asyncio.Event().wait()

        monkeypatch.setattr(work.queue, "enqueue_all", never)
        await work.store("queued")
        await work.sql("UPDATE generations SET created_at = created_at - 60000")
        async with work.relay_alone():
            async with asyncio.timeout(10):
                await waiting.wait()
            assert await row_of(work, asked) == ("running", 1)
            ended = await work.ended(asked)
        assert ended.output is not None
        assert (ended.state, ended.output.text) == (State.FAILED, "t1 t2")


async def test_a_log_is_waited_for_from_the_loss_on_and_not_from_when_it_was_noticed(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, rescuer = await lost_just_now(work, clock)
    reads = 0

    async def hangs(*_: Any) -> Kept:
        nonlocal reads
        reads += 1
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("jobs.lost_ends.kept_events", hangs)
    await rescuer.round()
    assert (await row_of(work, asked), reads) == (("running", 1), 1)
    clock.now += LOG_SECONDS - 2
    await rescuer.round()
    ended = await work.read(asked)
    assert (ended.state, ended.output, reads) == (State.FAILED, None, 2)


async def test_redis_that_answers_again_in_time_costs_no_text(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, rescuer = await lost_just_now(work, clock)
    failed = 0

    async def away(*_: Any) -> Kept:
        nonlocal failed
        failed += 1
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr("jobs.lost_ends.kept_events", away)
        await rescuer.round()
    assert failed == 1
    clock.now += LOG_SECONDS - 2
    await rescuer.round()
    ended = await work.read(asked)
    assert ended.output is not None
    assert (ended.state, ended.output.text) == (State.FAILED, "t1 t2")


async def test_what_was_lost_while_the_database_was_away_waits_for_its_log_all_the_same(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, rescuer = await abandoned(work), work.rescuer(relay_max_attempts=1)
    failed = 0

    async def away_at_first(*arguments: Any) -> Kept:
        nonlocal failed
        failed += 1
        if failed <= 2:
            raise TimeoutError
        return await kept_events(*arguments)

    monkeypatch.setattr("jobs.lost_ends.kept_events", away_at_first)
    for _ in range(13):
        await rescuer.round()
        clock.now += LEASE / 10
    assert failed == 3
    ended = await work.read(asked)
    assert ended.output is not None
    assert (ended.state, ended.output.text) == (State.FAILED, "t1 t2")


async def test_one_whose_row_is_held_is_put_aside_and_the_others_end(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await abandoned(work, "held")
    others = [await abandoned(work, f"{number}") for number in range(2 * ENDS_AT_ONCE)]
    tries = 0

    async def claim_unless_held(db: Any, generation_id: str, *rest: Any, **named: Any) -> Any:
        nonlocal tries
        if generation_id == held.id:
            tries += 1
            raise Unavailable("the database")
        return await claim(db, generation_id, *rest, **named)

    rescuer = work.rescuer(relay_max_attempts=1)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.lost_ends.claim", claim_unless_held)
        await judge(rescuer, clock)
        assert tries == 1
        assert {await row_of(work, one) for one in others} == {("failed", 2)}
        # It goes on judging, and leaves the one alone for a while.
        later = await abandoned(work, "later")
        await rescuer.round()
        assert (await row_of(work, later), tries) == (("failed", 2), 1)
    for _ in range(4):
        clock.now += HELD_AGAIN_SECONDS / 3
        await rescuer.round()
    ended = await work.read(held)
    assert ended.output is not None
    assert (ended.state, ended.output.text) == (State.FAILED, "held")


async def test_a_database_that_is_away_is_asked_for_no_more_ends(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [await abandoned(work, f"{number}") for number in range(3 * ENDS_AT_ONCE)]
    tried: list[str] = []

    async def away(_db: Any, generation_id: str, *_: Any, **__: Any) -> Any:
        tried.append(generation_id)
        raise Unavailable("the database")

    async def stores_nothing(*_: Any, **__: Any) -> None:
        raise Unavailable("the database")

    rescuer = work.rescuer(relay_max_attempts=1)
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3 + 0.1
    with monkeypatch.context() as patch:
        patch.setattr("jobs.lost_ends.claim", away)
        patch.setattr("jobs.lost_ends.try_a_beat", stores_nothing)
        await rescuer.round()
    assert 1 <= len(tried) <= ENDS_AT_ONCE
    # None of them is put aside for it.
    await rescuer.round()
    assert {await row_of(work, one) for one in lost} == {("failed", 2)}
