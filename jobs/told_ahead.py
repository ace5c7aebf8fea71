"""What a transaction of SQLite gives, told to the loop while its commit is on its way to the disk.

Nobody else sees it yet, and it is gone if that fails.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.sqlite_lock import BEGIN_TO_WRITE
from jobs.sqlite_thread import ThreadWork

T = TypeVar("T")
Rows = Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class OneStatement:
    """Work that gives the rows of a statement."""

    statement: Executable
    parameters: Mapping[str, Any] | None

    async def __call__(self, connection: AsyncConnection) -> Rows:
        """Runs it; without rows it gives none."""
        result = await connection.execute(self.statement, self.parameters)
        return result.all() if result.returns_rows else ()


def told_of(
    work: Callable[[AsyncConnection], Awaitable[T]],
    take: Callable[[T], None] | None,
    committing: Callable[[], None] = lambda: None,
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
