"""SQLite connections whose statements cost one hop to their thread instead of four.

aiosqlite hops for the cursor, the statement, the rows and the closing; here the first rows come
along with the statement, and a cursor that has given all its rows needs no closing. Whole work
may be done in the thread too (`jobs/sqlite_thread.py`).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

import aiosqlite
from sqlalchemy import PoolProxiedConnection, QueuePool
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.sqlite_lock import BEGIN_TO_WRITE, begin_to_write
from jobs.sqlite_statements import Statements, as_sqlalchemy
from jobs.sqlite_thread import ThreadWork

# Rows that come along; further ones are fetched when they are asked for.
_FIRST_ROWS = 100

T = TypeVar("T")


class OneHopConnection(aiosqlite.Connection):
    """A connection of aiosqlite with cursors of this module."""

    plain_options: Mapping[str, Any] = {}
    """Those of the engine that it is of, for work in its thread."""
    statements: Statements
    """What was compiled for work in the threads of all connections to the same database."""
    _thread_work: ThreadWork | None = None
    _stopping: "asyncio.Future[None] | None" = None

    def stop(self) -> "asyncio.Future[None] | None":
        """Ends its thread, whose last word is waited for where it could not be opened."""
        self._stopping = super().stop()
        return self._stopping

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            if self._stopping is not None:
                # The thread would tell a loop that has ended meanwhile.
                await self._stopping
            raise

    def cursor(self) -> "OneHopCursor":  # type: ignore[override]
        """A cursor that is made together with its first statement."""
        return OneHopCursor(self)

    async def rollback(self) -> None:
        """Rolls back; does nothing where no transaction is open."""
        if self.in_transaction:
            await super().rollback()

    async def run(self, function: Any, *arguments: Any) -> Any:
        """What this function gives when the connection's thread calls it."""
        return await self._execute(function, *arguments)  # type: ignore[no-untyped-call]

    async def work(self, do: Callable[[ThreadWork], T]) -> T:
        """What this gives when the connection's thread calls it."""
        done: T = await self.run(self._work, do)
        return done

    def _work(self, do: Callable[[ThreadWork], T]) -> T:
        if self._thread_work is None:
            self._thread_work = ThreadWork(self._conn, self.plain_options, self.statements)
        return do(self._thread_work)

    def start_statement(
        self, many: bool, sql: str, parameters: Any
    ) -> tuple[sqlite3.Cursor, list[Any], bool]:
        """Runs in the thread: the cursor, its first rows, and whether there may be more."""
        cursor = self._conn.cursor()
        if sql == BEGIN_TO_WRITE:
            begin_to_write(self._conn)
            return cursor, [], False
        (cursor.executemany if many else cursor.execute)(sql, parameters)
        if cursor.description is None:
            return cursor, [], False
        rows = cursor.fetchmany(_FIRST_ROWS)
        return cursor, rows, len(rows) == _FIRST_ROWS


class OneHopCursor:
    """A cursor as SQLAlchemy's adapter of aiosqlite uses it."""

    arraysize = 1

    def __init__(self, connection: OneHopConnection) -> None:
        self._connection = connection
        self._cursor: sqlite3.Cursor | None = None
        self._rows: list[Any] = []
        self._may_have_more = False

    async def __aenter__(self) -> Self:
        return self

    @property
    def description(self) -> Any:
        """The columns of the rows, or None for a statement without rows."""
        return None if self._cursor is None else self._cursor.description

    @property
    def rowcount(self) -> int:
        """How many rows were written."""
        return -1 if self._cursor is None else self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The number of the row that was inserted last."""
        return None if self._cursor is None else self._cursor.lastrowid

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        """Runs a statement and takes its first rows."""
        await self._start(False, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Runs a statement once for each set of parameters."""
        await self._start(True, sql, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        """All rows that were not given yet."""
        rows, self._rows = self._rows, []
        if self._may_have_more and self._cursor is not None:
            rows += await self._connection.run(self._cursor.fetchall)
            self._may_have_more = False
        return rows

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, at most `size`; none at the end."""
        wanted = size or self.arraysize
        if not self._rows and self._may_have_more and self._cursor is not None:
            self._rows = await self._connection.run(self._cursor.fetchmany, wanted)
            self._may_have_more = len(self._rows) == wanted
        rows, self._rows = self._rows[:wanted], self._rows[wanted:]
        return rows

    async def fetchone(self) -> Any | None:
        """The next row, or None at the end."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Ends the statement if it may have more rows to give; else it has ended already."""
        self._rows = []
        if self._may_have_more and self._cursor is not None:
            self._may_have_more = False
            await self._connection.run(self._cursor.close)

    async def _start(self, many: bool, sql: str, parameters: Any) -> None:
        self._cursor, self._rows, self._may_have_more = await self._connection.run(
            self._connection.start_statement, many, sql, parameters
        )


def connect(
    database: str,
    plain_options: Mapping[str, Any] | None = None,
    statements: Statements | None = None,
    **options: Any,
) -> OneHopConnection:
    """A connection that is opened when it is awaited; `options` are those of sqlite3.connect.

    `plain_options` are those of its engine, and `statements` what is compiled for that.
    """
    connection = OneHopConnection(lambda: sqlite3.connect(database, **options), 64)
    connection.plain_options = plain_options or {}
    connection.statements = Statements() if statements is None else statements
    # A thread that waits for work must not keep the process from ending.
    connection._thread.daemon = True
    return connection


async def in_thread(engine: AsyncEngine, do: Callable[[ThreadWork], T]) -> T:
    """What this gives in the thread of one of the engine's connections.

    Raises DBAPIError where none can be opened, as the engine's own connections do.
    """
    try:
        pooled = _at_hand(engine) or await engine.raw_connection()
    except sqlite3.Error as error:
        raise as_sqlalchemy(error, engine.dialect) from error
    driver = pooled.driver_connection
    assert isinstance(driver, OneHopConnection)
    try:
        return await driver.work(do)
    except BaseException:
        if driver.in_transaction:
            # It could not be rolled back either.
            pooled.invalidate()
        raise
    finally:
        pooled.close()


def _at_hand(engine: AsyncEngine) -> PoolProxiedConnection | None:
    """A connection that needs no waiting for, and so no greenlet: it is a third of a hop."""
    pool = engine.sync_engine.pool
    if not isinstance(pool, QueuePool) or not pool.checkedin():
        return None
    try:
        return pool.connect()
    except MissingGreenlet:
        # Its turn has come to be made anew.
        return None
