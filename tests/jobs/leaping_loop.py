"""An event loop whose clock leaps to the next timer: a pause takes no time and is exact."""

import asyncio
import selectors
from typing import Any

ROUND_SECONDS = 1e-5
"""What a round of the loop takes: whoever spins without a pause must come to a deadline too."""


class _Leaping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        # Not 0, which is long ago to what keeps the loop's time.
        self.now = 10_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Without a timer it waits, as for another thread.
        ready = super().select(timeout and 0)
        self.now += ROUND_SECONDS if ready or not timeout else timeout
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """For what does no I/O: with a server behind it, its time would be over before the answer."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """The time to which it has leapt."""
        return self._leaping.now


BACKEND: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": LeapingLoop})
"""What a module's fixture `anyio_backend` returns to have its tests run on it."""
