"""What every reader of this relay reads from, and the time limits that hold for all of them."""

from dataclasses import dataclass

from jobs.database import Database
from jobs.signals import Signals
from jobs.stream_log import StreamLog
from relay.hub import Hub
from relay.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a reader's events come from, and its time limits in seconds."""

    database: Database
    stream_log: StreamLog
    signals: Signals
    hub: Hub
    pulse: Pulse
    lease_seconds: float
    heartbeat_seconds: float
    idle_timeout_seconds: float
