"""Calls to Redis over a connection of their own: one at a time, each bounded in time.

A call over redis-py's pool costs some 100 µs more, and that much again for every hundred arguments;
a flush of many logs has a thousand of them. Answers come by callback, since a task that wakes for
one, with a timer of its own, costs more than the call.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.redis_link import CALL_TIMEOUT_SECONDS
from jobs.redis_wire import Address, Wire, open_wire

Take = Callable[[list[Any] | Exception], None]
"""Gets the replies of Redis, refusals as hiredis.ReplyError among them, or why there are none."""


class RedisCalls:
    """Open it with `open_calls`. It connects when it is first called, and anew after a failure."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._take: Take | None = None
        self._wanted = 0
        self._replies: list[Any] = []
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.connections = 0
        """How many connections were made so far."""

    @property
    def connected(self) -> bool:
        """Whether the next call goes over the connection of the one before."""
        return self._wire is not None

    def ask(self, commands: bytes, count: int, take: Take) -> None:
        """Sends so many packed commands; `take` is called once, within CALL_TIMEOUT_SECONDS.

        It gets one of REDIS_FAILURES where the outcome is unknown; the connection is given up then.
        Only to be called when the call before was answered.
        """
        assert self._take is None, "one call at a time"
        self._take, self._wanted, self._replies = take, count, []
        self._until = self._loop.time() + CALL_TIMEOUT_SECONDS
        if self._timer is None:
            self._timer = self._loop.call_later(CALL_TIMEOUT_SECONDS, self._look)
        if self._wire is not None:
            try:
                self._wire.write(commands)
            except Exception as error:
                # Left as asked, it would stand in the way of every call that follows.
                self._fail(error)
        else:
            self._connecting = self._loop.create_task(self._connect(commands), name="calls")

    def reconnect(self) -> None:
        """Gives up the connection, on which an answer made no sense: the next call makes another.

        Only to be called when the call before was answered.
        """
        self._drop()

    def close(self) -> None:
        """Gives up the connection and the call under way, of whose answer nobody will hear."""
        self._take = None
        self._drop()
        if self._timer is not None:
            self._timer.cancel()

    async def _connect(self, commands: bytes) -> None:
        try:
            wire = await open_wire(self._address, self._answer, self._lost)
        except Exception as error:
            self._connecting = None
            self._fail(error)
        else:
            self._connecting = None
            self._wire = wire
            self.connections += 1
            wire.write(commands)

    def _answer(self, reply: Any) -> None:
        self._replies.append(reply)
        if len(self._replies) == self._wanted and self._take is not None:
            take, self._take = self._take, None
            take(self._replies)

    def _lost(self, wire: Wire) -> None:
        if wire is self._wire:
            self._wire = None
            self._fail(RedisConnectionError("the connection was lost"))

    def _look(self) -> None:
        # One timer for many calls: it follows lazily, when it fires.
        self._timer = None
        if self._take is None:
            return
        left = self._until - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._fail(TimeoutError("Redis did not answer in time"))

    def _fail(self, error: Exception) -> None:
        take, self._take = self._take, None
        # What was asked may still be answered: that answer must meet no other question.
        self._drop()
        if take is not None:
            take(error)

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None


@contextmanager
def open_calls(address: Address) -> Iterator[RedisCalls]:
    """Calls to this server until the block ends."""
    calls = RedisCalls(address)
    try:
        yield calls
    finally:
        calls.close()
