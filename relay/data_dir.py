"""The directory where `dev` keeps everything: one owner at a time, and a secret that stays."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import JobsError

LOCK_NAME = "dev.lock"
SECRET_NAME = "secret"


class DataDirTaken(JobsError):
    """Another `dev` runs on this directory; `pid` is its process, None while it starts."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        owner = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"{directory} is in use by {owner}: stop that one, or choose another --data-dir"
        )
        self.directory = directory
        self.pid = pid


@contextmanager
def own_data_dir(directory: Path) -> Iterator[None]:
    """Owns the directory, made if absent, for as long as the block runs.

    The system gives it back when the owner dies, so no lock is ever stale. Raises DataDirTaken,
    OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            word = os.pread(fd, 32, 0).strip()
            raise DataDirTaken(directory, int(word) if word.isdigit() else None) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(fd)


def kept_secret(directory: Path) -> str:
    """What signs tickets here; made once, so that they survive a restart. Raises OSError."""
    path = directory / SECRET_NAME
    if path.exists() and (kept := path.read_text().strip()):
        return kept
    made = secrets.token_urlsafe(32)
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(made)
    fresh.replace(path)
    return made
