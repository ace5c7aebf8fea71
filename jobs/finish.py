"""The end of an attempt: one fenced commit, then the announcement; the journal when SQL is away.

The order is commit, then announce. A database that is away, or takes nothing until somebody mends
it, delays the end and loses nothing: the journal has it first. A Redis that is away loses the
announcement, which readers then find in the row.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field

import msgspec

from jobs.attempt_log import AttemptLog
from jobs.cancelling import outlast
from jobs.database import Database
from jobs.database_errors import NotTaken
from jobs.errors import JobsError, Unavailable
from jobs.generation import Failure, State, rfc3339
from jobs.journal import Journal, JournalError, JournalRecord
from jobs.journal import Outcome as Replay
from jobs.kinds import NO_OTHERS, Kinds
from jobs.measures import Measures
from jobs.publisher import Publisher
from jobs.queue import Queue
from jobs.signals import Signals
from jobs.store.commits import Committed, Outcome, commit, without_text
from jobs.tracing import here

log = logging.getLogger(__name__)

RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 2.0
REFUSED_LAST_SECONDS = 10.0
"""Between two tries while the database answers and takes nothing: somebody has to mend it."""
TRIES_OF_ONE = 5
"""How often an outcome is tried again that is refused for itself."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """What neither the database nor the journal took yet, and why the database did not."""

    record: JournalRecord
    away: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What it takes to end a generation for all to see."""

    database: Database
    publisher: Publisher
    signals: Signals
    queue: Queue
    journal: Journal
    measures: Measures = field(default_factory=Measures)
    kinds: Kinds = NO_OTHERS
    in_memory: dict[str, InMemory] = field(default_factory=dict)
    """By event id, what this process alone has."""

    async def finish(self, attempt_log: AttemptLog, outcome: Outcome) -> bool:
        """Commits and announces; False when the fence refused: another attempt is the newest.

        An outcome that the database refuses for itself ends as a failure, with the same text if
        that can be stored, since nothing may stay without an end; its record stays pending.
        """
        generation_id, attempt = attempt_log.generation_id, attempt_log.attempt
        try:
            with here().child("commit"):
                committed = await self._commit(generation_id, attempt, outcome)
        except Exception:
            log.exception(
                "an outcome can't be stored; the journal keeps it",
                extra={"generation": generation_id, "event": event_id(generation_id, attempt)},
            )
            self.measures.kept["unstorable"] += 1
            committed = await self._commit_failure(generation_id, attempt, unstorable(outcome))
        self.in_memory.pop(event_id(generation_id, attempt), None)
        if committed is None:
            self.measures.fenced += 1
            self.publisher.abandon(attempt_log)
            log.warning(
                "commit refused by the fence",
                extra={
                    "generation": attempt_log.generation_id,
                    "attempt": attempt_log.attempt,
                },
            )
            return False
        ended = committed.generation
        code = "" if ended.error is None else ended.error.code
        here().set({"relay.outcome": ended.state.value, "relay.code": code})
        if ended.state is State.FAILED:
            here().fail(code)
        log.info(
            "generation ended",
            extra={"generation": ended.id, "outcome": ended.state.value, "code": code},
        )
        attempt_log.append_terminal(ended)
        await self.announce(committed)
        return True

    async def _commit_failure(
        self, generation_id: str, attempt: int, outcome: Outcome
    ) -> Committed | None:
        try:
            return await self._commit_again(generation_id, attempt, outcome)
        except Exception:
            log.exception(
                "its failure can't be stored with its text", extra={"generation": generation_id}
            )
        return await self._commit_again(generation_id, attempt, without_text(outcome))

    async def announce(self, committed: Committed) -> None:
        """Counts it, tells the owner's feed, and offers the next in line; never raises."""
        self.measures.note_end(committed.generation)
        told = self.signals.changed(committed.owner, committed.generation)
        if committed.promoted is None:
            await told
        else:
            await asyncio.gather(self.queue.enqueue(committed.promoted, 0), told)

    async def _commit(self, generation_id: str, attempt: int, outcome: Outcome) -> Committed | None:
        try:
            return await commit(self.database, generation_id, attempt, outcome, kinds=self.kinds)
        except asyncio.CancelledError:
            # Its worker is to end, and nobody else knows what the model was paid for.
            log.warning(
                "stopped at its commit: it is kept in the journal",
                extra={"generation": generation_id},
            )
            record = journal_record(generation_id, attempt, outcome)
            await self._append(record, "its worker ended before it answered")
            raise
        except Exception as error:
            away = _reason_of(error)
            refused = isinstance(error, NotTaken) or not isinstance(error, Unavailable)
            self.measures.kept["refused" if refused else "away"] += 1
            log.error(
                "the database does not take a finished generation; it is kept in the journal",
                extra={"generation": generation_id, "reason": away},
            )
        # Before all else: what comes next may last for as long as the database is not mended.
        record = journal_record(generation_id, attempt, outcome)
        journalled = await self._append(record, away)
        committed = await self._commit_again(generation_id, attempt, outcome)
        if journalled:
            await self._mark_done(record, committed)
        return committed

    async def _commit_again(
        self, generation_id: str, attempt: int, outcome: Outcome
    ) -> Committed | None:
        """Tries until the database takes it; raises, after some tries, what is wrong with it."""
        delay, refusals = RETRY_FIRST_SECONDS, 0
        while True:
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            longest = RETRY_LAST_SECONDS
            try:
                return await commit(
                    self.database,
                    generation_id,
                    attempt,
                    outcome,
                    kinds=self.kinds,
                    may_be_stored=True,
                )
            except NotTaken:
                longest = REFUSED_LAST_SECONDS
            except Unavailable:
                pass
            except Exception:
                refusals += 1
                if refusals == TRIES_OF_ONE:
                    raise
            delay = min(delay * 2, longest)

    async def keep_at_last(self) -> None:
        """Tries the journal once more with what is in memory alone, and says what is lost.

        For the end of the process, once nothing else tries any more.
        """
        while self.in_memory:
            _, left = self.in_memory.popitem()
            told = {"generation": left.record.generation_id, "attempt": left.record.attempt}
            try:
                await asyncio.to_thread(self.journal.append, left.record)
            except (JournalError, OSError) as error:
                reason = f"the database: {left.away}; the journal: {error}"
                log.error("an outcome is lost with its worker", extra={**told, "reason": reason})
            else:
                log.warning("the journal took it at last", extra=told)

    async def _append(self, record: JournalRecord, away: str) -> bool:
        """Whether the journal took it; a cancelled caller waits for that first."""
        appending = asyncio.create_task(self._appended(record, away))
        try:
            return await asyncio.shield(appending)
        except asyncio.CancelledError:
            # The journal is closed with its worker, and must have it by then.
            await outlast(appending)
            raise

    async def _appended(self, record: JournalRecord, away: str) -> bool:
        try:
            await asyncio.to_thread(self.journal.append, record)
        except (JournalError, OSError) as error:
            log.error(
                "the journal did not take it either; it is kept in memory",
                extra={"generation": record.generation_id, "reason": str(error)},
            )
            self.in_memory[record.event_id] = InMemory(record, away)
            return False
        return True

    async def _mark_done(self, record: JournalRecord, committed: Committed | None) -> None:
        outcome: Replay = "refused" if committed is None else "replayed"
        try:
            await asyncio.to_thread(self.journal.mark_done, record.event_id, outcome)
        except (JournalError, OSError) as error:
            # It is tried again at the next start, and the fence refuses it then.
            log.warning("could not mark a journal record", extra={"reason": str(error)})


