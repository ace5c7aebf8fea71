"""No rescuer is hasty: whoever could not beat is not taken for lost."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs import keys
from jobs.contact import UNHEARD_SHARE
from jobs.database import Database
from jobs.errors import Unavailable
from jobs.offers import AGAIN_SECONDS
from jobs.store.claims import register_worker
from jobs.store.leftovers import Lost, find_lost
from jobs.store.workers import beat, check_beats_can_be_stored, try_a_beat
from tests.conformance.test_cost import counted
from tests.jobs.at_work import Work, at_work
from tests.jobs.lost_work import LEASE, Clock, abandoned, judge


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over each of the databases, without a worker."""
    async with at_work(redis_url, database_url, tmp_path, relay_lease_seconds=LEASE) as work:
        yield work


async def test_nobody_is_judged_before_a_whole_lease_of_contact(work: Work, clock: Clock) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3 - 0.01
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    clock.now += 0.04
    await rescuer.round()
    assert rescuer.counts.offered_again == 1


async def test_a_database_that_was_away_begins_the_lease_of_contact_anew(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the database")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.rescue.look_for_leftovers", away)
        await rescuer.round()
    clock.now += LEASE / 3
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1


async def test_a_read_only_database_makes_nobody_lost(
    redis_url: str, postgres_url: str, tmp_path: Path, clock: Clock
) -> None:
    """As when its disk is full or a replica was promoted late: all can be read, nobody can beat."""
    name = postgres_url.rpartition("/")[2]
    async with at_work(redis_url, postgres_url, tmp_path, relay_lease_seconds=LEASE) as work:
        await abandoned(work)
        rescuer = work.rescuer()
        await rescuer.round()
        await work.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        async with Database.open(postgres_url) as rescuer.database:
            await judge(rescuer, clock)
            assert rescuer.counts.offered_again == 0
        await work.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        async with Database.open(postgres_url) as rescuer.database:
            await rescuer.round()
            assert rescuer.counts.offered_again == 0
            await judge(rescuer, clock)
            assert rescuer.counts.offered_again == 1


@contextmanager
def no_room_on_the_disk() -> Iterator[None]:
    """No file of this process grows: what changes nothing passes, whatever is written fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_makes_nobody_lost(
    redis_url: str, sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        await abandoned(work)
        rescuer = work.rescuer()
        await judge(rescuer, clock)
        assert rescuer.counts.offered_again == 1
        await work.redis.delete(keys.QUEUE)
        clock.now += AGAIN_SECONDS
        with no_room_on_the_disk():
            with pytest.raises(Unavailable):
                await beat(work.db, "wrk_lost", 0)
            await check_beats_can_be_stored(work.db)
            await judge(rescuer, clock)
        assert await work.queue.depth() == 0
        # Those who live have a whole lease to beat once there is room.
        await rescuer.round()
        assert await work.queue.depth() == 0
        await judge(rescuer, clock)
        assert await work.queue.depth() == 1


async def test_a_disk_that_has_room_again_just_when_a_lease_is_over_makes_nobody_lost(
    redis_url: str, sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        await abandoned(work)
        rescuer = work.rescuer()
        for silent in (0.1, 0.4, 0.7):
            await silence(work, silent * LEASE)
            with no_room_on_the_disk():
                await rescuer.round()
            clock.now += 0.3 * LEASE
        await silence(work, 1.01 * LEASE)
        clock.now += 0.1 * LEASE
        await rescuer.round()
        assert rescuer.counts.offered_again == 0


async def silence(work: Work, seconds: float) -> None:
    """Every worker beat last so long ago."""
    await work.sql(
        "UPDATE workers SET heartbeat_at ="
        " CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) - :ago",
        ago=round(seconds * 1000),
    )


async def test_to_try_whether_beats_are_stored_leaves_nothing_and_many_may_at_once(
    work: Work,
) -> None:
    await register_worker(work.db, "wrk_1", 1)
    with counted() as statements:
        await try_a_beat(work.db, "wrk_2", within=5)
    assert [one.split()[0] for one in statements] == ["INSERT", "DELETE"]
    await asyncio.gather(*(try_a_beat(work.db, f"wrk_{n}", within=5) for n in range(2, 8)))
    assert await work.sql("SELECT id FROM workers") == [("wrk_1",)]


async def test_a_rescuer_that_stood_still_itself_judges_nobody(work: Work, clock: Clock) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    await rescuer.round()
    clock.now += 10 * LEASE
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1


async def test_a_database_that_stood_still_while_it_was_asked_makes_nobody_lost(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3

    async def slow(*arguments: Any, **named: Any) -> list[Lost]:
        found = await find_lost(*arguments, **named)
        clock.now += UNHEARD_SHARE * LEASE + 0.1
        assert len(found) == 1
        return found

    with monkeypatch.context() as patch:
        patch.setattr("jobs.rescue.find_lost", slow)
        await rescuer.round()
    assert rescuer.counts.offered_again == 0
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1
