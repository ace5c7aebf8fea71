"""The first page of a log, read while the row is: whole up to what its reader hears live since."""

import asyncio
from collections.abc import Awaitable, Callable

from jobs.cursor import Cursor
from jobs.redis_link import REDIS_FAILURES
from jobs.stream_log import LogPage, StreamLog


class ReadAhead:
    """Begins at once; `close` it.

    The page is asked for once the reader has joined, so that nothing falls between it and what
    comes live, unless `miss` says that something did.
    """

    __slots__ = ("_begun", "_missed", "_page")

    def __init__(
        self,
        stream_log: StreamLog,
        generation_id: str,
        cursor: Cursor | None,
        join: Callable[[], Awaitable[bool]],
    ) -> None:
        self._begun = self._missed = False
        self._page = asyncio.create_task(self._read(stream_log, generation_id, cursor, join))

    async def _read(
        self,
        stream_log: StreamLog,
        generation_id: str,
        cursor: Cursor | None,
        join: Callable[[], Awaitable[bool]],
    ) -> LogPage | None:
        if not await join():
            return None
        self._begun = True
        try:
            return await stream_log.read_newest(generation_id, cursor)
        except REDIS_FAILURES:
            # It is read again when its turn comes, and what is wrong is dealt with there.
            return None

    @property
    def missed(self) -> bool:
        """Whether something may have happened since that neither it nor live events tell."""
        return self._missed

    def miss(self) -> None:
        """Hears that something may be missing up to now; before it has begun that is no matter."""
        self._missed = self._begun

    async def take(self, attempt: int, first: int) -> LogPage | None:
        """The page, if it is of this attempt and begins with this seq, and nothing was missed."""
        page = await self._page
        if page is None or self._missed or (page.attempt, page.first) != (attempt, first):
            return None
        return page

    def close(self) -> None:
        """Gives up what is being read; again does nothing."""
        self._page.cancel()
