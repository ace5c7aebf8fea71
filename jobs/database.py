"""The database: snapshots to read, and whole transactions to write.

SQLite and PostgreSQL behave alike behind this: a write is one transaction that is never left half
known by a cancelled caller, a read is one snapshot, and a driver's error becomes one of the
project's (`Unavailable`, `CommitUnknown`). Every wait is bounded.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Self, TypeVar

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jobs.cancelling import outlast
from jobs.database_clock import now_ms
from jobs.database_engines import (
    database_url,
    postgresql_engine,
    sqlite_engines,
)
from jobs.database_errors import (
    DRIVER_ERRORS,
    CommitUnknown,
    GivenUp,
    UniqueViolation,
    has_collided,
    is_away,
    meaning_of,
    was_cut,
)
from jobs.errors import Unavailable
from jobs.left_sessions import LeftSessions
from jobs.migrations import patience, upgrade
from jobs.sqlite_driver import in_thread
from jobs.sqlite_lock import BEGIN_TO_READ
from jobs.told_ahead import OneStatement, Rows, told_of

__all__ = [
    "CommitUnknown",
    "Database",
    "UniqueViolation",
    "database_url",
    "migrate",
    "now_ms",
    "schema_is_current",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 3
ANSWER_SECONDS = 5.0
"""What a read of PostgreSQL may take in all, a dead link and the one in its place included."""

_ALONE = {"isolation_level": "AUTOCOMMIT", "postgresql_readonly": False}


class Database:
    """An open database; `Database.open` makes one and closes it again."""

    def __init__(
        self, writer: AsyncEngine, reader: AsyncEngine, left: LeftSessions | None = None
    ) -> None:
        """Wraps engines whose transactions begin as writes do, and as reads do.

        `left` has the places for those that write, where these are few.
        """
        self._writer = self._write_alone = writer
        self._reader = self._read_alone = reader
        if writer.dialect.name == "postgresql":
            # Without a BEGIN: a single statement is a transaction, or a snapshot, by itself.
            self._write_alone = writer.execution_options(**_ALONE)
            self._read_alone = reader.execution_options(**_ALONE)
        self._place = nullcontext if left is None else left.place
        self._under_way: set[asyncio.Task[Any]] = set()
        self._given_up = False
        self._giving_up: asyncio.TimerHandle | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, bounded: bool = True) -> AsyncIterator[Self]:
        """The database at this address; connections are made when they are needed.

        They are closed with the block, in bounded time also where the server does not answer.
        Unless it is `bounded`, this side lets statements of PostgreSQL take as long as they do.
        Raises InvalidSetting for an address that is neither SQLite in a file nor PostgreSQL.
        """
        parsed = database_url(url)
        closing: Sequence[Callable[[], Awaitable[None]]]
        left: LeftSessions | None = None
        if parsed.get_backend_name() == "sqlite":
            writer, reader = sqlite_engines(parsed)
            closing = (writer.dispose, reader.dispose)
        else:
            writer, links, left = postgresql_engine(parsed, bounded=bounded)
            closing = (left.close, links.close)
            reader = writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        opened = cls(writer, reader, left)
        try:
            yield opened
        finally:
            if opened._giving_up is not None:
                opened._giving_up.cancel()
            for close in closing:
                await close()

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writer.dialect.name

    def give_up(self) -> None:
        """Breaks off what is under way, and lets nothing begin any more: the process is to end.

        Whoever waits gets GivenUp, and who comes later.
        """
        self._given_up = True
        for task in tuple(self._under_way):
            task.cancel()

    def give_up_in(self, seconds: float) -> None:
        """Does so then, unless it is closed before: for the process, or the app, that opened it."""
        self._giving_up = asyncio.get_running_loop().call_later(seconds, self.give_up)

    async def fetch(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Rows:
        """The rows of one reading statement, which is a snapshot by itself.

        Raises Unavailable, within ANSWER_SECONDS. A cancelled caller waits for the rows first: to
        break off would cost the connection.
        """
        return await self._to_its_end(self._rows(statement, parameters))

    async def _rows(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Rows:
        try:
            async with asyncio.timeout_at(self._until(ANSWER_SECONDS)):
                try:
                    return await _alone(self._read_alone, statement, parameters)
                except DRIVER_ERRORS as error:
                    if not was_cut(error):
                        raise
                return await _alone(self._read_alone, statement, parameters)
        except DRIVER_ERRORS as error:
            raise meaning_of(error) from error

    async def read_at_once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What this work reads in one snapshot; it must await nothing but its connection.

        Raises Unavailable. It costs SQLite one hop, where `read` costs one a statement.
        """
        return await self._to_its_end(self._snapshot(work))

    async def _snapshot(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if self.dialect == "sqlite":
            try:
                return await in_thread(
                    self._reader, lambda thread: thread.transact(BEGIN_TO_READ, work, _nothing)
                )
            except DRIVER_ERRORS as error:
                raise meaning_of(error) from error
        async with self.read() as connection:
            return await work(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that shows one snapshot to all its statements, and writes nothing.

        Raises Unavailable, and breaks the block off with it after ANSWER_SECONDS. Do nothing in it
        but reading: it holds a connection.
        """
        connection, until = self._reader.connect(), self._until(ANSWER_SECONDS)
        try:
            async with asyncio.timeout_at(until):
                try:
                    yield await self._to_its_end(_started(connection, until))
                finally:
                    if connection.sync_connection is not None:
                        await connection.__aexit__(None, None, None)
        except DRIVER_ERRORS as error:
            raise meaning_of(error) from error

    def _until(self, seconds: float | None) -> float | None:
        """When to break off what begins now. SQLite's own limits hold; its thread can't be left."""
        if seconds is None or self.dialect == "sqlite":
            return None
        return asyncio.get_running_loop().time() + seconds

    async def write(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, within: float | None = None
    ) -> T:
        """Runs this work in one transaction and commits it; an error in it stores nothing.

        A cancelled caller waits for the end of the transaction before its cancellation goes on.
        The work runs anew when another transaction stood in its way, so it must only write to
        the connection. Raises Unavailable (nothing was stored) and CommitUnknown. On PostgreSQL it
        does so within that many seconds, where they are given.
        """
        return await self._to_its_end(self._transaction(work, at_once=False, within=within))

    async def write_at_once(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        within: float | None = None,
        ahead: Callable[[T], None] | None = None,
    ) -> T:
        """As `write`, for work that awaits nothing but its connection: it costs SQLite one hop.

        SQLite gives `ahead` what the work gave while that is on its way to the disk: nobody else
        sees it yet, whoever is to write waits for it, and it is gone if that fails. What is
        returned is the very object that was told of, unless it was run anew.
        """
        return await self._to_its_end(
            self._transaction(work, at_once=True, within=within, ahead=ahead)
        )

    async def lengthen_log(self) -> None:
        """Gives SQLite's log its length, so that commits need not; nothing on PostgreSQL.

        Nothing depends on it: what keeps it from being done is a line in the log.
        """
        if self.dialect == "sqlite":
            try:
                await self._to_its_end(
                    in_thread(self._writer, lambda thread: thread.lengthen_log())
                )
            except (Unavailable, *DRIVER_ERRORS) as error:
                log.info("SQLite's log is not lengthened", extra={"reason": type(error).__name__})

    async def write_one(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | None = None,
        *,
        ahead: Callable[[Rows], None] | None = None,
    ) -> Rows:
        """The rows that one writing statement returns, which is a transaction by itself.

        A third of the round trips of `write`, and nothing tells a failed statement from a lost
        answer: raises CommitUnknown for both. SQLite gives `ahead` the rows while they are on their
        way to the disk: nobody else sees them yet, and they are gone if that fails.
        """
        return await self._to_its_end(self._statement(statement, parameters, ahead))

    async def _statement(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | None,
        ahead: Callable[[Rows], None] | None,
    ) -> Rows:
        try:
            if self.dialect == "sqlite":
                work = OneStatement(statement, parameters)
                return await in_thread(self._writer, told_of(work, ahead))
            async with self._place():
                return await _alone(self._write_alone, statement, parameters)
        except DRIVER_ERRORS as error:
            meaning = meaning_of(error)
            if isinstance(meaning, Unavailable):
                raise CommitUnknown from error
            raise meaning from error

    async def _transaction(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        at_once: bool,
        within: float | None,
        ahead: Callable[[T], None] | None = None,
    ) -> T:
        until = self._until(within)
        for attempt in range(1, TRIES + 1):
            try:
                return await self._attempt(work, at_once, until, ahead)
            except DRIVER_ERRORS as error:
                # A pooled connection may have been cut while it was idle: once with a fresh one.
                again = has_collided(error) or (attempt == 1 and was_cut(error))
                if not again or attempt == TRIES:
                    raise meaning_of(error) from error
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        at_once: bool,
        until: float | None,
        ahead: Callable[[T], None] | None,
    ) -> T:
        committing = False

        def committed_now() -> None:
            nonlocal committing
            committing = True

        try:
            if at_once and self.dialect == "sqlite":
                return await in_thread(self._writer, told_of(work, ahead, committed_now))
            async with (
                asyncio.timeout_at(until),
                self._place(),
                self._writer.connect() as connection,
            ):
                try:
                    transaction = await connection.begin()
                    result = await work(connection)
                    committed_now()
                    await transaction.commit()
                except DRIVER_ERRORS as error:
                    if is_away(error):
                        # A rollback would wait out the time limit on a dead connection once more.
                        await connection.invalidate()
                    raise
            return result
        except DRIVER_ERRORS as error:
            if committing:
                raise CommitUnknown from error
            raise

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs this in a task of its own; a cancelled caller waits for its end first."""
        if self._given_up:
            work.close()
            raise GivenUp
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._given_up and task.cancelled():
                raise GivenUp from None
            await outlast(task)
            if not task.cancelled():
                task.exception()
            raise


async def _alone(
    engine: AsyncEngine,
    statement: Executable,
    parameters: Mapping[str, Any] | None,
) -> Rows:
    if engine.dialect.name == "sqlite":
        return await in_thread(engine, lambda thread: thread.alone(statement, parameters))
    async with engine.connect() as connection:
        result = await connection.execute(statement, parameters)
        return result.all() if result.returns_rows else ()


async def _started(connection: AsyncConnection, until: float | None) -> AsyncConnection:
    async with asyncio.timeout_at(until):
        return await connection.start(is_ctxmanager=True)


def _nothing(_: object) -> None:
    """There is nobody to be told of the commit."""


async def migrate(url: str, told: upgrade.Told = lambda _done, _of: None) -> None:
    """Brings the database at this address to the newest schema; makes the file of a new SQLite one.

    `told` is called after each migration with how many are done, and of how many. Two at once are
    harmless. Raises Unavailable (SchemaLocked where others hold a table) and InvalidSetting. On
    PostgreSQL it takes as long as the server works at it, and a cancellation breaks it off.
    """
    async with Database.open(url) as database:
        if await schema_is_current(database):
            return
        if database.dialect == "sqlite":
            await database.write(lambda connection: connection.run_sync(upgrade.upgrade, told))
            return
        async with Database.open(url, bounded=False) as patient:
            await patience.migrate(database, patient, told)


async def schema_is_current(database: Database) -> bool:
    """Whether the database has exactly the newest schema; raises Unavailable."""
    async with database.read() as connection:
        return await connection.run_sync(upgrade.is_current)
