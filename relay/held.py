"""Frames that were read for one reader and wait to be sent: bounded, in whole events."""

from collections.abc import Iterable, Iterator

from jobs.events import event_name, join_merged
from jobs.generation import State

HELD_BYTES = 1 << 18
"""What a reader's past may take in memory at a time; the rest is read again when it is due."""
CHUNK_BYTES = 1 << 17
"""Frames that leave together: as much has its reader to take in the time that a send may last."""
MERGED_BYTES = 1 << 16
"""What is merged into one event at most: clients that read by the line bound their lines.

What is not merged leaves in such pieces, for it grows where it is told in another protocol.
"""


class Held:
    """Consecutive frames; an empty one stands for an event that was not kept.

    Neighbouring tokens leave as one event if `merged`.
    """

    __slots__ = ("_frames", "_merged")

    def __init__(self, *, merged: bool = True) -> None:
        self._frames: list[bytes] = []
        self._merged = merged

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def size(self) -> int:
        """The bytes that they take."""
        return sum(map(len, self._frames))

    def hold(self, frames: Iterable[bytes]) -> bool:
        """Takes these up to HELD_BYTES, and no more of them than that; whether these were all."""
        size = 0
        for one in frames:
            if size >= HELD_BYTES:
                return False
            self._frames.append(one)
            size += len(one)
        return True

    def take(self) -> tuple[bytes, int, bool]:
        """The next chunk, how many frames are in it, and whether it ends with the terminal event.

        The chunk is empty where none of them was kept.
        """
        frames = next(_parts(self._frames, CHUNK_BYTES if self._merged else MERGED_BYTES))
        del self._frames[: len(frames)]
        told = map(join_merged, _parts(frames, MERGED_BYTES)) if self._merged else frames
        return b"".join(told), len(frames), is_terminal(frames[-1])


def _parts(frames: list[bytes], limit: int) -> Iterator[list[bytes]]:
    """These in groups, each of which ends where it reaches so many bytes."""
    begin = size = 0
    for end, one in enumerate(frames, 1):
        size += len(one)
        if size >= limit:
            yield frames[begin:end]
            begin, size = end, 0
    if begin < len(frames):
        yield frames[begin:]


_TERMINAL_NAMES = frozenset(state.encode() for state in State if state.terminal)


def is_terminal(one: bytes) -> bool:
    """Whether this frame is a terminal event."""
    return bool(one) and event_name(one) in _TERMINAL_NAMES
