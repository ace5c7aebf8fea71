"""Read what a proxy recorded as Redis commands and replies, in the order of the client's wire."""

from collections.abc import Iterable
from dataclasses import dataclass

import hiredis

from tests.services.wire import Direction, Passage


@dataclass(frozen=True, slots=True)
class Said:
    """One whole message: a command's words (UP), or a reply or push (DOWN) as hiredis gives it."""

    at: float
    connection: int
    direction: Direction
    message: object

    @property
    def name(self) -> bytes:
        """A command's name in capitals, a push message's kind; empty for any other reply."""
        if isinstance(self.message, list) and self.message and isinstance(self.message[0], bytes):
            return self.message[0].upper()
        return b""


def conversation(passages: Iterable[Passage]) -> list[Said]:
    """Give the whole messages of all connections, each at the place of its last byte."""
    unfinished = object()
    readers: dict[tuple[int, Direction], hiredis.Reader] = {}
    said: list[Said] = []
    for passage in passages:
        # A command is an array of bulk strings, so the reader of replies reads it too.
        reader = readers.setdefault(
            (passage.connection, passage.direction), hiredis.Reader(notEnoughData=unfinished)
        )
        reader.feed(passage.data)
        while (message := reader.gets()) is not unfinished:
            said.append(Said(passage.at, passage.connection, passage.direction, message))
    return said
