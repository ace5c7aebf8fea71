"""What was accepted and what ended in the last minutes, slice by slice, kept from many readings.

The rows are counted once over the whole span, then only where they may have changed; what is kept
is bounded by the span.
"""

from collections import Counter
from itertools import groupby

import msgspec

from jobs.store.overview import SLICE_MS, Ended, Overview

SLICES = 60
"""Ten minutes of slices of ten seconds."""
STATES = ("completed", "failed", "cancelled", "expired")


class ErrorCount(msgspec.Struct, frozen=True):
    """How many generations ended with this error code in the span."""

    code: str
    count: int


class Rates(msgspec.Struct, frozen=True):
    """Counts a slice, oldest first; the slice under way is left out, since it is not whole yet."""

    slice_seconds: float
    ends_at_ms: int
    """The end of the last slice, in milliseconds since the epoch."""
    accepted: tuple[int, ...] = ()
    completed: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    cancelled: tuple[int, ...] = ()
    expired: tuple[int, ...] = ()
    output_tokens: tuple[int, ...] = ()
    errors: tuple[ErrorCount, ...] = ()
    """Of the whole span, the most frequent first."""


class RateBook:
    """The slices of the span, from the readings that it was given."""

    def __init__(self) -> None:
        self._accepted: dict[int, int] = {}
        self._ended: dict[int, tuple[Ended, ...]] = {}
        self._now_slice = 0

    def note(self, overview: Overview) -> None:
        """Takes a reading: its slices replace what was known of them."""
        self._now_slice = overview.now_ms // SLICE_MS
        oldest = self._now_slice - SLICES
        kept = range(oldest, overview.since_slice)
        by_slice = sorted(overview.ended, key=lambda one: one.slice)
        ended = {number: tuple(ones) for number, ones in groupby(by_slice, lambda one: one.slice)}
        accepted = dict(overview.accepted)
        self._accepted = {at: one for at, one in self._accepted.items() if at in kept} | accepted
        self._ended = {at: one for at, one in self._ended.items() if at in kept} | ended

    def rates(self) -> Rates:
        """The whole slices of the span."""
        span = range(self._now_slice - SLICES, self._now_slice)
        by_state = {state: [0] * SLICES for state in STATES}
        tokens = [0] * SLICES
        errors: Counter[str] = Counter()
        for place, number in enumerate(span):
            for one in self._ended.get(number, ()):
                by_state[one.state][place] += one.total
                tokens[place] += one.output_tokens
                if one.code:
                    errors[one.code] += one.total
        return Rates(
            slice_seconds=SLICE_MS / 1000,
            ends_at_ms=self._now_slice * SLICE_MS,
            accepted=tuple(self._accepted.get(number, 0) for number in span),
            output_tokens=tuple(tokens),
            errors=tuple(ErrorCount(code, count) for code, count in errors.most_common()),
            **{state: tuple(counts) for state, counts in by_state.items()},
        )
