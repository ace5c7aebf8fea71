"""Brings SQLite's log to the disk beside the loop: one sync at a time, for all written before it.

Whoever wrote goes on meanwhile, and tells of it once the sync is over.
"""

import asyncio
import os
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

SLOW_SECONDS = 0.05
"""What takes longer than this is no disk that one should write to in passing."""
REFUSED_SECONDS = 10.0
"""How long a disk is not well after it has refused a sync."""

# macOS has no sync of the data alone.
_sync = getattr(os, "fdatasync", os.fsync)


class DiskSync:
    """Syncs one file; its thread begins with the first sync, and ends with `close`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._under_way: asyncio.Future[None] | None = None
        # For what was written since the one under way began.
        self._next: asyncio.Future[None] | None = None
        self._began = 0.0
        self._refused_until = 0.0
        self._asked: SimpleQueue[asyncio.AbstractEventLoop | None] | None = None

    @property
    def is_well(self) -> bool:
        """Whether the disk takes what it is given, and at once."""
        now = time.monotonic()
        slow = self._under_way is not None and now - self._began > SLOW_SECONDS
        return not slow and now >= self._refused_until

    def begin(self) -> asyncio.Future[None]:
        """Has all that was written up to now brought to the disk; done once it is there.

        Its error is the system's, an OSError. It is for all who wait: do not cancel it.
        """
        loop = asyncio.get_running_loop()
        if self._under_way is None:
            self._under_way = loop.create_future()
            self._ask(loop)
            return self._under_way
        if self._next is None:
            self._next = loop.create_future()
        return self._next

    def close(self) -> None:
        """Ends the thread, after the sync that is under way."""
        if self._asked is not None:
            self._asked.put(None)
            self._asked = None

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._began = time.monotonic()
        if self._asked is None:
            self._asked = SimpleQueue()
            # A disk that hangs must not keep the process from ending.
            threading.Thread(target=self._run, args=(self._asked,), daemon=True).start()
        self._asked.put(loop)

    def _run(self, asked: "SimpleQueue[asyncio.AbstractEventLoop | None]") -> None:
        while (loop := asked.get()) is not None:
            error = self._try()
            # The loop may be over: then nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._over, loop, error)

    def _try(self) -> OSError | None:
        try:
            # Opened anew: it may be another file by now.
            opened = os.open(self._path, os.O_RDONLY)
            try:
                _sync(opened)
            finally:
                os.close(opened)
        except FileNotFoundError:
            # SQLite deletes its log once all of it is in the database, and on the disk.
            return None
        except OSError as error:
            return error
        return None

    def _over(self, loop: asyncio.AbstractEventLoop, error: OSError | None) -> None:
        over, self._under_way, self._next = self._under_way, self._next, None
        assert over is not None
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)
            # There may be nobody who waits for it yet.
            over.exception()
            self._refused_until = time.monotonic() + REFUSED_SECONDS
        if self._under_way is not None:
            self._ask(loop)
