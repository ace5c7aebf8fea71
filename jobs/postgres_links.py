"""The open connections to PostgreSQL, which are closed together and in bounded time.

SQLAlchemy closes those of a pool one after the other, and waits for each to be answered: over a
dead link that adds up to minutes.
"""

import asyncio
from contextlib import suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

CLOSE_SECONDS = 1.0
"""How long the server may take to be told that a process leaves, over all connections at once."""


class PostgresLinks:
    """Knows every connection that the engine has open, idle or in use."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._open: set[Any] = set()
        event.listen(engine.sync_engine, "connect", self._opened)
        event.listen(engine.sync_engine, "close", self._closed)

    def _opened(self, dbapi_connection: Any, _: ConnectionPoolEntry) -> None:
        self._open.add(dbapi_connection.driver_connection)

    def _closed(self, dbapi_connection: Any, _: ConnectionPoolEntry) -> None:
        self._open.discard(dbapi_connection.driver_connection)

    async def close(self) -> None:
        """Takes leave over all at once, and cuts what is not answered within CLOSE_SECONDS."""
        closing = [one.close() for one in self._open]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    # A close that fails or is broken off has cut its connection.
                    await asyncio.gather(*closing, return_exceptions=True)
        finally:
            # They are closed by now: the pool only has to let go of them.
            await self._engine.dispose()
