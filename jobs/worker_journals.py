"""Which journal a worker owns, and the replay of what is pending in it and in those left behind.

The workers of one machine share RELAY_JOURNAL_DIR: the first one owns the directory itself, each
further one the first of `2`, `3`, … in it that nobody holds. At its start a worker replays its own
and those of its neighbours that nobody holds, so that what a worker left is not forgotten when
fewer start the next time. Every replay is under the fence of the record's attempt, and until it is
over the worker claims no attempt after that one.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobs.errors import Unavailable
from jobs.finish import Ending, journalled_outcome
from jobs.journal import (
    Fsync,
    Journal,
    JournalDamaged,
    JournalLocked,
    JournalRecord,
    replay,
)
from jobs.outage import Outage
from jobs.pending_ends import PendingEnds
from jobs.settings import InvalidSetting
from jobs.store.commits import commit

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0


@contextmanager
def open_own_journal(directory: Path, fsync: Fsync) -> Iterator[Journal]:
    """The first journal of this directory that nobody holds, for as long as the block runs.

    Raises JournalDamaged with the offset; InvalidSetting where the directory can't be used.
    """
    with ExitStack() as stack:
        for place in _places(directory):
            try:
                journal = stack.enter_context(Journal.open(place, fsync))
            except JournalLocked:
                continue
            except OSError as error:
                reason = f"can't be used: {error.strerror or error}"
                raise InvalidSetting("RELAY_JOURNAL_DIR", reason) from error
            yield journal
            return


async def replay_journals(
    ending: Ending, directory: Path, fsync: Fsync, pending: PendingEnds
) -> None:
    """Replays the worker's own journal, then those that nobody holds; returns when all is done.

    What is in them is `pending` until then. One that is damaged is said with the offset, and left
    to a human. Where the others can't be looked for, it replays its own and raises why not.
    """
    own = ending.journal
    mine = own.pending_ids()
    # Before the others are looked for, which may fail.
    pending.hold(mine)
    with ExitStack() as stack:
        try:
            left = await _left_behind(stack, own, directory, fsync)
        except Exception:
            await _replay(ending, own)
            pending.let_go(mine)
            raise
        journals = [own, *left]
        listed = [mine, *(journal.pending_ids() for journal in left)]
        for event_ids in listed:
            pending.hold(event_ids)
        pending.all_listed()
        for journal, event_ids in zip(journals, listed, strict=True):
            await _replay(ending, journal)
            pending.let_go(event_ids)


async def _left_behind(
    stack: ExitStack, own: Journal, directory: Path, fsync: Fsync
) -> list[Journal]:
    """The journals beside the own one that nobody holds; they are held until the stack's end."""
    found = []
    for place in await asyncio.to_thread(_existing, directory):
        if place == own.path.parent:
            continue
        try:
            left = await asyncio.to_thread(stack.enter_context, Journal.open(place, fsync))
        except JournalLocked:
            continue
        except (JournalDamaged, OSError) as error:
            log.error("a journal left behind can't be read", extra={"reason": str(error)})
            continue
        found.append(left)
    return found


def _places(directory: Path) -> Iterator[Path]:
    yield directory
    for number in itertools.count(2):
        yield directory / str(number)


def _existing(directory: Path) -> list[Path]:
    numbered = (
        entry for entry in directory.glob("*/journal.jsonl") if entry.parent.name.isdecimal()
    )
    return [directory, *sorted((entry.parent for entry in numbered), key=lambda one: int(one.name))]


async def _replay(ending: Ending, journal: Journal) -> None:
    """Brings what is pending to the database; while that is away it is tried again and again."""

    async def apply(record: JournalRecord) -> bool:
        committed = await commit(
            ending.database,
            record.generation_id,
            record.attempt,
            journalled_outcome(record),
            kinds=ending.kinds,
            may_be_stored=True,
        )
        if committed is not None:
            await ending.signals.look(record.generation_id)
            await ending.announce(committed)
        return committed is not None

    outage = Outage("replaying the journal")
    while journal.stats()["pending"]:
        report = await replay(journal, apply, stop_on=(Unavailable,))
        away = next((e for e in report.failures.values() if isinstance(e, Unavailable)), None)
        if away is None:
            outage.over()
            log.info(
                "journal replayed",
                extra={
                    "journal": str(journal.path),
                    "replayed": report.replayed,
                    "refused": report.refused,
                    "left": report.left,
                },
            )
            for event_id, error in report.failures.items():
                log.error(
                    "a journal record can't be replayed",
                    extra={"event": event_id, "reason": f"{type(error).__name__}: {error}"},
                )
            return
        outage.lasts(away)
        await asyncio.sleep(AGAIN_SECONDS)
