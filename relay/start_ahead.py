"""A reader's generation that is started while its row is on its way to the disk.

Its reader is subscribed, then it is enqueued, and what is then left to wait for is the commit. A
worker's claim waits for that too, since SQLite has one writer at a time: it finds the row as it was
stored, or nothing, or gives up waiting, and the job is for nothing then.
"""

import asyncio
import time
from contextvars import copy_context

from jobs.cancelling import end_tasks
from jobs.sqlite_lock import BUSY_SECONDS
from jobs.store.intake import Accepted
from relay.follow import Follower
from relay.services import Services
from relay.streaming import start_accepted, start_joined


class StartAhead:
    """Starts what it hears of by `begin`; `finish` it with what was stored, or `let_go` of it."""

    def __init__(self, services: Services, follower: Follower) -> None:
        """`follower` is its reader, and is for the caller to close."""
        self._services = services
        self._follower = follower
        # Where it hears of it, in a call from the database's thread, no span is known.
        self._context = copy_context()
        self._told: Accepted | None = None
        self._told_at = 0.0
        self._over = False
        self._starting: asyncio.Task[None] | None = None

    @property
    def generation_id(self) -> str:
        """What the generation is to be called."""
        return self._follower.generation_id

    def listen_soon(self) -> None:
        """Begins to subscribe once the database has its work, which takes longer."""
        loop = asyncio.get_running_loop()
        # The next turn of the loop gives the statement to the database's thread, or to its socket.
        loop.call_soon(loop.call_soon, self._follower.listen)

    def begin(self, accepted: Accepted) -> None:
        """Starts this one, unless there is more to do for it or another was begun."""
        # A database that is given up may tell of it after its caller has left.
        is_first = self._told is None and not self._over
        if is_first and accepted.starts and not accepted.interrupted:
            self._told, self._told_at = accepted, time.monotonic()
            self._starting = asyncio.get_running_loop().create_task(
                start_joined(self._services, self._follower, accepted), context=self._context
            )

    async def finish(self, accepted: Accepted) -> None:
        """Returns once what was stored is started, which may be another than was begun."""
        starting, self._starting = self._starting, None
        if starting is None:
            await start_joined(self._services, self._follower, accepted)
            return
        await starting
        given_up = time.monotonic() - self._told_at >= BUSY_SECONDS
        if given_up or self._told is not accepted:
            # Its job may have been taken for nothing: there was no row, or no end of the waiting.
            await start_accepted(self._services, accepted)

    async def let_go(self) -> None:
        """Ends what was begun and not finished; what was enqueued is a job for nothing."""
        self._over = True
        starting, self._starting = self._starting, None
        if starting is not None:
            await end_tasks([starting])
