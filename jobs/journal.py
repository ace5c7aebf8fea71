"""The worker's journal: a finished generation that the database can't take outlives the worker.

One owner appends to `journal.jsonl`, under the lock of its directory (protocol §7). Records are
never changed; a done mark is a line of its own. Once every record is done and the file is larger
than 16 MiB, the next append starts a new file: it is as large as that, or as one outage needs.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.journal_errors import (
    DuplicateEvent,
    EventUnknown,
    JournalClosed,
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalWriteFailed,
    RecordRefused,
)
from jobs.journal_file import Fsync, LineFile, make_directory
from jobs.journal_index import Entry, Index, Stats, read_record
from jobs.journal_lock import owned
from jobs.journal_record import DoneMark, JournalRecord, Outcome, encode_line
from jobs.journal_view import (
    FILE_NAME,
    JournalReport,
    JournalView,
    inspect,
    verify,
    warn_of_torn_record,
)

__all__ = [
    "DuplicateEvent",
    "Entry",
    "EventUnknown",
    "Fsync",
    "Journal",
    "JournalClosed",
    "JournalDamaged",
    "JournalError",
    "JournalLocked",
    "JournalRecord",
    "JournalReport",
    "JournalView",
    "JournalWriteFailed",
    "Outcome",
    "RecordRefused",
    "ReplayReport",
    "Stats",
    "replay",
    "verify",
]

KEEP_BYTES = 16 * 1024 * 1024


class Journal:
    """An open journal; made by `Journal.open`. Any thread may call any method.

    Every method but `stats` may wait for the disk: call it from a coroutine by asyncio.to_thread.
    If such a call is cancelled its line may be written all the same; the same call again is safe.
    """

    def __init__(self, file: LineFile, index: Index, keep_bytes: int) -> None:
        self._file = file
        self._index = index
        self._keep_bytes = keep_bytes
        self._serial = threading.Lock()
        self._stats = index.stats()

    @staticmethod
    @contextmanager
    def open(
        directory: Path,
        fsync: Fsync = "always",
        *,
        warn: Callable[[str], None] | None = None,
        keep_bytes: int = KEEP_BYTES,
    ) -> Iterator["Journal"]:
        """Owns the journal in this directory, made if absent, for as long as the block runs.

        What an accepted append survives is LineFile's promise: with `always` a loss of power, with
        `off` the death of the process. A torn last record is skipped with one call of `warn`
        (default: one line on stderr), and stays in the file until the first append cuts it off.
        Raises JournalLocked with the owner's pid, JournalDamaged with the offset, OSError.
        """
        with ExitStack() as stack:
            make_directory(directory, fsync)
            stack.enter_context(owned(directory))
            path = directory / FILE_NAME
            index = Index()
            if path.exists():
                with path.open("rb") as file:
                    index.read_from(file, path)
            warn_of_torn_record(path, index, warn)
            lines = LineFile(path, fsync)
            journal = Journal(lines, index, keep_bytes)
            stack.callback(journal._close)
            yield journal

    @staticmethod
    def inspect(
        directory: Path, *, warn: Callable[[str], None] | None = None
    ) -> AbstractContextManager[JournalView]:
        """The journal as it is now, to be read beside its owner; see `jobs.journal_view`."""
        return inspect(directory, warn)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def append(self, record: JournalRecord) -> Entry:
        """Writes the record as the last one and says where it is.

        The very same record again is not written twice: its entry is returned. Raises
        DuplicateEvent for another record of that event id, RecordRefused, and JournalWriteFailed,
        after which file and index are as before and the next append may succeed.
        """
        line = encode_line(record)
        with self._serial:
            known = self._index.find(record.event_id)
            if known is not None:
                if self._file.read(known.offset, known.length) != line[:-1]:
                    raise DuplicateEvent(record.event_id)
                return known
            self._start_anew_if_all_done()
            self._write(record, line)
            return self._index.entry(record.event_id)

    def mark_done(self, event_id: str, outcome: Outcome) -> None:
        """Notes that the record needs no replay any more; the first outcome noted stays.

        Raises EventUnknown, RecordRefused for another outcome than the two, JournalWriteFailed.
        """
        mark = DoneMark(event_id=event_id, outcome=outcome)
        line = encode_line(mark)
        with self._serial:
            if self._index.outcome(event_id) is None:
                self._write(mark, line)

    def read(self, event_id: str) -> bytes:
        """Exactly the record's bytes, without the newline; raises EventUnknown, JournalDamaged."""
        with self._serial:
            entry = self._index.entry(event_id)
            line = self._file.read(entry.offset, entry.length)
        read_record(line, self.path, entry)
        return line

    def outcome(self, event_id: str) -> Outcome | None:
        """How the record's replay ended; None while it is pending. Raises EventUnknown."""
        with self._serial:
            return self._index.outcome(event_id)

    def pending_ids(self) -> list[str]:
        """The event ids of the records that are not done, in order."""
        with self._serial:
            return self._index.pending_ids()

    def pending(self) -> Iterator[JournalRecord]:
        """The records that are not done, in order: those there at the first step, one at a time.

        One that is done by the time it is reached is left out. Raises JournalDamaged.
        """
        with self._serial:
            event_ids = self._index.pending_ids()
        for event_id in event_ids:
            with self._serial:
                entry = self._index.find(event_id)
                if entry is None or self._index.outcome(event_id) is not None:
                    continue
                line = self._file.read(entry.offset, entry.length)
            yield read_record(line, self.path, entry)

    def stats(self) -> Stats:
        """One consistent snapshot, as of the last line written; waits for nothing."""
        return self._stats.copy()

    def _write(self, item: JournalRecord | DoneMark, line: bytes) -> None:
        self._file.append(line, self._index.end)
        self._index.add(item, len(line))
        # Replaced as a whole, so that a reader on another thread never sees counts of two moments.
        self._stats = self._index.stats()

    def _start_anew_if_all_done(self) -> None:
        if self._index.end <= self._keep_bytes or self._stats["pending"]:
            return
        try:
            self._file.start_anew()
        except JournalWriteFailed:
            # A record is worth more than a short file: the old one goes on.
            return
        self._index = Index()
        self._stats = self._index.stats()

    def _close(self) -> None:
        with self._serial:
            self._file.close()


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """How a replay went: records committed, refused by the fence, and still pending after it.

    `failures` holds, by event id, the error of each record that was tried and is still pending.
    """

    replayed: int
    refused: int
    left: int
    failures: dict[str, Exception]


async def replay(
    journal: Journal,
    apply: Callable[[JournalRecord], Awaitable[bool]],
    stop_on: tuple[type[Exception], ...] = (Exception,),
) -> ReplayReport:
    """Gives the pending records to `apply`, in order, and marks each that it decides as done.

    `apply` commits a record under the fence: True if it did, False if the fence refused it for
    good. An error leaves the record pending and is reported; one of `stop_on` (the database is
    away) ends the replay, after any other the next record is tried. A record that was committed but
    could not be marked is tried again next time, and refused by the fence then. JournalDamaged is
    raised.
    """
    counts = {"replayed": 0, "refused": 0}
    failures: dict[str, Exception] = {}
    records = journal.pending()
    while (record := await asyncio.to_thread(next, records, None)) is not None:
        try:
            outcome: Outcome = "replayed" if await apply(record) else "refused"
            await asyncio.to_thread(journal.mark_done, record.event_id, outcome)
        except JournalDamaged:
            raise
        except Exception as error:
            failures[record.event_id] = error
            if isinstance(error, (JournalError, *stop_on)):
                break
        else:
            counts[outcome] += 1
    return ReplayReport(**counts, left=journal.stats()["pending"], failures=failures)
