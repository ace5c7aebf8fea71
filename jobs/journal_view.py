"""A journal as it is at one moment, read beside the worker that owns it; changes nothing."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from jobs.journal_errors import JournalDamaged
from jobs.journal_index import Entry, Index, Stats, read_record
from jobs.journal_record import JournalRecord, Outcome

FILE_NAME = "journal.jsonl"
_READS = 3


@dataclass(frozen=True, slots=True)
class JournalReport:
    """What `verify` found: counts of the whole lines before any damage, the torn tail, the damage.

    A torn last record is what a crash leaves behind, not damage: such a journal is whole.
    """

    path: Path
    stats: Stats
    torn_bytes: int
    damage: JournalDamaged | None

    @property
    def whole(self) -> bool:
        """Whether a worker would start on it."""
        return self.damage is None


class JournalView:
    """The records of a journal as they were when it was opened; for one thread."""

    def __init__(self, path: Path, file: BinaryIO, index: Index) -> None:
        self.path = path
        self._file = file
        self._index = index

    def stats(self) -> Stats:
        """Counts of that one moment."""
        return self._index.stats()

    def entry(self, event_id: str) -> Entry:
        """Where the record is; raises EventUnknown."""
        return self._index.entry(event_id)

    def outcome(self, event_id: str) -> Outcome | None:
        """How the record's replay ended; None while it is pending. Raises EventUnknown."""
        return self._index.outcome(event_id)

    def read(self, event_id: str) -> bytes:
        """Exactly the record's bytes, without the newline; raises EventUnknown, JournalDamaged."""
        entry = self._index.entry(event_id)
        line = self._line(entry)
        read_record(line, self.path, entry)
        return line

    def pending(self) -> Iterator[JournalRecord]:
        """The records without a done mark, in order; raises JournalDamaged."""
        for event_id in self._index.pending_ids():
            entry = self._index.entry(event_id)
            yield read_record(self._line(entry), self.path, entry)

    def _line(self, entry: Entry) -> bytes:
        self._file.seek(entry.offset)
        return self._file.read(entry.length)


@contextmanager
def inspect(directory: Path, warn: Callable[[str], None] | None = None) -> Iterator[JournalView]:
    """The journal in this directory, without its lock; an absent one is empty, and is not made.

    A torn last record is skipped with one call of `warn` (default: one line on stderr). Raises
    JournalDamaged.
    """
    path = directory / FILE_NAME
    file, index, damage = _load(path)
    with file:
        if damage is not None:
            raise damage
        warn_of_torn_record(path, index, warn)
        yield JournalView(path, file, index)


Told = Callable[[int, int], None]
"""Is told how many bytes were read, and of how many."""


def verify(directory: Path, told: Told = lambda _read, _of: None) -> JournalReport:
    """Reads every line of the journal in this directory, without its lock, and reports."""
    path = directory / FILE_NAME
    file, index, damage = _load(path, told)
    file.close()
    return JournalReport(path, index.stats(), index.torn_bytes, damage)


def warn_of_torn_record(path: Path, index: Index, warn: Callable[[str], None] | None) -> None:
    """Says in one line that the last record is torn, if it is."""
    if index.torn_bytes:
        say = _to_stderr if warn is None else warn
        say(
            f"journal {path}: the last record is torn, "
            f"its {index.torn_bytes} bytes at byte {index.end} are skipped"
        )


def _load(
    path: Path, told: Told = lambda _read, _of: None
) -> tuple[BinaryIO, Index, JournalDamaged | None]:
    for attempt in range(1, _READS + 1):
        try:
            file: BinaryIO = path.open("rb")
        except FileNotFoundError:
            return io.BytesIO(), Index(), None
        before = _state(file)
        index = Index()
        try:
            index.read_from(file, path, partial(_tell, told, before[0]))
        except JournalDamaged as damage:
            # The owner cuts off what it could not write, perhaps while this was reading there.
            if attempt < _READS and _state(file) != before:
                file.close()
                continue
            return file, index, damage
        return file, index, None
    raise AssertionError("the last read returns")


def _tell(told: Told, size: int, read: int) -> None:
    told(read, size)


def _state(file: BinaryIO) -> tuple[int, int]:
    now = os.fstat(file.fileno())
    return now.st_size, now.st_mtime_ns


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
