"""The log of a reader who comes, read while its row is: first entries at once, then the rest."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from jobs.cursor import Cursor
from jobs.redis_link import REDIS_FAILURES
from jobs.stream_log import PAGE, LogPage, StreamLog
from relay.held import is_terminal

HEAD = 256
"""Entries that are asked for first, and are on their way to the reader while the rest is read."""
SHOWN_SECONDS = 0.05
"""How long it is waited for that the head shows what the row would say."""


class ReadAhead:
    """Begins with the head; tell it to `read_on` once the row is known, and `close` it.

    The rest is asked for once the reader has joined, so that nothing falls between it and what
    comes live, unless `miss` says that something did.
    """

    __slots__ = ("_begun", "_cursor", "_head", "_join", "_joined", "_missed", "_newest", "_parts")

    def __init__(
        self,
        stream_log: StreamLog,
        generation_id: str,
        cursor: Cursor | None,
        joined: bool,
        join: Callable[[], Awaitable[bool]],
    ) -> None:
        """`joined` says that the reader has joined already; else `join` waits for it."""
        self._newest = partial(_newest, stream_log, generation_id)
        self._cursor = cursor
        self._join = join
        self._joined = self._begun = joined
        self._missed = False
        self._head = asyncio.create_task(self._newest(cursor, HEAD))
        self._parts = [self._head]

    async def running(self) -> int | None:
        """The attempt that the head shows under way, if it comes soon enough to be waited for.

        Only where a reader with this cursor begins within that attempt, at an entry that is there:
        what has ended, and what was lost, is for the row to say.
        """
        await asyncio.wait((self._head,), timeout=SHOWN_SECONDS)
        head = self._head.result() if self._head.done() else None
        # Of a long one the end is not seen.
        if head is None or not _is_short(head) or is_terminal(head.frames[-1]):
            return None
        cursor = self._cursor
        if cursor is not None and cursor.attempt == head.attempt:
            begins = head.first == max(1, cursor.seq)
        else:
            begins = head.first == 1 and (cursor is None or 0 <= cursor.attempt < head.attempt)
        return head.attempt if begins else None

    def read_on(self) -> None:
        """Begins to read the rest. Sooner, a long one would keep the row from being taken."""
        self._parts.append(asyncio.create_task(self._read_rest()))

    async def _read_rest(self) -> LogPage | None:
        # Not the task itself, which the one who takes the head waits for too.
        head = await asyncio.shield(self._head)
        # Of a short log what is left is next to nothing, and is asked for when its turn comes.
        if _is_short(head) or not await self._join():
            return None
        self._begun = True
        if head is None:
            return await self._newest(self._cursor, PAGE)
        # From the head's last entry on: whoever takes it sees that it is still the same log.
        rest = await self._newest(Cursor(head.attempt, head.last, 0), PAGE + 1)
        return None if rest is None else LogPage(rest.attempt, rest.first + 1, rest.frames[1:])

    def _is_whole(self, head: LogPage | None) -> bool:
        return self._joined and _is_short(head)

    @property
    def left(self) -> bool:
        """Whether more of it may be taken."""
        return bool(self._parts)

    @property
    def missed(self) -> bool:
        """Whether something may have happened since that neither it nor live events tell."""
        return self._missed

    def miss(self) -> None:
        """Hears that something may be missing; no matter before all is asked for."""
        self._missed = self._begun

    async def take(self, attempt: int, first: int) -> LogPage | None:
        """What comes next, of this attempt and beginning with this seq.

        None if that is something else, or something was missed; nothing is left then.
        """
        while self._parts:
            page = await self._parts.pop(0)
            if page is None:
                continue
            if self._missed or (page.attempt, page.first) != (attempt, first):
                break
            if self._is_whole(page):
                self.close()
            return page
        self.close()
        return None

    def close(self) -> None:
        """Gives up what is being read; again does nothing."""
        self._head.cancel()
        for part in self._parts:
            part.cancel()
        self._parts.clear()


def _is_short(head: LogPage | None) -> bool:
    return head is not None and len(head.frames) < HEAD


async def _newest(
    stream_log: StreamLog, generation_id: str, cursor: Cursor | None, count: int
) -> LogPage | None:
    try:
        return await stream_log.read_newest(generation_id, cursor, count)
    except REDIS_FAILURES:
        # It is read again when its turn comes, and what is wrong is dealt with there.
        return None
