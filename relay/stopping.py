"""All streams are cut when the server stops: one task waits for that, not one for each of them."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio


class Stopping:
    """The streams to be cut; there is a task only while any is open."""

    def __init__(self) -> None:
        self._cuts: set[anyio.CancelScope] = set()
        self._waiting: asyncio.Task[None] | None = None

    def add(self, cut: anyio.CancelScope, until_stopped: Callable[[], Awaitable[None]]) -> None:
        """Cuts this stream when the server stops, which is when `until_stopped` returns."""
        self._cuts.add(cut)
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._wait(until_stopped), name="stopping")

    def discard(self, cut: anyio.CancelScope) -> None:
        """Lets go of a stream that is over."""
        self._cuts.discard(cut)
        if not self._cuts and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _wait(self, until_stopped: Callable[[], Awaitable[None]]) -> None:
        await until_stopped()
        for cut in tuple(self._cuts):
            cut.cancel()
