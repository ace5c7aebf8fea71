"""The processes that `dev` runs: started in order, watched together, ended in order."""

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from relay.child import STOP_SECONDS, Child, start_child

WORKER_SECONDS = 12.0
"""A worker lets what runs finish, then hands it over; nobody at a terminal waits any longer."""
HASTEN_SECONDS = 2.0
"""After so long it is asked a second time."""

Say = Callable[[str], None]


class Family:
    """Child processes by name; `open_family` ends them all."""

    def __init__(self, environment: Mapping[str, str], say: Say) -> None:
        self._environment = environment
        self._say = say
        self._children: dict[str, Child] = {}
        self._quiet: dict[str, deque[str]] = {}
        self._halted = False

    @property
    def halted(self) -> bool:
        """Whether nothing is to be started any more."""
        return self._halted

    def halt(self) -> None:
        """Makes every later `start` do nothing."""
        self._halted = True

    async def start(self, name: str, *command: str, quiet: bool = False) -> None:
        """Starts one; a quiet one is heard only when it ends by itself. Raises OSError."""
        if self._halted:
            return
        if quiet:
            self._quiet[name] = deque(maxlen=20)
        self._children[name] = await start_child(name, command, self._environment, self._show)

    async def first_end(self, stopped: asyncio.Event) -> str | None:
        """Waits until one ends by itself, and says which and how; None once `stopped` is set."""
        waits = [asyncio.create_task(one.wait()) for one in self._children.values()]
        waits.append(asyncio.create_task(_set(stopped)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        return self.crash()

    def crash(self) -> str | None:
        """Which one has ended by itself, and how; None while all are there."""
        for one in self._children.values():
            if one.crashed and one.status is not None:
                return f"{one.name} {how_it_ended(one.status)}"
        return None

    async def stop(self) -> None:
        """Ends all that are there; those that the others need come last."""
        for name, words in self._quiet.items():
            if self._children[name].crashed:
                for line in words:
                    self._say(f"{name:>6} | {line}")
        await self._stop({"relay": STOP_SECONDS, "worker": WORKER_SECONDS})
        await self._stop(dict.fromkeys(self._children, STOP_SECONDS))

    async def _stop(self, seconds: Mapping[str, float]) -> None:
        there = [one for one in self._children.values() if one.name in seconds]
        await asyncio.gather(*(one.stop(seconds[one.name], HASTEN_SECONDS) for one in there))

    def _show(self, name: str, line: str) -> None:
        if name in self._quiet:
            self._quiet[name].append(line)
        else:
            self._say(f"{name:>6} | {line}")


@asynccontextmanager
async def open_family(environment: Mapping[str, str], say: Say) -> AsyncIterator[Family]:
    """Processes with this environment, none of which is left when the block has ended."""
    family = Family(environment, say)
    try:
        yield family
    finally:
        await family.stop()


def how_it_ended(status: int) -> str:
    """A process's end in words."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name} (status {status})"


async def _set(event: asyncio.Event) -> int:
    await event.wait()
    return 0
