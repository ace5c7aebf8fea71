"""Hints between processes: cheap, fast and allowed to be lost, since the rows tell the same.

A hint that can't be given is counted; whoever missed it finds the row within seconds.
"""

from jobs import keys
from jobs.deleted import Deletion
from jobs.generation import Generation, encode
from jobs.outage import Outage
from jobs.redis_link import REDIS_FAILURES
from jobs.redis_pipeline import RedisPipeline
from jobs.stream_log import LOOK


class Signals:
    """Gives hints; never raises."""

    def __init__(self, redis: RedisPipeline) -> None:
        self._redis = redis
        self._outage = Outage("hints are lost")
        self.failures = 0
        """How many hints could not be given."""

    async def cancel(self, generation_id: str) -> None:
        """Asks the worker that runs it to look at its cancellation now."""
        await self._publish(keys.CONTROL, f"cancel {generation_id}".encode())

    async def check_log(self, generation_id: str) -> None:
        """Asks the worker that runs it to look whether Redis still has its log."""
        await self._publish(keys.CONTROL, f"check {generation_id}".encode())

    async def look(self, generation_id: str) -> None:
        """Asks every live reader of it to read the row again: something was committed."""
        await self._publish(keys.live(generation_id), LOOK)

    async def changed(self, owner: str, generation: Generation) -> None:
        """Tells the owner's feed of a committed change."""
        await self._publish(keys.feed(owner), encode(generation.without_text()))

    async def deleted(self, owner: str, deletion: Deletion) -> None:
        """Tells the owner's feed of a committed deletion."""
        await self._publish(keys.feed(owner), deletion.message())

    async def _publish(self, channel: str, payload: bytes) -> None:
        try:
            await self._redis.call("PUBLISH", channel, payload)
        except REDIS_FAILURES as error:
            self.failures += 1
            self._outage.lasts(f"{type(error).__name__}: {error}")
        else:
            self._outage.over()