def unstorable(outcome: Outcome) -> Outcome:
    """What is left of an outcome that the database refuses: its text and events, as a failure."""
    return Outcome(
        state=State.FAILED,
        text=outcome.text,
        timeline=outcome.timeline,
        last_seq=outcome.last_seq,
        last_offset=outcome.last_offset,
        error=Failure("internal_error", "the result could not be stored", True),
    )


def event_id(generation_id: str, attempt: int) -> str:
    """What an attempt's record is called in the journal."""
    return f"{generation_id}:{attempt}"


def journal_record(generation_id: str, attempt: int, outcome: Outcome) -> JournalRecord:
    """The outcome as the journal keeps it."""
    return JournalRecord(
        event_id=event_id(generation_id, attempt),
        generation_id=generation_id,
        attempt=attempt,
        written_at=rfc3339(round(time.time() * 1000)),
        payload=msgspec.json.decode(msgspec.json.encode(outcome)),
    )


def journalled_outcome(record: JournalRecord) -> Outcome:
    """The outcome that the record keeps; raises msgspec.ValidationError for a foreign one."""
    return msgspec.convert(record.payload, Outcome)


def _reason_of(error: Exception) -> str:
    # What a driver says of a value may quote it.
    return str(error) if isinstance(error, JobsError) else type(error).__name__
