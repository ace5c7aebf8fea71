"""Short writes to SQLite in the loop's own thread, ahead of their sync to the disk.

A hop to another thread and back, and the sync of a commit, are each a third of what a claim takes,
and the first token waits for them. So what nobody is told of yet is committed here, and seen by all
at once, while its sync goes on beside it (`jobs/disk_sync.py`); it is told of once that is over.
Nothing is waited for here: where another connection writes, or the disk is slow, the work goes to
the thread that may wait.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database_engines import BEGIN_TO_WRITE
from jobs.database_errors import DRIVER_ERRORS, CommitUnknown, meaning_of, meaning_of_one
from jobs.disk_sync import DiskSync
from jobs.sqlite_thread import ThreadWork

T = TypeVar("T")

# In normal times connections that have a thread of their own take the log over long before.
CHECKPOINT_PAGES = 4000
_NO_WAIT: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Waits(Exception):
    """It can't be done here and now; nothing was stored."""


class EarlyWrites:
    """One connection of this thread to a database: made when it is wanted, kept while it works."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        """`options` are those of the engines of the same database."""
        self._path, self._options = path, options
        self._connection: sqlite3.Connection | None = None
        self._work: ThreadWork | None = None
        self._sync = DiskSync(f"{path}-wal")

    @property
    def settling(self) -> asyncio.Future[None] | None:
        """Done once all that was written here is on the disk; None where it is already."""
        return self._sync.settling

    def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What this work gives, committed: it awaits nothing but its connection.

        Raises Waits, Unavailable, CommitUnknown, and what the work raises.
        """
        committing = False

        def committed_now() -> None:
            nonlocal committing
            committing = True

        try:
            return self._write(lambda here: here.transact(BEGIN_TO_WRITE, work, committed_now))
        except DRIVER_ERRORS as error:
            raise CommitUnknown if committing else meaning_of(error) from error

    def alone(
        self, statement: Executable, parameters: Mapping[str, Any] | None
    ) -> Sequence[Row[Any]]:
        """The rows of one statement, which is a transaction by itself.

        Raises Waits and CommitUnknown.
        """
        try:
            return self._write(lambda here: here.alone(statement, parameters))
        except DRIVER_ERRORS as error:
            raise meaning_of_one(error) from error

    def sync(self) -> None:
        """Has all that anybody wrote up to now brought to the disk."""
        self._sync.begin()

    def close(self) -> None:
        """Closes what is open."""
        self._drop()
        self._sync.close()

    def _write(self, do: Callable[[ThreadWork], T]) -> T:
        if self._sync.is_slow:
            raise Waits
        work = self._work or self._open()
        try:
            done = do(work)
        except DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code in _NO_WAIT:
                raise Waits from error
            if code != sqlite3.SQLITE_CONSTRAINT:
                self._drop()
            raise
        self._sync.begin()
        return done

    def _open(self) -> ThreadWork:
        try:
            # The file is there, or is for others to make.
            connection = sqlite3.connect(
                Path(self._path).absolute().as_uri() + "?mode=rw",
                uri=True,
                timeout=0,
                isolation_level=None,
            )
        except sqlite3.Error as error:
            raise Waits from error
        try:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                # Only in a log that all append to does a later sync cover what came before.
                raise Waits
            for pragma in (
                "synchronous=NORMAL",
                "foreign_keys=ON",
                f"wal_autocheckpoint={CHECKPOINT_PAGES}",
            ):
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            connection.close()
            raise Waits from error
        except Waits:
            connection.close()
            raise
        self._connection, self._work = connection, ThreadWork(connection, self._options)
        return self._work

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._work = None
