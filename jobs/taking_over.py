"""A lost attempt's log, taken over by the one that only ends it: whole, in one step, or not at all.

A worker that is lost may be alive, and only cut off from the database: what it has shown meanwhile
is kept too, and from here on it shows no more. A rescuer that dies leaves the log as it was.
"""

import logging

from jobs.attempt_log import AttemptLog
from jobs.events import Reset, Status, Token
from jobs.generation import State
from jobs.kept import Kept, kept_events
from jobs.redis_link import REDIS_FAILURES
from jobs.store.claims import Claimed
from jobs.store.leftovers import Lost
from jobs.stream_log import StreamLog

log = logging.getLogger(__name__)

TRIES = 100
"""Each is some milliseconds, in which a worker that is alive may add to its log once more."""


async def take_over(
    stream_log: StreamLog, row: Lost, claimed: Claimed, kept: Kept, ttl_ms: int
) -> AttemptLog:
    """This attempt's log, told in the place of what was kept, and of what was added since.

    Nothing of it counts as sent where Redis is away, or the log was damaged.
    """
    attempt_log = told_again(row, claimed, kept)
    try:
        for _ in range(TRIES):
            if await _taken(stream_log, attempt_log, kept, ttl_ms):
                return attempt_log
            kept = await kept_events(stream_log, row.id, row.attempt)
            attempt_log = told_again(row, claimed, kept)
    except REDIS_FAILURES as error:
        extra = {"generation": row.id, "reason": str(error)}
        log.warning("its log can't be taken over in one step", extra=extra)
        attempt_log.sent = 0
    return attempt_log


async def _taken(stream_log: StreamLog, attempt_log: AttemptLog, kept: Kept, ttl_ms: int) -> bool:
    frames: list[bytes] = []
    while attempt_log.sent < attempt_log.seq:
        frames += attempt_log.unsent()
        attempt_log.sent = len(frames)
    return await stream_log.take_over(
        attempt_log.generation_id, kept.read_up_to, attempt_log.attempt, frames, ttl_ms
    )


def told_again(row: Lost, claimed: Claimed, kept: Kept) -> AttemptLog:
    """Its text in one token; all that was shown where readers know no reset (protocol §5)."""
    attempt_log = AttemptLog(row.id, claimed.attempt, lambda _log, _urgent: None)
    attempt_log.append("reset", Reset(claimed.reset or "worker_lost", claimed.attempt))
    attempt_log.append("status", Status(State.RUNNING, claimed.attempt))
    text = "".join([one.text for one in kept.events if isinstance(one, Token)])
    for one in [Token(text)] if row.restartable else kept.events:
        attempt_log.append_again(one)
    attempt_log.close()
    return attempt_log
