"""Tells the operator that requests are answered 503, and why: a line a minute, however many are."""

import logging
import time

log = logging.getLogger(__name__)

SAY_EVERY_SECONDS = 60.0


class Unserved:
    """Requests that could not be served since something that they need is away."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._say_at = 0.0

    def note(self, code: str, reason: str) -> None:
        """One more, for this reason."""
        self._unsaid += 1
        now = time.monotonic()
        if now >= self._say_at:
            log.warning(
                "requests are answered 503",
                extra={"code": code, "reason": reason, "requests": self._unsaid},
            )
            self._unsaid, self._say_at = 0, now + SAY_EVERY_SECONDS
