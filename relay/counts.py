"""What this relay counts of its own work, beside what it shares with workers."""

from collections import Counter
from dataclasses import dataclass, field

from jobs.measures import Measures
from jobs.rescue_counts import RescueCounts
from relay.unserved import Unserved


@dataclass(slots=True)
class RelayCounts:
    """Plain numbers since the process started."""

    measures: Measures = field(default_factory=Measures)
    """Of generations that ended here: cancelled before they ran, expired, lost."""
    rescues: RescueCounts = field(default_factory=RescueCounts)
    accepted: Counter[str] = field(default_factory=Counter)
    """Generations stored, by kind; replays of an Idempotency-Key are none."""
    over_budget: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Refused by a limit of the sliding minute, by its scope and unit."""
    guarded: Counter[str] = field(default_factory=Counter)
    """Refused by another guard of protocol §8: `one at a time` or `cascade`."""
    problems: Counter[str] = field(default_factory=Counter)
    """Answers that were a problem, by its code."""
    unserved: Unserved = field(default_factory=Unserved)
