"""What a rescuer offers to the workers: spread, known since when, and repeated now and then."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

SPREAD_SECONDS = 3.0
"""Over how long re-enqueued work is spread when there is much of it (protocol §8)."""
SPREAD_A_ROW_SECONDS = 0.05
LOST_SPREAD_SECONDS = 1.5
"""The same for what was lost: its readers wait, and the last one's turn is within lease + 5 s."""
AGAIN_SECONDS = 3.0
"""What was offered is left to the workers for so long. Redis may lose it, which is rare; to offer
all that a large worker lost in each round would cost more than to start it."""

Name = tuple[str, int]
"""A generation's id, and the attempt after which it is offered."""


@dataclass(slots=True)
class Offers:
    """Offers that may not have been taken yet; times are monotonic, in seconds."""

    _made: dict[Name, tuple[float, float]] = field(default_factory=dict)

    def keep(self, names: Iterable[Name]) -> None:
        """Forgets all others, which were taken."""
        self._made = {name: self._made[name] for name in names if name in self._made}

    def since(self, name: Name) -> float | None:
        """When it was first offered; None if never."""
        made = self._made.get(name)
        return None if made is None else made[0]

    def is_due(self, name: Name, now: float) -> bool:
        """Whether it is to be offered now."""
        made = self._made.get(name)
        return made is None or now - made[1] >= AGAIN_SECONDS

    def note(self, name: Name, now: float) -> bool:
        """It was offered just now; whether for the first time."""
        since = self.since(name)
        self._made[name] = (now if since is None else since, now)
        return since is None


def spread(rows: int, longest_seconds: float = SPREAD_SECONDS) -> float:
    """How long to defer one of so many rows, in seconds, so that they don't start at once."""
    return random.uniform(0, min(longest_seconds, rows * SPREAD_A_ROW_SECONDS))
