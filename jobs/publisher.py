"""Carries the appended events of all generations of this worker to Redis, off the model's path.

One flush is in flight at a time and takes what all generations have; where that is too much, others
follow at once. After a quarter of `RELAY_FLUSH_MS` without one a token leaves at once; sooner, it
waits until that is over, and up to all of it where flushing would take too much of the processor,
or where its log is a fast one, of which whoever joins reads every entry. A Redis that is away
delays nothing but the events: kept as text and timeline, they are sent again from where the log is.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Protocol

from jobs.attempt_log import AttemptLog
from jobs.direct_log import TakeAnswers, open_direct_log
from jobs.flush_pause import FlushPause
from jobs.outage import Outage
from jobs.publish_counts import Lag, PublishCounts
from jobs.redis_link import REDIS_FAILURES
from jobs.stream_log import Append, Appended, Outcome, StreamLog

log = logging.getLogger(__name__)

LOGS_A_FLUSH = 256
BYTES_A_FLUSH = 1 << 20
FAST_PIECES = 2
"""A log that gets more pieces than these in the shortest pause is fast: it takes the longest."""
REFRESHES_A_LIFE = 6
"""How often a running log's time to live is set anew before it would be over."""
GIVE_UP_AFTER_SECONDS = 60.0
"""How long the end of a generation is tried to be told; its readers then learn it from the row."""


class Logs(Protocol):
    """Where the flushes go."""

    def send(self, appends: Sequence[Append], take: TakeAnswers) -> None:
        """Appends for many generations; `take` is called once, in bounded time."""


