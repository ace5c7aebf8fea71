"""An admin's token that was good a while ago is good for figures while the database can't tell.

They are wanted most while the database is away, and show nobody's resources.
"""

import hashlib
import time
from datetime import UTC, datetime

from jobs.store.tokens import TokenRow

KEPT_SECONDS = 3600.0
MOST = 16


class RecentAdmins:
    """The last tokens of scope `admin` that the database vouched for, by their hashes."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[TokenRow, float]] = {}

    def note(self, token: str, row: TokenRow | None) -> None:
        """What the database says of it now; None where it is not valid."""
        key = hashlib.sha256(token.encode()).digest()
        self._known.pop(key, None)
        if row is not None and "admin" in row.scopes:
            self._known[key] = (row, time.monotonic())
            while len(self._known) > MOST:
                del self._known[next(iter(self._known))]

    def recall(self, token: str) -> TokenRow | None:
        """What was noted, unless that was too long ago or the token has expired since."""
        row, noted_at = self._known.get(hashlib.sha256(token.encode()).digest(), (None, 0.0))
        if row is None or time.monotonic() - noted_at > KEPT_SECONDS:
            return None
        end = row.expires_at
        expired = end is not None and datetime.fromisoformat(end) <= datetime.now(UTC)
        return None if expired else row
