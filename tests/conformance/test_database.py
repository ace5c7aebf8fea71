"""What a transaction, a snapshot and the clock promise on both databases."""

import asyncio
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import database_engines
from jobs.database import CommitUnknown, Database, UniqueViolation, now_ms
from jobs.errors import Unavailable
from jobs.sqlite_thread import ThreadWork
from tests.services import free_port

ADD = text("INSERT INTO conversations (id, owner, created_at) VALUES (:id, 'ann', 0)")
COUNT = text("SELECT count(*) FROM conversations")
READ = text("SELECT created_at FROM conversations WHERE id = 'c'")
SET = text("UPDATE conversations SET created_at = :n WHERE id = 'c'")


async def present(db: Database, row: str) -> bool:
    found = text("SELECT 1 FROM conversations WHERE id = :id")
    return bool(await db.fetch(found, {"id": row}))


async def test_the_clock_counts_milliseconds_since_the_epoch(db: Database) -> None:
    before = time.time() * 1000
    now = (await db.fetch(select(now_ms())))[0][0]
    after = time.time() * 1000
    assert isinstance(now, int)
    assert before - 2 <= now <= after + 2


async def test_the_clock_never_steps_back(db: Database) -> None:
    times = [(await db.fetch(select(now_ms())))[0][0] for _ in range(200)]
    assert times == sorted(times)


async def test_a_read_is_one_snapshot(db: Database) -> None:
    async with db.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 0
        await db.write_one(ADD, {"id": "c"})
        assert (await connection.execute(COUNT)).scalar() == 0
    assert (await db.fetch(COUNT))[0][0] == 1


async def test_a_reader_does_not_wait_for_a_writer(db: Database) -> None:
    async def write(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "c"})
        async with asyncio.timeout(2):
            assert (await db.fetch(COUNT))[0][0] == 0
            async with db.read() as reader:
                assert (await reader.execute(COUNT)).scalar() == 0

    await db.write(write)


async def test_an_error_in_a_write_stores_nothing(db: Database) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "c"})
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await db.write(fail)
    assert not await present(db, "c")


async def test_an_error_in_a_write_at_once_stores_nothing(db: Database) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "c"})
        assert (await connection.execute(COUNT)).scalar() == 1
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await db.write_at_once(fail)
    assert not await present(db, "c")


async def test_a_write_at_once_is_stored_whole(db: Database) -> None:
    async def add(connection: AsyncConnection) -> str:
        for row in ("a", "b"):
            await connection.execute(ADD, {"id": row})
        return "both"

    assert await db.write_at_once(add) == "both"
    assert await present(db, "a")
    assert await present(db, "b")
    with pytest.raises(UniqueViolation):
        await db.write_at_once(add)


async def test_a_read_at_once_is_one_snapshot(db: Database) -> None:
    async def twice(connection: AsyncConnection) -> list[int]:
        first = (await connection.execute(COUNT)).scalar_one()
        return [first, (await connection.execute(COUNT)).scalar_one()]

    adding = asyncio.gather(*(db.write_one(ADD, {"id": f"c{n}"}) for n in range(20)))
    seen = [await db.read_at_once(twice) for _ in range(20)]
    await adding
    assert all(first == second for first, second in seen)
    assert await db.read_at_once(twice) == [20, 20]


async def test_work_in_sqlites_thread_that_waits_for_another_thing_is_refused(
    sqlite_url: str,
) -> None:
    async def wait(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "c"})
        await asyncio.sleep(0)

    async with Database.open(sqlite_url) as db:
        with pytest.raises(RuntimeError, match="waited for something else"):
            await db.write_at_once(wait)
        assert not await present(db, "c")
        await db.write_one(ADD, {"id": "c"})


async def test_a_constraint_that_holds_already_is_a_unique_violation(db: Database) -> None:
    await db.write_one(ADD, {"id": "c"})

    async def add(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "c"})

    with pytest.raises(UniqueViolation):
        await db.write(add)
    with pytest.raises(UniqueViolation):
        await db.write_one(ADD, {"id": "c"})


