"""Whose the generations are that were started or followed here of late: it never changes."""

MOST = 10_000
"""Some 0.2 KiB each."""


class RecentOwners:
    """The owners of the generations that this process dealt with last."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def note(self, generation_id: str, owner: str) -> None:
        """What the database says; the one that was noted longest ago makes room."""
        self._known.pop(generation_id, None)
        self._known[generation_id] = owner
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    def recall(self, generation_id: str) -> str | None:
        """Whose it was when it was noted, None where it was not."""
        return self._known.get(generation_id)

    def forget(self, generation_id: str) -> None:
        """The database has no such generation any more."""
        self._known.pop(generation_id, None)
