"""Where PostgreSQL answers nothing, everything that waits for it is given up in bounded time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import database, database_engines
from jobs.database import CommitUnknown, Database
from jobs.database_errors import GivenUp
from jobs.errors import Unavailable
from jobs.ids import new_id
from jobs.store import commits
from jobs.store.claims import beat
from tests.conformance.acts import Acts, outcome
from tests.services import DelayingProxy, Direction, eventually


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short time limits of what is opened after this, for who waits them out."""
    monkeypatch.setattr(database_engines, "STATEMENT_SECONDS", 0.5)
    monkeypatch.setattr(database_engines, "CONNECT_SECONDS", 1.0)


async def test_a_dead_link_is_unavailable_in_bounded_time(
    impatient: None, far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    one = (await direct.accept()).generation.id
    attempts: tuple[Callable[[], Awaitable[object]], ...] = (
        far.accept,
        lambda: far.db.fetch(text("SELECT 1")),
        lambda: far.claim(one),
    )
    for attempt in attempts:
        proxy.black_hole()
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await attempt()
        assert time.monotonic() - before < 5
        proxy.heal()
        await far.db.fetch(text("SELECT 1"))


async def test_a_read_over_a_dead_connection_is_unavailable_within_its_own_bound(
    postgres_url: str, proxy: DelayingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever adds up in it: the statement's own limit is far away."""
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.4)

    async def one(connection: AsyncConnection) -> object:
        return (await connection.execute(text("SELECT 1"))).scalar_one()

    async def in_block() -> object:
        async with db.read() as connection:
            return await one(connection)

    async with Database.open(proxy.url(postgres_url)) as db:
        reads: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: db.fetch(text("SELECT 1")),
            lambda: db.read_at_once(one),
            in_block,
        )
        for read in reads:
            await read()
            proxy.forget_open()
            before = time.monotonic()
            with pytest.raises(Unavailable):
                await read()
            assert time.monotonic() - before < database_engines.STATEMENT_SECONDS / 2
            # What was given up is not given out again.
            await read()


async def test_a_read_that_gets_no_connection_is_unavailable_within_its_own_bound(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.4)
    free, held = asyncio.Event(), 0

    async def hold(connection: AsyncConnection) -> None:
        nonlocal held
        await connection.execute(text("SELECT 1"))
        held += 1
        await free.wait()

    async with Database.open(postgres_url) as db:
        holding = [
            asyncio.create_task(db.write(hold))
            for _ in range(database_engines.POSTGRES_CONNECTIONS)
        ]
        try:
            await eventually(lambda: held == database_engines.POSTGRES_CONNECTIONS)
            before = time.monotonic()
            with pytest.raises(Unavailable):
                await db.fetch(text("SELECT 1"))
            assert time.monotonic() - before < database_engines.STATEMENT_SECONDS / 2
        finally:
            free.set()
            await asyncio.gather(*holding)
        await db.fetch(text("SELECT 1"))


async def test_a_beat_over_a_dead_connection_is_given_up_in_time_and_the_next_one_arrives(
    postgres_url: str, direct: Acts, proxy: DelayingProxy
) -> None:
    async with Database.open(proxy.url(postgres_url)) as db:
        await beat(db, "wrk_1", 0, within=0.4)
        proxy.forget_open()
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await beat(db, "wrk_1", 0, within=0.4)
        assert time.monotonic() - before < database_engines.STATEMENT_SECONDS / 2
        await beat(db, "wrk_1", 7, within=5)
    [row] = await direct.db.fetch(text("SELECT running FROM workers"))
    assert row.running == 7


async def test_a_commit_that_is_given_up_is_unknown_and_not_taken_for_nothing(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    async def add(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE workers SET running = 9"))
        proxy.black_hole(Direction.DOWN)

    with pytest.raises(CommitUnknown):
        await far.db.write(add, within=0.3)


async def test_what_is_under_way_when_the_database_is_given_up_is_unknown_at_once(
    postgres_url: str, proxy: DelayingProxy
) -> None:
    async with Database.open(proxy.url(postgres_url)) as db:
        await db.fetch(text("SELECT 1"))
        proxy.black_hole()
        reading = asyncio.create_task(db.fetch(text("SELECT 1")))
        writing = asyncio.create_task(db.write_one(text("UPDATE workers SET running = 1")))
        await eventually(lambda: proxy.counts.held >= 1)
        before = time.monotonic()
        db.give_up()
        for one in (reading, writing, asyncio.create_task(db.fetch(text("SELECT 1")))):
            with pytest.raises(GivenUp):
                await one
        with pytest.raises(GivenUp):
            await commits.commit(db, new_id("gen"), 1, outcome("whole"))
        # Nobody pauses before asking again what can't be answered any more.
        assert time.monotonic() - before < 1
        proxy.heal()


async def test_an_idle_connection_that_is_dead_costs_less_than_a_statement_may_take(
    postgres_url: str, proxy: DelayingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_engines, "IDLE_SECONDS", 0)
    monkeypatch.setattr(database_engines, "PING_SECONDS", 0.2)
    monkeypatch.setattr(database_engines, "CONNECT_SECONDS", 0.5)
    async with Database.open(proxy.url(postgres_url)) as db:
        await db.fetch(text("SELECT 1"))
        proxy.black_hole()
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await db.fetch(text("SELECT 1"))
        assert time.monotonic() - before < database.ANSWER_SECONDS / 2
        proxy.heal()
        await db.fetch(text("SELECT 1"))
