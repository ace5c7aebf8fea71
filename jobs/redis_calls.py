"""Calls to Redis over a connection of their own: one at a time, each bounded in time.

A call over redis-py's pool costs some 100 µs more, and that much again for every hundred arguments;
a flush of many logs has a thousand of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.redis_link import CALL_TIMEOUT_SECONDS
from jobs.redis_wire import Address, Wire, failure, open_wire


class RedisCalls:
    """Open it with `open_calls`. It connects when it is first called, and anew after a failure."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._wire: Wire | None = None
        self._reply: asyncio.Future[Any] | None = None
        self._turn = asyncio.Lock()
        self.connections = 0
        """How many connections were made so far."""

    async def call(self, *command: bytes | str | int) -> Any:
        """The reply of Redis; raises REDIS_FAILURES within CALL_TIMEOUT_SECONDS.

        After any failure but a refusal the outcome is unknown, and the connection is given up.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                    reply = await self._ask(command)
            except BaseException:
                # What was asked may still be answered: that answer must meet no other question.
                self.drop()
                raise
        if isinstance(reply, hiredis.ReplyError):
            raise failure(reply)
        return reply

    async def _ask(self, command: tuple[bytes | str | int, ...]) -> Any:
        if self._wire is None:
            self._wire = await open_wire(self._address, self._answer, self._lost)
            self.connections += 1
        self._reply = asyncio.get_running_loop().create_future()
        self._wire.send(*command)
        return await self._reply

    def drop(self) -> None:
        """Gives up the connection; the next call makes another."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    def _answer(self, reply: Any) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def _lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(RedisConnectionError("the connection was lost"))


@asynccontextmanager
async def open_calls(address: Address) -> AsyncIterator[RedisCalls]:
    """Calls to this server until the block ends."""
    calls = RedisCalls(address)
    try:
        yield calls
    finally:
        calls.drop()
