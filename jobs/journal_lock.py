"""One owner of a journal directory at a time, and a word on who it is; ends with the process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.journal_errors import JournalLocked

LOCK_NAME = "journal.lock"


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Owns the directory for as long as the block runs; raises JournalLocked if somebody else does.

    The system gives the lock back when the owner dies. The lock file stays: removing it would let
    two processes each lock a file of that name.
    """
    fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalLocked(directory, _pid(os.pread(fd, 32, 0))) from None
        _say(fd, b"%d\n" % os.getpid())
        try:
            yield
        finally:
            _say(fd, b"")
    finally:
        os.close(fd)


def _say(fd: int, text: bytes) -> None:
    # Only a word to the next opener: a full disk must neither keep the owner from its records nor
    # hide another error.
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, text, 0)


def _pid(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None