async def test_sixty_updates_that_read_first_lose_none(db: Database) -> None:
    await db.write_one(ADD, {"id": "c"})
    lock = text(READ.text + (" FOR UPDATE" if db.dialect == "postgresql" else ""))

    async def increment(connection: AsyncConnection) -> None:
        value = (await connection.execute(lock)).scalar()
        assert value is not None
        await connection.execute(SET, {"n": value + 1})

    await asyncio.gather(*(db.write(increment) for _ in range(60)))
    assert (await db.fetch(READ))[0][0] == 60


async def test_two_openings_of_one_database_lose_no_update(db: Database, database_url: str) -> None:
    await db.write_one(ADD, {"id": "c"})
    bump = text("UPDATE conversations SET created_at = created_at + 1 WHERE id = 'c'")

    async def increment(connection: AsyncConnection) -> None:
        await connection.execute(READ)
        await connection.execute(bump)

    async with Database.open(database_url) as other:
        await asyncio.gather(*(one.write(increment) for _ in range(15) for one in (db, other)))
    assert (await db.fetch(READ))[0][0] == 30


async def test_a_deadlock_is_run_again(db: Database) -> None:
    for row in ("a", "b"):
        await db.write_one(ADD, {"id": row})
    bump = text("UPDATE conversations SET created_at = created_at + 1 WHERE id = :id")
    first = {name: asyncio.Event() for name in ("ab", "ba")}

    async def cross(connection: AsyncConnection, order: str, other: str) -> None:
        await connection.execute(bump, {"id": order[0]})
        first[order].set()
        if db.dialect == "postgresql":
            await first[other].wait()
        await connection.execute(bump, {"id": order[1]})

    await asyncio.gather(
        db.write(lambda connection: cross(connection, "ab", "ba")),
        db.write(lambda connection: cross(connection, "ba", "ab")),
    )
    rows = await db.fetch(text("SELECT created_at FROM conversations ORDER BY id"))
    assert [row[0] for row in rows] == [2, 2]


async def test_a_cancelled_writer_is_told_only_when_the_outcome_is_known(db: Database) -> None:
    """At whatever point the cancellation falls: the row is there, and nothing goes on after."""
    chance = random.Random(7)
    cancelled = 0
    for number in range(60):
        ended = False

        async def add(connection: AsyncConnection, row: str = f"c{number}") -> None:
            nonlocal ended
            await connection.execute(ADD, {"id": row})
            ended = True

        task = asyncio.create_task(db.write(add))
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        await asyncio.sleep(chance.random() * 0.001)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            cancelled += 1
        # Cancelled before it began is the one case without a row; then nothing ever ran.
        assert await present(db, f"c{number}") == ended
    assert cancelled > 5


async def test_a_writer_cancelled_twice_still_waits_for_the_end(db: Database) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def add(connection: AsyncConnection) -> None:
        reached.set()
        await go_on.wait()
        await connection.execute(ADD, {"id": "c"})

    task = asyncio.create_task(db.write(add))
    await reached.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await present(db, "c")


