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
from typing import Any, TypeVar

from sqlalchemy import Executable, Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database_engines import BEGIN_TO_WRITE
from jobs.database_errors import DRIVER_ERRORS, CommitUnknown, is_busy, meaning_of
from jobs.disk_sync import DiskSync
from jobs.sqlite_thread import ThreadWork

T = TypeVar("T")

# In normal times connections that have a thread of their own take the log over long before.
CHECKPOINT_PAGES = 4000
LOCK_SECONDS = 0.0
"""How long the loop stands still for another connection that writes."""


class Waits(Exception):
    """It can't be done here and now; nothing was stored."""


class Early:
    """A write that may go ahead of the disk, as its caller sees it; for one write alone."""

    __slots__ = ("settling",)

    def __init__(self) -> None:
        self.settling: asyncio.Future[None] | None = None
        """Done once what was written is on the disk; None where it is as soon as it is written.

        Its error is an OSError. Others may wait for it too: do not cancel it.
        """


class EarlyWrites:
    """One connection of this thread to a database: made when it is wanted, kept while it works."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        """`options` are those of the engines of the same database."""
        self._path, self._options = path, options
        self._connection: sqlite3.Connection | None = None
        self._here: ThreadWork | None = None
        self._sync = DiskSync(f"{path}-wal")

    def transact(self, early: Early, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What this work gives, committed: it awaits nothing but its connection.

        Raises Waits, Unavailable, CommitUnknown, and what the work raises.
        """
        committing = False

        def committed_now() -> None:
            nonlocal committing
            committing = True

        if not self._sync.is_well:
            raise Waits
        here = self._here or self._open()
        try:
            done = here.transact(BEGIN_TO_WRITE, work, committed_now)
        except DRIVER_ERRORS as error:
            if is_busy(error) and not committing:
                # Another connection writes: this was to begin, and did nothing.
                raise Waits from error
            if not isinstance(error, IntegrityError):
                # Whatever is wrong, another connection may find it mended.
                self._drop()
            raise CommitUnknown if committing else meaning_of(error) from error
        early.settling = self._sync.begin()
        return done

    def alone(
        self, early: Early, statement: Executable, parameters: Mapping[str, Any] | None
    ) -> Sequence[Row[Any]]:
        """The rows of one writing statement; raises what `transact` does."""

        async def run(connection: AsyncConnection) -> Sequence[Row[Any]]:
            result = await connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()

        return self.transact(early, run)

    def sync(self) -> asyncio.Future[None]:
        """Has all that anybody wrote up to now brought to the disk; done once it is there."""
        return self._sync.begin()

    def close(self) -> None:
        """Closes what is open."""
        self._drop()
        self._sync.close()

    def _open(self) -> ThreadWork:
        try:
            # The file is there, or is for others to make.
            connection = sqlite3.connect(
                Path(self._path).absolute().as_uri() + "?mode=rw",
                uri=True,
                timeout=LOCK_SECONDS,
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
        self._connection, self._here = connection, ThreadWork(connection, self._options)
        return self._here

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._here = None
