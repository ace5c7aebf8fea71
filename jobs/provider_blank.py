"""A request that is made before it is known what it asks: what the SDK does for one takes 0.8 ms.

The SDK makes it, headers and all, and it waits below the SDK, in the transport, for its body.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """What an answer is: something that is read, and closed."""

    async def close(self) -> None:
        """Ends it."""


Answer = TypeVar("Answer", bound=Closable)

REFILL_SECONDS = 0.05
"""How long after one was sent the next is made: its first words come before."""

_body: ContextVar[Awaitable[bytes] | None] = ContextVar("body", default=None)


async def body_of_blank() -> bytes | None:
    """Waits for the body of the request that is being sent; None where it has one of its own."""
    waiting = _body.get()
    return None if waiting is None else await waiting


class Blanks(Generic[Answer]):
    """Has one such request at hand, made by `post`; `close` drops it."""

    def __init__(self, post: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._post = post
        # What it logs is nobody's: not of the generation that the one before was sent for.
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._made: tuple[asyncio.Task[Answer], asyncio.Future[bytes]] | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._make()

    async def send(self, body: bytes) -> Answer:
        """The answer to this body; makes the request now where none is at hand.

        Raises what `post` raises. A caller that is cancelled cancels the request.
        """
        made, self._made = self._made, None
        if made is None or made[0].done():
            made = self._new()
        posting, waiting = made
        waiting.set_result(body)
        if self._refill is None:
            self._refill = self._loop.call_later(REFILL_SECONDS, self._make)
        try:
            return await posting
        except asyncio.CancelledError:
            # It may have come in the turn before: then nobody else knows of it.
            if posting.done() and not posting.cancelled() and posting.exception() is None:
                await posting.result().close()
            raise

    def close(self) -> None:
        """Drops what is at hand, and makes no more."""
        if self._refill is not None:
            self._refill.cancel()
        if self._made is not None:
            self._made[0].cancel()
            self._made = None

    def _make(self) -> None:
        self._refill = None
        if self._made is None:
            self._made = self._new()

    def _new(self) -> tuple[asyncio.Task[Answer], asyncio.Future[bytes]]:
        waiting = self._loop.create_future()
        context: Context = self._context.copy()
        context.run(_body.set, waiting)
        posting = self._loop.create_task(self._post(), context=context)
        # What keeps one from being made keeps the next from it as well, whose sender hears of it.
        posting.add_done_callback(lambda done: done.cancelled() or done.exception())
        return posting, waiting
