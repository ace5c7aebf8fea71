"""Many callers over one connection to Redis: each writes at once, and replies come in order.

For what every start and every reader asks: through redis-py's pool a call costs five times as much.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.redis_link import CALL_TIMEOUT_SECONDS
from jobs.redis_wire import Address, Wire, failure, open_wire

TURN_SECONDS = 1.0
SILENT_SECONDS = 1.0
"""After a call that was not answered in time all others fail at once for so long, give or take a
quarter: whoever has many to make waits for a server that is frozen once, and not each time."""
CALLERS_AT_ONCE = 1000
"""So many small calls are answered long before the first of them would be given up."""

Command = tuple[bytes | str | int, ...]


class _Asked:
    """What one caller waits for."""

    __slots__ = ("answer", "count", "replies")

    def __init__(self, count: int) -> None:
        self.count = count
        self.replies: list[Any] = []
        self.answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()


class RedisPipeline:
    """Open it with `open_pipeline`. It connects when first asked, and anew after a failure."""

    def __init__(self, address: Address, at_once: int) -> None:
        """`at_once` callers have commands under way; more of them wait for their turn."""
        self._address = address
        self._turns = asyncio.Semaphore(at_once)
        self._wire: Wire | None = None
        self._asked: deque[_Asked] = deque()
        self._opening = asyncio.Lock()
        self._silent_until = 0.0
        self.connections = 0
        """How many connections were made so far."""

    async def call(self, *command: bytes | str | int) -> Any:
        """The reply to one command; as `run`."""
        return (await self.run(command))[0]

    async def run(self, *commands: Command) -> list[Any]:
        """The replies to these commands, sent in one go; they are no transaction by themselves.

        Raises REDIS_FAILURES within TURN_SECONDS and CALL_TIMEOUT_SECONDS: the first refusal once
        all replies came; after a failure on the way the outcome is unknown, and the connection is
        given up. At once within SILENT_SECONDS of a call that was not answered.
        """
        if time.monotonic() < self._silent_until:
            raise TimeoutError("Redis did not answer just now")
        if self._turns.locked():
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                replies = await self._ask(commands)
        except TimeoutError:
            # It is silent: whoever asks next is not to wait for it as well.
            self.drop()
            self._silent_until = time.monotonic() + SILENT_SECONDS * random.uniform(0.75, 1.25)
            raise
        finally:
            self._turns.release()
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise failure(reply)
        return replies

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        wire = self._wire or await self._open()
        asked = _Asked(len(commands))
        self._asked.append(asked)
        for command in commands:
            wire.send(*command)
        # A caller that is cancelled leaves its place, for the replies that are yet to come.
        return await asked.answer

    async def _open(self) -> Wire:
        async with self._opening:
            if self._wire is None:
                self._wire = await open_wire(self._address, self._answer, self._lost)
                self.connections += 1
            return self._wire

    def drop(self) -> None:
        """Gives up the connection; who waits for it fails, and the next call makes another."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        asked, self._asked = self._asked, deque()
        for one in asked:
            if not one.answer.done():
                one.answer.set_exception(RedisConnectionError("the connection was lost"))

    def _answer(self, reply: Any) -> None:
        if not self._asked:
            return
        asked = self._asked[0]
        asked.replies.append(reply)
        if len(asked.replies) == asked.count:
            self._asked.popleft()
            if not asked.answer.done():
                asked.answer.set_result(asked.replies)

    def _lost(self, wire: Wire) -> None:
        if wire is self._wire:
            self.drop()


@asynccontextmanager
async def open_pipeline(
    address: Address, at_once: int = CALLERS_AT_ONCE
) -> AsyncIterator[RedisPipeline]:
    """Calls to this server until the block ends."""
    pipeline = RedisPipeline(address, at_once)
    try:
        yield pipeline
    finally:
        pipeline.drop()
