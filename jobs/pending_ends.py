"""What a worker found in journals and has not brought to the database yet: it claims none of it.

Else it would ask the model once more for an answer that it has, and the replay would be refused.
"""

import asyncio
from collections.abc import Iterable


class PendingEnds:
    """Told by the replay of journals; asked by whoever picks jobs."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._listed = asyncio.Event()

    def hold(self, event_ids: Iterable[str]) -> None:
        """These are yet to be replayed."""
        self._held.update(event_ids)

    def all_listed(self) -> None:
        """Every journal that will be replayed was looked through."""
        self._listed.set()

    def let_go(self, event_ids: Iterable[str]) -> None:
        """These were replayed, or never will be."""
        self._held.difference_update(event_ids)

    async def listed(self) -> None:
        """Returns once all are known."""
        await self._listed.wait()

    def jobs(self) -> frozenset[str]:
        """The jobs that would run one of them again: a record has the name of the job after it."""
        return frozenset(self._held)
