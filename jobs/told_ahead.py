"""What a transaction of SQLite gives, told to the loop while its commit is on its way to the disk.

Nobody else sees it yet, and it is gone if that fails.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.sqlite_lock import BEGIN_TO_WRITE
from jobs.sqlite_thread import ThreadWork

T = TypeVar("T")
TakeRows = Callable[[Sequence[Row[Any]]], None]


def telling(
    statement: Executable, parameters: Mapping[str, Any] | None, take: TakeRows
) -> Callable[[AsyncConnection], Awaitable[Sequence[Row[Any]]]]:
    """Work that gives the rows of this statement, of which `take` is told ahead, in the loop."""
    loop = asyncio.get_running_loop()

    async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
        rows = (await connection.execute(statement, parameters)).all()
        loop.call_soon_threadsafe(take, rows)
        return rows

    return work


def told_of(
    work: Callable[[AsyncConnection], Awaitable[T]],
    committing: Callable[[], None],
    take: Callable[[T], None] | None,
) -> Callable[[ThreadWork], T]:
    """A transaction for the database's thread, of whose result `take` is told ahead, in the loop.

    `committing` is called in the thread, before the commit.
    """
    loop = asyncio.get_running_loop()

    def transact(thread: ThreadWork) -> T:
        def before_commit(result: T) -> None:
            committing()
            if take is not None:
                loop.call_soon_threadsafe(take, result)

        return thread.transact(BEGIN_TO_WRITE, work, before_commit)

    return transact
