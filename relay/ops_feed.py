"""An operator's feed: how the system stands, again and again, from readings that all viewers share.

No queue and no backlog: a viewer that is slow gets the newest reading when it can take one.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec

from jobs.generation import encode, rfc3339
from jobs.store.breakers import Breaker
from jobs.store.overview import Standing, WorkerFigures
from relay.figures import TICK_SECONDS, Figures, FiguresReader
from relay.pulse import Pulse
from relay.rates import Rates
from relay.stream_slots import StreamSlots


class SystemFigures(msgspec.Struct, frozen=True):
    """`figures`: how the whole system stands, and the open streams of this relay by kind.

    What the database tells is null while it is away, `rates` apart, which are the last ones known;
    `queue_depth` is null while Redis is. Times within are milliseconds since the epoch.
    """

    at: str
    database: bool
    redis: bool
    generations: Standing | None
    workers: tuple[WorkerFigures, ...] | None
    breakers: tuple[Breaker, ...] | None
    queue_depth: int | None
    streams: dict[str, int]
    rates: Rates


class OpsFeed:
    """One viewer. `close()` it, whether or not it was ever iterated.

    A reading is sent at once, then each tick, or each `heartbeat_seconds` where that is shorter.
    """

    __slots__ = ("_due", "_every", "_figures", "_pulse", "_sent_at", "_slots")

    def __init__(
        self, figures: FiguresReader, slots: StreamSlots, pulse: Pulse, heartbeat_seconds: float
    ) -> None:
        self._figures = figures
        self._slots = slots
        self._pulse = pulse
        self._every = min(TICK_SECONDS, heartbeat_seconds)
        self._sent_at = time.monotonic()
        self._due = asyncio.Event()
        self._due.set()
        pulse.add(self)

    def due_at(self) -> float:
        """When there is something to send without a change (Ticking)."""
        return self._sent_at + self._every

    def tick(self, now: float) -> None:
        """Compares its deadline with the time; it never wants a row (Ticking)."""
        if now - self._sent_at >= self._every:
            self._due.set()

    def close(self) -> None:
        """Stops looking at the time; again does nothing."""
        self._pulse.discard(self)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Readings, for as long as they are wanted."""
        while True:
            await self._due.wait()
            figures = await self._figures.figures()
            self._sent_at = time.monotonic()
            self._due.clear()
            told = _told(figures, self._slots.open_by_kind())
            yield b"event: figures\ndata: %s\n\n" % encode(told)


def _told(figures: Figures, streams: dict[str, int]) -> SystemFigures:
    overview = figures.overview
    return SystemFigures(
        at=rfc3339(time.time_ns() // 1_000_000),
        database=overview is not None,
        redis=figures.queue_depth is not None,
        generations=None if overview is None else overview.standing,
        workers=None if overview is None else overview.workers,
        breakers=None if overview is None else overview.breakers,
        queue_depth=figures.queue_depth,
        streams=streams,
        rates=figures.rates,
    )
