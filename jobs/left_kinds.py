"""Jobs of kinds that a worker does not know: left to others for a while, and said in its log."""

import logging
import time

from jobs.measures import Measures

log = logging.getLogger(__name__)

LEFT_SECONDS = 5.0
"""How long such a job is left to others before this worker looks at it again."""
MOST_LEFT = 1_000
COMPLAIN_EVERY_SECONDS = 60.0


class LeftKinds:
    """The jobs that this worker can't run, the oldest forgotten first where there are many.

    Others might never be the first to look at one that this worker picked again and again.
    """

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._until: dict[str, float] = {}
        self._complain_at = 0.0

    def now(self) -> list[str]:
        """The jobs that are not to be picked at this moment."""
        if self._until:
            now = time.monotonic()
            self._until = {job: until for job, until in self._until.items() if until > now}
        return list(self._until)

    def leave(self, job_id: str, kind: str) -> None:
        """Leaves this job to workers that know its kind; a line in the log says so now and then."""
        now = time.monotonic()
        if len(self._until) >= MOST_LEFT:
            del self._until[next(iter(self._until))]
        self._until[job_id] = now + LEFT_SECONDS
        self._measures.unknown_kinds += 1
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY_SECONDS
            log.warning(
                "a kind is not known here, and left to another worker: see RELAY_KINDS",
                extra={"kind": kind},
            )
