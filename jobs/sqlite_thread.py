"""Work on SQLite in the thread of its connection: one hop in all, and plain calls for statements.

Through an async engine each statement costs a hop to that thread and the way back, and two
greenlets: together more than all that SQLite does, its sync to the disk included.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Row, StaticPool, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult

T = TypeVar("T")


class PlainConnection(AsyncConnection):
    """A connection of whoever runs in its thread: what is awaited of it is over at once."""

    def __init__(self, connection: Connection) -> None:
        # Not the base class's own, which asks for an engine whose driver is awaited.
        self.sync_connection = connection

    async def execute(  # type: ignore[override]
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs a statement."""
        return self._proxied.execute(statement, parameters)

    async def stream(  # type: ignore[override]
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs a statement whose rows are read as they are asked for."""
        return AsyncResult(self._proxied.execute(statement, parameters))


class ThreadWork:
    """What one connection of sqlite3 is asked to do; every call belongs in its thread."""

    def __init__(self, connection: sqlite3.Connection, options: Mapping[str, Any]) -> None:
        """`options` are those of the engine that the connection is of."""
        engine = create_engine(
            "sqlite://",
            creator=lambda: connection,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            **options,
        )
        self._connection = engine.connect()
        self._awaitable = PlainConnection(self._connection)

    def transact(
        self,
        begin: str,
        work: Callable[[AsyncConnection], Awaitable[T]],
        before_commit: Callable[[], None],
    ) -> T:
        """What this work gives, in a transaction of its own; an error in it stores nothing.

        It may await its connection and nothing else: RuntimeError where it does.
        """
        with self._connection.begin():
            self._connection.exec_driver_sql(begin)
            result = _finished(work(self._awaitable))
            before_commit()
        return result

    def alone(
        self, statement: Executable, parameters: Mapping[str, Any] | None
    ) -> Sequence[Row[Any]]:
        """The rows of one statement, which is a transaction by itself."""
        with self._connection.begin():
            result = self._connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()


def _finished(work: Awaitable[T]) -> T:
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("work on the database waited for something else than its connection")
