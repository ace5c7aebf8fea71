"""What lies between a reader and now: from the log, else rebuilt from the row, under the same ids.

Nothing is skipped, repeated or made up. A cursor is judged before anything follows it; a log that
lacks what it should hold is never served but waited for, since its worker seeds it anew.
"""

import time
from collections.abc import Awaitable, Callable
from itertools import chain, islice

from jobs.cursor import Cursor
from jobs.errors import NotFound, Unavailable
from jobs.events import (
    Reset,
    ResetReason,
    Status,
    frame,
    frame_cursor,
    terminal_frame,
)
from jobs.generation import State, encode
from jobs.redis_link import REDIS_FAILURES
from jobs.store.reads import StreamRow, read_replay_source, read_stream_row
from jobs.store.standings import WorkerSign
from jobs.stream_log import PAGE, LogPage, Message
from jobs.timeline import rebuild, unpack
from relay.held import Held
from relay.read_ahead import ReadAhead
from relay.sources import Sources

RETRY_SECONDS = 1.0


class Past:
    """One reader's place in a generation's events, moved on by `next` and by what comes live.

    `attempt` and `seq` say up to where it has everything; seq 0 is before the first event. Without
    a cursor that place is the start of the newest attempt. `known` is where it stood just now, if
    that is known: the row of one that has ended is never read again, that of one that runs only
    where its log tells otherwise. Neighbouring tokens come as one event if `merged`.
    """

    __slots__ = (
        "_ahead",
        "_end",
        "_held",
        "_known",
        "_known_before",
        "_log_serves",
        "_lost_until",
        "_placed",
        "_row_read",
        "_sources",
        "_tail",
        "_told",
        "_unjudged",
        "again_at",
        "attempt",
        "generation_id",
        "over",
        "seq",
        "state",
        "worker",
    )

    def __init__(
        self,
        sources: Sources,
        generation_id: str,
        cursor: Cursor | None = None,
        known: StreamRow | None = None,
        *,
        merged: bool = True,
    ) -> None:
        self.generation_id = generation_id
        self.attempt = 0
        self.seq = 0
        self.state = State.QUEUED
        self.worker: WorkerSign = "none"
        self.over = False
        """The terminal event was given, or had been seen before."""
        self.again_at: float | None = None
        """The monotonic time at which to look again; None when an event will tell."""
        self._sources = sources
        self._known = known
        # The first pages of the log, asked for before the row was known.
        self._ahead: ReadAhead | None = None
        # Whether the row was read before it was listened for: what came between is in the log.
        self._known_before = False
        # The cursor that the reader came with, until an event is found that has this very id.
        self._unjudged = cursor
        self._placed = False
        self._end: Cursor | None = None
        # Frames from `seq` + 1 on, read and not given yet.
        self._held = Held(merged=merged)
        self._row_read = self._told = False
        self._log_serves = True
        # Until when a log that lacks events is waited for, and where its worker said that it ends.
        self._lost_until: float | None = None
        self._tail: int | None = None

    @property
    def waits(self) -> bool:
        """Whether live events can't follow yet; `hear` them.

        The log lacks events that it should hold, or the cursor could not be judged so far.
        """
        return self._lost_until is not None or self._unjudged is not None

    def read_ahead(self, joined: bool, join: Callable[[], Awaitable[bool]]) -> None:
        """Begins to read the log; `know` follows. Its reader `joined`, or does so by `join`."""
        log = self._sources.stream_log
        self._ahead = ReadAhead(log, self.generation_id, self._unjudged, joined, join)

    def know(self, row: StreamRow) -> None:
        """Takes where it stood just now, before the first `next`."""
        missed = False
        if self._ahead is not None:
            missed = self._ahead.missed
            self._ahead.read_on()
        self._known = None if missed and not row.state.terminal else row

    async def presume(self, owner: str) -> bool:
        """Whether the log that is read ahead shows that it runs: `learn` its row later, then."""
        assert self._ahead is not None
        attempt = await self._ahead.running()
        if attempt is None:
            return False
        running, sign = State.RUNNING, self.worker
        self.know(StreamRow(self.generation_id, owner, running, attempt, None, None, sign))
        return True

    def learn(self, row: StreamRow) -> bool:
        """Takes the row in whose place one was presumed; whether `look_again` is due for it."""
        if row.state.terminal:
            self._known = row
            return True
        if not self._placed:
            # Unless it was doubted meanwhile, and is read anew.
            self._known = self._known and row
            return False
        if row.attempt == self.attempt:
            self.state, self.worker = row.state, row.worker
        return row.attempt > self.attempt

    def miss(self) -> None:
        """Hears that something may have been missed up to now."""
        if self._ahead is not None:
            self._ahead.miss()

    def doubt_row(self) -> None:
        """Hears that the row has changed since; what has ended stays so."""
        if self._known is not None and not self._known.state.terminal:
            self._known = None

    def close(self) -> None:
        """Lets go of what is being read; again does nothing."""
        if self._ahead is not None:
            self._ahead.close()

    def look_again(self) -> None:
        """Makes `next` start with the row again."""
        self._row_read = self._told = False
        self._log_serves = True
        self.again_at = None

    def hear(self, message: Message) -> None:
        """Takes from a live message where the worker says that the log ends."""
        if message.attempt == self.attempt and message.last < message.first:
            self._tail = message.last

    def queued(self) -> bytes:
        """The event that opens every generation, `0.1.0`."""
        self._placed = True
        self.attempt, self.seq = 0, 1
        return frame(Cursor(0, 1, 0), "status", encode(Status(State.QUEUED, 0)))

    async def next(self) -> bytes:
        """The next events in one chunk; empty once nothing more can be told for now.

        Raises Unavailable when the database is needed and away, NotFound without such a row.
        """
        while not self.over:
            if self._held:
                chunk, count, self.over = self._held.take()
                self.seq += count
                if chunk:
                    return chunk
            elif self._told:
                return b""
            elif chunk := await self._look():
                return chunk
        return b""

    async def _look(self) -> bytes:
        if not self._row_read:
            self._row_read = True
            return await self._read_row()
        if self.attempt == 0 and self.seq == 0:
            return self.queued()
        if self._end is not None:
            return await self._read_rest(self._end)
        if self.attempt > 0:
            return await self._read_log()
        self._told = True
        return b""

    # The row.

    async def _read_row(self) -> bytes:
        row = self._take_known()
        if row is None:
            try:
                row = await read_stream_row(
                    self._sources.database,
                    self.generation_id,
                    lease_seconds=self._sources.lease_seconds,
                )
            except Unavailable:
                if not self._placed:
                    raise
                # Whose place is known is served from the log meanwhile: tokens go on streaming.
                self.again_at = time.monotonic() + RETRY_SECONDS
                return b""
        if row is None:
            raise NotFound(self.generation_id)
        self.state, self.worker = row.state, row.worker
        if row.state.terminal:
            self._end = end_of(row)
        if not self._placed:
            self._placed = True
            return self._place(row.attempt)
        if row.attempt > self.attempt:
            self._move_to(row.attempt)
        return b""

    def _take_known(self) -> StreamRow | None:
        known = self._known
        if known is not None and known.state.terminal:
            return known
        self._known = None
        # One that waits has no log yet that could tell what became of it since.
        if known is None or known.attempt == 0:
            return None
        self._known_before = True
        return known

    def _place(self, newest: int) -> bytes:
        cursor, self._unjudged = self._unjudged, None
        self.attempt = newest
        if cursor is None or 0 <= cursor.attempt < newest:
            return b""
        if cursor.attempt != newest or (cursor.seq == 0 and cursor.offset):
            return self._reset("unknown_cursor")
        self.seq = cursor.seq
        if newest > 0:
            self._unjudged = cursor if cursor.seq else None
        elif cursor not in (Cursor(0, 0, 0), Cursor(0, 1, 0), self._end):
            return self._reset("unknown_cursor")
        return b""

    def _move_to(self, attempt: int) -> None:
        self.attempt, self.seq = attempt, 0
        self._unjudged = self._lost_until = self._tail = None

    def _reset(self, reason: ResetReason) -> bytes:
        self._move_to(self.attempt)
        return frame(Cursor(self.attempt, 0, 0), "reset", encode(Reset(reason, self.attempt)))

    # A generation that runs.

    async def _read_log(self) -> bytes:
        cursor = self._unjudged
        try:
            page = await self._read_page()
            if self._known_before and (page is None or not page.frames):
                # The log has nothing to say of what came since the row was read.
                self._known_before = self._row_read = False
                return b""
            if page is None or (cursor is not None and not page.frames):
                return await self._wait_for_log()
            found = cursor if cursor is None else await self._id_of_first(page)
        except REDIS_FAILURES:
            self.again_at = time.monotonic() + RETRY_SECONDS
            self._told = True
            return b""
        self._lost_until = self._tail = None
        if found != cursor:
            return self._reset("unknown_cursor")
        frames = page.frames if cursor is None else page.frames[1:]
        self._unjudged = None
        # A page that is not full reached the end, and what comes later is announced; one that was
        # read ahead is followed by the rest.
        full = len(page.frames) >= PAGE or self._ahead is not None
        self._told = self._held.hold(frames) and not full
        self._known_before = False
        return b""

    async def _read_page(self) -> LogPage | None:
        """What follows, beginning with the cursor's own event while that is to be judged."""
        first = self.seq + (self._unjudged is None)
        if (ahead := self._ahead) is not None:
            page = await ahead.take(self.attempt, first)
            if not ahead.left:
                self._ahead = None
            if page is not None:
                return page
        return await self._sources.stream_log.read(self.generation_id, self.attempt, first)

    async def _id_of_first(self, page: LogPage) -> Cursor | None:
        """The id of the page's first event; one that was not kept carries the offset before it."""
        if page.frames[0]:
            return frame_cursor(page.frames[0])
        first = page.first
        while first > 1:
            upto, first = first, max(1, first - PAGE)
            before = await self._sources.stream_log.read(self.generation_id, self.attempt, first)
            for one in reversed(before.frames[: upto - first] if before is not None else []):
                if one:
                    return Cursor(self.attempt, page.first, frame_cursor(one).offset)
        return None

    async def _wait_for_log(self) -> bytes:
        """The log lacks what should be in it: its worker is asked to look, for one lease."""
        attempt, seq = await self._sources.stream_log.tail(self.generation_id)
        if attempt > self.attempt:
            # Only who claimed it can have written a newer attempt.
            self._move_to(attempt)
            return b""
        now = time.monotonic()
        if self._lost_until is None:
            self._lost_until = now + self._sources.lease_seconds
            await self._sources.signals.check_log(self.generation_id)
        answered = self._tail is not None and self._tail < self.seq
        if not answered and now < self._lost_until:
            self.again_at = min(now + RETRY_SECONDS, self._lost_until)
            self._told = True
            return b""
        # Without an answer, a log that is there and ends before the cursor speaks against it.
        beyond = answered or (attempt == self.attempt and seq < self.seq)
        unknown = beyond and self._unjudged is not None
        return self._reset("unknown_cursor" if unknown else "log_lost")

    # A generation that has ended.

    async def _read_rest(self, end: Cursor) -> bytes:
        """The rest: from the log as far as it is whole, else from SQL."""
        cursor = self._unjudged
        if cursor is not None and cursor.seq >= end.seq:
            self._unjudged = None
            if cursor != end:
                return self._reset("unknown_cursor")
        if self.seq >= end.seq:
            self.over = True
            return b""
        self._lost_until = self._tail = None
        if self._log_serves and end.attempt > 0:
            try:
                page = await self._read_page()
                # A preview that was not kept can't judge a cursor: SQL knows its id.
                if page is not None and page.frames and (cursor is None or page.frames[0]):
                    return self._take_page(page)
            except REDIS_FAILURES:
                pass
        self._log_serves = False
        return await self._read_replay(end)

    def _take_page(self, page: LogPage) -> bytes:
        frames = page.frames
        if self._unjudged is not None:
            if frame_cursor(frames[0]) != self._unjudged:
                return self._reset("unknown_cursor")
            self._unjudged, frames = None, frames[1:]
        self._held.hold(frames)
        return b""

    async def _read_replay(self, end: Cursor) -> bytes:
        source = await read_replay_source(self._sources.database, self.generation_id)
        cursor, self._unjudged = self._unjudged, None
        entries = unpack(source.timeline) if source.timeline is not None else ()
        told = rebuild(end.attempt, source.text, entries)
        for found, _ in islice(told, self.seq):
            if cursor is not None and found.seq == cursor.seq and found != cursor:
                return self._reset("unknown_cursor")
        rest = (one for _, one in told)
        self._held.hold(chain(rest, (terminal_frame(end, source.generation),)))
        return b""


def end_of(row: StreamRow) -> Cursor:
    """The id of an ended generation's terminal event."""
    assert row.last_seq is not None, "an ended row has an end"
    assert row.last_offset is not None
    return Cursor(row.attempt, row.last_seq, row.last_offset)
