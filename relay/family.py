"""The processes that `dev` runs: started in order, again when they crash, and ended in order."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from relay.child import STOP_SECONDS, Child, start_child

WORKER_SECONDS = 12.0
"""A worker lets what runs finish, then hands it over; nobody at a terminal waits any longer."""
HASTEN_SECONDS = 2.0
"""After so long it is asked a second time."""
PAUSES_SECONDS = (0.2, 1.0, 3.0)
"""Before one that crashed is started again; one that crashes once more than this is given up."""
HEALTHY_SECONDS = 30.0
"""What ran for so long crashes for the first time again."""

Say = Callable[[str], None]


class Family:
    """Child processes by name; `open_family` ends them all."""

    def __init__(self, environment: Mapping[str, str], say: Say) -> None:
        self._environment = environment
        self._say = say
        self._children: dict[str, Child] = {}
        self._commands: dict[str, Sequence[str]] = {}
        self._quiet: dict[str, deque[str]] = {}
        self._crashes: dict[str, int] = {}
        self._started_at: dict[str, float] = {}
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
        self._commands[name] = command
        await self._begin(name)

    async def _begin(self, name: str) -> None:
        self._started_at[name] = time.monotonic()
        self._children[name] = await start_child(
            name, self._commands[name], self._environment, self._show
        )

    async def keep_up(self, stopped: asyncio.Event) -> str | None:
        """Starts what crashes again, until `stopped` is set: then None.

        Where one crashes again and again, it says which and how, and gives up.
        """
        while True:
            waits = [asyncio.create_task(one.wait()) for one in self._children.values()]
            waits.append(asyncio.create_task(_set(stopped)))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if stopped.is_set():
                return None
            for name in [name for name, one in self._children.items() if one.crashed]:
                if not await self._begin_again(name, stopped):
                    return f"{self._how(name)} again and again"

    async def _begin_again(self, name: str, stopped: asyncio.Event) -> bool:
        """Starts one that crashed; False when it is to be given up."""
        if time.monotonic() - self._started_at[name] > HEALTHY_SECONDS:
            self._crashes[name] = 0
        crashes = self._crashes[name] = self._crashes.get(name, 0) + 1
        if crashes > len(PAUSES_SECONDS):
            return False
        await self._children[name].stop()
        self._tell_last_words(name)
        self._say(f"{self._how(name)}; starting it again")
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSES_SECONDS[crashes - 1]):
                await stopped.wait()
        if not stopped.is_set():
            await self._begin(name)
        return True

    def crash(self) -> str | None:
        """Which one has ended by itself, and how; None while all are there."""
        return next((self._how(n) for n, one in self._children.items() if one.crashed), None)

    def _how(self, name: str) -> str:
        status = self._children[name].status
        return name if status is None else f"{name} {how_it_ended(status)}"

    async def stop(self) -> None:
        """Ends all that are there; those that the others need come last."""
        for name, one in self._children.items():
            if one.crashed:
                self._tell_last_words(name)
        await self._stop({"relay": STOP_SECONDS, "worker": WORKER_SECONDS})
        await self._stop(dict.fromkeys(self._children, STOP_SECONDS))

    def _tell_last_words(self, name: str) -> None:
        words = self._quiet.get(name, deque())
        while words:
            self._say(f"{name:>6} | {words.popleft()}")

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
