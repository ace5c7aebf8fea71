"""What can go wrong with the journal; each error carries its data.

JournalError
├── JournalLocked        another process, or another opener in this one, owns the directory
├── JournalDamaged       bytes that no append and no crash leaves behind, with their offset
├── JournalWriteFailed   the disk did not take a line; the journal is as it was before
├── JournalClosed        used after its end
├── RecordRefused        a record that could not be read back, so it was not written
├── DuplicateEvent       the event id is taken by another record
└── EventUnknown         no record has this event id
"""

from pathlib import Path

from jobs.errors import JobsError


class JournalError(JobsError):
    """Any error of the journal that a caller may want to tell apart."""


class JournalLocked(JournalError):
    """The directory is owned by an open journal; `pid` is its process, None while it starts."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        owner = "another process" if pid is None else f"process {pid}"
        super().__init__(f"the journal in {directory} is in use by {owner}")
        self.directory = directory
        self.pid = pid


class JournalDamaged(JournalError):
    """The file holds what the journal never wrote; `offset` is the first byte of that line."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path} is damaged at byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class JournalWriteFailed(JournalError):
    """A line was not written; what was there before is whole and the next append may succeed."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"{path} could not be written: {cause.strerror or cause}")
        self.path = path
        self.cause = cause


class JournalClosed(JournalError):
    """The journal was used after it was closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is closed")
        self.path = path


class RecordRefused(JournalError):
    """The record has no faithful form as a line of JSON; nothing was written."""

    def __init__(self, event_id: str, reason: str) -> None:
        super().__init__(f"{event_id} can't be written to the journal: {reason}")
        self.event_id = event_id
        self.reason = reason


class DuplicateEvent(JournalError):
    """Another record was written under this event id before."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"the journal has another record of {event_id}")
        self.event_id = event_id


class EventUnknown(JournalError):
    """The journal has no record of this event id."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"the journal has no record of {event_id}")
        self.event_id = event_id
