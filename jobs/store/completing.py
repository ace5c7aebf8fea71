"""What an application writes with a completed answer: in the same transaction, or not at all."""

import asyncio
from typing import Any

from sqlalchemy import Select, literal_column, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database_errors import has_collided, is_away
from jobs.errors import JobsError
from jobs.generation import Generation, Kind
from jobs.kinds import Completed, Kinds, KindUnknown

MOST_SECONDS = 5.0
"""How long the application's code may hold the transaction, and SQLite's one place to write."""

_ANYTHING: Select[Any] = select(literal_column("1"))


class CompletionFailed(JobsError):
    """The application's code broke off, so nothing of the answer was stored; the cause says why."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(f"on_completed of {kind.value!r} failed: {reason}")
        self.kind = kind


async def complete(
    connection: AsyncConnection, kinds: Kinds, owner: str, generation: Generation, text: str
) -> None:
    """Has the kind of this generation write what belongs to its answer.

    Raises KindUnknown, CompletionFailed, and what the driver does where the database is away or
    another transaction stood in the way.
    """
    kind = generation.kind
    if not kinds.knows(kind):
        raise KindUnknown(kind.value)
    custom = kinds.custom.get(kind.value)
    if custom is None or custom.on_completed is None:
        return
    limit = asyncio.timeout(MOST_SECONDS)
    try:
        async with limit:
            await custom.on_completed(connection, Completed(owner, generation, text))
    except SQLAlchemyError as error:
        if is_away(error) or has_collided(error):
            raise
        # Not what the database makes of a commit of ours: that would be tried for ever.
        raise CompletionFailed(kind, f"{type(error).__name__}: {error.args[0]}") from error
    except OSError as error:
        if limit.expired():
            reason = f"it took more than {MOST_SECONDS:g} seconds"
            raise CompletionFailed(kind, reason) from error
        if await _is_there(connection):
            raise CompletionFailed(kind, f"{type(error).__name__}: {error}") from error
        # The driver's own: what the database is away for is tried again, and loses nothing.
        raise
    except Exception as error:
        raise CompletionFailed(kind, f"{type(error).__name__}: {error}") from error
    if not connection.in_transaction():
        raise CompletionFailed(kind, "it ended the transaction")


async def _is_there(connection: AsyncConnection) -> bool:
    try:
        await connection.execute(_ANYTHING)
    except (SQLAlchemyError, OSError) as error:
        return not is_away(error)
    return True
