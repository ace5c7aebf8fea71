"""What a rescuer did, in plain numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class RescueCounts:
    """What the rescuer did, for metrics and logs; offers that are repeated count once."""

    expired: int = 0
    model_unavailable: int = 0
    """Ended unstarted since the breaker of their model was open."""
    enqueued: int = 0
    offered_again: int = 0
    ended_lost: int = 0
    """Ended since nobody ran them, cancelled ones too."""
    promoted: int = 0
    failures: int = 0
