"""Work on SQLite in the thread of its connection: one hop in all, and plain calls for statements.

Through an async engine each statement costs a hop to that thread and the way back, and two
greenlets: together more than all that SQLite does, its sync to the disk included.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Executable, Row, StaticPool, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult

from jobs.sqlite_lock import BEGIN_TO_WRITE, begin_to_write
from jobs.sqlite_log import lengthen_log
from jobs.sqlite_statements import Statements, as_sqlalchemy

T = TypeVar("T")


class PlainConnection(AsyncConnection):
    """A connection of whoever runs in its thread: what is awaited of it is over at once."""

    def __init__(self, connection: Connection, execute: Callable[..., Any]) -> None:
        # Not the base class's own, which asks for an engine whose driver is awaited.
        self.sync_connection = connection
        self._execute = execute

    async def execute(  # type: ignore[override]
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs a statement."""
        return self._execute(statement, parameters)

    async def stream(  # type: ignore[override]
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs a statement whose rows are read as they are asked for."""
        return AsyncResult(self._proxied.execute(statement, parameters))


class ThreadWork:
    """What one connection of sqlite3 is asked to do; every call belongs in its thread."""

    def __init__(
        self, connection: sqlite3.Connection, options: Mapping[str, Any], statements: Statements
    ) -> None:
        """`options` and `statements` are those of the engine that the connection is of."""
        engine = create_engine(
            "sqlite://",
            creator=lambda: connection,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            **options,
        )
        self._driver = connection
        self._connection = engine.connect()
        self._statements = statements
        self._awaitable = PlainConnection(self._connection, self._execute)

    def transact(
        self,
        begin: str,
        work: Callable[[AsyncConnection], Awaitable[T]],
        before_commit: Callable[[T], None],
    ) -> T:
        """What this work gives, in a transaction of its own; an error in it stores nothing.

        It may await its connection and nothing else: RuntimeError where it does.
        """
        self._begin(begin)
        try:
            result = _finished(work(self._awaitable))
            before_commit(result)
            self._end("COMMIT")
        except BaseException:
            self._end("ROLLBACK")
            raise
        return result

    def alone(
        self, statement: Executable, parameters: Mapping[str, Any] | None
    ) -> Sequence[Row[Any]]:
        """The rows of one statement, which is a transaction by itself."""
        try:
            result = self._execute(statement, parameters)
            rows: Sequence[Row[Any]] = result.all() if result.returns_rows else ()
        except BaseException:
            self._end("ROLLBACK")
            raise
        self._end("COMMIT")
        return rows

    def lengthen_log(self) -> bool:
        """Gives the log its length beforehand (`jobs/sqlite_log.py`); whether there was need."""
        try:
            return lengthen_log(self._driver)
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._connection.dialect) from error

    def _execute(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Any:
        given = {} if parameters is None else parameters
        # Whoever listens to statements hears of all.
        if not self._connection.dispatch.before_cursor_execute and isinstance(given, Mapping):
            prepared = self._statements.prepared(statement, given, self._connection.dialect)
            if prepared is not None:
                return prepared.run(self._driver, given)
        return self._connection.execute(statement, parameters)

    def _begin(self, begin: str) -> None:
        if begin != BEGIN_TO_WRITE:
            self._plainly(begin)
            return
        try:
            begin_to_write(self._driver)
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._connection.dialect, begin) from error

    def _end(self, how: Literal["COMMIT", "ROLLBACK"]) -> None:
        """Ends the transaction, if one is open, for SQLAlchemy as well if that knows of it."""
        if self._driver.in_transaction:
            self._plainly(how)
        if self._connection.in_transaction():
            # With nothing left to do for the driver.
            self._connection.rollback()

    def _plainly(self, sql: str) -> None:
        try:
            self._driver.execute(sql)
        except sqlite3.Error as error:
            raise as_sqlalchemy(error, self._connection.dialect, sql) from error


def _finished(work: Awaitable[T]) -> T:
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("work on the database waited for something else than its connection")
