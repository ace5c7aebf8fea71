"""How long no flush begins after one: shortly where that was cheap, longer where it was dear.

Whatever flushing costs, what has waited for something else already leaves in time.
"""

import math
import random

SHARE_OF_A_CORE = 0.1
"""What flushing may cost when it is frequent: one of 1 ms of processor time is followed by 9 ms."""
SHARE_OF_LONGEST_PAUSE = 1 / 4
"""What passes at least until the next flush: a fast model's log, too, is no entry a token."""
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_LAST_SECONDS = 1.0


class FlushPause:
    """The pause between two rounds, of one flush mostly; times are seconds, by the loop's clock."""

    __slots__ = (
        "_latest", "_promised", "backoff", "began", "is_short", "longest", "spent", "until",
    )  # fmt: skip

    def __init__(self, longest_seconds: float) -> None:
        self.longest = longest_seconds
        self.began = 0.0
        """When the newest round began."""
        self.spent = 0.0
        """Its processor time: on a shared machine the clock's grows without costing more."""
        self.until = 0.0
        """When the next one may begin, but for what is urgent."""
        self.is_short = False
        """Whether the last round was cheap."""
        self.backoff = 0.0
        """How long nothing is sent since it failed, at most; 0 where it did not."""
        self._latest = math.inf
        self._promised = 0.0

    @property
    def shortest(self) -> float:
        """The pause after what is cheap."""
        return self.longest * SHARE_OF_LONGEST_PAUSE

    @property
    def most(self) -> float:
        """How long what is flushed in this round may keep anything that follows waiting."""
        return self.shortest if self._promised > self.began else self.longest

    def begin(self, now: float) -> None:
        """A round begins."""
        self.began, self.spent, self._latest = now, 0.0, math.inf
        # What the round leaves over for a further flush waits for no pause before it.
        self.until = now

    def ends_by(self, at: float) -> None:
        """What is left over by this round has to leave then: its pause ends before."""
        self._latest = min(self._latest, at)

    def promise(self, now: float) -> None:
        """Somebody keeps a piece back from now on, for 3/4 of the longest pause at most.

        Until all of that is over no pause is longer than the shortest, so that no piece waits for
        more than the longest in all, whoever else was promised the same.
        """
        self._promised = now + self.longest

    def end(self) -> None:
        """The round is over."""
        pause = max(self.shortest, self.spent / SHARE_OF_A_CORE)
        self.is_short = pause == self.shortest
        self.until = min(self.began + min(pause, self.most), self._latest)

    def fail(self, now: float) -> None:
        """The round failed: the next one is longer and longer in coming, up to a bound."""
        self.is_short = False
        self.backoff = min(max(self.backoff * 2, BACKOFF_FIRST_SECONDS), BACKOFF_LAST_SECONDS)
        self.until = now + self.backoff * random.uniform(0.5, 1.0)
