"""Ends lost generations that no worker begins anew, with the text that their readers were shown.

Harmless when two processes do it at once, since claims and commits are fenced; a rescuer that dies
meanwhile leaves the text whole for the next.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from jobs.attempt_log import AttemptLog
from jobs.attempt_scope import attempt_scope
from jobs.database import Database
from jobs.database_errors import NotTaken
from jobs.errors import Unavailable
from jobs.generation import Failure, State
from jobs.kept import Kept, kept_events
from jobs.redis_link import REDIS_FAILURES
from jobs.rescue_counts import RescueCounts
from jobs.settings import Settings
from jobs.store.claims import Claimed, claim
from jobs.store.commits import Committed, Outcome, commit, without_text
from jobs.store.leftovers import Lost
from jobs.stream_log import Append, StreamLog
from jobs.taking_over import take_over
from jobs.tracing import Traces, here

log = logging.getLogger(__name__)

ENDS_AT_ONCE = 4
"""Few: between its claim and its commit another rescuer may take an end for lost in turn."""
UNREADABLE_SECONDS = 10.0
"""How long a log that can't be read is waited for before its generation ends without its text."""

END_AGAIN_SECONDS = 30.0
"""How long one that could not be ended is left alone."""

_WORKER_LOST = Failure("worker_lost", "the worker that ran it was lost", True)


@dataclass(slots=True)
class LostEnds:
    """Ends what it is given, under the rescuer's id, and tells of it by `announce`."""

    settings: Settings
    database: Database
    stream_log: StreamLog
    rescuer_id: str
    counts: RescueCounts
    traces: Traces
    announce: Callable[[Committed], Awaitable[None]]
    _unreadable: dict[str, float] = field(default_factory=dict)
    _end_again: dict[str, float] = field(default_factory=dict)

    def keep(self, ids: Iterable[str]) -> None:
        """Forgets all others, which are lost no more."""
        lost = set(ids)
        self._unreadable = {one: at for one, at in self._unreadable.items() if one in lost}
        self._end_again = {one: at for one, at in self._end_again.items() if one in lost}

    async def end_all(self, rows: list[Lost]) -> None:
        """Ends these, many at a time, since each has readers that wait; raises Unavailable."""
        places = asyncio.Semaphore(ENDS_AT_ONCE)
        away: list[Unavailable] = []

        async def end(row: Lost) -> None:
            async with places:
                if not away:
                    try:
                        await self._end_lost_alone(row)
                    except Unavailable as error:
                        away.append(error)

        # Each rescuer in an order of its own: those of other processes end the same ones.
        await asyncio.gather(*(end(row) for row in random.sample(rows, len(rows))))
        if away:
            raise away[0]

    async def _end_lost_alone(self, row: Lost) -> None:
        """Ends one; what is wrong with it keeps no other from its end."""
        if time.monotonic() < self._end_again.get(row.id, 0.0):
            return
        try:
            await self._end_lost(row)
        except Exception as error:
            if isinstance(error, Unavailable) and not isinstance(error, NotTaken):
                raise
            # Each try is a claim, and its readers are told of it.
            self._end_again[row.id] = time.monotonic() + END_AGAIN_SECONDS
            log.exception("a lost generation could not be ended", extra={"generation": row.id})

    async def _end_lost(self, row: Lost) -> None:
        """Ends it with the text that the log still has (protocol §5): as `cancelled` where that was
        asked for, else as `worker_lost`.

        The text comes in one token; where readers know no reset, all that they were shown comes
        event by event, so that what they counted stays right.
        """
        kept = await self._kept(row)
        if kept is None:
            return
        claimed = await claim(
            self.database,
            row.id,
            row.attempt,
            self.rescuer_id,
            lease_seconds=self.settings.relay_lease_seconds,
        )
        if claimed is not None:
            with attempt_scope(self.traces, claimed):
                await self._end_claimed(row, claimed, kept)

    async def _end_claimed(self, row: Lost, claimed: Claimed, kept: Kept) -> None:
        attempt_log = await take_over(
            self.stream_log, row, claimed, kept, round(self.settings.relay_log_ttl_seconds * 1000)
        )
        # What could not be taken over in one step, a Redis that was away or a damaged log.
        await self._append(attempt_log)
        end = attempt_log.close()
        cancelled = claimed.cancel_requested
        outcome = Outcome(
            state=State.CANCELLED if cancelled else State.FAILED,
            text=attempt_log.text,
            timeline=attempt_log.timeline(),
            last_seq=end.seq,
            last_offset=end.offset,
            error=None if cancelled else _WORKER_LOST,
        )
        try:
            committed = await commit(self.database, row.id, claimed.attempt, outcome)
        except Unavailable:
            raise
        except Exception:
            log.exception("its text can't be stored", extra={"generation": row.id})
            bare = without_text(outcome)
            committed = await commit(self.database, row.id, claimed.attempt, bare)
        if committed is None:
            return
        self.counts.ended_lost += 1
        if cancelled:
            log.warning("cancelled: nobody ran it", extra={"generation": row.id})
        else:
            here().fail("worker_lost")
            log.error("ended: its workers were lost", extra={"generation": row.id})
        attempt_log.append_terminal(committed.generation)
        await self._append(attempt_log)
        await self.announce(committed)

    async def _kept(self, row: Lost) -> Kept | None:
        """What its readers were shown last; None while Redis may yet tell it."""
        try:
            return await kept_events(self.stream_log, row.id, row.attempt)
        except REDIS_FAILURES as error:
            now = time.monotonic()
            if now < self._unreadable.setdefault(row.id, now + UNREADABLE_SECONDS):
                return None
            log.warning(
                "its log can't be read: it ends without its text",
                extra={"generation": row.id, "reason": str(error)},
            )
            return Kept([], (0, 0))

    async def _append(self, attempt_log: AttemptLog) -> None:
        try:
            while attempt_log.sent < attempt_log.seq:
                frames = attempt_log.unsent()
                first = attempt_log.sent + 1
                last = first + len(frames) - 1
                [appended] = await self.stream_log.append(
                    [
                        Append(
                            attempt_log.generation_id,
                            attempt_log.attempt,
                            first,
                            frames,
                            round(self.settings.relay_log_ttl_seconds * 1000),
                            terminal=attempt_log.ended and last == attempt_log.seq,
                        )
                    ]
                )
                if appended.attempt != attempt_log.attempt or appended.seq < last:
                    return
                attempt_log.sent = appended.seq
        except REDIS_FAILURES as error:
            # Readers find the end in the row within a heartbeat.
            log.warning("its end could not be published", extra={"reason": str(error)})
