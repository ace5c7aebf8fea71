"""Replays journals that no worker holds, as a worker does at its start: fenced, then announced."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import Unavailable
from jobs.finish import journalled_outcome
from jobs.journal import Journal, JournalDamaged, JournalLocked, JournalRecord, replay
from jobs.store.commits import commit
from relay.services import Services


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it: records committed, refused by the fence, still pending, and why."""

    replayed: int
    refused: int
    left: int
    problems: tuple[str, ...]


async def replay_journals(services: Services, places: Iterable[Path]) -> Replayed:
    """Replays each of these journals in turn; the first that the database is away for ends it."""
    settings = services.settings.jobs
    replayed = refused = left = 0
    problems: list[str] = []
    for place in places:
        with ExitStack() as stack:
            try:
                journal = stack.enter_context(Journal.open(place, settings.relay_journal_fsync))
            except (JournalLocked, JournalDamaged) as error:
                problems.append(str(error))
                continue
            report = await replay(journal, _committing(services), stop_on=(Unavailable,))
        replayed += report.replayed
        refused += report.refused
        left += report.left
        for event_id, failure in report.failures.items():
            problems.append(f"{event_id} stays pending: {failure}")
        if any(isinstance(failure, Unavailable) for failure in report.failures.values()):
            break
    return Replayed(replayed, refused, left, tuple(problems))


def _committing(services: Services) -> Callable[[JournalRecord], Awaitable[bool]]:
    async def apply(record: JournalRecord) -> bool:
        committed = await commit(
            services.db,
            record.generation_id,
            record.attempt,
            journalled_outcome(record),
            kinds=services.kinds,
            may_be_stored=True,
        )
        if committed is None:
            return False
        await services.signals.look(record.generation_id)
        await services.signals.changed(committed.owner, committed.generation)
        if committed.promoted is not None:
            await services.queue.enqueue(committed.promoted, 0)
        return True

    return apply
