"""Reads what a quick model sends two pieces at a time, where that keeps nobody waiting for long.

A process that rests is dear to wake, whatever it does then. So the kernel is told to wake it for no
less than two pieces (SO_RCVLOWAT, socket(7)): the first of them costs nothing of its own.
"""

import asyncio
import socket
from collections.abc import Callable

SHARE_TO_WAIT = 3 / 4
"""What of the longest wait passes here at most: the flush that follows may take the rest."""
SHARE_OF_QUICK = 1 / 2
"""Which models are quick: with a piece within this share of the longest wait."""
SHARE_OF_FAST = 1 / 8
"""Which are fast: with one within this share. Their pieces wait for the flush already."""
PAIRS_IN_A_ROW = 3
"""After so many a piece is read alone: less than half of all wait for another."""
PIECE_BYTES = 4096
"""What is longer is more than one token, and worth a waking."""


class InPairs:
    """How one connection is read: as anything comes, or once two pieces are there."""

    __slots__ = (
        "_alone", "_fast", "_in_a_row", "_longest", "_loop", "_quick", "_read_at", "_sock",
        "_timer",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, longest_seconds: float) -> None:
        self._sock = sock
        self._longest = longest_seconds * SHARE_TO_WAIT
        self._quick = longest_seconds * SHARE_OF_QUICK
        self._fast = longest_seconds * SHARE_OF_FAST
        self._loop = asyncio.get_running_loop()
        self._read_at = 0.0
        # The size of a piece that came alone.
        self._alone = 0
        self._in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None

    def read(self, size: int, may_wait: Callable[[], bool]) -> None:
        """To be called after each read of a body, with how much it brought.

        `may_wait` is asked only where the model is quick. The next two are waited for if it agrees.
        """
        now = self._loop.time()
        passed, self._read_at = now - self._read_at, now
        if self._timer is None:
            if self._fast <= passed < self._quick and size <= PIECE_BYTES and may_wait():
                self._alone = size
                self._in_a_row = 1
                self._wake_for(self._least())
                self._wait()
            return
        if size >= self._least():
            passed /= 2
        if passed < self._quick and self._in_a_row < PAIRS_IN_A_ROW and may_wait():
            self._in_a_row += 1
            self._timer.cancel()
            self._wait()
        else:
            self.stop()

    def stop(self) -> None:
        """Whatever comes, or has come, is read at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._wake_for(1)

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._longest, self.stop)

    def _least(self) -> int:
        # More than one piece, also if that is half as long again as the one before.
        return self._alone + self._alone // 2 + 1

    def _wake_for(self, size: int) -> None:
        # It may have been closed: nothing comes any more, and there is nothing to tell the kernel.
        if self._sock.fileno() >= 0:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
