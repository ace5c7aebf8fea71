"""A generation retold in another protocol's words, from its first event on: a fold over the log.

Nothing is stored for it. Past events come as they came live, so that the same log gives the same
bytes again, and a position counted over them is the same at every replay.
"""

from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

from jobs.cursor import Cursor
from jobs.events import Ended, LoggedData, Status, read_frame
from jobs.generation import State
from jobs.store.reads import ReplaySource
from jobs.timeline import rebuild, unpack
from relay.follow import Follower

PING = b": ping\n\n"
"""Sent through silence: a comment, which no client takes for an event."""

_HEARTBEAT = b"event: heartbeat\n"


class Projection(Protocol):
    """What one reader is told; made anew for each, and fed everything from the start.

    A `reset` means that what follows replaces all that was fed before. After the data of a
    terminal event (`Ended`) nothing comes.
    """

    def tell(self, cursor: Cursor, data: LoggedData) -> bytes:
        """What this event is in the protocol's words: whole events, or nothing."""


class Retold:
    """A reader of a generation in a protocol's words. `close()` it, also if never iterated.

    Its follower has no cursor, merges nothing and knows no idle timeout (see `following`), so it
    ends after the terminal event alone; where that can't be told it raises Unavailable, and the
    stream is cut.
    """

    __slots__ = ("_follower", "_projection")

    def __init__(self, follower: Follower, projection: Projection) -> None:
        self._follower = follower
        self._projection = projection

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Chunks of whole events of the protocol, an empty one where there is nothing to say."""
        async for chunk in self._follower.events():
            if chunk.startswith(_HEARTBEAT):
                yield PING
            else:
                yield b"".join(self._projection.tell(*event) for event in events_in(chunk))

    def close(self) -> None:
        """Lets go of the follower; again does nothing."""
        self._follower.close()


def retell(source: ReplaySource, projection: Projection) -> bytes:
    """The whole of a generation that has ended, from what SQL keeps of it."""
    generation = source.generation
    if source.timeline is None:
        told = projection.tell(Cursor(0, 1, 0), Status(State.QUEUED, 0))
    else:
        frames = rebuild(generation.attempt, source.text, unpack(source.timeline))
        told = b"".join([projection.tell(*read_frame(one)) for _, one in frames if one])
    assert source.last_seq is not None, "an ended row has an end"
    assert source.last_offset is not None
    end = Cursor(generation.attempt, source.last_seq, source.last_offset)
    return told + projection.tell(end, Ended(generation.without_text()))


def events_in(frames: bytes) -> Iterator[tuple[Cursor, LoggedData]]:
    """The events of these whole frames."""
    # No frame has an empty line before its end: all text is in one line of JSON.
    for one in frames.split(b"\n\n")[:-1]:
        yield read_frame(one)
