"""Frames that were read for one reader and wait to be sent: bounded, in whole chunks."""

from collections.abc import Iterable

from jobs.events import event_name, join_merged
from jobs.generation import State

HELD_BYTES = 1 << 18
"""What a reader's past may take in memory at a time; the rest is read again when it is due."""
CHUNK_BYTES = 1 << 16
"""Frames that leave together, and at most are merged into one event."""


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
        size = count = 0
        for one in self._frames:
            count += 1
            size += len(one)
            if size >= CHUNK_BYTES:
                break
        frames = self._frames[:count]
        del self._frames[:count]
        told = join_merged(frames) if self._merged else b"".join(frames)
        return told, count, is_terminal(frames[-1])


_TERMINAL_NAMES = frozenset(state.encode() for state in State if state.terminal)


def is_terminal(one: bytes) -> bool:
    """Whether this frame is a terminal event."""
    return bool(one) and event_name(one) in _TERMINAL_NAMES
