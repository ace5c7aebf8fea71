"""Replays journals that no worker holds, as a worker does at its start: fenced, then announced."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import Unavailable
from jobs.finish import journalled_outcome
from jobs.journal import Journal, JournalDamaged, JournalLocked, JournalRecord, replay
from jobs.store.commits import commit
from relay.commands.progress import Told
from relay.services import Services


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it: records committed, refused by the fence, still pending, and why."""

    replayed: int
    refused: int
    left: int
    problems: tuple[str, ...]


async def replay_journals(services: Services, places: Iterable[Path], told: Told) -> Replayed:
    """Replays each of these journals in turn; the first that the database is away for ends it.

    `told` hears how many records were tried, and of how many in the journals opened so far.
    """
    settings = services.settings.jobs
    replayed = refused = left = 0
    problems: list[str] = []
    committing = _Committing(services, told)
    for place in places:
        with ExitStack() as stack:
            try:
                journal = stack.enter_context(Journal.open(place, settings.relay_journal_fsync))
            except (JournalLocked, JournalDamaged) as error:
                problems.append(str(error))
                continue
            committing.total += journal.stats()["pending"]
            report = await replay(journal, committing.apply, stop_on=(Unavailable,))
        replayed += report.replayed
        refused += report.refused
        left += report.left
        for event_id, failure in report.failures.items():
            problems.append(f"{event_id} stays pending: {failure}")
        if any(isinstance(failure, Unavailable) for failure in report.failures.values()):
            break
    return Replayed(replayed, refused, left, tuple(problems))


@dataclass(slots=True)
class _Committing:
    """Commits one record after the other, and tells how far that is."""

    services: Services
    told: Told
    tried: int = 0
    total: int = 0

    async def apply(self, record: JournalRecord) -> bool:
        """Whether the fence took it; raises what the commit does."""
        try:
            return await self._commit(record)
        finally:
            self.tried += 1
            self.told(self.tried, self.total)

    async def _commit(self, record: JournalRecord) -> bool:
        services = self.services
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
