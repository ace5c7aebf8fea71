"""Ends lost generations that no worker begins anew, with the text that their readers were shown.

Harmless when two processes do it at once, since claims and commits are fenced; a rescuer that dies
meanwhile leaves the text whole for the next.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from redis.exceptions import ResponseError

from jobs.attempt_log import AttemptLog
from jobs.attempt_scope import attempt_scope
from jobs.database import Database
from jobs.database_errors import NotTaken
from jobs.errors import Unavailable
from jobs.generation import Failure, State
from jobs.ids import new_id
from jobs.kept import Kept, kept_events
from jobs.redis_link import REDIS_FAILURES
from jobs.rescue_counts import RescueCounts
from jobs.settings import Settings
from jobs.store.claims import Claimed, claim
from jobs.store.commits import Committed, Outcome, commit, without_text
from jobs.store.leftovers import Lost
from jobs.store.workers import try_a_beat
from jobs.stream_log import Append, StreamLog
from jobs.taking_over import take_over, told_again
from jobs.tracing import Traces, here

log = logging.getLogger(__name__)

ENDS_AT_ONCE = 4
"""Few: between its claim and its commit another rescuer may take an end for lost in turn. What is
committed is told of outside, so that a frozen Redis holds up no others."""
LOG_SECONDS = 3.0
"""How long after its loss a log that can't be read is waited for, before its generation ends
without its text. A round's pause and the last read come on top: all is within lease + 5 s."""
FIRST_READ_SECONDS = 2.0
LAST_READ_SECONDS = 0.3
"""However late it is, a log is read once for as long as any call may take, and once more."""
SILENT_SECONDS = 0.5
"""For so long after a read that failed no other log's last read is tried: many wait once."""

HELD_AGAIN_SECONDS = 10.0
"""How long one is left alone whose row, or line, another session holds."""
END_AGAIN_SECONDS = 30.0
"""How long one that could not be ended is left alone."""

UNREAD = Kept([], (0, 0))
"""Of a log that could not be read in time."""

