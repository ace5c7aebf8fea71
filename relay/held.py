"""Frames that were read for one reader and wait to be sent: bounded, in whole events."""

from collections.abc import Iterable, Iterator

from jobs.events import event_name, join_merged
from jobs.generation import State

HELD_BYTES = 1 << 18
"""What a reader's past may take in memory at a time; the rest is read again when it is due."""
MERGED_BYTES = 1 << 16
"""What is merged into one event at most: clients that read by the line bound their lines."""


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
        """All of them in one chunk, how many they are, and whether the last is the terminal event.

        The chunk is empty where none of them was kept.
        """
        frames, self._frames = self._frames, []
        told = map(join_merged, _parts(frames)) if self._merged else frames
        return b"".join(told), len(frames), is_terminal(frames[-1])


def _parts(frames: list[bytes]) -> Iterator[list[bytes]]:
    """These in groups, each of which ends where it reaches MERGED_BYTES."""
    begin = size = 0
    for end, one in enumerate(frames, 1):
        size += len(one)
        if size >= MERGED_BYTES:
            yield frames[begin:end]
            begin, size = end, 0
    if begin < len(frames):
        yield frames[begin:]


_TERMINAL_NAMES = frozenset(state.encode() for state in State if state.terminal)


def is_terminal(one: bytes) -> bool:
    """Whether this frame is a terminal event."""
    return bool(one) and event_name(one) in _TERMINAL_NAMES