class Publisher:
    """Open it with `open_publisher`; what is appended to a log that was started, leaves."""

    def __init__(self, to: Logs, *, flush_ms: float, ttl_ms: int, running_ttl_ms: int):
        self._to = to
        self._pause = FlushPause(flush_ms / 1000)
        self._ttl_ms = ttl_ms
        self._running_ttl_ms = running_ttl_ms
        self._logs: dict[str, AttemptLog] = {}
        self._dirty: dict[AttemptLog, None] = {}
        # Logs whose time to live is to be set anew.
        self._refresh: set[AttemptLog] = set()
        self._refresh_at = 0.0
        self._announce: set[AttemptLog] = set()
        self._give_up_at: dict[AttemptLog, float] = {}
        self._on_fenced: dict[AttemptLog, Callable[[], None]] = {}
        # The flush under way, and what it took, once it has begun.
        self._flushing = False
        self._batch: list[tuple[AttemptLog, Append]] = []
        # Its round: how many logs were due when that began, and which it has left, the first last.
        self._round = 0
        self._left: list[AttemptLog] = []
        # Whether the last round was of one log.
        self._alone = False
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._urgent = False
        self._outage = Outage("publishing to Redis")
        self._loop = asyncio.get_running_loop()
        # A flush is of many generations: what it logs must not bear the ids of the one it began in.
        self._context = copy_context()
        # No event that waits now was appended before this.
        self._behind_since = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.counts = PublishCounts()

    def log_of(self, generation_id: str, attempt: int) -> AttemptLog:
        """A log that nothing is appended to before it is started."""
        return AttemptLog(generation_id, attempt, self._changed, self._opened)

    def start(self, attempt_log: AttemptLog, on_fenced: Callable[[], None]) -> None:
        """Writes the log of a claimed attempt; `on_fenced` is called if a newer one has written."""
        if earlier := self._logs.get(attempt_log.generation_id):
            self._release(earlier)
        self._logs[attempt_log.generation_id] = attempt_log
        self._on_fenced[attempt_log] = on_fenced

    def abandon(self, attempt_log: AttemptLog) -> None:
        """Stops writing this log, e.g. since its attempt was fenced or handed over."""
        self._release(attempt_log)

    def check(self, generation_id: str) -> None:
        """Looks at once whether Redis still has this log, seeds it anew if not, and says so."""
        if attempt_log := self._logs.get(generation_id):
            self._announce.add(attempt_log)
            self._changed(attempt_log, True)

    def at_rest(self) -> dict[str, int]:
        """Of which generations Redis should have the whole log, and so many entries of it.

        Only first attempts, whose logs are dense from 1.
        """
        return {
            one.generation_id: one.sent
            for one in self._logs.values()
            if one.attempt == 1 and one.located and one.sent and not one.pending
        }

    def touch(self, whole: Collection[str] = ()) -> None:
        """Keeps every log alive in Redis, and finds out which were lost, in silence too.

        To be called some times a lease. `whole`: which need no look, since they just had one.
        """
        now = self._loop.time()
        if now >= self._refresh_at:
            self._refresh_at = now + self._running_ttl_ms / 1000 / REFRESHES_A_LIFE
            self._refresh.update(self._logs.values())
        for attempt_log in tuple(self._logs.values()):
            if attempt_log in self._refresh or attempt_log.generation_id not in whole:
                self._changed(attempt_log, False)

    async def drain(self, seconds: float) -> bool:
        """Whether everything appended so far left within this time."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def lag(self) -> Lag:
        """How far the logs in Redis are behind; the age is an upper bound."""
        events = sum(one.seq - one.sent for one in self._logs.values())
        waits = not self._idle.is_set()
        return Lag(events, self._loop.time() - self._behind_since if waits else 0.0)

    def has_time(self) -> bool:
        """Whether an entry would leave alone, and soon, as the last did: one of two may wait.

        What comes from now on, and is appended within 3/4 of `RELAY_FLUSH_MS`, leaves within all of
        it then. Where flushes are shared, or dear, they have pieces wait for each other already.
        """
        has_time = self._alone and self._pause.is_short
        if has_time:
            self._pause.promise(self._loop.time())
        return has_time

    def _writes(self, attempt_log: AttemptLog) -> bool:
        """Whether this log is still written: not abandoned, fenced, ended or given up."""
        return self._logs.get(attempt_log.generation_id) is attempt_log

    def _opened(self, attempt_log: AttemptLog) -> None:
        # A flush of its own would be in the way of the first words, where the model is fast.
        self._loop.call_later(self._pause.longest, self._tell_opening, attempt_log)

    def _tell_opening(self, attempt_log: AttemptLog) -> None:
        # What comes after it has taken it along, or is doing so.
        leaves = attempt_log in self._dirty or any(one is attempt_log for one, _ in self._batch)
        if attempt_log.pending and not leaves:
            self._changed(attempt_log, True)

    def _changed(self, attempt_log: AttemptLog, urgent: bool) -> None:
        if not self._writes(attempt_log):
            return
        self._dirty[attempt_log] = None
        if self._idle.is_set():
            self._idle.clear()
            self._behind_since = self._loop.time()
        if urgent:
            attempt_log.rests_until = 0.0
        if self._flushing:
            self._urgent |= urgent
        else:
            self._schedule(max(self._pause.until, attempt_log.rests_until), urgent)

    def _schedule(self, due: float, urgent: bool) -> None:
        wait = due - self._loop.time()
        if wait <= 0 or (urgent and not self._pause.backoff):
            self._cancel_timer()
            # In the loop's next round: what else this round reads of the models leaves with it.
            self._flushing = True
            self._soon = self._loop.call_soon(self._flush, context=self._context)
        elif self._timer is None or due < self._timer_due:
            self._cancel_timer()
            self._timer_due = due
            self._timer = self._loop.call_later(wait, self._flush, context=self._context)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        """Plans the next flush after one."""
        self._flushing = False
        if not self._dirty:
            self._idle.set()
            return
        # What a flush could not take waits for no timer.
        due = 0.0 if self._left else min(one.rests_until for one in self._dirty)
        self._schedule(max(self._pause.until, due), self._urgent)

    def _flush(self) -> None:
        self._timer = self._soon = None
        self._flushing = True
        if not self._left:
            self._begin_round()
        batch = self._batch = []
        self._pause.spent -= time.thread_time()
        try:
            self._take(batch)
            if batch:
                self.counts.flushes += 1
                self._to.send([append for _, append in batch], self._flushed)
            self._pause.spent += time.thread_time()
        except Exception as error:
            # Whatever it was, it must not end the publishing of every generation.
            self._flushed(error)
        else:
            if not batch:
                # What it was for was let go since.
                self._end_round()
                self._go_on()

    def _begin_round(self) -> None:
        # What is urgent from now on, and comes too late for it, is followed by no pause.
        self._urgent = False
        self._pause.begin(self._loop.time())
        self._left = self._due_now()
        self._round = len(self._left)
        self._left.reverse()

    def _flushed(self, answers: list[Appended] | Exception) -> None:
        batch, self._batch = self._batch, []
        try:
            if not isinstance(answers, Exception):
                self._succeeded(batch, answers)
        except Exception as error:
            # Where the answers left off nobody knows: each log of the batch is looked at again.
            answers = error
        try:
            if isinstance(answers, Exception):
                self._failed([attempt_log for attempt_log, _ in batch], answers)
        finally:
            self._go_on()

    def _succeeded(self, batch: list[tuple[AttemptLog, Append]], answers: list[Appended]) -> None:
        self._pause.spent -= time.thread_time()
        lost = self.counts.reseeds
        for (attempt_log, append), answer in zip(batch, answers, strict=True):
            self._answered(attempt_log, append, answer)
        if lost := self.counts.reseeds - lost:
            log.warning("Redis lost logs; they are seeded anew", extra={"generations": lost})
        if not self._dirty or any(append.frames for _, append in batch):
            # A full Redis lets logs be looked at, and takes nothing: that is no recovery.
            self._pause.backoff = 0.0
            self._outage.over()
        self._pause.spent += time.thread_time()
        if not self._left or not self._dirty:
            self._end_round()

    def _end_round(self) -> None:
        self._left.clear()
        # One that had nothing to take is followed by no pause.
        if self._round:
            self._behind_since = self._pause.began
            self._alone = self._round == 1
            self._pause.end()

    def _due_now(self) -> list[AttemptLog]:
        """What leaves with this round; a fast log does once half its pause is over."""
        due_by = self._pause.began + self._pause.longest / 2
        due = [one for one in self._dirty if one.rests_until <= due_by]
        if len(due) < len(self._dirty):
            # It waits for its own rest, and not for a pause after that.
            resting = (one.rests_until for one in self._dirty if one.rests_until > due_by)
            self._pause.ends_by(min(resting))
        return due

    def _take(self, batch: list[tuple[AttemptLog, Append]]) -> None:
        size = 0
        while self._left and len(batch) < LOGS_A_FLUSH and size < BYTES_A_FLUSH:
            attempt_log = self._left.pop()
            if attempt_log not in self._dirty:
                # It was let go of since the round began.
                continue
            del self._dirty[attempt_log]
            if attempt_log.located and attempt_log.pending:
                self._note_pace(attempt_log)
            append = self._next_append(attempt_log)
            batch.append((attempt_log, append))
            size += sum(map(len, append.frames))

    def _note_pace(self, attempt_log: AttemptLog) -> None:
        began = self._pause.began
        passed, attempt_log.left_at = began - attempt_log.left_at, began
        is_fast = attempt_log.pieces * self._pause.shortest > FAST_PIECES * passed
        attempt_log.rests_until = began + self._pause.most if is_fast else 0.0

    def _next_append(self, attempt_log: AttemptLog) -> Append:
        frames = attempt_log.unsent() if attempt_log.located else ()
        first = (attempt_log.sent if attempt_log.located else attempt_log.seq) + 1
        ends = attempt_log.ended and first + len(frames) - 1 == attempt_log.seq
        if ends:
            ttl_ms = self._ttl_ms
        elif first == 1 or not attempt_log.located or attempt_log in self._refresh:
            ttl_ms = self._running_ttl_ms
        else:
            ttl_ms = 0
        # Where the tail is can be told once nothing is left to send.
        announce = attempt_log in self._announce and attempt_log.located and not frames
        return Append(
            attempt_log.generation_id, attempt_log.attempt, first, frames, ttl_ms, ends, announce
        )

    def _answered(self, attempt_log: AttemptLog, append: Append, answer: Appended) -> None:
        if not self._writes(attempt_log):
            return
        if answer.outcome is Outcome.STALE:
            self.counts.stale += 1
            attempt_log.fenced = True
            on_fenced = self._on_fenced[attempt_log]
            self._release(attempt_log)
            on_fenced()
            return
        there = answer.seq if answer.attempt == attempt_log.attempt else 0
        lost = there < attempt_log.sent
        self.counts.reseeds += lost
        attempt_log.sent = min(there, attempt_log.seq)
        attempt_log.located = True
        if answer.outcome is Outcome.APPLIED:
            if append.ttl_ms:
                self._refresh.discard(attempt_log)
            if append.announce:
                self._announce.discard(attempt_log)
        if lost or attempt_log in self._announce:
            attempt_log.rests_until = 0.0
        if attempt_log.pending or attempt_log in self._announce:
            self._dirty[attempt_log] = None
        elif attempt_log.ended:
            self._release(attempt_log)

    def _failed(self, logs: list[AttemptLog], error: BaseException) -> None:
        self.counts.failures += 1
        self._left.clear()
        now = self._loop.time()
        self._pause.fail(now)
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, REDIS_FAILURES):
            self._outage.lasts(reason)
        else:
            extra = {"generations": len(logs), "reason": reason}
            log.error("publishing failed", extra=extra, exc_info=error)
        for attempt_log in logs:
            attempt_log.located = False
            attempt_log.rests_until = 0.0
            attempt_log.forget_frames()
            if not self._writes(attempt_log):
                continue
            if attempt_log.ended and now > self._give_up_at.setdefault(
                attempt_log, now + GIVE_UP_AFTER_SECONDS
            ):
                self.counts.given_up += 1
                self._release(attempt_log)
            else:
                self._dirty[attempt_log] = None

    def _release(self, attempt_log: AttemptLog) -> None:
        if self._logs.get(attempt_log.generation_id) is attempt_log:
            del self._logs[attempt_log.generation_id]
        self._dirty.pop(attempt_log, None)
        self._refresh.discard(attempt_log)
        self._announce.discard(attempt_log)
        self._give_up_at.pop(attempt_log, None)
        self._on_fenced.pop(attempt_log, None)
        if not self._dirty and not self._flushing:
            self._idle.set()

    def stop(self) -> None:
        """Begins no flush any more."""
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()


@asynccontextmanager
async def open_publisher(
    stream_log: StreamLog, *, flush_ms: float, ttl_seconds: float, lease_seconds: float
) -> AsyncIterator[Publisher]:
    """A publisher until the block ends.

    A running log outlives five missed refreshes, however short `ttl_seconds`.
    """
    with open_direct_log(stream_log.address) as direct:
        publisher = Publisher(
            direct,
            flush_ms=flush_ms,
            ttl_ms=max(1, round(ttl_seconds * 1000)),
            running_ttl_ms=round(max(ttl_seconds, 6 * lease_seconds, 60) * 1000),
        )
        try:
            yield publisher
        finally:
            publisher.stop()
