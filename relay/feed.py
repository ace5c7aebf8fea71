"""An owner's feed: what is active now, then each change and deletion once committed (protocol §4).

No ids and no cursor: a reader that comes back, or may have missed something, gets a new snapshot.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from jobs.generation import Generation, State, encode
from jobs.store.reads import list_active
from relay.sources import Sources

INBOX_BYTES = 1 << 18
"""What waits for a slow reader; beyond, it gets a new snapshot."""
REMEMBERED_ENDS = 256
"""How many ended ones are known, so that a start which was overtaken by its end is not shown."""


class _Change(msgspec.Struct):
    id: str = ""
    state: State = State.QUEUED
    deleted: msgspec.Raw = msgspec.Raw()


_read_change = msgspec.json.Decoder(_Change).decode


class Feed:
    """One reader of an owner's feed. `close()` it, whether or not it was ever iterated."""

    __slots__ = (
        "_ended",
        "_heartbeat_due",
        "_inbox",
        "_inbox_bytes",
        "_owner",
        "_sent_at",
        "_sources",
        "_stale",
        "_wake",
    )

    def __init__(self, sources: Sources, owner: str) -> None:
        self._sources = sources
        self._owner = owner
        self._inbox: list[bytes] = []
        self._inbox_bytes = 0
        self._stale = True
        self._heartbeat_due = False
        self._sent_at = time.monotonic()
        self._wake = asyncio.Event()
        self._ended: deque[str] = deque(maxlen=REMEMBERED_ENDS)
        sources.pulse.add(self)

    def on_message(self, payload: bytes) -> None:
        """Takes a change that was just published (Listener)."""
        self._inbox.append(payload)
        self._inbox_bytes += len(payload)
        if self._inbox_bytes > INBOX_BYTES:
            self._start_anew()
        self._wake.set()

    def on_subscribed(self) -> None:
        """Hears that changes may have been missed up to now (Listener)."""
        self._start_anew()
        self._wake.set()

    def due_at(self) -> float:
        """When there is something to send without a change (Ticking)."""
        return self._sent_at + self._sources.heartbeat_seconds

    def tick(self, now: float) -> None:
        """Compares its deadline with the time; it never wants a row (Ticking)."""
        if now - self._sent_at >= self._sources.heartbeat_seconds:
            self._heartbeat_due = True
            self._wake.set()

    def close(self) -> None:
        """Stops listening; again does nothing."""
        self._sources.hub.leave(self, owner=self._owner)
        self._sources.pulse.discard(self)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Chunks of whole events, for as long as they are wanted; raises Unavailable."""
        await self._sources.hub.watch(self._owner, self)
        while True:
            self._wake.clear()
            if self._stale:
                self._stale = False
                active = await list_active(self._sources.database, self._owner)
                yield self._sent(_event(b"snapshot", _snapshot(active)))
            elif self._inbox:
                if chunk := self._drain():
                    yield self._sent(chunk)
            elif self._heartbeat_due:
                yield self._sent(_event(b"heartbeat", b"{}"))
            else:
                await self._wake.wait()

    def _start_anew(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0
        self._stale = True

    def _sent(self, chunk: bytes) -> bytes:
        self._sent_at = time.monotonic()
        self._heartbeat_due = False
        return chunk

    def _drain(self) -> bytes:
        inbox, self._inbox, self._inbox_bytes = self._inbox, [], 0
        return b"".join(map(self._told, inbox))

    def _told(self, payload: bytes) -> bytes:
        change = _read_change(payload)
        if change.deleted:
            return _event(b"deleted", change.deleted)
        # A change that was published after the end of its generation came before it.
        if change.id in self._ended and not change.state.terminal:
            return b""
        if change.state.terminal:
            self._ended.append(change.id)
        return _event(b"generation", payload)


def _snapshot(active: tuple[Generation, ...]) -> bytes:
    return encode({"generations": [generation.without_text() for generation in active]})


def _event(name: bytes, data: bytes | msgspec.Raw) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, data)
