"""A statement on SQLite costs one hop to its thread, and gives the same rows as ever."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.database_engines import READERS
from jobs.sqlite_driver import OneHopConnection, OneHopCursor, connect, in_thread
from jobs.sqlite_thread import ThreadWork

NUMBERS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
)


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[OneHopConnection]:
    connection = connect(str(tmp_path / "driver.db"), isolation_level=None, check_same_thread=False)
    async with connection:
        yield connection


@pytest.fixture
def hops(connection: OneHopConnection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that were run in the connection's thread."""
    made: list[str] = []
    run = connection.run

    async def noted(function: Any, *arguments: Any) -> Any:
        made.append(function.__name__)
        return await run(function, *arguments)

    monkeypatch.setattr(connection, "run", noted)
    return made


async def counting(connection: OneHopConnection, count: int) -> OneHopCursor:
    cursor = await connection.cursor().__aenter__()
    return await cursor.execute(NUMBERS, (count,))


async def test_few_rows_come_along_with_their_statement(
    connection: OneHopConnection, hops: list[str]
) -> None:
    cursor = await counting(connection, 99)
    assert await cursor.fetchall() == [(number,) for number in range(1, 100)]
    await cursor.close()
    assert hops == ["start_statement"]


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
async def test_all_rows_are_given_in_order_however_they_are_fetched(
    connection: OneHopConnection, count: int
) -> None:
    expected = [(number,) for number in range(1, count + 1)]
    assert await (await counting(connection, count)).fetchall() == expected
    for size in (1, 7, 100, 1000):
        cursor = await counting(connection, count)
        found = []
        while rows := await cursor.fetchmany(size):
            assert len(rows) <= size
            found += rows
        assert found == expected
        assert await cursor.fetchone() is None
    cursor = await counting(connection, count)
    first = await cursor.fetchone()
    assert [first, *await cursor.fetchall()] == expected


async def test_a_cursor_with_more_to_give_is_closed_in_its_thread(
    connection: OneHopConnection, hops: list[str]
) -> None:
    cursor = await counting(connection, 250)
    await cursor.close()
    await cursor.close()
    assert hops == ["start_statement", "close"]
    assert await cursor.fetchall() == []


async def test_a_cursor_without_a_statement_has_nothing(connection: OneHopConnection) -> None:
    cursor = connection.cursor()
    assert (cursor.description, cursor.rowcount, cursor.lastrowid) == (None, -1, None)
    assert await cursor.fetchall() == []
    await cursor.close()


async def test_writes_tell_how_many_rows_they_wrote(connection: OneHopConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE t (i INTEGER PRIMARY KEY)")
    await cursor.executemany("INSERT INTO t VALUES (?)", [(1,), (2,), (3,)])
    assert cursor.rowcount == 3
    await cursor.execute("UPDATE t SET i = i + 10 WHERE i > 1 RETURNING i")
    assert sorted(await cursor.fetchall()) == [(12,), (13,)]
    assert cursor.rowcount == 2


async def test_a_rollback_without_a_transaction_costs_nothing(
    connection: OneHopConnection,
) -> None:
    await connection.rollback()
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE t (i)")
    await cursor.execute("BEGIN")
    await cursor.execute("INSERT INTO t VALUES (1)")
    await connection.rollback()
    assert not connection.in_transaction
    await cursor.execute("SELECT * FROM t")
    assert await cursor.fetchall() == []


async def test_a_transaction_in_the_thread_is_one_hop(
    connection: OneHopConnection, hops: list[str]
) -> None:
    async def work(inside: AsyncConnection) -> list[int]:
        await inside.execute(text("CREATE TABLE t (i)"))
        await inside.execute(text("INSERT INTO t VALUES (1), (2)"))
        rows = await inside.stream(text("SELECT i FROM t"))
        return [row.i async for row in rows]

    committing: list[list[int]] = []
    rows = await connection.work(lambda thread: thread.transact("BEGIN", work, committing.append))
    assert (rows, committing, hops) == ([1, 2], [[1, 2]], ["_work"])
    assert not connection.in_transaction
    alone = await connection.work(lambda thread: thread.alone(text("SELECT 3"), None))
    assert [tuple(row) for row in alone] == [(3,)]
    assert hops == ["_work", "_work"]


async def test_a_connection_left_in_a_transaction_is_given_to_nobody(tmp_path: Path) -> None:
    def leave(thread: ThreadWork) -> None:
        thread._connection.exec_driver_sql("BEGIN IMMEDIATE")
        raise sqlite3.OperationalError("its rollback failed too")

    async with Database.open(f"sqlite+aiosqlite:///{tmp_path / 'left.db'}") as db:
        with pytest.raises(sqlite3.OperationalError):
            await in_thread(db._writer, leave)
        # It would find itself within another's transaction, which nobody is to commit.
        assert await db.write_one(text("CREATE TABLE t (i)")) == ()
        await db.write_one(text("INSERT INTO t VALUES (1)"))
        [(count,)] = await db.fetch(text("SELECT count(*) FROM t"))
        assert count == 1


async def test_many_reads_at_once_leave_no_thread_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Database.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as database:

        async def burst() -> int:
            await asyncio.gather(*(database.fetch(text("SELECT 1")) for _ in range(2 * READERS)))
            return threading.active_count()

        first = await burst()
        assert [await burst() for _ in range(5)] == [first] * 5
    assert [one.message for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")] == []
