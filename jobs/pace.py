"""Times what one attempt's model says, once a read of the network and never once a token."""

import time

from jobs.measures import Measures
from jobs.store.claims import Claimed
from jobs.tracing import here


class Pace:
    """The clock of one attempt, from its claim on; times go to the worker's measures."""

    __slots__ = ("_after", "_began_at", "_heard_at", "_measures", "_waited")

    def __init__(self, measures: Measures, claimed: Claimed) -> None:
        self._measures = measures
        self._after = claimed.reset or "queued"
        self._began_at = 0.0
        self._heard_at = 0.0
        # Seconds in the queue; none can be told of an attempt that took over from another.
        self._waited: float | None = None
        if claimed.reset is None:
            self._waited = (claimed.started_at - claimed.created_at) / 1000

    def begin(self) -> None:
        """Counts it, and its time from now on: its claim is stored."""
        self._began_at = time.monotonic()
        self._measures.attempts[self._after] += 1
        if self._waited is not None:
            self._measures.queue_wait.add(self._waited)

    def heard(self) -> None:
        """The model said something."""
        now = time.monotonic()
        if self._heard_at:
            self._measures.token_gap.add(now - self._heard_at)
        else:
            since_claim = now - self._began_at
            here().note("first content")
            self._measures.model_first_token.add(since_claim)
            if self._waited is not None:
                self._measures.first_token.add(self._waited + since_claim)
        self._heard_at = now

    def over(self) -> None:
        """The attempt came to its end."""
        self._measures.attempt.add(time.monotonic() - self._began_at)
