"""Reads what a quick model sends two pieces at a time, where that keeps nobody waiting for long.

A process that rests is dear to wake, whatever it does then. So the kernel is told to wake it for no
less than two pieces (SO_RCVLOWAT, socket(7)): the first of them costs nothing of its own.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

SHARE_TO_WAIT = 3 / 4
"""What of the longest wait passes here at most: the flush that follows may take the rest."""
SHARE_OF_QUICK = SHARE_TO_WAIT / 2
"""Which models are quick: with a piece within this share of the longest wait, so that two come."""
SHARE_OF_FAST = 1 / 8
"""Which are fast: with one within this share. Their pieces wait for the flush already."""
PAIRS_IN_A_ROW = 3
"""After so many a piece is read alone: less than half of all wait for another."""
PIECE_BYTES = 4096
"""What is longer is more than one token, and worth a waking."""
SAME_SIZE = 1.5
"""What is less than so many times as long as the piece before is no more than one, too."""
MOST_READS_LET_BE = 64
"""Of a body whose pieces come apart, or that a sender holds back until the one before is read."""


class InPairs:
    """How one connection is read: as anything comes, or once two pieces are there."""

    __slots__ = (
        "_alone", "_clock", "_fast", "_in_a_row", "_in_vain", "_let_be", "_longest", "_loop",
        "_quick", "_read_at", "_sock", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        longest_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sock = sock
        # Not the loop's, which may tell milliseconds alone.
        self._clock = clock
        self._longest = longest_seconds * SHARE_TO_WAIT
        self._quick = longest_seconds * SHARE_OF_QUICK
        self._fast = longest_seconds * SHARE_OF_FAST
        self._loop = asyncio.get_running_loop()
        self._read_at = 0.0
        # How much the last read brought that waited for nothing.
        self._alone = 0
        self._in_a_row = 0
        # For how many reads nothing is waited for, and was not after the last wait in vain.
        self._let_be = 0
        self._in_vain = 0
        self._timer: asyncio.TimerHandle | None = None

    def read(self, size: int, may_wait: Callable[[], bool]) -> None:
        """To be called after each read of a body, with how much it brought.

        `may_wait` is asked only where the model is quick. The next two are waited for if it agrees.
        """
        now = self._clock()
        passed, self._read_at = now - self._read_at, now
        if self._timer is None:
            before, self._alone = self._alone, size
            if (
                self._fast <= passed < self._quick
                and size <= PIECE_BYTES
                # Else it may be two already, and the next would wait for four.
                and size < SAME_SIZE * before
            ):
                self._wait_anew(may_wait)
            return
        if size >= self._least():
            self._in_vain = 0
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

    def _wait_anew(self, may_wait: Callable[[], bool]) -> None:
        if self._let_be:
            self._let_be -= 1
        elif may_wait():
            self._in_a_row = 1
            self._wake_for(self._least())
            self._wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._longest, self._waited_in_vain)

    def _waited_in_vain(self) -> None:
        self._let_be = self._in_vain = min(2 * max(self._in_vain, 1), MOST_READS_LET_BE)
        self.stop()

    def _least(self) -> int:
        # More than one piece, also if that is longer than the one before.
        return int(self._alone * SAME_SIZE) + 1

    def _wake_for(self, size: int) -> None:
        # It may have been closed: nothing comes any more, and there is nothing to tell the kernel.
        if self._sock.fileno() >= 0:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def in_pairs(sock: socket.socket, longest_seconds: float) -> InPairs | None:
    """How to read this connection; None where the kernel is no help, and all is read as it comes.

    Linux is: elsewhere, who waits for a socket may not hear of it once he need wait no longer.
    """
    if sys.platform == "linux":
        # What a sandbox's kernel refuses must not look like a failure of the model.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return InPairs(sock, longest_seconds)
    return None
