"""A disk that takes as long as a test likes for SQLite's log, and knows what would survive."""

import os
import shutil
import threading
from pathlib import Path


class HeldDisk:
    """Stands in for the syncs beside the loop (`jobs/disk_sync.py`), not for SQLite's own."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        """Cleared, it lets nothing come to its end."""
        self.goes_on.set()
        self._counting = threading.Lock()
        self.asked = 0
        """How many syncs have begun."""
        self.synced: dict[int, bytes] = {}
        """What the log was when each sync began that came to its end, by its number."""
        self.error: OSError | None = None
        """What it refuses with."""

    def sync(self, opened: int) -> None:
        """Takes the place of `fdatasync`."""
        content = os.pread(opened, os.fstat(opened).st_size, 0)
        with self._counting:
            self.asked += 1
            number = self.asked
        if not self.goes_on.wait(20):
            raise TimeoutError("the test has not let it go on")
        if self.error is not None:
            raise self.error
        self.synced[number] = content

    def survivor(self, database: Path) -> str:
        """The address of what a loss of power leaves of this database, at the least.

        For one whose log was never taken into it, which small tests' are not.
        """
        left = database.with_name(f"{len(list(database.parent.iterdir()))}-left.db")
        shutil.copy(database, left)
        left.with_name(f"{left.name}-wal").write_bytes(self.synced[max(self.synced)])
        return f"sqlite+aiosqlite:///{left}"
