"""A worker's sign of life: keeps its lease, and hears what the database says it holds."""

import asyncio
import logging
import time
from contextlib import suppress

from jobs.database import Database
from jobs.database_engines import PING_SECONDS
from jobs.errors import Unavailable
from jobs.outage import Outage
from jobs.runner import Runner
from jobs.settings import Settings
from jobs.store.claims import beat
from jobs.store.workers import Tally

log = logging.getLogger(__name__)

BEATS_A_LEASE = 4
LONGEST_BEAT_SECONDS = 1.0
"""A cancellation whose hint was lost is seen within a beat."""
SHORTEST_WAIT_SECONDS = PING_SECONDS + 0.5
"""A beat is waited for so long at least: in this time it finds all idle connections to be dead."""


class Beat:
    """Renews the lease in constant statements, and hears of cancels, lost leases and lost claims.

    Mostly the database holds what it should; whatever the tally says, all is looked at once a
    lease.

    What the database says is another's is stopped here; what it says is this worker's though
    nobody here runs it (a claim whose answer was lost) is handed over.
    """

    def __init__(
        self, database: Database, runner: Runner, worker_id: str, settings: Settings
    ) -> None:
        self._database = database
        self._runner = runner
        self._worker_id = worker_id
        self._lease = settings.relay_lease_seconds
        self._pause = min(settings.relay_lease_seconds / BEATS_A_LEASE, LONGEST_BEAT_SECONDS)
        self._wait = max(settings.relay_lease_seconds / BEATS_A_LEASE, SHORTEST_WAIT_SECONDS)
        self._list_at = 0.0
        self._now = asyncio.Event()
        self._outage = Outage("no heartbeat")

    def hasten(self) -> None:
        """Beats at once, e.g. since a cancel was announced."""
        self._now.set()

    async def run(self) -> None:
        """Beats until cancelled; what is wrong with one is met by the next, within the lease."""
        while True:
            self._now.clear()
            try:
                await self.once()
            except Unavailable as error:
                self._outage.lasts(error)
            except Exception as error:
                if self._outage.lasts(type(error).__name__):
                    log.exception("a heartbeat failed")
            else:
                self._outage.over()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._now.wait()

    async def once(self) -> None:
        """One beat; raises Unavailable."""
        # Before the beat: what is claimed while it is under way is not judged by it.
        running = self._runner.running
        asked_at = time.monotonic()
        known = Tally(len(running), sum(running.values())) if asked_at < self._list_at else None
        # A dead connection must not take all of the lease: the next beat has another one.
        told = await beat(
            self._database, self._worker_id, len(running), known=known, within=self._wait
        )
        self._runner.leased(asked_at + self._lease)
        for generation_id in told.cancel:
            self._runner.cancel(generation_id)
        if told.held is None:
            return
        self._list_at = asked_at + self._lease
        for generation_id, attempt in running.items():
            if told.held.get(generation_id) != attempt:
                self._runner.fence(generation_id, attempt)
        for generation_id, attempt in told.held.items():
            if not self._runner.knows(generation_id):
                await self._runner.hand_over(generation_id, attempt)
