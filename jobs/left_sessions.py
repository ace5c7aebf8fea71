"""PostgreSQL's sessions that this process left before they answered, looked after until they end.

The server does not notice that nobody waits any more: they go on waiting for a lock, or at their
commit for a synchronous standby that is gone, and each counts against its `max_connections`.
They are ended, but for those at such a commit: it would be taken for made on every standby.
Those keep a place of those that may write, so that they never become more than there are places.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from jobs.cancelling import end_tasks
from jobs.database_errors import DRIVER_ERRORS, is_away
from jobs.errors import Unavailable
from jobs.outage import Outage

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
CLOCKS_SECONDS = 1.0
"""By how much a session may look younger than it is, since the server has a clock of its own."""

# Another process may have got a number that is free again: its session is younger.
_END = text(
    "SELECT there.pid, there.wait_event IS NOT DISTINCT FROM 'SyncRep' AS hangs,"
    " CASE WHEN there.wait_event IS DISTINCT FROM 'SyncRep'"
    " THEN pg_terminate_backend(there.pid) END"
    " FROM unnest(CAST(:pids AS integer[]), CAST(:ages AS double precision[])) AS gone (pid, age)"
    " JOIN pg_stat_activity AS there ON there.pid = gone.pid"
    " AND there.usename = current_user AND there.datname = current_database()"
    " AND EXTRACT(EPOCH FROM clock_timestamp() - there.backend_start) >= gone.age"
)


class LeftSessions:
    """Knows what was left over this engine, and gives the places to those that write over it."""

    def __init__(self, engine: AsyncEngine, places: int, wait_seconds: float) -> None:
        """`wait_seconds`: how long a place is waited for."""
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._wait = wait_seconds
        self._places = asyncio.Semaphore(places)
        self._owed = 0
        self._left: dict[int, float] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False
        self._outage = Outage("commits hang at the database")
        event.listen(engine.sync_engine, "connect", _note_session)
        event.listen(engine.sync_engine, "invalidate", self._abandon)

    @property
    def count(self) -> int:
        """How many may be there still."""
        return len(self._left)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one that writes; raises Unavailable where none becomes free in time."""
        try:
            async with asyncio.timeout(self._wait if self._places.locked() else None):
                await self._places.acquire()
        except TimeoutError as error:
            raise Unavailable("the database") from error
        try:
            yield
        finally:
            if self._owed:
                self._owed -= 1
            else:
                self._places.release()

    def leave(self, pid: int, opened_at: float) -> None:
        """This session, of that monotonic time, is nobody's any more."""
        if self._closed:
            return
        if pid not in self._left:
            self._owed += 1
        self._left[pid] = opened_at
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="sessions that were left")

    async def close(self) -> None:
        """Looks no more."""
        self._closed = True
        if self._looking is not None:
            await end_tasks({self._looking})

    def _abandon(
        self, dbapi_connection: Any, record: ConnectionPoolEntry, _: BaseException | None
    ) -> None:
        connection = dbapi_connection.driver_connection
        if not connection.is_closed():
            self.leave(*record.info["session"])
        # SQLAlchemy takes leave of the server first, and waits 2 s for one that is gone to answer;
        # the driver cancels what is under way, and a commit that hangs would then count as made.
        connection.terminate()

    async def _look(self) -> None:
        while self._left:
            await asyncio.sleep(LOOK_SECONDS)
            asked = dict(self._left)
            try:
                there = await self._still_there(asked)
            except DRIVER_ERRORS as error:
                if is_away(error):
                    continue
                log.exception("sessions that were left can't be looked after")
                there = {}
            if any(there.values()):
                self._outage.lasts("it waits for a synchronous standby")
            else:
                self._outage.over()
            for pid in asked.keys() - there.keys():
                del self._left[pid]
                if self._owed:
                    self._owed -= 1
                else:
                    self._places.release()

    async def _still_there(self, asked: dict[int, float]) -> dict[int, bool]:
        """Ends them, but for commits that hang; gives those not ended yet, and which hang."""
        now = time.monotonic()
        ages = [now - opened_at - CLOCKS_SECONDS for opened_at in asked.values()]
        async with self._engine.connect() as connection:
            rows = await connection.execute(_END, {"pids": list(asked), "ages": ages})
            return {row.pid: row.hangs for row in rows.all()}


def _note_session(dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["session"] = dbapi_connection.driver_connection.get_server_pid(), time.monotonic()
