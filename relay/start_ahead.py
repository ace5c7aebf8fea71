"""A reader's generation that is started while its row is on its way to the disk.

Its reader is subscribed, then it is enqueued, and what is then left to wait for is the commit. A
worker's claim waits for that too, since SQLite has one writer at a time: it finds the row as it was
stored, or nothing.
"""

import asyncio
from contextvars import copy_context

from jobs.cancelling import end_tasks
from jobs.store.intake import Accepted
from relay.follow import Follower
from relay.services import Services
from relay.streaming import start_joined


class StartAhead:
    """Starts what it hears of by `begin`; `finish` it with what was stored, or `let_go` of it."""

    def __init__(self, services: Services, follower: Follower) -> None:
        """`follower` is its reader, and is for the caller to close."""
        self._services = services
        self._follower = follower
        # Where it hears of it, in a call from the database's thread, no span is known.
        self._context = copy_context()
        self._told: Accepted | None = None
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
        if self._told is None and accepted.starts and not accepted.interrupted:
            self._told = accepted
            self._starting = asyncio.get_running_loop().create_task(
                start_joined(self._services, self._follower, accepted), context=self._context
            )

    async def finish(self, accepted: Accepted) -> None:
        """Returns once what was stored is started, which may be another than was begun."""
        starting, self._starting = self._starting, None
        if starting is not None:
            await starting
        if self._told is not accepted:
            # The job of one that was not stored may have been taken for nothing.
            await start_joined(self._services, self._follower, accepted)

    async def let_go(self) -> None:
        """Ends what was begun and not finished; what was enqueued is a job for nothing."""
        starting, self._starting = self._starting, None
        if starting is not None:
            await end_tasks([starting])
