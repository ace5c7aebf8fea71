"""How the whole system stands, read at most once a tick for everybody who asks this relay.

Operators' pages and scrapes share one reading: however many look, the database answers one snapshot
a tick, and Redis one call. Rates come from the rows, so that they are of all relays and workers.
"""

import asyncio
import time

import msgspec

from jobs.cancelling import end_tasks
from jobs.database import Database
from jobs.errors import Unavailable
from jobs.queue import Queue
from jobs.redis_link import REDIS_FAILURES
from jobs.store.overview import SLICE_MS, Overview, read_overview
from relay.rates import SLICES, RateBook, Rates

TICK_SECONDS = 2.0
RECOUNTED_SECONDS = 60.0
"""An end is dated before its commit: one that took so long to commit is still counted."""
READ_SECONDS = 5.0


class Figures(msgspec.Struct, frozen=True):
    """One reading. `overview` is None while the database is away, `queue_depth` while Redis is;
    `rates` are the last ones known.
    """

    number: int
    """Counts the readings of this relay: who has seen this one waits for the next."""
    overview: Overview | None
    queue_depth: int | None
    rates: Rates


class FiguresReader:
    """Reads for all who ask; nothing is read while nobody does."""

    def __init__(self, database: Database, queue: Queue, lease_seconds: float) -> None:
        self._database = database
        self._queue = queue
        self._lease_seconds = lease_seconds
        self._book = RateBook()
        self._counted_at: float | None = None
        self._latest: Figures | None = None
        self._read_at = 0.0
        self._reading: asyncio.Task[None] | None = None
        self.readings = 0
        """How often the database was asked."""

    async def figures(self) -> Figures:
        """The latest reading, at most a tick old; never raises for what is away."""
        if self._latest is None or time.monotonic() - self._read_at >= TICK_SECONDS:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read(), name="figures")
            await asyncio.shield(self._reading)
        assert self._latest is not None
        return self._latest

    async def close(self) -> None:
        """Ends a reading under way."""
        if self._reading is not None:
            await end_tasks({self._reading})

    async def _read(self) -> None:
        self.readings += 1
        began = time.monotonic()
        overview, depth = await asyncio.gather(self._overview(began), self._queue_depth())
        if overview is not None:
            self._book.note(overview)
            self._counted_at = began
        self._latest = Figures(self.readings, overview, depth, self._book.rates())
        self._read_at = began

    async def _overview(self, now: float) -> Overview | None:
        # One more, since the first one is whole only by chance.
        span = (SLICES + 1) * SLICE_MS / 1000
        since = span if self._counted_at is None else now - self._counted_at + RECOUNTED_SECONDS
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await read_overview(
                    self._database,
                    lease_seconds=self._lease_seconds,
                    window_seconds=min(span, since),
                )
        except (Unavailable, TimeoutError):
            return None

    async def _queue_depth(self) -> int | None:
        try:
            return await self._queue.depth()
        except REDIS_FAILURES:
            return None
