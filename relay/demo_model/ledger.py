"""What a demo model has seen: counters, its newest requests, and how often a body has failed."""

import json
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

KEPT_REQUESTS = 50
KEPT_BYTES = 1024 * 1024
"""A larger body is noted by its size alone."""

KEPT_FAILURES = 4096


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: its id, when it came, and its body."""

    id: str
    at: datetime
    body: bytes

    def document(self) -> dict[str, object]:
        """The request for `GET /requests`; a body over KEPT_BYTES is left out."""
        shown: dict[str, object] = {
            "id": self.id,
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        if len(self.body) > KEPT_BYTES:
            return shown | {"bytes": len(self.body)}
        return shown | {"body": json.loads(self.body)}


class Ledger:
    """The memory of one server, bounded in every part; no header of a request is kept."""

    def __init__(self) -> None:
        self._open = 0
        self._requests = 0
        self._disconnected = 0
        self._seen: deque[Seen] = deque(maxlen=KEPT_REQUESTS)
        self._failures: OrderedDict[bytes, int] = OrderedDict()

    def stats(self) -> dict[str, int]:
        """Answers being sent now, requests so far, and clients that left before the end."""
        return {
            "open": self._open,
            "requests": self._requests,
            "disconnected": self._disconnected,
        }

    def note(self, id: str, body: bytes) -> None:
        """Counts a request and keeps its body, which is JSON."""
        self._requests += 1
        self._seen.append(Seen(id, datetime.now(UTC), body))

    def newest(self) -> list[dict[str, object]]:
        """The newest requests, oldest first."""
        return [seen.document() for seen in self._seen]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Counts an answer as open for as long as it is being sent."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def client_left(self) -> None:
        """Counts a client that went away before the end of its answer."""
        self._disconnected += 1

    def fails_still(self, body: bytes, times: int) -> bool:
        """Whether this is one of the first `times` requests with this body; counts it."""
        key = sha256(body).digest()
        failed = self._failures.pop(key, 0)
        self._failures[key] = min(failed + 1, times)
        if len(self._failures) > KEPT_FAILURES:
            self._failures.popitem(last=False)
        return failed < times
