"""How long a rescuer has heard from the database without a gap: it judges by nothing else.

Whoever heard nothing for a while can't tell a worker that is silent from one that could not beat.
"""

import time

UNHEARD_SHARE = 0.7
"""After so much of a lease without contact, live workers may look lost: they beat four times in
one, and could not either."""


class Contact:
    """One rescuer's contact with the database; times are monotonic, in seconds."""

    __slots__ = ("_at", "_lease", "_since")

    def __init__(self, lease_seconds: float) -> None:
        self._lease = lease_seconds
        self._since: float | None = None
        self._at = 0.0

    def note(self) -> None:
        """The database answered just now."""
        now = time.monotonic()
        if self._since is None or now - self._at > UNHEARD_SHARE * self._lease:
            self._since = now
        self._at = now

    def lose(self) -> None:
        """The database is away: a whole lease of contact must follow."""
        self._since = None

    def judging_since(self) -> float | None:
        """Since when every live worker has had a whole lease of time to beat (protocol §6).

        None while one may not have had it.
        """
        now = time.monotonic()
        if self._since is None or now - self._at > UNHEARD_SHARE * self._lease:
            return None
        since = self._since + self._lease
        return since if since <= now else None
