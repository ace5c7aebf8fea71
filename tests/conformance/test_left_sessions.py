"""What this process leaves at PostgreSQL before it answered does not pile up there."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import database_engines, left_sessions
from jobs.database import CommitUnknown, Database, database_url, migrate
from jobs.database_engines import postgresql_engine
from jobs.errors import Unavailable
from jobs.ids import new_id
from jobs.store.workers import beat, register_worker
from tests.services import DelayingProxy, PostgresServer, eventually

HANGING = "wait_event = 'SyncRep'"


@pytest.fixture
def server(start_postgres: Callable[[], PostgresServer]) -> PostgresServer:
    """A server of the test's own, which is to be told to wait for a standby."""
    return start_postgres()


@pytest.fixture
async def db(server: PostgresServer) -> AsyncIterator[Database]:
    """Its database, with two workers."""
    await migrate(server.url())
    async with Database.open(server.url()) as db:
        for worker in ("wrk_1", "wrk_2"):
            await register_worker(db, worker, 1)
        yield db


def sessions(server: PostgresServer, which: str = "state <> 'idle'") -> int:
    """How many the server has like this, but for the one that asks."""
    counted = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return int(server.sql(f"{counted} AND pid <> pg_backend_pid() AND {which}"))


async def test_beats_that_hang_leave_one_session_a_worker_however_many_are_given_up(
    server: PostgresServer, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.lose_standby()

    async def beats(worker: str) -> None:
        for _ in range(8):
            with pytest.raises(Unavailable):
                await beat(db, worker, 7, within=0.2)

    await asyncio.gather(beats("wrk_1"), beats("wrk_2"))
    await eventually(lambda: sessions(server) == 2 == sessions(server, HANGING))
    server.forget_standby()
    await eventually(lambda: sessions(server) == 0)
    # What hung was committed after all, and not broken off.
    assert server.sql("SELECT running FROM workers") == "7\n7"
    await eventually(lambda: "commits hang at the database: going on" in caplog.messages)
    assert caplog.messages.count("commits hang at the database: waiting") == 1


async def test_no_more_commits_hang_than_there_are_places_and_reads_go_on(
    server: PostgresServer, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = 6
    monkeypatch.setattr(database_engines, "POSTGRES_CONNECTIONS", places)
    async with Database.open(server.url()) as crowded:
        server.lose_standby()

        async def hang_once_given_up() -> int:
            given_up = await asyncio.gather(
                *(beat(crowded, new_id("wrk"), 0, within=0.5) for _ in range(2 * places)),
                return_exceptions=True,
            )
            assert {type(one) for one in given_up} <= {Unavailable, CommitUnknown}
            return sessions(server, HANGING)

        async def is_full() -> bool:
            # One that is given up before its commit was sent hangs nowhere.
            return await hang_once_given_up() == places

        await eventually(is_full, within=20)
        assert await hang_once_given_up() == places
        await crowded.fetch(text("SELECT 1"))
        server.forget_standby()
        await beat(crowded, "wrk_1", 5, within=5)
    assert server.sql("SELECT count(*), max(running) FROM workers") == f"{2 + places}|5"


async def test_what_was_left_over_a_dead_link_holds_no_lock_any_more(postgres_url: str) -> None:
    async with (
        DelayingProxy.before(postgres_url) as proxy,
        Database.open(proxy.url(postgres_url)) as far,
        Database.open(postgres_url) as near,
    ):
        await register_worker(near, "wrk_1", 1)

        async def lock_and_lose_the_link(connection: AsyncConnection) -> None:
            await connection.execute(text("UPDATE workers SET running = 9"))
            proxy.forget_open()
            await connection.execute(text("SELECT 1"))

        with pytest.raises(Unavailable):
            await far.write(lock_and_lose_the_link, within=0.3)
        assert proxy.counts.held
        await beat(near, "wrk_1", 1, within=5)


async def test_a_younger_session_of_the_same_number_is_somebody_elses(postgres_url: str) -> None:
    _, links, left = postgresql_engine(database_url(postgres_url))

    async def stays(connection: AsyncConnection) -> int:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        left.leave(pid, time.monotonic() - 60)
        await eventually(lambda: left.count == 0)
        return int((await connection.execute(text("SELECT 1"))).scalar_one())

    async with Database.open(postgres_url) as other:
        assert await other.write(stays) == 1
    await left.close()
    await links.close()


async def test_what_may_not_be_looked_after_keeps_no_place(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(left_sessions, "_END", text("SELECT 1 / (:pids IS NULL AND :ages IS NULL)"))
    monkeypatch.setattr(database_engines, "POSTGRES_CONNECTIONS", 5)
    async with Database.open(postgres_url) as db:

        async def sleep(connection: AsyncConnection) -> None:
            await connection.execute(text("SELECT pg_sleep(5)"))

        for _ in range(2):
            for slept in await asyncio.gather(
                *(db.write(sleep, within=0.2) for _ in range(5)), return_exceptions=True
            ):
                assert isinstance(slept, Unavailable)
            await eventually(lambda: "sessions that were left can't be looked after" in caplog.text)
            await register_worker(db, "wrk_1", 1)
