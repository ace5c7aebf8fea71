"""SQLite's lock for writing is taken soon after it is let go of, and waited for in bounded time."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs import sqlite_lock
from jobs.database import Database
from jobs.errors import Unavailable
from jobs.sqlite_lock import BEGIN_TO_WRITE, BUSY_SECONDS, begin_to_write


@dataclass
class Holder:
    """Another connection that holds the lock, and a clock that passes as one sleeps."""

    connection: sqlite3.Connection
    lets_go_at: float = float("inf")
    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def hold(self, seconds: float) -> None:
        """Takes the lock for so long."""
        self.waits.clear()
        self.connection.execute(BEGIN_TO_WRITE)
        self.lets_go_at = self.now + seconds

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets it pass."""
        self.waits.append(seconds)
        self.now += seconds
        if self.now >= self.lets_go_at and self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def opened(path: Path) -> sqlite3.Connection:
    """A connection as the project has them, that waits for nothing by itself."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    """Who holds the lock."""
    connection = opened(tmp_path / "lock.db")
    holder = Holder(connection)
    monkeypatch.setattr(sqlite_lock, "time", holder)
    yield holder
    connection.close()


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Who wants it."""
    connection = opened(tmp_path / "lock.db")
    yield connection
    connection.close()


def busy_timeout(connection: sqlite3.Connection) -> int:
    """For how long its other statements wait, in ms."""
    [timeout] = connection.execute("PRAGMA busy_timeout").fetchone()
    return int(timeout)


def test_a_free_lock_is_taken_without_waiting(holder: Holder, mine: sqlite3.Connection) -> None:
    begin_to_write(mine)
    assert mine.in_transaction
    assert holder.waits == []
    assert busy_timeout(mine) == BUSY_SECONDS * 1000


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seconds=st.floats(0.0001, BUSY_SECONDS - 0.02))
def test_it_is_taken_within_an_eighth_of_the_wait_and_10_ms_at_most(
    seconds: float, holder: Holder, mine: sqlite3.Connection
) -> None:
    holder.hold(seconds)
    began = holder.now
    begin_to_write(mine)
    mine.execute("ROLLBACK")
    late = holder.now - began - seconds
    assert -1e-6 <= late <= min(max(0.0001, seconds / 8), 0.01) + 1e-6
    # It is looked at rarely enough to cost little, however long it takes.
    assert len(holder.waits) <= 1200


def test_a_lock_that_is_kept_is_given_up_after_five_seconds(
    holder: Holder, mine: sqlite3.Connection
) -> None:
    holder.hold(60)
    began = holder.now
    with pytest.raises(sqlite3.OperationalError) as failed:
        begin_to_write(mine)
    assert failed.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
    assert BUSY_SECONDS <= holder.now - began <= BUSY_SECONDS + 0.01
    assert not mine.in_transaction
    assert busy_timeout(mine) == BUSY_SECONDS * 1000


def test_another_error_is_raised_at_once(holder: Holder, mine: sqlite3.Connection) -> None:
    begin_to_write(mine)
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        begin_to_write(mine)
    assert holder.waits == []
    assert busy_timeout(mine) == BUSY_SECONDS * 1000


@pytest.mark.parametrize("how", ["write", "write_at_once", "write_one", "write_one ahead"])
async def test_every_write_waits_for_it_so(
    tmp_path: Path, mine: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    mine.execute("CREATE TABLE t (i)")
    waited = threading.Event()

    def sleep(seconds: float) -> None:
        waited.set()
        time.sleep(seconds)

    monkeypatch.setattr(sqlite_lock, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    insert = text("INSERT INTO t VALUES (1)")

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(insert)

    async def write(db: Database) -> None:
        match how:
            case "write":
                await db.write(work)
            case "write_at_once":
                await db.write_at_once(work)
            case "write_one":
                await db.write_one(insert)
            case _:
                await db.write_one(insert, ahead=lambda _: None)

    async with Database.open(f"sqlite+aiosqlite:///{tmp_path / 'lock.db'}") as db:
        # Its connection is made before the lock is taken.
        await write(db)
        assert not waited.is_set()
        mine.execute(BEGIN_TO_WRITE)
        writing = asyncio.create_task(write(db))
        assert await asyncio.to_thread(waited.wait, 5)
        assert not writing.done()
        mine.execute("ROLLBACK")
        await writing
        assert [row.n for row in await db.fetch(text("SELECT count(*) AS n FROM t"))] == [2]


async def test_a_write_that_never_gets_it_stores_nothing_and_says_so(
    tmp_path: Path, mine: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.execute("CREATE TABLE t (i)")
    monkeypatch.setattr(sqlite_lock, "BUSY_SECONDS", 0.1)

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO t VALUES (1)"))

    async with Database.open(f"sqlite+aiosqlite:///{tmp_path / 'lock.db'}") as db:
        mine.execute(BEGIN_TO_WRITE)
        for write in (db.write, db.write_at_once):
            with pytest.raises(Unavailable):
                await write(work)
        mine.execute("ROLLBACK")
        assert [row.n for row in await db.fetch(text("SELECT count(*) AS n FROM t"))] == [0]
        await db.write(work)
