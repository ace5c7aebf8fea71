"""What the publisher did, and how far it is behind."""

from dataclasses import dataclass


@dataclass(slots=True)
class PublishCounts:
    """What the publisher did, for metrics and for tests on work that grows wrongly."""

    flushes: int = 0
    failures: int = 0
    reseeds: int = 0
    stale: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far Redis is behind what was appended: events, and the age in seconds of the oldest."""

    events: int
    seconds: float
