"""All streams are cut when the server stops: one task waits for that, not one for each of them."""

import asyncio

import anyio
from sse_starlette import EventSourceResponse


class Stopping:
    """The streams to be cut. sse-starlette knows when; there is a task only while any is open."""

    def __init__(self) -> None:
        self._cuts: set[anyio.CancelScope] = set()
        self._waiting: asyncio.Task[None] | None = None

    def add(self, cut: anyio.CancelScope) -> None:
        """Cuts this stream when the server stops."""
        self._cuts.add(cut)
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._wait(), name="stopping")

    def discard(self, cut: anyio.CancelScope) -> None:
        """Lets go of a stream that is over."""
        self._cuts.discard(cut)
        if not self._cuts and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _wait(self) -> None:
        await EventSourceResponse._listen_for_exit_signal()
        for cut in tuple(self._cuts):
            cut.cancel()