async def test_a_writer_that_a_scope_cancels_waits_for_the_end_without_a_turn_of_the_loop(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on, turns, wait = asyncio.Event(), asyncio.Event(), 0, asyncio.wait

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal turns
        turns += 1
        return await wait(*given, **named)

    async def add(connection: AsyncConnection) -> None:
        reached.set()
        await go_on.wait()
        await connection.execute(ADD, {"id": "c"})

    async def write() -> None:
        with scope:
            await db.write(add)

    scope = anyio.CancelScope()
    task = asyncio.create_task(write())
    await reached.wait()
    monkeypatch.setattr("jobs.database.asyncio.wait", counted)
    scope.cancel()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    await task
    assert scope.cancelled_caught
    assert turns == 1
    assert await present(db, "c")


async def test_a_cancelled_reader_leaves_no_connection_behind(db: Database) -> None:
    chance = random.Random(3)

    async def read() -> None:
        async with db.read() as connection:
            await connection.execute(COUNT)

    for number in range(60):
        task = asyncio.create_task(db.fetch(COUNT) if number % 2 else read())
        await asyncio.sleep(chance.random() * 0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5):
        await asyncio.gather(*(db.fetch(COUNT) for _ in range(40)))


async def test_a_refused_connection_is_unavailable() -> None:
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/nowhere"
    async with Database.open(url) as db:
        with pytest.raises(Unavailable):
            await db.fetch(COUNT)
        with pytest.raises(Unavailable):
            async with db.read() as connection:
                await connection.execute(COUNT)


async def test_a_sqlite_file_that_can_not_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "relay.db").mkdir()

    async def count(connection: AsyncConnection) -> None:
        await connection.execute(COUNT)

    async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/relay.db") as db:
        for call in (
            db.fetch(COUNT),
            db.read_at_once(count),
            db.write(count),
            db.write_at_once(count),
            db.write_one(COUNT),
        ):
            with pytest.raises(Unavailable):
                await call
        with pytest.raises(Unavailable):
            async with db.read() as connection:
                await count(connection)


async def test_a_locked_sqlite_is_unavailable_after_its_time(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_engines, "BUSY_SECONDS", 0.05)
    async with Database.open(sqlite_url) as holder, Database.open(sqlite_url) as other:

        async def hold(connection: AsyncConnection) -> None:
            await connection.execute(ADD, {"id": "c"})
            with pytest.raises(Unavailable):
                await other.write_one(ADD, {"id": "d"})

        await holder.write(hold)
        await other.write_one(ADD, {"id": "d"})
        assert await present(holder, "d")


async def test_a_commit_that_breaks_off_in_sqlite_is_unknown_and_not_taken_for_nothing(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = ThreadWork._plainly

    def stored_and_broken(thread: ThreadWork, sql: str) -> None:
        plainly(thread, sql)
        if sql == "COMMIT":
            raise OperationalError(sql, None, sqlite3.OperationalError("disk I/O error"))

    async def enter(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "c"})

    async with Database.open(sqlite_url) as db:
        with monkeypatch.context() as patch:
            patch.setattr(ThreadWork, "_plainly", stored_and_broken)
            with pytest.raises(CommitUnknown):
                await db.write_at_once(enter)
        assert await present(db, "c")


async def test_a_missing_table_is_a_defect_and_not_an_absence(db: Database) -> None:
    with pytest.raises(Exception, match="nowhere") as raised:
        await db.fetch(text("SELECT * FROM nowhere"))
    assert not isinstance(raised.value, Unavailable)


async def test_sqlite_is_opened_as_promised(sqlite_url: str) -> None:
    async with Database.open(sqlite_url) as db:
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}

        async def pragmas(connection: AsyncConnection) -> dict[str, object]:
            return {
                name: (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in wanted
            }

        assert await db.write(pragmas) == wanted
        async with db.read() as connection:
            assert await pragmas(connection) == wanted


async def test_an_error_quotes_nothing_that_a_statement_was_given(db: Database) -> None:
    with pytest.raises(SQLAlchemyError) as failed:
        await db.fetch(text("SELECT :said FROM nowhere"), {"said": "hush"})
    assert "nowhere" in str(failed.value)
    assert "hush" not in str(failed.value)


async def test_postgresql_ends_what_stands_still_and_what_nobody_waits_for(
    postgres_url: str,
) -> None:
    wanted = {
        "idle_in_transaction_session_timeout": "5s",
        "lock_timeout": "3s",
        "statement_timeout": "15s",
        # Else the connections of a machine that is gone would count against its maximum for hours.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    async with Database.open(postgres_url) as db:
        limits = {}
        for name in wanted:
            [[limits[name]]] = await db.fetch(text(f"SHOW {name}"))
        assert limits == wanted
        # Of the session, whatever became of the transaction in which it was set.
        async with db.read() as connection:
            again = await connection.execute(text("SHOW statement_timeout"))
            assert again.scalar_one() == "15s"
