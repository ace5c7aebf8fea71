"""What a journal file holds, by event id: where each record is, and whether it is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypedDict

from jobs.journal_errors import EventUnknown, JournalDamaged
from jobs.journal_record import DoneMark, JournalRecord, Outcome, decode_line

TOLD_EVERY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a record is: its first byte, and its length in bytes without the newline."""

    event_id: str
    offset: int
    length: int


def _nobody(_: int) -> None:
    return


class Stats(TypedDict):
    """Records in the file, its size in bytes up to the last whole line, records not done."""

    total: int
    bytes: int
    pending: int


class Index:
    """The entries and done marks of a file's whole lines, in the order of the file.

    `end` is the offset after the last whole line, `torn_bytes` how many bytes follow it.
    """

    def __init__(self) -> None:
        self.end = 0
        self.torn_bytes = 0
        self._entries: dict[str, Entry] = {}
        self._outcomes: dict[str, Outcome] = {}

    def read_from(self, file: BinaryIO, path: Path, told: Callable[[int], None] = _nobody) -> None:
        """Takes in the file's lines, from its start; `told` hears now and then how far it came.

        A last line without a newline was torn by a crash and is only counted. Anything else that
        is not a line of a journal raises JournalDamaged; the lines before it are in the index.
        """
        next_told = TOLD_EVERY_BYTES
        for line in file:
            if self.end >= next_told:
                told(self.end)
                next_told = self.end + TOLD_EVERY_BYTES
            if not line.endswith(b"\n"):
                self.torn_bytes = len(line)
                # A writer at work may add the rest of this line: reading on would take it for one.
                return
            try:
                self.add(decode_line(line[:-1]), len(line))
            except ValueError as error:
                raise JournalDamaged(path, self.end, str(error)) from None

    def add(self, item: JournalRecord | DoneMark, line_length: int) -> None:
        """Takes in the item whose line of `line_length` bytes, newline included, starts at `end`.

        Raises ValueError for a second record of an event, a second mark, or a mark of no record.
        """
        event_id = item.event_id
        if isinstance(item, JournalRecord):
            if event_id in self._entries:
                raise ValueError(f"a second record of {event_id}")
            self._entries[event_id] = Entry(event_id, self.end, line_length - 1)
        else:
            if event_id not in self._entries:
                raise ValueError(f"a done mark of {event_id}, which has no record before it")
            if event_id in self._outcomes:
                raise ValueError(f"a second done mark of {event_id}")
            self._outcomes[event_id] = item.outcome
        self.end += line_length

    def find(self, event_id: str) -> Entry | None:
        """The event's entry, or None."""
        return self._entries.get(event_id)

    def entry(self, event_id: str) -> Entry:
        """The event's entry; raises EventUnknown if there is none."""
        entry = self.find(event_id)
        if entry is None:
            raise EventUnknown(event_id)
        return entry

    def outcome(self, event_id: str) -> Outcome | None:
        """How the event's replay ended; None while it is pending. Raises EventUnknown."""
        return self._outcomes.get(self.entry(event_id).event_id)

    def pending_ids(self) -> list[str]:
        """Event ids without a done mark, in the order of their records."""
        return [event_id for event_id in self._entries if event_id not in self._outcomes]

    def stats(self) -> Stats:
        """The index's counts."""
        total = len(self._entries)
        return Stats(total=total, bytes=self.end, pending=total - len(self._outcomes))


def read_record(line: bytes, path: Path, entry: Entry) -> JournalRecord:
    """The record in the bytes read at its entry; JournalDamaged if they changed since indexed."""
    try:
        item = decode_line(line)
    except ValueError as error:
        raise JournalDamaged(path, entry.offset, str(error)) from None
    if not isinstance(item, JournalRecord) or item.event_id != entry.event_id:
        raise JournalDamaged(path, entry.offset, f"not the record of {entry.event_id} any more")
    return item
