"""What an owner's feed is told of a deletion: which personas, and generations, are gone."""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from jobs.generation import encode


class DeletedGeneration(msgspec.Struct, frozen=True):
    """A generation that is gone, and where it stood; conversations themselves stay."""

    id: str
    conversation_id: str


class Deletion(msgspec.Struct, frozen=True):
    """What one owner's deletion took; a persona's conversation goes with it."""

    personas: tuple[str, ...] = ()
    generations: tuple[DeletedGeneration, ...] = ()

    def message(self) -> bytes:
        """As it is published on the channel of the feed."""
        return encode({"deleted": self})


def by_owner(rows: Iterable[tuple[str, DeletedGeneration]]) -> dict[str, Deletion]:
    """The deletions of each of these owners."""
    gone: defaultdict[str, list[DeletedGeneration]] = defaultdict(list)
    for owner, generation in rows:
        gone[owner].append(generation)
    return {owner: Deletion(generations=tuple(some)) for owner, some in gone.items()}
