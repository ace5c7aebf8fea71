"""What a process counts of its generations: plain numbers, cheap to add to, read when asked for.

An addition costs some hundred nanoseconds and no object, so that it may stand beside the model's
stream; names and units for operators are made in `jobs/exposition.py`, once a scrape.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from jobs.generation import Generation, Usage
from jobs.kinds import NO_OTHERS, Kinds

WAIT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds in seconds, for what a person waits for."""
GAP_BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds, for the time between two pieces of an answer."""
ATTEMPT_BOUNDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds in seconds, for a whole attempt."""


class Distribution:
    """How often a value fell below each bound; the last count is of what is above all of them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one value; one below zero, from clocks that disagree, counts as zero."""
        self.counts[bisect_left(self.bounds, value)] += 1
        if value > 0:
            self.total += value


@dataclass(slots=True)
class Measures:
    """The generations that this process ran or ended, since it started. Times are in seconds."""

    kinds: Kinds = NO_OTHERS
    """What kinds are counted by their names."""
    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By kind, final state and error code (empty without one), once each was committed here."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Claimed here, by what they began after: `queued`, `worker_lost` or `handed_over`."""
    tokens: Counter[str] = field(default_factory=Counter)
    """The model's, as it told them: `input` and `output`, of what was committed here."""
    unknown_kinds: int = 0
    """Offers of a generation whose kind is not known here, left to another worker."""
    fenced: int = 0
    """Ends that were refused since a newer attempt has the generation."""
    kept: Counter[str] = field(default_factory=Counter)
    """Outcomes that the database did not take at once: it was `away`, or answered and `refused`;
    `unstorable` ones ended as a failure then."""
    queue_wait: Distribution = field(default_factory=lambda: Distribution(WAIT_BOUNDS))
    """From acceptance to the first claim, by the database's clock; a wait in line included."""
    first_token: Distribution = field(default_factory=lambda: Distribution(WAIT_BOUNDS))
    """From acceptance to the first content, of first attempts."""
    model_first_token: Distribution = field(default_factory=lambda: Distribution(WAIT_BOUNDS))
    """From the claim to the first content, of every attempt."""
    token_gap: Distribution = field(default_factory=lambda: Distribution(GAP_BOUNDS))
    """Between two reads of the model's stream that brought something."""
    attempt: Distribution = field(default_factory=lambda: Distribution(ATTEMPT_BOUNDS))
    """From the claim to the end of the attempt, whatever ended it."""

    def note_end(self, generation: Generation) -> None:
        """Counts a generation whose end was committed by this process."""
        code = "" if generation.error is None else generation.error.code
        self.ended[self.kinds.label(generation.kind), generation.state.value, code] += 1
        usage = generation.usage or Usage(0, 0)
        self.tokens["input"] += usage.input_tokens
        self.tokens["output"] += usage.output_tokens
