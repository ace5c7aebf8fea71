"""What passes a proxy, what makes it cut, and the counts of what it did."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

TRANSACTION_BYTES = 65536
"""More than the statements and values of a transaction of a test."""


class Direction(StrEnum):
    """UP is from the client to the server, DOWN is the way back."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Passage:
    """Bytes as the client's end of the wire saw them: sent (UP) or delivered (DOWN)."""

    at: float
    connection: int
    direction: Direction
    data: bytes


@dataclass(slots=True)
class Trap:
    """Cut the connection when `pattern` comes by; `sprung` counts how often that happened."""

    pattern: bytes
    direction: Direction
    where: Literal["before", "after"]
    times: int
    transaction: bytes = b""
    """What must have passed since the last BEGIN; empty = whatever passed."""
    sprung: int = 0
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, within: float = 10.0) -> None:
        """Return once it has sprung; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            await self._event.wait()

    def spring(self) -> None:
        """Count one cut."""
        self.sprung += 1
        self._event.set()

    def springs_in(self, passed: bytes) -> bool:
        """Whether the transaction that these bytes end in is the one it is for."""
        return self.transaction in passed[max(0, passed.rfind(b"BEGIN")) :]

    @property
    def looks_back(self) -> int:
        """How many of the last bytes it has to see."""
        return TRANSACTION_BYTES if self.transaction else len(self.pattern)

    @property
    def armed(self) -> bool:
        """True while it may still cut."""
        return self.sprung < self.times


@dataclass(slots=True)
class Counts:
    """What the proxy did: a test of a fault asserts here that the fault took place."""

    connections: int = 0
    refused: int = 0
    delayed: int = 0
    held: int = 0
    cuts: int = 0
    resets: int = 0
    bytes: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
