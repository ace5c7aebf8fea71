"""Events as a response: cut off when its reader takes nothing, never ended early, never leaked.

sse-starlette knows when the server stops, and the stream is cut then: cut, not ended, so that no
reader takes it for the whole (protocol §5). The rest is done here: its timer a send would cost more
than all else that a delivery takes, and its tasks a stream more memory than all else that is held.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Protocol

import anyio
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from jobs.errors import NotFound, Unavailable
from jobs.events import retry_frame
from relay.direct_write import DirectWrite, direct_write
from relay.pulse import Pulse
from relay.undecided import RETRY_MILLISECONDS

log = logging.getLogger(__name__)

SEND_TIMEOUT_SECONDS = 25.0
"""A reader that takes nothing for so long is cut off; it resumes with its cursor."""
RETRY_RANGE_MILLISECONDS = (500, 1500)


class Source(Protocol):
    """What a stream's bytes come from."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """Chunks of whole events, an empty one where nothing is to be said yet.

        Raises Unavailable, and NotFound for what is gone.
        """

    def close(self) -> None:
        """Lets go of what it holds; again does nothing."""


class EventStream(EventSourceResponse):
    """A source's events as a response; closes the source even if it was never iterated.

    `reconnects`: its readers are EventSources, which are told when to come back; other clients
    take a `retry` without data for an event. `write_through` is told once the body has begun how
    to write past it, where the server offers that; what is written so follows all chunks that
    `events` gave.
    """

    def __init__(
        self,
        source: Source,
        pulse: Pulse,
        headers: Mapping[str, str] | None = None,
        *,
        reconnects: bool = True,
        write_through: Callable[[DirectWrite], None] | None = None,
    ) -> None:
        self._source = source
        self._pulse = pulse
        self._events = source.events()
        self._reconnects = reconnects
        self._write_through = write_through
        self._direct: DirectWrite | None = None
        self._cut = anyio.CancelScope()
        # Since when a chunk waits for its reader; None while there is nothing to take.
        self._sending_since: float | None = None
        super().__init__(
            self._events, headers={"Content-Type": "text/event-stream", **(headers or {})}, ping=0
        )

    def due_at(self) -> float:
        """What begins to be sent later is due later still (Ticking)."""
        since = self._sending_since
        return (time.monotonic() if since is None else since) + SEND_TIMEOUT_SECONDS

    def tick(self, now: float) -> None:
        """Cuts the stream off when its reader has taken nothing for too long (Ticking)."""
        since = self._sending_since
        if since is None or now - since < SEND_TIMEOUT_SECONDS or self._cut.cancel_called:
            return
        self._pulse.cut_off += 1
        log.info("a reader took nothing and is cut off", extra={"seconds": round(now - since)})
        self._cut.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events; returns with the body unfinished where the reader is to come back."""
        if scope["method"] == "HEAD":
            self._source.close()
            await super().__call__(scope, receive, send)
            return
        self._pulse.add(self)
        self._pulse.stopping.add(self._cut, self._listen_for_exit_signal)
        self._direct = direct_write(scope)
        # In place of sse-starlette's three tasks, which hold 10 KiB while a stream is open.
        left = asyncio.create_task(self._leaves(receive))
        left.add_done_callback(self._has_left)
        try:
            await self._stream_response(send)
        finally:
            left.cancel()
            self._pulse.stopping.discard(self._cut)
            self._pulse.discard(self)
            self._source.close()

    async def _leaves(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def _has_left(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            if (error := task.exception()) is not None:
                log.warning("a reader can't be heard any more", exc_info=error)
            self._cut.cancel()

    async def _stream_response(self, send: Send) -> None:
        with self._cut:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            # On their way; else they would be held for as long as the stream is open.
            self.raw_headers = []
            if self._write_through is not None and self._direct is not None:
                self._write_through(self._direct)
            try:
                await self._send_events(send)
            except (NotFound, Unavailable):
                # The body stays unfinished, so that the server aborts the connection; who comes
                # back hears what is the matter.
                if self._reconnects:
                    await self._send_chunk(send, retry_frame(RETRY_MILLISECONDS))
                return
            self.active = False
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        opening = b""
        if self._reconnects:
            opening = retry_frame(random.randint(*RETRY_RANGE_MILLISECONDS))
        # Closed here at every end, not whenever it is collected.
        async with aclosing(self._events) as events:
            async for chunk in events:
                if opening:
                    chunk, opening = opening + chunk, b""
                if chunk:
                    await self._send_chunk(send, chunk)

    async def _send_chunk(self, send: Send, chunk: bytes) -> None:
        self._sending_since = time.monotonic()
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sending_since = None
