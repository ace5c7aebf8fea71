"""Says once that something is away and once that it is back, however often it is tried between."""

import logging
import time

log = logging.getLogger(__name__)


class Outage:
    """The absence of one thing that is tried again and again, such as a database."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None

    def lasts(self, reason: object) -> bool:
        """A try failed; True for the first one, which is logged with its reason."""
        begins = self._since is None
        if begins:
            self._since = time.monotonic()
            log.warning("%s: waiting", self._what, extra={"reason": str(reason)})
        return begins

    def over(self) -> None:
        """A try went well; logged when the ones before it failed."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 1)
            self._since = None
            log.info("%s: going on", self._what, extra={"waited_seconds": seconds})