Ended = tuple[AttemptLog, Committed]
"""What is committed, and the log in which its readers are to be told."""

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
    _since: dict[str, float] = field(default_factory=dict)
    _unreadable: set[str] = field(default_factory=set)
    _silent_at: float = float("-inf")
    _end_again: dict[str, float] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ENDS_AT_ONCE))
    _prober_id: str = field(default_factory=lambda: new_id("wrk"))

    def keep(self, since: Mapping[str, float], judging_since: float) -> None:
        """These are to be ended, each since then; forgets all others.

        Nobody could know it before `judging_since`: what was lost while the database was away is
        late already, and its log is waited for all the same.
        """
        known = self._since
        self._since = {
            one: max(known.get(one, began), judging_since) for one, began in since.items()
        }
        self._unreadable &= since.keys()
        self._end_again = {one: at for one, at in self._end_again.items() if one in since}

    async def end_all(self, rows: list[Lost]) -> None:
        """Ends these, many at a time, since each has readers that wait; raises Unavailable.

        It may be called while it is under way; what is being ended is left out.
        """
        away: list[Unavailable] = []

        async def end(row: Lost) -> None:
            try:
                async with self._places:
                    ended = None if away else await self._end_lost_alone(row, away)
                if ended is not None:
                    await self._tell(*ended)
            finally:
                self._under_way.discard(row.id)

        rows = [row for row in rows if row.id not in self._under_way]
        self._under_way |= {row.id for row in rows}
        # Each rescuer in an order of its own: those of other processes end the same ones.
        await asyncio.gather(*(end(row) for row in random.sample(rows, len(rows))))
        if away:
            raise away[0]

    async def _end_lost_alone(self, row: Lost, away: list[Unavailable]) -> Ended | None:
        """Ends one; what is wrong with it keeps no other from its end."""
        if time.monotonic() < self._end_again.get(row.id, 0.0):
            return None
        again = END_AGAIN_SECONDS
        try:
            return await self._end_lost(row)
        except Unavailable as error:
            if not isinstance(error, NotTaken):
                if (gone := await self._gone()) is not None:
                    away.append(gone)
                    return None
                again = HELD_AGAIN_SECONDS
            log.exception("a lost generation could not be ended", extra={"generation": row.id})
        except Exception:
            log.exception("a lost generation could not be ended", extra={"generation": row.id})
        # Each try is a claim, and its readers are told of it.
        self._end_again[row.id] = time.monotonic() + again
        return None

    async def _gone(self) -> Unavailable | None:
        """Whether the database is away for all, or does not give this row alone: it is held."""
        try:
            lease = self.settings.relay_lease_seconds
            await try_a_beat(self.database, self._prober_id, within=lease)
        except Unavailable as error:
            return error
        return None

    async def _end_lost(self, row: Lost) -> Ended | None:
        """Ends it with the text that the log still has (protocol §5): as `cancelled` where that was
        asked for, else as `worker_lost`.

        The text comes in one token; where readers know no reset, all that they were shown comes
        event by event, so that what they counted stays right.
        """
        kept = await self._kept(row)
        if kept is None:
            return None
        claimed = await claim(
            self.database,
            row.id,
            row.attempt,
            self.rescuer_id,
            lease_seconds=self.settings.relay_lease_seconds,
        )
        if claimed is None:
            return None
        with attempt_scope(self.traces, claimed):
            return await self._end_claimed(row, claimed, kept)

    async def _end_claimed(self, row: Lost, claimed: Claimed, kept: Kept) -> Ended | None:
        if kept is UNREAD:
            # It was waited for: now the end comes first, and Redis hears of it when it can.
            attempt_log = told_again(row, claimed, kept)
        else:
            attempt_log = await take_over(self.stream_log, row, claimed, kept, self._ttl_ms)
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
            return None
        self.counts.ended_lost += 1
        if cancelled:
            log.warning("cancelled: nobody ran it", extra={"generation": row.id})
        else:
            here().fail("worker_lost")
            log.error("ended: its workers were lost", extra={"generation": row.id})
        return attempt_log, committed

    async def _tell(self, attempt_log: AttemptLog, committed: Committed) -> None:
        attempt_log.append_terminal(committed.generation)
        await self._append(attempt_log)
        await self.announce(committed)

    @property
    def _ttl_ms(self) -> int:
        return round(self.settings.relay_log_ttl_seconds * 1000)

    async def _kept(self, row: Lost) -> Kept | None:
        """What its readers were shown last; None while Redis may yet tell it, UNREAD after that."""
        until = self._since.get(row.id, time.monotonic()) + LOG_SECONDS
        is_last = row.id in self._unreadable and time.monotonic() >= until
        if is_last and time.monotonic() - self._silent_at < SILENT_SECONDS:
            return self._given_up(row, "Redis did not answer just now")
        least = LAST_READ_SECONDS if row.id in self._unreadable else FIRST_READ_SECONDS
        try:
            async with asyncio.timeout(max(until - time.monotonic(), least)):
                return await kept_events(self.stream_log, row.id, row.attempt)
        except REDIS_FAILURES as error:
            if not isinstance(error, ResponseError):
                self._silent_at = time.monotonic()
            was_unreadable = row.id in self._unreadable
            self._unreadable.add(row.id)
            if time.monotonic() < until or not was_unreadable:
                return None
            return self._given_up(row, str(error))

    def _given_up(self, row: Lost, reason: str) -> Kept:
        extra = {"generation": row.id, "reason": reason}
        log.warning("its log can't be read: it ends without its text", extra=extra)
        return UNREAD

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
                            self._ttl_ms,
                            terminal=attempt_log.ended and last == attempt_log.seq,
                        )
                    ]
                )
                if appended.attempt != attempt_log.attempt or appended.seq < last:
                    return
                attempt_log.sent = appended.seq
        except REDIS_FAILURES as error:
            # Readers find the end in the row within a heartbeat.
            extra = {"generation": attempt_log.generation_id, "reason": str(error)}
            log.warning("its end could not be published", extra=extra)
