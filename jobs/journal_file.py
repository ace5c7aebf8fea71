"""A file that takes a whole line or nothing, and says what an accepted line survives."""

import errno
import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

from jobs.journal_errors import JournalClosed, JournalDamaged, JournalWriteFailed

Fsync = Literal["always", "off"]


class LineFile:
    """An append-only file of whole lines, for one caller at a time.

    The promise about a line whose `append` returned:
    - `always`: it, and the file's name in its directory, were handed to the disk (fdatasync, fsync)
      and survive a loss of power, as far as disk and file system keep their own word.
    - `off`: it is the system's to write; it survives the death of the process, not of the machine.
    A line whose `append` raised is cut off again. Only if that very cut did not reach the disk
    before a loss of power may it be found afterwards, whole or torn.
    """

    def __init__(self, path: Path, fsync: Fsync) -> None:
        """Opens the file, made if absent, and changes nothing in it; raises OSError."""
        self.path = path
        self._fsync: Fsync = fsync
        self._fd: int | None = _open(path)
        self._name_synced = False

    def append(self, line: bytes, end: int) -> None:
        """Writes the line at offset `end`, behind the last whole one; what follows it is cut off.

        Raises JournalWriteFailed, after which the file is as before, and JournalDamaged if the file
        is shorter than `end`.
        """
        fd = self._open_fd()
        try:
            self._cut(fd, end)
            _write(fd, line)
            if self._fsync == "always":
                _sync(fd)
                self._sync_name()
        except OSError as error:
            # Should this fail too, the next append cuts the rest off or fails in its turn.
            with suppress(OSError):
                os.ftruncate(fd, end)
            raise JournalWriteFailed(self.path, error) from error

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there; fewer if the file was shortened by somebody else."""
        return os.pread(self._open_fd(), length, offset)

    def start_anew(self) -> None:
        """Puts an empty file in this one's place; readers that have the old one open keep it.

        Raises JournalWriteFailed, after which the old file stays in use.
        """
        old = self._open_fd()
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            fd = _open(fresh, os.O_TRUNC)
            try:
                os.replace(fresh, self.path)
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise JournalWriteFailed(self.path, error) from error
        self._fd, self._name_synced = fd, False
        os.close(old)

    def close(self) -> None:
        """Gives the file back; further use raises JournalClosed."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open_fd(self) -> int:
        if self._fd is None:
            raise JournalClosed(self.path)
        return self._fd

    def _cut(self, fd: int, end: int) -> None:
        now = os.fstat(fd)
        if now.st_nlink == 0:
            # A line in a file without a name would be accepted and never found again.
            raise FileNotFoundError(errno.ENOENT, "the file was removed")
        if now.st_size < end:
            # The line would not be at the offset that the index gives it.
            reason = f"somebody else shortened it from {end} to {now.st_size} bytes"
            raise JournalDamaged(self.path, now.st_size, reason)
        if now.st_size > end:
            os.ftruncate(fd, end)

    def _sync_name(self) -> None:
        if not self._name_synced:
            sync_directory(self.path.parent)
            self._name_synced = True


def make_directory(directory: Path, fsync: Fsync) -> None:
    """Makes the directory with its missing parents, for this user alone; synced if `always`."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        if fsync == "always":
            sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes the names in the directory survive a loss of power."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)


def _write(fd: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        written = os.write(fd, rest)
        if written == 0:
            # Trying on could go on for ever.
            raise OSError(errno.EIO, "the system took no byte of the line")
        rest = rest[written:]


def _sync(fd: int) -> None:
    if sys.platform == "darwin":
        # fsync leaves the bytes in the drive's own cache there.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)
