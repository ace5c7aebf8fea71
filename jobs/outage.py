"""Says once that something is away and once that it is back, however often it is tried between."""

import logging
import time

log = logging.getLogger(__name__)


class Outage:
    """The absence of one thing that is tried again and again, such as a database."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None

    def lasts(self, reason: object) -> None:
        """A try failed; the first one is logged with its reason."""
        if self._since is None:
            self._since = time.monotonic()
            log.warning("%s: waiting", self._what, extra={"reason": str(reason)})

    def over(self) -> None:
        """A try went well; logged when the ones before it failed."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 1)
            self._since = None
            log.info("%s: going on", self._what, extra={"waited_seconds": seconds})
