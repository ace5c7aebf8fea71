"""Lets an answer happen in time: pace, faults, and an end as soon as the client leaves."""

import asyncio
from collections.abc import Coroutine, Iterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .ledger import Ledger
from .playback import Ending, Step

KEEP_ALIVE_SECONDS = 0.1
"""Between two comments of an answer that is nothing but comments."""

BATCH_BYTES = 8192
"""Of an answer without pauses, written at once."""


class Pacer:
    """Lets time pass by tokens: `pace` a second on average, with a jitter that `seed` settles."""

    def __init__(self, pace: int, delay_ms: int, seed: int) -> None:
        self._interval = 1 / pace if pace else 0.0
        self._state = seed
        self._due = asyncio.get_running_loop().time() + delay_ms / 1000

    @property
    def pauses(self) -> bool:
        """Whether there is time between tokens."""
        return self._interval > 0

    async def wait(self, tokens: int) -> None:
        """Returns when the time of so many more tokens has passed; never early, no drift."""
        for _ in range(tokens if self.pauses else 0):
            self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
            self._due += self._interval * (0.75 + 0.5 * self._state / 0x7FFFFFFF)
        left = self._due - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)


class PlayedResponse(Response):
    """A response whose body is played step by step."""

    def __init__(
        self,
        steps: Iterator[Step | Ending],
        *,
        pacer: Pacer,
        ledger: Ledger,
        closing: asyncio.Event,
        comment: bytes,
        chunk_bytes: int,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self._steps = steps
        self._pacer = pacer
        self._ledger = ledger
        self._closing = closing
        self._comment = comment
        self._chunk_bytes = chunk_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Plays the body; returns without ending it when the script drops the connection."""
        with self._ledger.answering():
            played = await _first_of(self._play(send), _disconnected(receive), _set(self._closing))
            if played == 1:
                self._ledger.client_left()

    async def _play(self, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # The headers go out by themselves, so that a silent answer has visibly begun.
        await self._pacer.wait(0)
        batch = bytearray()
        for step in self._steps:
            if isinstance(step, Ending):
                await self._write(send, batch)
                await self._end(send, step)
                return
            if self._pacer.pauses:
                await self._pacer.wait(step.tokens)
            batch += step.data
            if self._pacer.pauses or self._chunk_bytes or len(batch) >= BATCH_BYTES:
                await self._write(send, batch)
        await self._write(send, batch)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, batch: bytearray) -> None:
        data = bytes(batch)
        batch.clear()
        size = self._chunk_bytes or len(data) or 1
        for at in range(0, len(data), size):
            chunk = data[at : at + size]
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # Sending waits for nobody; without this a fast answer would starve all others.
            await asyncio.sleep(0)

    async def _end(self, send: Send, ending: Ending) -> None:
        """Silence and comments last until the client leaves; a drop leaves the body unfinished."""
        match ending:
            case Ending.SILENCE:
                await asyncio.Event().wait()
            case Ending.COMMENTS:
                while True:
                    body = self._comment
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(KEEP_ALIVE_SECONDS)
            case Ending.DROP:
                return


async def _first_of(*work: Coroutine[None, None, None]) -> int:
    """Runs all until one has ended, cancels the others; the index of the one that ended."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(index for index, task in enumerate(tasks) if task.done())
        tasks[ended].result()
        return ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()
