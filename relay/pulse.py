"""One tick for all streams of this relay: deadlines are compared, not timed one by one.

A process-wide tick costs less than a timer a stream, and its comparisons of monotonic times can be
tested with a frozen clock, which asyncio's own timeouts would not see. Streams lie in slots of time
by their deadlines, so that a tick looks at those that may be due, however many are open, and none
comes before the first slot: to wake a process that rests costs more than to compare.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from jobs.database import Database
from jobs.errors import Unavailable
from jobs.store.standings import AT_WORK, Standing, read_unusual
from relay.stopping import Stopping

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
"""Between two ticks at least, while a deadline is near."""
REST_SECONDS = 1.0
"""Between two ticks at most."""
SLOT_SECONDS = 0.25
LOOK_AGAIN_SECONDS = 1.0
"""While the database is slow to say who is at work, other deadlines are late by no more."""


class Ticking(Protocol):
    """Whatever has a deadline, as the pulse sees it."""

    def due_at(self) -> float:
        """The monotonic time before which `tick` would find nothing."""

    def tick(self, now: float) -> "Beating | None":
        """Compares its deadlines with this monotonic time; itself when a heartbeat is due."""


class Beating(Ticking, Protocol):
    """A generation's stream that a heartbeat is due for."""

    generation_id: str

    def heartbeat(self, found: Standing | None) -> None:
        """Sends a heartbeat; None is told when the database could not tell."""


class Pulse:
    """The streams that are open, and the one loop that keeps their time."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        # In which slot of time each stream lies.
        self._streams: dict[Ticking, int] = {}
        self._slots: dict[int, dict[Ticking, None]] = {}
        self._reading: asyncio.Task[None] | None = None
        # Set by a deadline that comes before the next tick.
        self._sooner = asyncio.Event()
        self._next_at = 0.0
        self.stopping = Stopping()
        """Which streams are cut when the server stops."""
        self.cut_off = 0
        """How many readers were cut off since they took nothing for too long."""

    @property
    def streams(self) -> int:
        """How many look at the time: a stream, and its response while that is being sent."""
        return len(self._streams)

    def add(self, stream: Ticking) -> None:
        """Keeps time for a stream from now on."""
        self._place(stream, stream.due_at())

    def moved(self, stream: Ticking) -> None:
        """Takes note that a stream's deadline has moved, if it is known."""
        if stream in self._streams:
            self.add(stream)

    def discard(self, stream: Ticking) -> None:
        """Lets go of a stream."""
        slot = self._streams.pop(stream, None)
        if slot is not None:
            self._leave(stream, slot)

    def _place(self, stream: Ticking, at: float) -> None:
        slot = _slot(at)
        before = self._streams.get(stream)
        if slot != before:
            if before is not None:
                self._leave(stream, before)
            self._streams[stream] = slot
            self._slots.setdefault(slot, {})[stream] = None
            if at < self._next_at:
                self._sooner.set()

    def _leave(self, stream: Ticking, slot: int) -> None:
        others = self._slots[slot]
        del others[stream]
        if not others:
            del self._slots[slot]

    async def run(self) -> None:
        """Ticks until cancelled."""
        try:
            while True:
                await self._rest()
                self.tick()
        finally:
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.wait([self._reading])

    async def _rest(self) -> None:
        now = time.monotonic()
        first = min(self._slots, default=_slot(now + REST_SECONDS)) * SLOT_SECONDS
        pause = min(max(first - now, TICK_SECONDS), REST_SECONDS)
        self._next_at = now + pause
        self._sooner.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._sooner.wait()

    def tick(self) -> None:
        """Lets all that may be due look at the time; those with a heartbeat share a statement.

        While one statement is under way no second is begun: who is due stays due.
        """
        now = time.monotonic()
        reads = self._reading is None or self._reading.done()
        due: list[Beating] = []
        reached = [slot for slot in self._slots if slot <= _slot(now)]
        for stream in [one for slot in reached for one in self._slots[slot]]:
            one = stream.tick(now)
            if one is None or not reads:
                self.moved(stream)
            elif stream in self._streams:
                due.append(one)
                # Its heartbeat moves it on; only one that takes long is looked at again.
                self._place(stream, now + LOOK_AGAIN_SECONDS)
        if due:
            self._reading = asyncio.create_task(self._heartbeats(due), name="heartbeats")

    async def _heartbeats(self, due: Sequence[Beating]) -> None:
        unusual: dict[str, Standing | None] = {}
        usual: Standing | None = AT_WORK
        try:
            unusual = await read_unusual(
                self._database,
                {stream.generation_id for stream in due},
                lease_seconds=self._lease_seconds,
            )
        except Unavailable as error:
            log.warning("heartbeats go out without the row", extra={"reason": str(error)})
            usual = None
        for stream in due:
            # It may have been closed meanwhile; what it is told then goes nowhere.
            stream.heartbeat(unusual.get(stream.generation_id, usual))
            self.moved(stream)


def _slot(at: float) -> int:
    return int(at // SLOT_SECONDS)


@asynccontextmanager
async def open_pulse(database: Database, lease_seconds: float) -> AsyncIterator[Pulse]:
    """A pulse that beats until the block ends."""
    pulse = Pulse(database, lease_seconds)
    task = asyncio.create_task(pulse.run(), name="pulse")
    task.add_done_callback(_report)
    try:
        yield pulse
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the pulse stopped: streams have no deadlines any more", exc_info=error)
