"""How long a log rests after an entry, so that readers of a quick model get few and not many."""

from typing import NamedTuple

SHARE_OF_LONGEST_PAUSE = 1 / 4
"""What passes at least until the next flush: a fast model's log, too, is no entry a token."""
FAST_PIECES = 2
"""A log that gets more pieces than these in the shortest pause is fast: it takes the longest."""
SHARE_FOR_COMPANY = 1 / 2
"""Which models are quick: with a piece within this share of the longest pause. The second of two
waits for one more, until that is so much later than it should be."""


class Rest(NamedTuple):
    """Until `seconds` are over, or `pieces` have come; 0 pieces: the time alone counts."""

    seconds: float
    pieces: int


NONE = Rest(0.0, 0)


def rest(pieces: int, passed: float, longest: float, *, alone: bool) -> Rest:
    """What follows an entry of so many pieces, so many seconds after the one before.

    Of a fast log the longest pause. One that is merely quick, and for which a flush is `alone`, has
    every other entry wait for a second piece: two of three tokens leave as they come.
    """
    if pieces * longest * SHARE_OF_LONGEST_PAUSE > FAST_PIECES * passed:
        return Rest(longest, 0)
    company = longest * SHARE_FOR_COMPANY
    if alone and pieces == 1 and passed < company:
        return Rest(passed + company, 2)
    return NONE
